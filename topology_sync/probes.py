"""Probes: their bytes, and what the way to and from the controller takes.

A probe enters at the ingress switch with the label of a path, passes the very rules that users' packets pass, loses the
label at the egress and comes back to the controller from table 2.  A link probe goes out of one port without a label,
so the switch at the other end hands it up at once.  A calibration probe is sent out straight to the CONTROLLER port of
a switch.
"""

from __future__ import annotations

import hmac
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

PROBE_SOURCE = bytes((169, 254, 82, 86))
PROBE_TARGET = bytes((169, 254, 82, 87))
PROBE_PROTOCOL = 253  # for experiments, RFC 3692
SOURCE_MAC = bytes.fromhex("025257000001")
TARGET_MAC = bytes.fromhex("025257000002")

_ETHERTYPE_IPV4 = 0x0800
_ETHERTYPE_MPLS = 0x8847
_TIME_TO_LIVE = 64
_MAGIC = b"RWPB"
_CALIBRATION_FLAG = 1
_FIELDS = struct.Struct("!4sBIQd")  # magic, flags, label, sequence, send time
_MAC_BYTES = 16
PAYLOAD_BYTES = _FIELDS.size + _MAC_BYTES
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_ETHERNET_BYTES, _MPLS_BYTES = 14, 4
SMALLEST_FRAME_BYTES = _ETHERNET_BYTES + _MPLS_BYTES + _IPV4.size + PAYLOAD_BYTES


@dataclass(frozen=True)
class ProbeContent:
    """What a probe carries.  Probes 2k and 2k+1 of a path are a pair.  ``sent_s`` is by the sender's clock.

    Label 0 (reserved, RFC 3032) stands for none: a link probe or a calibration probe.
    """

    sequence: int
    label: int
    sent_s: float
    calibration: bool = False

    @property
    def pair(self) -> int:
        """Number of the pair it belongs to."""
        return self.sequence // 2


def encode_payload(secret: bytes, content: ProbeContent) -> bytes:
    """The authenticated payload, ``PAYLOAD_BYTES`` long."""
    flags = _CALIBRATION_FLAG if content.calibration else 0
    fields = _FIELDS.pack(_MAGIC, flags, content.label, content.sequence, content.sent_s)
    return fields + hmac.digest(secret, fields, "sha256")[:_MAC_BYTES]


def decode_payload(secret: bytes, payload: bytes) -> ProbeContent | None:
    """What the payload (with any padding after it) says, None when it is not ours.  Never raises."""
    fields, mac = payload[: _FIELDS.size], payload[_FIELDS.size : PAYLOAD_BYTES]
    if len(mac) != _MAC_BYTES or not hmac.compare_digest(hmac.digest(secret, fields, "sha256")[:_MAC_BYTES], mac):
        return None
    magic, flags, label, sequence, sent_s = _FIELDS.unpack(fields)
    if magic != _MAGIC or not math.isfinite(sent_s):
        return None
    return ProbeContent(sequence, label, sent_s, calibration=bool(flags & _CALIBRATION_FLAG))


def encode_probe(
    secret: bytes, content: ProbeContent, dscp: int = 0, frame_bytes: int = 0, traffic_class: int | None = None
) -> bytes:
    """The frame to send out at the ingress: Ethernet, MPLS label (RFC 3032), IPv4, payload, zeros to ``frame_bytes``.

    ``frame_bytes`` is the whole frame with label and without FCS, as traffic is measured; without a label it has the
    same layout otherwise.  ``traffic_class`` is that of the label; None: the precedence in the DSCP (RFC 3270).
    """
    label_bytes = _MPLS_BYTES if content.label else 0
    padding = max(frame_bytes - (SMALLEST_FRAME_BYTES - _MPLS_BYTES + label_bytes), 0)
    packet = _ipv4_header(dscp, PAYLOAD_BYTES + padding) + encode_payload(secret, content) + bytes(padding)
    addresses = TARGET_MAC + SOURCE_MAC
    if not content.label:
        return addresses + _ETHERTYPE_IPV4.to_bytes(2, "big") + packet
    told = dscp >> 3 if traffic_class is None else traffic_class
    shim = content.label << 12 | told << 9 | 1 << 8 | _TIME_TO_LIVE  # label, class, bottom of stack, TTL
    return addresses + _ETHERTYPE_MPLS.to_bytes(2, "big") + shim.to_bytes(4, "big") + packet


def decode_probe(secret: bytes, frame: bytes) -> ProbeContent | None:
    """What a probe says as it comes back, its label popped; None when the frame is no probe of ours.  Never raises."""
    start = _ETHERNET_BYTES + _IPV4.size
    if len(frame) < start or frame[12:14] != _ETHERTYPE_IPV4.to_bytes(2, "big"):
        return None
    header = frame[_ETHERNET_BYTES:start]
    if header[0] != 0x45 or header[9] != PROBE_PROTOCOL or header[16:20] != PROBE_TARGET:
        return None
    return decode_payload(secret, frame[start:])


def _ipv4_header(dscp: int, payload_bytes: int) -> bytes:
    """RFC 791 header without options, "don't fragment" set."""

    def pack(checksum: int) -> bytes:
        total = _IPV4.size + payload_bytes
        fields = (0x45, dscp << 2, total, 0, 0x4000, _TIME_TO_LIVE, PROBE_PROTOCOL, checksum)
        return _IPV4.pack(*fields, PROBE_SOURCE, PROBE_TARGET)

    total = sum(struct.unpack("!10H", pack(0)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return pack(~total & 0xFFFF)


@dataclass(frozen=True)
class Calibration:
    """Recent controller-switch-controller times per datapath id, in seconds."""

    recent_s: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    keep: int = 15

    def with_sample(self, dpid: int, round_trip_s: float) -> Calibration:
        """With one more measured time; only the last ``keep`` count."""
        samples = (*self.recent_s.get(dpid, ()), round_trip_s)[-self.keep :]
        return replace(self, recent_s={**self.recent_s, dpid: samples})

    def round_trip_s(self, dpid: int) -> float:
        """Median of the recent times, NaN before the first."""
        samples = self.recent_s.get(dpid, ())
        return float(np.median(samples)) if samples else math.nan

    def one_way_delay_s(self, measured_s: float, ingress: int, egress: int) -> float:
        """Delay of the path alone: half the round trip of either end is taken off, floored at 0.

        Phemius and Bouet, "Monitoring latency with OpenFlow" (CNSM 2013).  NaN while an end is not calibrated.
        """
        path_s = measured_s - (self.round_trip_s(ingress) + self.round_trip_s(egress)) / 2
        return path_s if math.isnan(path_s) else max(path_s, 0.0)
