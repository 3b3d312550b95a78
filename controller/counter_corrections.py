"""What must be put right about a switch's counters before they count as traffic.  Pure but for its memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from topology_sync.cookies import LARGEST_LABEL, Cookie
from topology_sync.events import FlowCounter


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


@dataclass
class ProbeDiscount:
    """Takes our own probes off the counters of egress rules, so that only users' packets count.

    A probe counts when it came back; the rule's counter shows it a moment later, so a result never goes down.
    """

    returned: dict[int, tuple[int, int]] = field(default_factory=dict)
    _last: dict[int, FlowCounter] = field(default_factory=dict)
    _base: dict[int, tuple[int, int]] = field(default_factory=dict)

    def probe_returned(self, label: int, frame_bytes: int) -> None:
        """One of our probes passed the egress rule of ``label``."""
        packets, size = self.returned.get(label, (0, 0))
        self.returned[label] = packets + 1, size + frame_bytes

    def users(self, counter: FlowCounter) -> FlowCounter:
        """The counter of an egress rule without probes."""
        label = counter.cookie & LARGEST_LABEL
        probes = self.returned.get(label)
        if probes is None:
            return counter
        last = self._last.get(counter.cookie)
        if last is not None and counter.age_s < last.age_s:
            last = None  # made anew, so it counts from zero, and only probes from now on
            self._base[label] = probes
        packets0, bytes0 = self._base.get(label, (0, 0))
        packets = max(counter.packets - (probes[0] - packets0), last.packets if last else 0)
        size = max(counter.bytes - (probes[1] - bytes0), last.bytes if last else 0)
        users = replace(counter, packets=packets, bytes=size)
        self._last[counter.cookie] = users
        return users

    def keep_only(self, labels: frozenset[int]) -> None:
        """Forget labels that are gone."""
        self.returned = {label: count for label, count in self.returned.items() if label in labels}
        self._base = {label: count for label, count in self._base.items() if label in labels}
        self._last = {cookie: counter for cookie, counter in self._last.items() if cookie & LARGEST_LABEL in labels}
