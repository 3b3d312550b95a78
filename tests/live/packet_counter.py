"""Sends numbered UDP packets at a steady rate, or receives them and says which came: run inside hosts by live tests."""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from itertools import pairwise

QUIET_S = 3.0
FIRST_S = 20.0


def send(port: int, target: str, rate: float, duration_s: float, dscp: int) -> None:
    """Packets 0, 1, 2... evenly over the duration."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
    started_s = time.monotonic()
    for number in range(int(rate * duration_s)):
        pause_s = started_s + number / rate - time.monotonic()
        if pause_s > 0:
            time.sleep(pause_s)
        sender.sendto(struct.pack("!Q", number) + bytes(100), (target, port))


def receive(port: int) -> dict[str, int]:
    """Count until it is quiet."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.bind(("0.0.0.0", port))
    receiver.settimeout(FIRST_S)
    print("ready", flush=True)
    numbers: list[int] = []
    try:
        while True:
            numbers.append(struct.unpack_from("!Q", receiver.recv(2000))[0])
            if len(numbers) == 1:
                receiver.settimeout(QUIET_S)
    except TimeoutError:
        pass
    distinct = len(set(numbers))
    return {
        "received": len(numbers),
        "duplicated": len(numbers) - distinct,
        "lost": max(numbers, default=-1) + 1 - distinct,
        "out_of_order": sum(after < before for before, after in pairwise(numbers)),
    }


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]))
    else:
        print(json.dumps(receive(int(sys.argv[2]))))
