"""Asks by ARP from inside a host's namespace: ``arp_asker.py SENDER_IP TARGET_IP``; prints the answers as JSON."""

from __future__ import annotations

import json
import socket
import sys
import time
from dataclasses import asdict

from controller.packets import ARP_REPLY, ARP_REQUEST, BROADCAST, Arp, decode_arp, encode_arp

INTERFACE = "eth0"
ETHERTYPE_ARP = 0x0806
LISTEN_S = 0.6


def main() -> int:
    """One request, and all replies to it that come within a moment."""
    sender_ip, target_ip = sys.argv[1:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP)) as raw:
        raw.bind((INTERFACE, ETHERTYPE_ARP))
        mac = raw.getsockname()[4].hex(":")
        raw.send(
            encode_arp(Arp(ARP_REQUEST, mac, sender_ip, "00:00:00:00:00:00", target_ip), BROADCAST).ljust(60, b"\0")
        )
        answers, until_s = [], time.monotonic() + LISTEN_S
        while (left_s := until_s - time.monotonic()) > 0:
            raw.settimeout(left_s)
            try:
                frame = raw.recv(2048)
            except TimeoutError:
                break
            message = decode_arp(frame)
            if message is not None and message.operation == ARP_REPLY and message.sender_ip == target_ip:
                answers.append({**asdict(message), "from": frame[6:12].hex(":"), "to": frame[:6].hex(":")})
    print(json.dumps(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
