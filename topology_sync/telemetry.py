"""Counters: folds what switches answer into frozen totals that only grow, whatever rules come and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from topology_sync.cookies import PROTECTION_DEMAND, STATIC_DEMAND, Cookie
from topology_sync.events import (
    UNSUPPORTED_COUNTER,
    Event,
    FlowCounter,
    FlowCountersRead,
    FlowRemoved,
    PortCounter,
    PortCountersRead,
)

EGRESS_TABLE = 0
INGRESS_TABLE = 1
MPLS_LABEL_BYTES = 4
_AGE_SLACK_S = 1.0


class CounterKey(NamedTuple):
    """What a total counts: packets of a demand, sent (``INGRESS_TABLE``) or delivered (``EGRESS_TABLE``)."""

    demand: int
    table_id: int


class RuleKey(NamedTuple):
    """A rule of one switch, as far as counters tell rules apart."""

    table_id: int
    cookie: int


class CounterTotal(NamedTuple):
    """Packets and bytes ever counted, over all rules that came and went."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class RuleRecord:
    """The newest counts of a rule, and those of the rule it replaced, whose removal may still be reported."""

    counter: FlowCounter
    time_s: float
    replaced: FlowCounter | None = None
    removed: bool = False


@dataclass(frozen=True)
class Reading:
    """All totals of a switch as of one of its answers.

    ``clock_s`` runs by the switch's own clock.  ``dated`` as in ``FlowCountersRead``; ``unsure``: so many of the
    packets may have been counted wrongly.
    """

    time_s: float
    clock_s: float
    totals: Mapping[CounterKey, CounterTotal]
    dated: bool = False
    unsure: Mapping[CounterKey, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SwitchCounters:
    """Counters of one switch; ``readings`` and ``ports`` (answers per port) reach one window back."""

    rules: Mapping[RuleKey, RuleRecord] = field(default_factory=dict)
    totals: Mapping[CounterKey, CounterTotal] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    ports: Mapping[int, tuple[tuple[float, PortCounter], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class TelemetrySettings:
    """``window_s``: what rates are taken over.  ``together_s``: readings of different switches closer than this belong
    to one round.  ``fewest_readings``: below it loss is unknown.  ``spare_s``: kept beyond the window, so that a demand
    may begin its own a little earlier."""

    window_s: float = 10.0
    together_s: float = 0.4
    fewest_readings: int = 4
    spare_s: float = 3.0

    @property
    def kept_s(self) -> float:
        """How far back readings are kept."""
        return self.window_s + self.together_s + self.spare_s


@dataclass(frozen=True)
class TelemetryState:
    """Counters by datapath id."""

    switches: Mapping[int, SwitchCounters] = field(default_factory=dict)

    def total(self, dpid: int, demand: int, table_id: int) -> CounterTotal:
        """What was counted for a demand at a switch since telemetry began; never decreases."""
        switch = self.switches.get(dpid, SwitchCounters())
        return switch.totals.get(CounterKey(demand, table_id), CounterTotal())


def reduce_telemetry(state: TelemetryState, event: Event, settings: TelemetrySettings) -> TelemetryState:
    """The state after the event; the very same object when it changes nothing.

    What a rule counted before it was first seen is not ours to count, unless it was made since the last answer of its
    switch.  Counters that start again (rule added again, switch restarted) add what they count from zero.
    """
    match event:
        case FlowCountersRead():
            switch = _read(state.switches.get(event.dpid, SwitchCounters()), event, settings)
        case FlowRemoved():
            switch = _remove(state.switches.get(event.dpid, SwitchCounters()), event)
        case PortCountersRead():
            switch = _read_ports(state.switches.get(event.dpid, SwitchCounters()), event, settings)
        case _:
            return state
    return TelemetryState({**state.switches, event.dpid: switch})


def _read(switch: SwitchCounters, event: FlowCountersRead, settings: TelemetrySettings) -> SwitchCounters:
    last = switch.readings[-1] if switch.readings else None
    totals = dict(switch.totals)
    rules: dict[RuleKey, RuleRecord] = {}
    steps_s: list[float] = []
    for key, counter in _by_rule(event.entries).items():
        before = switch.rules.get(key)
        record, gained = _advance(before, counter, event.time_s, None if last is None else last.time_s)
        rules[key] = record
        if before is not None and not before.removed and record.replaced is before.replaced and last is not None:
            steps_s.append(counter.age_s - before.counter.age_s)
        _add(totals, key, gained)
    elapsed_s = 0.0 if last is None else event.time_s - last.time_s
    if event.dated and last is not None and last.dated:
        elapsed_s = event.time_s - last.time_s
    elif last is not None and steps_s:
        step_s = float(np.median(steps_s))
        elapsed_s = step_s if step_s > 0 else elapsed_s
    clock_s = event.time_s if last is None else last.clock_s + elapsed_s
    reading = Reading(event.time_s, clock_s, totals, event.dated, _unsure(event.entries))
    oldest_s = event.time_s - settings.kept_s
    kept = tuple(old for old in switch.readings if old.time_s >= oldest_s)
    return replace(switch, rules=rules, totals=totals, readings=(*kept, reading))


def _advance(
    before: RuleRecord | None, counter: FlowCounter, time_s: float, read_s: float | None
) -> tuple[RuleRecord, CounterTotal]:
    """The record of a rule after a reading, and what it counted since the last one."""
    if before is None:
        made_since = read_s is not None and counter.age_s <= time_s - read_s + _AGE_SLACK_S
        gained = CounterTotal(counter.packets, counter.bytes) if made_since else CounterTotal()
        return RuleRecord(counter, time_s), gained
    old = before.counter
    if counter.age_s >= old.age_s and counter.packets >= old.packets and counter.bytes >= old.bytes:
        gained = CounterTotal(counter.packets - old.packets, counter.bytes - old.bytes)
        return RuleRecord(counter, time_s, before.replaced), gained
    if counter.age_s < old.age_s and counter.age_s > time_s - before.time_s + _AGE_SLACK_S:
        return before, CounterTotal()  # too old to be a new rule: an answer that came late
    return RuleRecord(counter, time_s, replaced=old), CounterTotal(counter.packets, counter.bytes)


def _remove(switch: SwitchCounters, event: FlowRemoved) -> SwitchCounters:
    """Counts what a rule counted after it was last read; saying so twice counts once."""
    counter = event.counter
    key = RuleKey(counter.table_id, counter.cookie)
    if not _is_demand(key):
        return switch
    before = switch.rules.get(key)
    read_s = switch.readings[-1].time_s if switch.readings else None
    last = None if before is None else before.counter
    if before is not None and counter.age_s > before.counter.age_s + event.time_s - before.time_s + _AGE_SLACK_S:
        last = before.replaced  # the rule that the present one replaced
        record = replace(before, replaced=counter)
        if last is None:
            return switch
    else:
        record = RuleRecord(counter, event.time_s, None if before is None else before.replaced, removed=True)
    if last is None:
        made_since = read_s is not None and counter.age_s <= event.time_s - read_s + _AGE_SLACK_S
        gained = CounterTotal(counter.packets, counter.bytes) if made_since else CounterTotal()
    elif counter.packets < last.packets or counter.age_s < last.age_s:
        return switch
    else:
        gained = CounterTotal(counter.packets - last.packets, max(counter.bytes - last.bytes, 0))
    totals = dict(switch.totals)
    _add(totals, key, gained)
    return replace(switch, rules={**switch.rules, key: record}, totals=totals)


def _read_ports(switch: SwitchCounters, event: PortCountersRead, settings: TelemetrySettings) -> SwitchCounters:
    ports = {}
    oldest_s = event.time_s - settings.window_s - settings.together_s
    for counter in event.entries:
        if counter.tx_bytes == UNSUPPORTED_COUNTER:
            continue
        kept = tuple(old for old in switch.ports.get(counter.port, ()) if old[0] >= oldest_s)
        started_again = kept and (counter.tx_bytes < kept[-1][1].tx_bytes or counter.age_s < kept[-1][1].age_s)
        ports[counter.port] = (*(() if started_again else kept), (event.time_s, counter))
    return replace(switch, ports=ports)


def _by_rule(entries: Sequence[FlowCounter]) -> dict[RuleKey, FlowCounter]:
    """Counters per rule; rules that share a cookie in one table count together, as old as the youngest."""
    found: dict[RuleKey, FlowCounter] = {}
    for entry in entries:
        key = RuleKey(entry.table_id, entry.cookie)
        if not _is_demand(key) or UNSUPPORTED_COUNTER in (entry.packets, entry.bytes):
            continue
        same = found.get(key)
        if same is not None:
            entry = replace(
                entry,
                packets=entry.packets + same.packets,
                bytes=entry.bytes + same.bytes,
                age_s=min(entry.age_s, same.age_s),
            )
        found[key] = entry
    return found


def _unsure(entries: Sequence[FlowCounter]) -> dict[CounterKey, int]:
    found: dict[CounterKey, int] = {}
    for entry in entries:
        cookie = Cookie.unpack(entry.cookie)
        if entry.unsure_packets and cookie is not None:
            key = CounterKey(cookie.demand, entry.table_id)
            found[key] = found.get(key, 0) + entry.unsure_packets
    return found


def _is_demand(key: RuleKey) -> bool:
    cookie = Cookie.unpack(key.cookie)
    if cookie is None or cookie.demand in (STATIC_DEMAND, PROTECTION_DEMAND):
        return False
    return key.table_id in (INGRESS_TABLE, EGRESS_TABLE)


def _add(totals: dict[CounterKey, CounterTotal], rule: RuleKey, gained: CounterTotal) -> None:
    cookie = Cookie.unpack(rule.cookie)
    assert cookie is not None
    key = CounterKey(cookie.demand, rule.table_id)
    so_far = totals.get(key, CounterTotal())
    totals[key] = CounterTotal(so_far.packets + gained.packets, so_far.bytes + gained.bytes)


def carried_bps(state: TelemetryState, now_s: float, settings: TelemetrySettings) -> dict[tuple[int, int], float]:
    """Bits per second sent out of every port (datapath id, number) over the window; ports without two answers lack."""
    carried = {}
    for dpid, switch in state.switches.items():
        for port, answers in switch.ports.items():
            recent = [answer for answer in answers if answer[0] >= now_s - settings.window_s - settings.together_s]
            if len(recent) < 2:
                continue
            (first_s, first), (last_s, last) = recent[0], recent[-1]
            elapsed_s = last.age_s - first.age_s if last.age_s > first.age_s else last_s - first_s
            if elapsed_s > 0:
                carried[dpid, port] = 8 * (last.tx_bytes - first.tx_bytes) / elapsed_s
    return carried
