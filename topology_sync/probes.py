"""Path probes: their bytes, what the way to and from the controller takes, delay per label, and which label is next.

A probe enters at the ingress switch with the label of a path, passes the very rules that users' packets pass, loses the
label at the egress and comes back to the controller from table 2.  A link probe goes out of one port without a label, so
the switch at the other end hands it up at once.  A calibration probe is sent out straight to the CONTROLLER port of a
switch.
"""

from __future__ import annotations

import hmac
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from topology_sync.events import Event, ProbeLost, ProbeReturned
from topology_sync.values import FloatArray

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


def encode_probe(secret: bytes, content: ProbeContent, dscp: int = 0, frame_bytes: int = 0) -> bytes:
    """The frame to send out at the ingress: Ethernet, MPLS label (RFC 3032), IPv4, payload, zeros to ``frame_bytes``.

    ``frame_bytes`` is the whole frame with label and without FCS, as traffic is measured; without a label it has the same
    layout otherwise.
    """
    label_bytes = _MPLS_BYTES if content.label else 0
    padding = max(frame_bytes - (SMALLEST_FRAME_BYTES - _MPLS_BYTES + label_bytes), 0)
    packet = _ipv4_header(dscp, PAYLOAD_BYTES + padding) + encode_payload(secret, content) + bytes(padding)
    addresses = TARGET_MAC + SOURCE_MAC
    if not content.label:
        return addresses + _ETHERTYPE_IPV4.to_bytes(2, "big") + packet
    shim = content.label << 12 | dscp >> 3 << 9 | 1 << 8 | _TIME_TO_LIVE  # label, class, bottom of stack, TTL
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


@dataclass(frozen=True)
class DelaySample:
    """A probe that came back; ``sequence`` as in ``ProbeReturned``."""

    time_s: float
    delay_s: float
    sequence: int | None = None


@dataclass(frozen=True)
class PathDelays:
    """Samples of the last ``window_s`` per label, and when probes of a label were lost."""

    window_s: float = 10.0
    samples: Mapping[int, tuple[DelaySample, ...]] = field(default_factory=dict)
    lost_s: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    def of(self, labels: Mapping[int, float], now_s: float) -> DelayStatistics:
        """Statistics over the paths of one demand, merged by the share of each label.

        Labels without a sample drop out.  Percentiles are of the mixture of the paths' delays.
        """
        found = {label: self._recent(label, now_s) for label in labels}
        return _statistics([(recent, labels[label]) for label, recent in found.items() if recent])

    def lost(self, label: int, now_s: float) -> int:
        """Number of probes of a label that were lost within the window."""
        return sum(time_s > now_s - self.window_s for time_s in self.lost_s.get(label, ()))

    def _recent(self, label: int, now_s: float) -> tuple[DelaySample, ...]:
        return tuple(sample for sample in self.samples.get(label, ()) if sample.time_s > now_s - self.window_s)


def reduce_path_delays(state: PathDelays, event: Event) -> PathDelays:
    """The state after the event; a label not heard of for a window is forgotten when another is heard of."""
    oldest_s = event.time_s - state.window_s
    match event:
        case ProbeReturned() if math.isfinite(event.delay_s):
            sample = DelaySample(event.time_s, event.delay_s, event.sequence)
            kept = (*(s for s in state.samples.get(event.label, ()) if s.time_s > oldest_s), sample)
            others = {label: old for label, old in state.samples.items() if old[-1].time_s > oldest_s}
            return replace(state, samples={**others, event.label: kept})
        case ProbeLost():
            times = (*(t for t in state.lost_s.get(event.label, ()) if t > oldest_s), event.time_s)
            rest = {label: old for label, old in state.lost_s.items() if old[-1] > oldest_s}
            return replace(state, lost_s={**rest, event.label: times})
        case _:
            return state


@dataclass(frozen=True)
class DelayStatistics:
    """One-way delay in seconds; NaN where there are too few samples."""

    delay_s: float = math.nan
    delay_p99_s: float = math.nan
    jitter_s: float = math.nan
    delay_min_s: float = math.nan
    count: int = 0


_FEWEST_FOR_P99 = 8
_ENOUGH_FOR_P99 = 200


def _statistics(paths: list[tuple[tuple[DelaySample, ...], float]]) -> DelayStatistics:
    if not paths:
        return DelayStatistics()
    delays = np.concatenate([[sample.delay_s for sample in recent] for recent, _ in paths])
    weights = np.concatenate([np.full(len(recent), share / len(recent)) for recent, share in paths])
    jitters = [(jitter, share) for recent, share in paths if not math.isnan(jitter := _jitter_s(recent))]
    total = sum(share for _, share in jitters)
    return DelayStatistics(
        delay_s=float(np.average(delays, weights=weights)),
        delay_p99_s=delay_p99_s(delays, weights),
        jitter_s=sum(jitter * share for jitter, share in jitters) / total if total else math.nan,
        delay_min_s=float(delays.min()),
        count=len(delays),
    )


def _jitter_s(samples: tuple[DelaySample, ...]) -> float:
    """Mean absolute delay difference within the pairs (RFC 3393 with the selection "probes of one pair")."""
    by_sequence = {sample.sequence: sample.delay_s for sample in samples if sample.sequence is not None}
    within = [
        abs(by_sequence[sequence + 1] - delay_s)
        for sequence, delay_s in by_sequence.items()
        if sequence % 2 == 0 and sequence + 1 in by_sequence
    ]
    return float(np.mean(within)) if within else math.nan


def delay_p99_s(delays: FloatArray, weights: FloatArray | None = None) -> float:
    """99th percentile of the delays in seconds, [samples] with optional weights; NaN below 8 samples.

    With 200 samples it is read off them.  With fewer the tail is taken as exponential beyond the median, the form of a
    single queue's waiting time: q99 = q50 + (q90 - q50) ln 50 / ln 5.  It goes no further beyond the largest than
    half of that one's distance from q90, since the wait in a finite queue that is often full has no such tail.
    """
    if len(delays) < _FEWEST_FOR_P99:
        return math.nan
    q50, q90, q99 = _weighted_quantiles(delays, weights, (0.5, 0.9, 0.99))
    if len(delays) >= _ENOUGH_FOR_P99:
        return q99
    largest = float(delays.max())
    return float(min(q50 + (q90 - q50) * math.log(50) / math.log(5), largest + 0.5 * max(largest - q90, 0.0)))


def _weighted_quantiles(values: FloatArray, weights: FloatArray | None, levels: tuple[float, ...]) -> tuple[float, ...]:
    """Quantiles by linear interpolation between the mid-points of the weights."""
    order = np.argsort(values, kind="stable")
    weight = np.ones(len(values)) if weights is None else weights[order]
    position = (np.cumsum(weight) - weight / 2) / weight.sum()
    return tuple(float(value) for value in np.interp(levels, position, values[order]))


_LARGEST_BURST = 8
_STEADY_S = 0.002
_LARGEST_FAVOUR = 3.0


def probe_favour(samples: Sequence[DelaySample]) -> float:
    """How many times as often as a steady path this one deserves to be probed, 1 to 3.

    The error of a percentile grows with the spread of the delays, so probes go where the delays are spread (Neyman's
    allocation, 1934); a spread below 2 ms between the 10th and the 90th percentile counts as none.
    """
    if len(samples) < _FEWEST_FOR_P99:
        return 1.0
    delays = sorted(sample.delay_s for sample in samples)
    spread_s = delays[(9 * len(delays)) // 10] - delays[len(delays) // 10]
    return min(max(spread_s / _STEADY_S, 1.0), _LARGEST_FAVOUR)


@dataclass(frozen=True)
class ProbeSchedule:
    """Which label gets the next pair of probes.

    Stride scheduling (Waldspurger and Weihl, 1995): ``turns`` is the virtual time of each label's next turn, a turn
    moves it on by 1 / weight, the label furthest behind is next.  ``clock`` is where a fresh label joins.
    """

    turns: Mapping[int, float] = field(default_factory=dict)
    clock: float = 0.0
    due_s: float | None = None

    def due(
        self, now_s: float, weights: Mapping[int, float], probes_per_s: float
    ) -> tuple[ProbeSchedule, tuple[int, ...]]:
        """The schedule afterwards and the labels whose pair is to be sent now.

        ``weights`` (above 0): the labels to watch.  Fresh ones come before all others.  What was missed by a late call
        is not made up for beyond 8 pairs.
        """
        turns = {label: self.turns.get(label, -math.inf) for label in weights}
        if not turns or probes_per_s <= 0:
            return replace(self, turns=turns), ()
        period_s = 2.0 / probes_per_s
        due_s = now_s if self.due_s is None else max(self.due_s, now_s - (_LARGEST_BURST - 1) * period_s)
        clock = self.clock
        chosen: list[int] = []
        while due_s <= now_s:
            label = min(turns, key=lambda candidate: (turns[candidate], candidate))
            clock = max(turns[label], clock)
            turns[label] = clock + 1.0 / weights[label]
            chosen.append(label)
            due_s += period_s
        return ProbeSchedule(turns, clock, due_s), tuple(chosen)
