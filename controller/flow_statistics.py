"""Flow statistics replies, parsed as little as the reader needs.

Ryu's parser builds match and instructions of every entry, 55 us each, inside the receive loop.  Counters need one
``struct`` call; who reads rules back asks an entry for its ``full`` form.
"""

from __future__ import annotations

import struct
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from topology_sync.events import FlowCounter

_ENTRY = struct.Struct(ofproto.OFP_FLOW_STATS_0_PACK_STR)


class FlowEntry:
    """One entry of a flow statistics reply: the fixed part, and the bytes it came from."""

    __slots__ = ("_buffer", "_offset", "bytes", "cookie", "duration_s", "length", "packets", "priority", "table_id")

    def __init__(self, buffer: bytes, offset: int) -> None:
        (
            self.length,
            self.table_id,
            seconds,
            nanoseconds,
            self.priority,
            _idle,
            _hard,
            _flags,
            self.cookie,
            self.packets,
            self.bytes,
        ) = _ENTRY.unpack_from(buffer, offset)
        self.duration_s = seconds + nanoseconds * 1e-9
        self._buffer = buffer
        self._offset = offset

    @classmethod
    def parser(cls, buffer: bytes, offset: int) -> FlowEntry:
        """What Ryu calls for every entry of a reply."""
        return cls(buffer, offset)

    def full(self) -> Any:
        """The same entry as Ryu's OFPFlowStats, match and instructions included."""
        return parser.OFPFlowStats.parser(self._buffer, self._offset)

    def identity(self) -> bytes:
        """The entry without its counters and age: two entries with the same are the same rule."""
        buffer, start = self._buffer, self._offset
        table, fixed = buffer[start + 2 : start + 3], buffer[start + 12 : start + 32]
        return bytes(table + fixed + buffer[start + _ENTRY.size : start + self.length])

    def counter(self) -> FlowCounter:
        """Its counters as a value."""
        return FlowCounter(self.cookie, self.table_id, self.packets, self.bytes, self.duration_s)


def install() -> None:
    """Let Ryu parse flow statistics entries into ``FlowEntry``."""
    parser.OFPFlowStatsReply.cls_stats_body_cls = FlowEntry
