"""Reads the counters of all switches together, just after they were published, and hands them to the reducers.

Open vSwitch shows counters as of its last publication, made every 100 to 500 ms at the same moment for all bridges of
a machine.  So before each round one busy rule is watched until its count jumps: then all others have just jumped too,
their date is known, and nothing changes while they are read, which one more look at that rule confirms.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.channel import SwitchChannel
from controller.counter_corrections import ContinuedCounters, ProbeDiscount
from controller.flow_statistics import FlowEntry
from controller.intent import NetworkIntent
from controller.network_view import NetworkView
from controller.rules import ETHERTYPE_MPLS
from controller.settings import ControllerSettings
from controller.switches import Switches, flow_statistics_request
from controller.transactions import Transactions
from topology_sync.cookies import OURS, PROTECTION_DEMAND, STATIC_DEMAND, Cookie, of_demand
from topology_sync.events import FlowCounter, FlowCountersRead, FlowRemoved, PortCounter, PortCountersRead
from topology_sync.switch_clock import SwitchClock
from topology_sync.telemetry import EGRESS_TABLE, INGRESS_TABLE

LOOK_PAUSE_S = 0.01
LONGEST_WATCH_S = 0.7
"""Longer than any usual time between publications; without a jump by then counters are read as they are."""
ATTEMPTS = 2
PUBLICATION_S = 0.01
"""A publication goes through all rules one by one: the rule that is watched may be the first of them."""
LARGEST_DOUBT_S = 0.04
LONGEST_REST_S = 30.0
"""A switch that does not answer in time is left alone for a while, twice as long each time: more questions would only
queue up in front of what matters more."""


@dataclass(frozen=True)
class _Answer:
    """What one switch said in a round; ``answered_s`` by its own clock."""

    dpid: int
    answered_s: float
    entries: tuple[FlowEntry, ...]
    ports: tuple[PortCounter, ...] | None


@dataclass(frozen=True)
class _Witness:
    """The rule that is watched for publications: the ingress rule of the demand that sends most."""

    channel: SwitchChannel
    demand: int


class TelemetryLoop:
    """``step`` is one poll of everything."""

    def __init__(
        self,
        settings: ControllerSettings,
        view: NetworkView,
        switches: Switches,
        transactions: Transactions,
        discount: ProbeDiscount,
    ) -> None:
        self._period_s = settings.poll_period_s
        self._view = view
        self._switches = switches
        self._transactions = transactions
        self._discount = discount
        self._continued = ContinuedCounters()
        self._clocks: dict[int, SwitchClock] = {}
        self._due_s = time.monotonic()
        self._targets: tuple[NetworkIntent | None, Mapping[int, int]] = (None, {})
        self._busiest: tuple[int, int] | None = None  # datapath id and demand
        self._resting: dict[int, tuple[float, float]] = {}  # until when, and for how long, by datapath id

    def step(self) -> float:
        """Poll every switch at the same moment; returns the pause until the next poll."""
        for attempt in range(ATTEMPTS):
            published_s, count = self._await_publication()
            hub.sleep(PUBLICATION_S)
            answers = self._read_all()
            if published_s is None or self._look(self._witness()) == count:
                break
            if attempt == ATTEMPTS - 1:
                published_s = None
        self._take(answers, published_s)
        self._discount.keep_only(frozenset(self._transactions.labels))
        now_s = time.monotonic()
        self._due_s = max(self._due_s + self._period_s, now_s)
        return self._due_s - now_s

    def on_flow_removed(self, dpid: int, message: Any) -> None:
        """A rule's last counts, from the handler."""
        counter = FlowCounter(
            message.cookie,
            message.table_id,
            message.packet_count,
            message.byte_count,
            message.duration_sec + message.duration_nsec * 1e-9,
        )
        if self._counts(dpid, counter.cookie, counter.table_id):
            now_s = time.monotonic()
            self._view.fold(FlowRemoved(now_s, dpid, self._corrected(dpid, counter, now_s)))

    def _await_publication(self) -> tuple[float | None, int | None]:
        """When the counts that are shown now were published, None when that cannot be told, and the witness's count."""
        witness = self._witness()
        before = self._look(witness)
        deadline_s = time.monotonic() + LONGEST_WATCH_S
        asked_s = time.monotonic()
        while before is not None and asked_s < deadline_s:
            hub.sleep(LOOK_PAUSE_S)
            looked_s, asked_s = asked_s, time.monotonic()
            count = self._look(witness)
            if count is None:
                break
            if count != before and asked_s - looked_s <= LARGEST_DOUBT_S:
                return (looked_s + asked_s) / 2, count
            before = count
        return None, None

    def _witness(self) -> _Witness | None:
        if self._busiest is None:
            return None
        dpid, demand = self._busiest
        channel = self._switches.channel(dpid)
        return None if channel is None else _Witness(channel, demand)

    def _look(self, witness: _Witness | None) -> int | None:
        """The packets of the witness's rule; None when there is none."""
        if witness is None:
            return None
        request = flow_statistics_request(witness.channel.datapath, INGRESS_TABLE, of_demand(witness.demand))
        entries = witness.channel.request(request, self._period_s)
        return sum(entry.packets for entry in entries) if entries else None

    def _read_all(self) -> list[_Answer]:
        now_s = time.monotonic()
        workers = [
            hub.spawn(self._read, channel)
            for dpid in self._switches.rules
            if (channel := self._switches.channel(dpid)) is not None and self._resting.get(dpid, (0.0, 0.0))[0] <= now_s
        ]
        return [answer for worker in workers if (answer := worker.wait()) is not None]

    def _read(self, channel: SwitchChannel) -> _Answer | None:
        datapath = channel.datapath
        sent, delivered, ports = channel.request_all(
            [
                flow_statistics_request(datapath, INGRESS_TABLE, OURS),
                flow_statistics_request(datapath, EGRESS_TABLE, OURS, ETHERTYPE_MPLS),
                parser.OFPPortStatsRequest(datapath, 0, ofproto.OFPP_ANY),
            ],
            self._period_s,
        )
        now_s = time.monotonic()
        if sent is None or delivered is None:
            rest_s = min(max(2 * self._resting.get(channel.dpid, (0.0, 0.0))[1], self._period_s), LONGEST_REST_S)
            self._resting[channel.dpid] = now_s + rest_s, rest_s
            return None
        self._resting.pop(channel.dpid, None)
        entries: tuple[FlowEntry, ...] = (*sent, *delivered)
        ages_s = {(entry.table_id, entry.cookie): entry.duration_s for entry in entries}
        clock = self._clocks.setdefault(channel.dpid, SwitchClock())
        counters = None
        if ports is not None:
            counters = tuple(_port_counter(entry) for entry in ports if entry.port_no <= ofproto.OFPP_MAX)
        return _Answer(channel.dpid, clock.answered_s(ages_s, now_s), entries, counters)

    def _take(self, answers: Iterable[_Answer], published_s: float | None) -> None:
        """Fold what was read; it shows the counts of ``published_s``, or of when each answer was given."""
        busiest, most = None, 0
        for answer in answers:
            shown_s = answer.answered_s if published_s is None else published_s
            counters = []
            for entry in answer.entries:
                if not self._counts(answer.dpid, entry.cookie, entry.table_id):
                    continue
                counters.append(self._corrected(answer.dpid, entry.counter(), shown_s))
            before = self._view.telemetry
            self._view.fold(FlowCountersRead(shown_s, answer.dpid, tuple(counters), published_s is not None))
            if answer.ports is not None:
                self._view.fold(PortCountersRead(answer.answered_s, answer.dpid, answer.ports))
            for counter in counters:
                demand = (counter.cookie >> 20) & PROTECTION_DEMAND
                if counter.table_id == INGRESS_TABLE:
                    gained = (
                        self._view.telemetry.total(answer.dpid, demand, INGRESS_TABLE).packets
                        - before.total(answer.dpid, demand, INGRESS_TABLE).packets
                    )
                    if gained > most:
                        busiest, most = (answer.dpid, demand), gained
        self._busiest = busiest

    def _counts(self, dpid: int, cookie: int, table_id: int) -> bool:
        """Demand rules of table 1; of table 0 only rules of path labels at the path's end."""
        if table_id == INGRESS_TABLE:
            return True
        parts = Cookie.unpack(cookie)
        if parts is None or not parts.label or parts.demand in (STATIC_DEMAND, PROTECTION_DEMAND):
            return False
        return self._target_of(parts.demand) == dpid

    def _target_of(self, demand: int) -> int | None:
        intent = self._transactions.intent
        if self._targets[0] is not intent:
            self._targets = intent, {entry.number: entry.target_dpid for entry in intent.demands}
        return self._targets[1].get(demand)

    def _corrected(self, dpid: int, counter: FlowCounter, shown_s: float) -> FlowCounter:
        if counter.table_id == INGRESS_TABLE:
            return self._continued.of(dpid, counter, shown_s)
        return self._discount.users(counter, shown_s)


def _port_counter(entry: Any) -> PortCounter:
    return PortCounter(
        entry.port_no,
        entry.tx_packets,
        entry.tx_bytes,
        entry.rx_packets,
        entry.rx_bytes,
        entry.duration_sec + entry.duration_nsec * 1e-9,
    )
