"""The binary log of received packets: one fixed record per packet, appended by the receiver."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RECORD = struct.Struct("<IIqqIIHBB")
"""demand, sequence, sent and received (ns), source and target address (as numbers), payload bytes, TTL, flags."""

RECORD_TYPE = np.dtype(
    [
        ("demand", "<u4"),
        ("sequence", "<u4"),
        ("sent_ns", "<i8"),
        ("received_ns", "<i8"),
        ("source", "<u4"),
        ("target", "<u4"),
        ("payload_bytes", "<u2"),
        ("ttl", "u1"),
        ("flags", "u1"),
    ]
)
FLAG_TRUNCATED = 1  # shorter or longer than its header says

assert RECORD.size == RECORD_TYPE.itemsize

Records = npt.NDArray[Any]


def read_records(path: Path) -> Records:
    """All complete records of a log; a last one that is still being written is left out."""
    data = path.read_bytes() if path.exists() else b""
    return np.frombuffer(data[: len(data) // RECORD.size * RECORD.size], dtype=RECORD_TYPE)
