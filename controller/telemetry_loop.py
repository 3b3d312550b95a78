"""Reads the counters of all switches once per period, close together, and hands them to the reducers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.channel import SwitchChannel
from controller.counter_corrections import ContinuedCounters, ProbeDiscount
from controller.flow_statistics import FlowEntry
from controller.intent import NetworkIntent
from controller.network_view import NetworkView
from controller.settings import ControllerSettings
from controller.switches import Switches, flow_statistics_request
from controller.transactions import Transactions
from topology_sync.cookies import OURS, PROTECTION_DEMAND, STATIC_DEMAND, Cookie
from topology_sync.events import FlowCounter, FlowCountersRead, FlowRemoved, PortCounter, PortCountersRead
from topology_sync.telemetry import EGRESS_TABLE, INGRESS_TABLE


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
        self._due_s = time.monotonic()
        self._targets: tuple[NetworkIntent | None, Mapping[int, int]] = (None, {})

    def step(self) -> float:
        """Poll every switch at the same moment; returns the pause until the next poll."""
        workers = [
            hub.spawn(self._poll, channel)
            for dpid in self._switches.rules
            if (channel := self._switches.channel(dpid)) is not None
        ]
        for worker in workers:
            worker.wait()
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

    def _poll(self, channel: SwitchChannel) -> None:
        timeout_s = self._period_s
        datapath = channel.datapath
        sent: list[FlowEntry] | None = channel.request(
            flow_statistics_request(datapath, INGRESS_TABLE, OURS), timeout_s
        )
        read_s = time.monotonic()
        if sent is None:
            return
        delivered = channel.request(flow_statistics_request(datapath, EGRESS_TABLE, OURS), timeout_s)
        if delivered is not None:
            counters = tuple(
                self._corrected(channel.dpid, entry.counter(), read_s)
                for entry in (*sent, *delivered)
                if self._counts(channel.dpid, entry.cookie, entry.table_id)
            )
            self._view.fold(FlowCountersRead(read_s, channel.dpid, counters))
        ports = channel.request(parser.OFPPortStatsRequest(datapath, 0, ofproto.OFPP_ANY), timeout_s)
        if ports is not None:
            entries = tuple(_port_counter(entry) for entry in ports if entry.port_no <= ofproto.OFPP_MAX)
            self._view.fold(PortCountersRead(time.monotonic(), channel.dpid, entries))

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

    def _corrected(self, dpid: int, counter: FlowCounter, now_s: float) -> FlowCounter:
        if counter.table_id == INGRESS_TABLE:
            return self._continued.of(dpid, counter, now_s)
        return self._discount.users(counter)


def _port_counter(entry: Any) -> PortCounter:
    return PortCounter(
        entry.port_no,
        entry.tx_packets,
        entry.tx_bytes,
        entry.rx_packets,
        entry.rx_bytes,
        entry.duration_sec + entry.duration_nsec * 1e-9,
    )
