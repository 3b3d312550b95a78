"""What must be put right about a switch's counters before they count as traffic.  Pure but for its memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from topology_sync.cookies import LARGEST_LABEL, Cookie
from topology_sync.events import FlowCounter

REMEMBERED_S = 5.0
DOUBT_S = 0.015
"""How well the date of a counter is known."""


class _Seen(NamedTuple):
    raw: FlowCounter
    time_s: float
    offset_s: float


class ContinuedCounters:
    """Makes the counters of a demand's ingress rule go on over its flips.

    A flip replaces the rule by one with another cookie: the switch carries the counts over, but its age starts again
    (OpenFlow 1.3.5, 6.4).  Here the rule keeps one cookie, and its age goes on while its counts do.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], _Seen] = {}

    def of(self, dpid: int, counter: FlowCounter, now_s: float) -> FlowCounter:
        """The counter of an ingress rule at ``now_s``, as if the demand had had one rule all the time."""
        cookie = Cookie.unpack(counter.cookie)
        if cookie is None:
            return counter
        before = self._seen.get((dpid, cookie.demand))
        offset_s = 0.0
        if before is not None and counter.packets >= before.raw.packets and counter.bytes >= before.raw.bytes:
            offset_s = before.offset_s
            if counter.age_s < before.raw.age_s:
                offset_s += before.raw.age_s + (now_s - before.time_s) - counter.age_s
        self._seen[dpid, cookie.demand] = _Seen(counter, now_s, offset_s)
        whole = Cookie(0, cookie.demand, 0).pack()
        return replace(counter, cookie=whole, age_s=counter.age_s + offset_s)


class _Probe(NamedTuple):
    """A probe that passed an egress rule some time in ``earliest_s``..``latest_s``."""

    earliest_s: float
    latest_s: float
    bytes: int


@dataclass
class ProbeDiscount:
    """Takes our own probes off the counters of egress rules, so that only users' packets count.

    A counter shows the probes that had come back by its date; those that came back just then are ``unsure_packets``.
    """

    _settled: dict[int, tuple[int, int]] = field(default_factory=dict)  # packets and bytes long past, by label
    _recent: dict[int, deque[_Probe]] = field(default_factory=dict)
    _last: dict[int, FlowCounter] = field(default_factory=dict)
    _base: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def labels(self) -> frozenset[int]:
        """Labels of which anything is remembered."""
        return frozenset(self._recent)

    def probe_returned(self, label: int, frame_bytes: int, earliest_s: float, latest_s: float) -> None:
        """One of our probes passed the egress rule of ``label``; all times by one clock."""
        self._recent.setdefault(label, deque()).append(_Probe(earliest_s, latest_s, frame_bytes))

    def users(self, counter: FlowCounter, shown_s: float) -> FlowCounter:
        """The counter of an egress rule without probes; it shows the counts of ``shown_s``."""
        label = counter.cookie & LARGEST_LABEL
        recent = self._recent.get(label)
        if recent is None:
            return counter
        packets, size = self._settled.get(label, (0, 0))
        while recent and recent[0].latest_s < shown_s - REMEMBERED_S:
            packets, size = packets + 1, size + recent.popleft().bytes
        self._settled[label] = packets, size
        passed = [probe for probe in recent if (probe.earliest_s + probe.latest_s) / 2 <= shown_s]
        probes = packets + len(passed), size + sum(probe.bytes for probe in passed)
        unsure = sum(probe.earliest_s < shown_s + DOUBT_S and probe.latest_s > shown_s - DOUBT_S for probe in recent)
        last = self._last.get(counter.cookie)
        if last is not None and counter.age_s < last.age_s:
            last = None  # made anew, so it counts from zero, and only probes from now on
            self._base[label] = probes
        packets0, bytes0 = self._base.get(label, (0, 0))
        packets = max(counter.packets - (probes[0] - packets0), last.packets if last else 0)
        size = max(counter.bytes - (probes[1] - bytes0), last.bytes if last else 0)
        users = replace(counter, packets=packets, bytes=size, unsure_packets=unsure)
        self._last[counter.cookie] = users
        return users

    def keep_only(self, labels: frozenset[int]) -> None:
        """Forget labels that are gone."""
        self._recent = {label: recent for label, recent in self._recent.items() if label in labels}
        self._settled = {label: count for label, count in self._settled.items() if label in labels}
        self._base = {label: count for label, count in self._base.items() if label in labels}
        self._last = {cookie: counter for cookie, counter in self._last.items() if cookie & LARGEST_LABEL in labels}
