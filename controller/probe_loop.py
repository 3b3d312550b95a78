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
from topology_sync.path_delays import link_queue
from topology_sync.probe_schedule import ProbeSchedule, probe_favour
from topology_sync.probes import SMALLEST_FRAME_BYTES, ProbeContent, decode_probe, encode_probe
from topology_sync.telemetry import INGRESS_TABLE

TICK_S = 0.01
LOST_AFTER_S = 2.0
CALIBRATE_S = 0.5
PER_LABEL_PER_S = 20.0
PER_LINK_PER_S = 50.0
LINK_SHARE = 0.85
OTHER_CLASS_WEIGHT = 0.25
FAVOUR_S = 1.0
SHORTEST_SPACING_S, LONGEST_SPACING_S = 0.005, 0.1
SPACING_S = 0.02
PROMPT_S = 0.0002
"""From the stamp in a probe to the socket; what takes longer was interrupted, and its delay would be ours."""


@dataclass(frozen=True)
class _Target:
    """Where probes of a label go in and come out."""

    label: int
    demand: int
    dscp: int
    ingress: int
    egress: int
    group_id: int
    queue: int | None


@dataclass(frozen=True)
class _LinkTarget:
    """A link, the queue of it that is probed (None: its only one), and how much it matters."""

    link: IntentLink
    queue: int | None
    dscp: int
    weight: float

    @property
    def key(self) -> int:
        """The same for as long as the link is there, whatever else changes."""
        return (self.link.source_dpid << 32 | self.link.source_port) << 4 | (
            0 if self.queue is None else self.queue + 1
        )


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
        self._links: tuple[NetworkIntent | None, dict[int, _LinkTarget]] = (None, {})
        self._link_schedule = ProbeSchedule()
        self._link_seconds: deque[tuple[float, int, int]] = deque()  # when, sequence, key of the second of a pair
        self._favours: tuple[float, dict[int, float]] = (0.0, {})
        self._link_favours: tuple[float, dict[int, float]] = (0.0, {})
        self._pair = 0
        self._seconds: list[tuple[float, int, int]] = []  # when, sequence, label of the second of a pair
        self._flying: dict[int, tuple[int, float, bool]] = {}  # label, send time and whether prompt, by sequence
        self._over_links: dict[int, tuple[_LinkTarget, float, bool]] = {}  # likewise, of link probes
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
        known = self._flying.pop(content.sequence, None)
        if known is None:
            return
        span_s = (content.sent_s, time.monotonic()) if arrived_s is None else (arrived_s, arrived_s)
        self._discount.probe_returned(content.label, SMALLEST_FRAME_BYTES, *span_s)
        if target is None or dpid != target.egress or arrived_s is None or not known[2]:
            return
        delay_s = self._view.calibration.one_way_delay_s(arrived_s - content.sent_s, target.ingress, dpid)
        self._view.fold(ProbeReturned(arrived_s, content.label, delay_s, content.sequence))

    def _on_link_probe(self, dpid: int, content: ProbeContent, arrived_s: float | None) -> None:
        target, _, prompt = self._over_links.pop(content.sequence, (None, 0.0, False))
        if target is None or dpid != target.link.target_dpid or arrived_s is None or not prompt:
            return
        source, port = target.link.hop
        delay_s = self._view.calibration.one_way_delay_s(arrived_s - content.sent_s, source, dpid)
        self._view.fold(LinkProbeReturned(arrived_s, source, port, delay_s, content.sequence, target.queue))

    def _probe_links(self, now_s: float) -> None:
        intent = self._transactions.intent
        if self._links[0] is not intent:
            self._links = intent, {target.key: target for target in self._link_targets(intent)}
            self._link_favours = 0.0, {}
        links = self._links[1]
        rate = min(self._settings.probes_per_s * LINK_SHARE, PER_LINK_PER_S * len(links))
        if now_s - self._link_favours[0] > FAVOUR_S:
            self._link_favours = now_s, self._favoured_links(links)
        favours = self._link_favours[1]
        weights = {key: target.weight * favours.get(key, 1.0) for key, target in links.items()}
        self._link_schedule, due = self._link_schedule.due(now_s, weights, rate)
        for key in due:
            self._pair += 1
            self._send_over(links[key], 2 * self._pair)
            self._link_seconds.append((now_s + SPACING_S, 2 * self._pair + 1, key))
        while self._link_seconds and self._link_seconds[0][0] <= now_s:
            _, sequence, key = self._link_seconds.popleft()
            if key in links:
                self._send_over(links[key], sequence)

    def _favoured_links(self, links: Mapping[int, _LinkTarget]) -> dict[int, float]:
        """Of several queues per link most are hardly used: more probes where delays are spread, as with paths."""
        samples = self._view.delays.links
        return {
            key: probe_favour(samples.get(link_queue(*target.link.hop, target.queue), ()))
            for key, target in links.items()
            if target.queue is not None
        }

    def _link_targets(self, intent: NetworkIntent) -> list[_LinkTarget]:
        """Links that are up, each once, or once per queue: those of classes with promises, where they pass, first."""
        up = [link for link in intent.links if link.up]
        if not intent.queue_of:
            return [_LinkTarget(link, None, 0, 1.0) for link in up]
        used = {
            (hop, demand.traffic_class) for demand in intent.demands for route in demand.routes for hop in route.links
        }
        favoured = self._settings.probe_classes or tuple(intent.queue_of)
        return [
            _LinkTarget(
                link,
                queue,
                self._dscp_of.get(name, 0),
                1.0 if name in favoured and (link.hop, name) in used else OTHER_CLASS_WEIGHT,
            )
            for link in up
            for name, queue in intent.queue_of.items()
        ]

    def _send_over(self, target: _LinkTarget, sequence: int) -> None:
        link = target.link
        channel = self._switches.channel(link.source_dpid)
        if channel is None or not {link.source_dpid, link.target_dpid} <= self._switches.rules.keys():
            return
        sent_s = time.monotonic()
        frame = encode_probe(self._secret, ProbeContent(sequence, 0, sent_s), target.dscp)
        actions = [*_waiting_in(target.queue), parser.OFPActionOutput(link.source_port)]
        left_s = channel.send_now(packet_out(channel.datapath, actions, frame))
        if left_s is not None:
            self._over_links[sequence] = target, sent_s, left_s - sent_s < PROMPT_S

    def _current_targets(self) -> tuple[dict[int, _Target], Mapping[int, float]]:
        intent = self._transactions.intent
        if self._targets[0] is not intent:
            favoured = self._settings.probe_classes
            found: dict[int, _Target] = {}
            weights: dict[int, float] = {}
            for demand in intent.demands:
                for route in demand.routes:
                    found[route.label] = self._target(demand, route, intent.queue_of.get(demand.traffic_class))
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

    def _target(self, demand: IntentDemand, route: IntentRoute, queue: int | None) -> _Target:
        return _Target(
            route.label,
            demand.number,
            self._dscp_of.get(demand.traffic_class, 0),
            demand.source_dpid,
            demand.target_dpid,
            link_group_id(route.links[0].port),
            queue,
        )

    def _send(self, target: _Target, sequence: int) -> None:
        channel = self._switches.channel(target.ingress)
        if channel is None or not {target.ingress, target.egress} <= self._switches.rules.keys():
            return
        sent_s = time.monotonic()
        content = ProbeContent(sequence, target.label, sent_s)
        frame = encode_probe(self._secret, content, target.dscp, traffic_class=target.queue)
        actions = [*_waiting_in(target.queue), parser.OFPActionGroup(target.group_id)]
        left_s = channel.send_now(packet_out(channel.datapath, actions, frame))
        if left_s is not None:
            self._flying[sequence] = target.label, sent_s, left_s - sent_s < PROMPT_S

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
            sequence, (label, sent_s, _) = next(iter(self._flying.items()))
            if now_s - sent_s < LOST_AFTER_S:
                break
            del self._flying[sequence]
            if label in self._targets[1]:
                self._view.fold(ProbeLost(now_s, label))
        while self._over_links:
            sequence, (_, sent_s, _) = next(iter(self._over_links.items()))
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


def _waiting_in(queue: int | None) -> list[Any]:
    return [] if queue is None else [parser.OFPActionSetQueue(queue)]
