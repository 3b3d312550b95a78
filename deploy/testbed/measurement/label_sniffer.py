"""Watches every labelled packet that arrives at a switch: which interface, which labels, which packet of which demand.

Run as ``python -m deploy.testbed.measurement.label_sniffer FILE`` inside the switches' network namespace; it prints
``ready``, appends one record per packet and link to FILE until SIGTERM.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
from pathlib import Path

import numpy as np

from deploy.testbed.receiver_log import Records
from deploy.testbed.traffic_sender import HEADER, MAGIC

ETHERTYPE_MPLS = 0x8847
RECORD = struct.Struct("<IIIIB3x")  # demand, sequence, interface index, outer label, number of labels
RECORD_TYPE = np.dtype(
    {
        "names": ["demand", "sequence", "interface", "label", "labels"],
        "formats": ["<u4", "<u4", "<u4", "<u4", "u1"],
        "offsets": [0, 4, 8, 12, 16],
        "itemsize": RECORD.size,
    }
)
_ETHERNET_BYTES = 14
_IPV4_UDP_BYTES = 28
_RECEIVE_BUFFER = 16 * 2**20
_SO_RCVBUFFORCE = 33


def record_of(frame: bytes, interface: int) -> bytes | None:
    """The record of one labelled frame; None when it carries no packet of the traffic sender."""
    position, labels = _ETHERNET_BYTES, []
    while len(frame) >= position + 4:
        (entry,) = struct.unpack_from("!I", frame, position)
        labels.append(entry >> 12)
        position += 4
        if entry >> 8 & 1:
            break
    start = position + _IPV4_UDP_BYTES
    if len(frame) < start + HEADER.size:
        return None
    magic, demand, sequence, _, _ = HEADER.unpack_from(frame, start)
    return RECORD.pack(demand, sequence, interface, labels[0], len(labels)) if magic == MAGIC else None


def read_sightings(path: Path) -> Records:
    """All complete records."""
    data = path.read_bytes() if path.exists() else b""
    return np.frombuffer(data[: len(data) // RECORD.size * RECORD.size], dtype=RECORD_TYPE)


def main() -> int:
    """Entry of the process."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_MPLS)) as raw,
        open(sys.argv[1], "ab") as file,
    ):
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        raw.settimeout(0.2)
        indices = {name: index for index, name in socket.if_nameindex()}
        print("ready", flush=True)
        while not stopping:
            try:
                frame, address = raw.recvfrom(2048)
            except TimeoutError:
                continue
            record = record_of(frame, indices.get(address[0], 0))
            if record is not None and address[2] != socket.PACKET_OUTGOING:
                file.write(record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
