"""When bytes really arrived, although one greenlet at a time reads them: the kernel's receive time stamps.

Linux stamps data on stream sockets too (SO_TIMESTAMPNS).  A message that waited in its socket while another greenlet
ran, or while the process did not run at all, so keeps the time of its arrival.  But data that piles up is joined into
one buffer, which has the stamp of its newest part: only the last message of a buffer has a stamp of its own.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = 64
_OLDEST_S = 60.0


class StampedSocket:
    """A green socket that remembers when what it read last had arrived (``arrived_s``, seconds since the epoch)."""

    def __init__(self, green: Any) -> None:
        self._green = green
        self.arrived_s = time.time()
        green.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._green, name)

    def recv(self, size: int) -> bytes:
        """Like ``socket.recv``."""
        data: bytes
        data, ancillary = self._green._recv_loop(self._receive, (b"", ()), size)
        self.arrived_s = _stamp(ancillary)
        return data

    def stamp_is_shared(self) -> bool:
        """Whether the next message, if it is here already, has the stamp of the last one: then that is too late."""
        try:
            data, ancillary, _, _ = self._green.fd.recvmsg(1, _ANCILLARY_BYTES, socket.MSG_PEEK)
        except OSError:
            return False  # nothing more is here
        return bool(data) and _stamp(ancillary) == self.arrived_s

    def _receive(self, size: int) -> tuple[bytes, Any]:
        data, ancillary, _, _ = self._green.fd.recvmsg(size, _ANCILLARY_BYTES)
        return data, ancillary


def _stamp(ancillary: Any) -> float:
    now_s = time.time()
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            stamp_s: float = seconds + nanoseconds * 1e-9
            return stamp_s if now_s - _OLDEST_S < stamp_s <= now_s else now_s
    return now_s


def install() -> None:
    """Let Ryu note on every packet-in when it arrived (``arrived_s``), None where nobody knows."""
    plain = parser.OFPPacketIn.parser

    def parse(datapath: Any, *arguments: Any) -> Any:
        message = plain(datapath, *arguments)
        stamped = datapath.socket
        known = isinstance(stamped, StampedSocket) and not stamped.stamp_is_shared()
        message.arrived_s = stamped.arrived_s if known else None
        return message

    parser._MSG_PARSERS[ofproto.OFPT_PACKET_IN] = parse
