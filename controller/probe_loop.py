"""Sends probes in pairs, through the rules that users' packets take and over single links; takes in what comes back.

Most of them go over links: every path over a link shares its delays, so they tell more about the tails of all paths
than the same number spread over the paths.  Those of paths tell that the rules of the path do what they should.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.counter_corrections import ProbeDiscount
from controller.discovery_loop import packet_out
from controller.intent import IntentDemand, IntentLink, IntentRoute, NetworkIntent
from controller.network_view import NetworkView
from controller.rules import link_group_id
from controller.settings import ControllerSettings
from controller.switches import Switches
from controller.transactions import Transactions
from topology_sync.events import LinkProbeReturned, ProbeLost, ProbeReturned
from topology_sync.probe_schedule import ProbeSchedule, probe_favour
from topology_sync.probes import SMALLEST_FRAME_BYTES, ProbeContent, decode_probe, encode_probe
from topology_sync.telemetry import INGRESS_TABLE

TICK_S = 0.01
LOST_AFTER_S = 2.0
CALIBRATE_S = 0.5
PER_LABEL_PER_S = 20.0
PER_LINK_PER_S = 50.0
LINK_SHARE = 0.75
OTHER_CLASS_WEIGHT = 0.25
FAVOUR_S = 1.0
SHORTEST_SPACING_S, LONGEST_SPACING_S = 0.005, 0.1
SPACING_S = 0.02


@dataclass(frozen=True)
class _Target:
    """Where probes of a label go in and come out."""

    label: int
    demand: int
    dscp: int
    ingress: int
    egress: int
    group_id: int


class ProbeLoop:
    """``step`` sends what is due; ``on_probe`` is called by the handler and never blocks."""

    def __init__(
        self,
        settings: ControllerSettings,
        secret: bytes,
        view: NetworkView,
        switches: Switches,
        transactions: Transactions,
        discount: ProbeDiscount,
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._view = view
        self._switches = switches
        self._transactions = transactions
        self._discount = discount
        self._dscp_of = {entry.name: entry.dscp[0] for entry in settings.classes if entry.dscp}
        self._targets: tuple[NetworkIntent | None, dict[int, _Target], dict[int, float]] = (None, {}, {})
        self._schedule = ProbeSchedule()
        self._links: tuple[NetworkIntent | None, dict[int, IntentLink]] = (None, {})
        self._link_schedule = ProbeSchedule()
        self._link_favours: tuple[float, dict[int, float]] = (0.0, {})
        self._link_seconds: deque[tuple[float, int, int]] = deque()  # when, sequence, key of the second of a pair
        self._favours: tuple[float, dict[int, float]] = (0.0, {})
        self._pair = 0
        self._seconds: list[tuple[float, int, int]] = []  # when, sequence, label of the second of a pair
        self._flying: dict[int, tuple[int, float]] = {}  # label and send time by sequence
        self._over_links: dict[int, tuple[IntentLink, float]] = {}  # likewise, of link probes
        self._calibrated_s: dict[int, float] = {}
        self._packet_rates: tuple[float, dict[int, int], dict[int, float]] = (0.0, {}, {})

    def step(self) -> float:
        """Send pairs and calibration probes that are due, and count what did not come back."""
        now_s = time.monotonic()
        targets, classes = self._current_targets()
        weights = self._favoured(now_s, classes)
        self._probe_links(now_s)
        rate = min(self._settings.probes_per_s * (1 - LINK_SHARE), PER_LABEL_PER_S * len(weights))
        self._schedule, labels = self._schedule.due(now_s, weights, rate)
        for label in labels:
            self._pair += 1
            self._send(targets[label], 2 * self._pair)
            spacing_s = self._spacing_s(targets[label].demand)
            heapq.heappush(self._seconds, (now_s + spacing_s, 2 * self._pair + 1, label))
        while self._seconds and self._seconds[0][0] <= now_s:
            _, sequence, label = heapq.heappop(self._seconds)
            if label in targets:
                self._send(targets[label], sequence)
        self._calibrate(now_s)
        self._give_up(now_s)
        return TICK_S

    def on_probe(self, dpid: int, frame: bytes, arrived_s: float | None) -> None:
        """A probe came back from ``dpid``; ``arrived_s`` is monotonic by the kernel's stamp, None if that is moot."""
        content = decode_probe(self._secret, frame)
        if content is None:
            return
        if content.calibration:
            if arrived_s is not None:
                self._view.calibrate(dpid, arrived_s - content.sent_s)
            return
        if not content.label:
            self._on_link_probe(dpid, content, arrived_s)
            return
        target = self._targets[1].get(content.label)
        if self._flying.pop(content.sequence, None) is None:
            return
        span_s = (content.sent_s, time.monotonic()) if arrived_s is None else (arrived_s, arrived_s)
        self._discount.probe_returned(content.label, SMALLEST_FRAME_BYTES, *span_s)
        if target is None or dpid != target.egress or arrived_s is None:
            return
        delay_s = self._view.calibration.one_way_delay_s(arrived_s - content.sent_s, target.ingress, dpid)
        self._view.fold(ProbeReturned(arrived_s, content.label, delay_s, content.sequence))

    def _on_link_probe(self, dpid: int, content: ProbeContent, arrived_s: float | None) -> None:
        link, _ = self._over_links.pop(content.sequence, (None, 0.0))
        if link is None or dpid != link.target_dpid or arrived_s is None:
            return
        delay_s = self._view.calibration.one_way_delay_s(arrived_s - content.sent_s, link.source_dpid, dpid)
        self._view.fold(LinkProbeReturned(arrived_s, link.source_dpid, link.source_port, delay_s, content.sequence))

    def _probe_links(self, now_s: float) -> None:
        intent = self._transactions.intent
        if self._links[0] is not intent:
            self._links = intent, {link.source_dpid << 32 | link.source_port: link for link in intent.links if link.up}
        links = self._links[1]
        rate = min(self._settings.probes_per_s * LINK_SHARE, PER_LINK_PER_S * len(links))
        self._link_schedule, due = self._link_schedule.due(now_s, self._links_favoured(now_s, links), rate)
        for key in due:
            self._pair += 1
            self._send_over(links[key], 2 * self._pair)
            self._link_seconds.append((now_s + SPACING_S, 2 * self._pair + 1, key))
        while self._link_seconds and self._link_seconds[0][0] <= now_s:
            _, sequence, key = self._link_seconds.popleft()
            if key in links:
                self._send_over(links[key], sequence)

    def _links_favoured(self, now_s: float, links: Mapping[int, IntentLink]) -> Mapping[int, float]:
        if now_s - self._link_favours[0] > FAVOUR_S:
            samples = self._view.delays.links
            favours = {dpid << 32 | port: probe_favour(recent) for (dpid, port), recent in samples.items()}
            self._link_favours = now_s, favours
        favours = self._link_favours[1]
        return {key: favours.get(key, 1.0) for key in links}

    def _send_over(self, link: IntentLink, sequence: int) -> None:
        channel = self._switches.channel(link.source_dpid)
        if channel is None or not {link.source_dpid, link.target_dpid} <= self._switches.rules.keys():
            return
        sent_s = time.monotonic()
        frame = encode_probe(self._secret, ProbeContent(sequence, 0, sent_s))
        if channel.send_now(packet_out(channel.datapath, [parser.OFPActionOutput(link.source_port)], frame)):
            self._over_links[sequence] = link, sent_s

    def _current_targets(self) -> tuple[dict[int, _Target], Mapping[int, float]]:
        intent = self._transactions.intent
        if self._targets[0] is not intent:
            favoured = self._settings.probe_classes
            found: dict[int, _Target] = {}
            weights: dict[int, float] = {}
            for demand in intent.demands:
                for route in demand.routes:
                    found[route.label] = self._target(demand, route)
                    first = not favoured or demand.traffic_class in favoured
                    weights[route.label] = 1.0 if first else OTHER_CLASS_WEIGHT
            self._targets = intent, found, weights
        return self._targets[1], self._targets[2]

    def _favoured(self, now_s: float, weights: Mapping[int, float]) -> Mapping[int, float]:
        """More probes where delays are spread; looked at anew once a second."""
        if now_s - self._favours[0] > FAVOUR_S:
            samples = self._view.delays.samples
            self._favours = now_s, {label: probe_favour(recent) for label, recent in samples.items()}
        favours = self._favours[1]
        return {label: weight * favours.get(label, 1.0) for label, weight in weights.items()}

    def _target(self, demand: IntentDemand, route: IntentRoute) -> _Target:
        return _Target(
            route.label,
            demand.number,
            self._dscp_of.get(demand.traffic_class, 0),
            demand.source_dpid,
            demand.target_dpid,
            link_group_id(route.links[0].port),
        )

    def _send(self, target: _Target, sequence: int) -> None:
        channel = self._switches.channel(target.ingress)
        if channel is None or not {target.ingress, target.egress} <= self._switches.rules.keys():
            return
        sent_s = time.monotonic()
        frame = encode_probe(self._secret, ProbeContent(sequence, target.label, sent_s), target.dscp)
        if channel.send_now(packet_out(channel.datapath, [parser.OFPActionGroup(target.group_id)], frame)):
            self._flying[sequence] = target.label, sent_s

    def _calibrate(self, now_s: float) -> None:
        for dpid in self._switches.rules:
            channel = self._switches.channel(dpid)
            if channel is None or now_s - self._calibrated_s.get(dpid, 0.0) < CALIBRATE_S:
                continue
            # Spread the switches over the period: all at once would measure our own queue.
            self._calibrated_s[dpid] = now_s
            self._post_calibration(channel)
            return

    def _post_calibration(self, channel: Any) -> None:
        actions = [parser.OFPActionOutput(ofproto.OFPP_CONTROLLER, ofproto.OFPCML_NO_BUFFER)]
        frame = encode_probe(self._secret, ProbeContent(0, 0, time.monotonic(), calibration=True))
        channel.send_now(packet_out(channel.datapath, actions, frame))

    def _give_up(self, now_s: float) -> None:
        """Dictionaries keep their order, so the oldest probe is the first."""
        while self._flying:
            sequence, (label, sent_s) = next(iter(self._flying.items()))
            if now_s - sent_s < LOST_AFTER_S:
                break
            del self._flying[sequence]
            if label in self._targets[1]:
                self._view.fold(ProbeLost(now_s, label))
        while self._over_links:
            sequence, (_, sent_s) = next(iter(self._over_links.items()))
            if now_s - sent_s < LOST_AFTER_S:
                return
            del self._over_links[sequence]

    def _spacing_s(self, demand: int) -> float:
        """The mean spacing of the demand's own packets, within bounds: jitter is between neighbours of a flow."""
        measured_s, _, rates = self._packet_rates
        now_s = time.monotonic()
        if now_s - measured_s > 2.0:
            rates = self._measure_rates(now_s)
        rate = rates.get(demand, 0.0)
        return min(max(1 / rate, SHORTEST_SPACING_S), LONGEST_SPACING_S) if rate > 0 else SPACING_S

    def _measure_rates(self, now_s: float) -> dict[int, float]:
        before_s, before, _ = self._packet_rates
        telemetry = self._view.telemetry
        packets = {
            demand.number: telemetry.total(demand.source_dpid, demand.number, INGRESS_TABLE).packets
            for demand in self._transactions.intent.demands
        }
        elapsed_s = now_s - before_s
        rates = {number: (count - before[number]) / elapsed_s for number, count in packets.items() if number in before}
        self._packet_rates = now_s, packets, rates
        return rates
