"""The sending process: holds sockets in every host's namespace and sends the whole schedule from one loop.

Run as ``python -m deploy.testbed.traffic_sender JOB.json``; it prints ``ready``, reads the start time (nanoseconds of
CLOCK_REALTIME) from standard input and writes the time of every packet into the job's sent file, int64 per packet of
the schedule: 0 not sent yet, -1 refused by the kernel.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

from deploy.testbed.network_namespace import NetworkNamespace
from deploy.testbed.traffic_plan import MAX_FRAME_BYTES, Schedule, TrafficJob

MAGIC = 0x52575450
HEADER = struct.Struct("!IIQQI")  # magic, demand, sequence, sent at (ns), payload bytes
NOT_SENT, REFUSED = 0, -1
_PR_SET_TIMERSLACK = 29
_REAL_TIME_PRIORITY = 20
_CHUNK = 4096
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


def send_all(
    schedule: Schedule,
    table: list[list[tuple[socket.socket, tuple[str, int]]]],
    sent: memoryview,
    start_ns: int,
) -> None:
    """Send every packet at its time; a packet that is late is sent at once.  ``sent`` gets the time of each."""
    buffer = bytearray(MAX_FRAME_BYTES)
    view = memoryview(buffer)
    clock, sleep, pack_into = time.clock_gettime_ns, time.sleep, HEADER.pack_into
    real_time = time.CLOCK_REALTIME
    for first in range(0, schedule.packet_count, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        rows = zip(
            (start_ns + np.rint(schedule.time_s[chunk] * 1e9).astype(np.int64)).tolist(),
            schedule.demand[chunk].tolist(),
            schedule.sequence[chunk].tolist(),
            schedule.payload_bytes[chunk].tolist(),
            schedule.flow[chunk].tolist(),
            strict=True,
        )
        for position, (due, demand, sequence, size, flow) in enumerate(rows, first):
            now = clock(real_time)
            if due > now:
                sleep((due - now) * 1e-9)
                now = clock(real_time)
            pack_into(buffer, 0, MAGIC, demand, sequence, now, size)
            link, address = table[demand][flow]
            try:
                link.sendto(view[:size], address)
                sent[position] = now
            except OSError:
                sent[position] = REFUSED


def main() -> int:
    """Entry of the process."""
    job = TrafficJob.read(Path(sys.argv[1]))
    schedule = Schedule.load(Path(job.schedule_file))
    table = open_sockets(job)
    be_punctual()
    with open(job.sent_file, "w+b") as file:
        file.truncate(max(8, 8 * schedule.packet_count))
        with mmap.mmap(file.fileno(), 0) as mapped:
            print("ready", flush=True)
            line = sys.stdin.readline()
            if not line.strip():
                return 0
            start_ns = int(line)
            gc.disable()
            sent = memoryview(mapped).cast("q")
            send_all(schedule, table, sent, start_ns)
            sent.release()
    usage = os.times()
    print(json.dumps({"cpu_s": usage.user + usage.system}), flush=True)
    return 0


def be_punctual() -> None:
    """Short timer slack and, where permitted, real-time scheduling: lateness would look like network delay."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_REAL_TIME_PRIORITY))
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
