"""Our own LLDP frame: IEEE 802.1AB TLVs with an authenticated send time, so that nobody else can make a link.

The layout is fixed, every field has its place:

    Ethernet     01:80:c2:00:00:0e, 02:52:57 + low 3 bytes of the datapath id, 0x88cc
    chassis id   locally assigned, "dpid:" and 16 hexadecimal digits
    port id      locally assigned, 10 decimal digits
    TTL          2 s
    private TLV  OUI 52-57-54 (locally administered), subtype 1: version, sequence, send time, HMAC-SHA256-128
    end

The HMAC is over all that comes before it, the Ethernet header included.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

DESTINATION_MAC = bytes.fromhex("0180c200000e")
ETHERTYPE = 0x88CC
VERSION = 1

_END, _CHASSIS_ID, _PORT_ID, _TTL, _PRIVATE = 0, 1, 2, 3, 127
_LOCALLY_ASSIGNED = b"\x07"
_OUI_AND_SUBTYPE = b"RWT\x01"
_LIFETIME_S = 2
_MEASURE = struct.Struct("!BQd")  # version, sequence, send time
_MAC_BYTES = 16
_DPID = slice(22, 38)
_PORT = slice(41, 51)
_FIELDS_AT = 61
_SIGNED_BYTES = _FIELDS_AT + _MEASURE.size
FRAME_BYTES = _SIGNED_BYTES + _MAC_BYTES + 2


@dataclass(frozen=True)
class LldpContent:
    """What an authentic frame says: where it was sent, as which of that port's, and when by the sender's clock."""

    dpid: int
    port: int
    sequence: int
    sent_s: float


def encode_lldp(secret: bytes, dpid: int, port: int, sequence: int, sent_s: float) -> bytes:
    """The frame to send out of ``port`` of ``dpid``.  ``sequence`` grows with every frame of that port."""
    private = _OUI_AND_SUBTYPE + _MEASURE.pack(VERSION, sequence, sent_s)
    signed = b"".join(
        (
            DESTINATION_MAC,
            b"\x02RW" + (dpid & 0xFFFFFF).to_bytes(3, "big"),
            ETHERTYPE.to_bytes(2, "big"),
            _tlv(_CHASSIS_ID, _LOCALLY_ASSIGNED + f"dpid:{dpid:016x}".encode()),
            _tlv(_PORT_ID, _LOCALLY_ASSIGNED + f"{port:010d}".encode()),
            _tlv(_TTL, _LIFETIME_S.to_bytes(2, "big")),
            _header(_PRIVATE, len(private) + _MAC_BYTES),
            private,
        )
    )
    return signed + hmac.digest(secret, signed, "sha256")[:_MAC_BYTES] + _header(_END, 0)


def decode_lldp(secret: bytes, frame: bytes) -> LldpContent | None:
    """What the frame says, None unless it is exactly one that we made (zero padding after it is allowed).

    Reads the fields, makes the frame again and compares in constant time: what differs anywhere is not ours.
    """
    body, padding = frame[:FRAME_BYTES], frame[FRAME_BYTES:]
    if len(body) < FRAME_BYTES or padding.strip(b"\0"):
        return None
    try:
        dpid, port = int(body[_DPID], 16), int(body[_PORT])
        _, sequence, sent_s = _MEASURE.unpack_from(body, _FIELDS_AT)
        again = encode_lldp(secret, dpid, port, sequence, sent_s)
    except (ValueError, OverflowError, struct.error):
        return None
    return LldpContent(dpid, port, sequence, sent_s) if hmac.compare_digest(again, body) else None


def is_fresh(content: LldpContent, now_s: float, newest_sequence: int | None, max_age_s: float) -> bool:
    """False for a replay: older than ``max_age_s`` (the link timeout), or not newer than what that port sent before.

    ``newest_sequence`` is the largest sequence accepted from the same source port, None before the first.
    """
    return 0 <= now_s - content.sent_s <= max_age_s and (newest_sequence is None or content.sequence > newest_sequence)


def _header(kind: int, length: int) -> bytes:
    return (kind << 9 | length).to_bytes(2, "big")


def _tlv(kind: int, value: bytes) -> bytes:
    return _header(kind, len(value)) + value
