"""The sending process: holds sockets in every host's namespace and sends the whole schedule from one loop.

Run as ``python -m deploy.testbed.traffic_sender JOB.json``; it prints ``ready``, reads the start time (nanoseconds of
CLOCK_REALTIME) from standard input and appends the time of every packet to the job's sent file, an int64 per packet in
the order of the schedule, -1 for one that the kernel refused.  A later line ``add SECONDS`` merges the job's added
schedule into the rest, its time 0 at that second of the first one.  SIGTERM ends it early.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import numpy as np

from deploy.testbed.frame_sizes import MAX_FRAME_BYTES
from deploy.testbed.network_namespace import NetworkNamespace
from deploy.testbed.traffic_plan import Schedule, TrafficJob

MAGIC = 0x52575450
HEADER = struct.Struct("!IIQQI")  # magic, demand, sequence, sent at (ns), payload bytes
REFUSED = -1
_PR_SET_TIMERSLACK = 29
_REAL_TIME_PRIORITY = 20
_CHUNK = 4096
_WRITE_PACKETS = 256
_LOOK_PACKETS = 16
_libc = ctypes.CDLL(None)


def open_sockets(job: TrafficJob) -> list[list[tuple[socket.socket, tuple[str, int]]]]:
    """Per demand and flow the socket to send with and the address to send to.

    Flow f of a demand goes from the f-th of the source's addresses to the one of the target's that f // count names.
    """
    sockets: dict[tuple[int, int, int], socket.socket] = {}
    wanted: dict[int, set[int]] = {}
    for source, dscp in zip(job.source, job.dscp, strict=True):
        wanted.setdefault(source, set()).add(dscp)
    for source, marks in wanted.items():
        host = job.hosts[source]
        namespace = NetworkNamespace.of_process(host.process_id)
        with namespace.entered():
            for dscp in marks:
                for number, address in enumerate(host.addresses):
                    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 2**20)
                    opened.setblocking(False)
                    opened.bind((address, 0))
                    sockets[source, dscp, number] = opened
        namespace.close()
    table = []
    for source, target, dscp in zip(job.source, job.target, job.dscp, strict=True):
        own, theirs = job.hosts[source].addresses, job.hosts[target].addresses
        table.append(
            [
                (sockets[source, dscp, flow % len(own)], (theirs[flow // len(own)], job.port))
                for flow in range(len(own) * len(theirs))
            ]
        )
    return table


class Orders:
    """Lines from standard input, looked for without waiting."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._open = True
        self._text = b""

    def wait(self) -> str:
        """The next line; empty when nobody will send one any more."""
        while b"\n" not in self._text and self._open:
            self._read()
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def pending(self) -> str | None:
        """A whole line if there is one."""
        if self._open and select.select([self._descriptor], [], [], 0)[0]:
            self._read()
        return self.wait() if b"\n" in self._text else None

    def _read(self) -> None:
        data = os.read(self._descriptor, 4096)
        self._text += data
        self._open = bool(data)


class Sender:
    """Sends a schedule.  ``log`` gets the time of each packet.

    Times are written in blocks: writing them one by one through a memory map was seen to stall for 10 ms and more while
    the file system wrote the page back.
    """

    def __init__(self, job: TrafficJob, schedule: Schedule, log: BinaryIO) -> None:
        self._job = job
        self._schedule = schedule
        self._log = log
        self._table = open_sockets(job)
        self._sent = array("q")
        self._position = 0

    def run(self, start_ns: int, orders: Orders) -> None:
        """Send every packet at its time, one that is late at once; take orders meanwhile."""
        try:
            order: str | None = ""
            while order is not None:
                order = self._send(start_ns, orders)
                if order is not None and order.startswith("add "):
                    extra = Schedule.load(Path(self._job.added_file))
                    self._schedule = self._schedule.with_added(extra, float(order.split()[1]))
        finally:
            self._log.write(self._sent)

    def _send(self, start_ns: int, orders: Orders) -> str | None:
        """Send on from the present position until the end (None) or until an order comes, which is returned."""
        buffer = bytearray(MAX_FRAME_BYTES)
        view = memoryview(buffer)
        clock, sleep, pack_into = time.clock_gettime_ns, time.sleep, HEADER.pack_into
        real_time, table, sent = time.CLOCK_REALTIME, self._table, self._sent
        for due, demand, sequence, size, flow in self._rows(start_ns):
            now = clock(real_time)
            if due > now:
                sleep((due - now) * 1e-9)
                now = clock(real_time)
            pack_into(buffer, 0, MAGIC, demand, sequence, now, size)
            link, address = table[demand][flow]
            try:
                link.sendto(view[:size], address)
            except OSError:
                now = REFUSED
            sent.append(now)
            self._position += 1
            if self._position % _LOOK_PACKETS == 0 and (order := orders.pending()) is not None:
                return order
            if len(sent) >= _WRITE_PACKETS:
                self._log.write(sent)
                del sent[:]
        return None

    def _rows(self, start_ns: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Due time (ns), demand, sequence, payload size and flow of every packet to come, as plain numbers."""
        schedule = self._schedule
        for first in range(self._position, schedule.packet_count, _CHUNK):
            chunk = slice(first, first + _CHUNK)
            yield from zip(
                (start_ns + np.rint(schedule.time_s[chunk] * 1e9).astype(np.int64)).tolist(),
                schedule.demand[chunk].tolist(),
                schedule.sequence[chunk].tolist(),
                schedule.payload_bytes[chunk].tolist(),
                schedule.flow[chunk].tolist(),
                strict=True,
            )


def main() -> int:
    """Entry of the process."""
    job = TrafficJob.read(Path(sys.argv[1]))
    orders = Orders()
    signal.signal(signal.SIGTERM, _stop)
    with open(job.sent_file, "wb", buffering=0) as log, suppress(_StoppedError):
        sender = Sender(job, Schedule.load(Path(job.schedule_file)), log)
        be_punctual()
        print("ready", flush=True)
        line = orders.wait()
        if line:
            gc.disable()
            sender.run(int(line), orders)
    usage = os.times()
    print(json.dumps({"cpu_s": usage.user + usage.system}), flush=True)
    return 0


class _StoppedError(Exception):
    """SIGTERM."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _StoppedError


def be_punctual() -> None:
    """Short timer slack and, where permitted, real-time scheduling: lateness would look like network delay."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_REAL_TIME_PRIORITY))
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
