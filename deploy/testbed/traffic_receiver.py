"""The receiving process: one socket per host, kernel receive times, one record per packet.

Run as ``python -m deploy.testbed.traffic_receiver JOB.json``; it prints ``ready``, appends to the job's received file
until SIGTERM, then takes what still waits in the sockets and prints a summary as JSON.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import BinaryIO

from deploy.testbed.frame_sizes import MAX_FRAME_BYTES
from deploy.testbed.network_namespace import NetworkNamespace
from deploy.testbed.receiver_log import FLAG_TRUNCATED, RECORD
from deploy.testbed.traffic_plan import TrafficJob
from deploy.testbed.traffic_sender import HEADER, MAGIC

_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40
_IP_PKTINFO = 8
_IP_RECVTTL = 12
_IP_TTL = 2
_RECEIVE_BUFFER = 8 * 2**20
_SO_RCVBUFFORCE = 33
_BATCH_S = 0.004  # receive times are the kernel's, so waiting a little only saves wake-ups
_TIMESPEC = struct.Struct("@qq")


def open_sockets(job: TrafficJob) -> list[socket.socket]:
    """One socket per host, in its namespace."""
    sockets = []
    for host in job.hosts:
        namespace = NetworkNamespace.of_process(host.process_id)
        with namespace.entered():
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            except PermissionError:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            for level, option in (
                (socket.SOL_SOCKET, _SO_TIMESTAMPNS),
                (socket.SOL_SOCKET, _SO_RXQ_OVFL),
                (socket.IPPROTO_IP, _IP_PKTINFO),
                (socket.IPPROTO_IP, _IP_RECVTTL),
            ):
                opened.setsockopt(level, option, 1)
            opened.setblocking(False)
            opened.bind(("0.0.0.0", job.port))
            sockets.append(opened)
        namespace.close()
    return sockets


class PacketLog:
    """Turns datagrams into records and counts what does not belong."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending: list[bytes] = []
        self.packets = 0
        self.foreign = 0
        self.dropped: dict[int, int] = {}

    def take_all(self, receiving: socket.socket) -> None:
        """Take every datagram that waits in the socket."""
        while True:
            try:
                data, ancillary, _, sender = receiving.recvmsg(MAX_FRAME_BYTES, 256)
            except (BlockingIOError, InterruptedError):
                return
            self._take(receiving.fileno(), data, ancillary, sender[0])

    def _take(self, descriptor: int, data: bytes, ancillary: list[tuple[int, int, bytes]], sender: str) -> None:
        received_ns, target, ttl = 0, b"\0\0\0\0", 0
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                received_ns = seconds * 1_000_000_000 + nanoseconds
            elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                target = value[8:12]
            elif level == socket.IPPROTO_IP and kind == _IP_TTL:
                ttl = value[0]
            elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                self.dropped[descriptor] = int.from_bytes(value, sys.byteorder)
        if len(data) < HEADER.size:
            self.foreign += 1
            return
        magic, demand, sequence, sent_ns, size = HEADER.unpack_from(data)
        if magic != MAGIC:
            self.foreign += 1
            return
        flags = FLAG_TRUNCATED if size != len(data) else 0
        source = int.from_bytes(socket.inet_aton(sender), "big")
        self.packets += 1
        self._pending.append(
            RECORD.pack(
                demand, sequence, sent_ns, received_ns, source, int.from_bytes(target, "big"), len(data), ttl, flags
            )
        )

    def flush(self) -> None:
        """Write what has been taken."""
        if self._pending:
            self._file.write(b"".join(self._pending))
            self._pending.clear()


def main() -> int:
    """Entry of the process."""
    job = TrafficJob.read(Path(sys.argv[1]))
    sockets = open_sockets(job)
    by_descriptor = {opened.fileno(): opened for opened in sockets}
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    with open(job.received_file, "ab", buffering=0) as file, select.epoll() as poll:
        log = PacketLog(file)
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        print("ready", flush=True)
        while not stopping:
            for descriptor, _ in poll.poll(0.1):
                log.take_all(by_descriptor[descriptor])
            log.flush()
            time.sleep(_BATCH_S)
        for opened in sockets:
            log.take_all(opened)
        log.flush()
    usage = os.times()
    summary = {
        "packets": log.packets,
        "foreign": log.foreign,
        "dropped": sum(log.dropped.values()),
        "cpu_s": usage.user + usage.system,
    }
    print(json.dumps(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
