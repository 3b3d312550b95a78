"""First packets of demands: they ask for a route, wait for its rules and then go on in their order."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.discovery_loop import packet_out
from controller.host_learning import HostLearning
from controller.intent import DemandKey, IntentHost, NetworkIntent
from controller.metrics import Metrics
from controller.network_view import NetworkView
from controller.packets import decode_ipv4, is_host_ip, is_host_mac
from controller.settings import ControllerSettings
from controller.switches import Switches

HELD_LIMIT = 8192
HELD_PER_FLOW = 1024
HOLD_S = 3.0
RELEASES_PER_S = 1000


@dataclass(frozen=True)
class HeldPacket:
    """A packet that came up because no rule knew it."""

    time_s: float
    dpid: int
    port: int
    target: str
    dscp: int
    frame: bytes


class FirstPackets:
    """``on_ipv4`` is called by the handler and never blocks; upkeep asks ``wanted`` and calls ``release``."""

    def __init__(
        self,
        settings: ControllerSettings,
        view: NetworkView,
        hosts: HostLearning,
        switches: Switches,
        metrics: Metrics,
        request_upkeep: Callable[[], None],
    ) -> None:
        self._class_of = {dscp: entry.name for entry in settings.classes for dscp in entry.dscp}
        self._rest = next((entry.name for entry in settings.classes if not entry.dscp), None)
        self._view = view
        self._hosts = hosts
        self._switches = switches
        self._metrics = metrics
        self._request_upkeep = request_upkeep
        self._held: deque[HeldPacket] = deque()
        self._per_flow: dict[tuple[int, str, int], int] = {}
        self._released: dict[tuple[int, str, int], int] = {}
        self._released_since_s = 0.0

    def on_ipv4(self, dpid: int, port: int, frame: bytes) -> None:
        """Hold the packet and ask for what it needs."""
        packet = decode_ipv4(frame)
        if packet is None or self._view.discovery.is_link_port(dpid, port):
            self._drop("not_from_a_host")
            return
        if is_host_mac(packet.source_mac) and is_host_ip(packet.source):
            self._hosts.saw(dpid, port, packet.source, packet.source_mac)
        if not is_host_ip(packet.target):
            self._drop("no_host_address")
            return
        held = HeldPacket(time.monotonic(), dpid, port, packet.target, packet.dscp, frame)
        flow = _flow_of(held)
        if len(self._held) >= HELD_LIMIT or self._per_flow.get(flow, 0) >= HELD_PER_FLOW:
            self._drop("too_many_held")
            return
        self._held.append(held)
        self._per_flow[flow] = self._per_flow.get(flow, 0) + 1
        self._request_upkeep()

    def wanted(self, intent: NetworkIntent) -> dict[DemandKey, float]:
        """The demands that held packets belong to, and since when they wait; asks for hosts that nobody knows."""
        places = _Places(intent.hosts)
        found: dict[DemandKey, float] = {}
        for held in self._held:
            host = places.of(held.target)
            traffic_class = self._class_of.get(held.dscp, self._rest)
            if host is None:
                self._hosts.ask_for(held.target)
            elif traffic_class is not None and host.dpid != held.dpid:
                found.setdefault(DemandKey(held.dpid, host.dpid, traffic_class), held.time_s)
        return found

    def release(self, intent: NetworkIntent) -> None:
        """Send on what now has rules, in the order in which it came; give up what waited too long."""
        for dpid in {held.dpid for held in self._held}:
            channel = self._switches.channel(dpid)
            packets = self.take(dpid, intent)
            if channel is not None:
                for packet in packets:
                    channel.post(lambda packet=packet: packet)  # type: ignore[misc]
        now_s = time.monotonic()
        kept = deque(held for held in self._held if now_s - held.time_s <= HOLD_S)
        for _ in range(len(self._held) - len(kept)):
            self._drop("no_route")
        self._keep(kept)

    def take(self, dpid: int, intent: NetworkIntent) -> list[Any]:
        """Packet-outs for the packets of one switch that have rules by this intent; they are held no longer.

        They go back into the switch's own tables, as if they came in only now.
        """
        now_s = time.monotonic()
        if now_s - self._released_since_s > 1.0:
            self._released, self._released_since_s = {}, now_s
        places = _Places(intent.hosts)
        channel = self._switches.channel(dpid)
        kept: deque[HeldPacket] = deque()
        packets: list[Any] = []
        for held in self._held:
            if held.dpid != dpid or channel is None or not self._has_rules(intent, places, held):
                kept.append(held)
                continue
            flow = _flow_of(held)
            self._released[flow] = self._released.get(flow, 0) + 1
            if self._released[flow] > RELEASES_PER_S:
                self._drop("comes_back")  # some rule in front of ours sends it up again and again
                continue
            actions = [parser.OFPActionOutput(ofproto.OFPP_TABLE)]
            packets.append(packet_out(channel.datapath, actions, held.frame, held.port))
        self._keep(kept)
        return packets

    def _keep(self, held: deque[HeldPacket]) -> None:
        self._held = held
        self._per_flow = dict(Counter(_flow_of(packet) for packet in held))

    @property
    def waiting(self) -> bool:
        """Whether packets are held."""
        return bool(self._held)

    def _has_rules(self, intent: NetworkIntent, places: _Places, held: HeldPacket) -> bool:
        host = places.of(held.target)
        if host is None or held.dpid not in self._switches.rules:
            return False
        if host.dpid == held.dpid:
            return True
        traffic_class = self._class_of.get(held.dscp, self._rest)
        if traffic_class is None:
            return False
        demand = intent.demand_of.get(DemandKey(held.dpid, host.dpid, traffic_class))
        return demand is not None and bool(demand.routes)

    def _drop(self, reason: str) -> None:
        self._metrics.packets_dropped.labels(reason).inc()


class _Places:
    """Longest prefix match over the hosts of an intent."""

    def __init__(self, hosts: Iterable[IntentHost]) -> None:
        self._single: dict[str, IntentHost] = {}
        self._prefixes: list[tuple[ipaddress.IPv4Network, IntentHost]] = []
        for host in hosts:
            address, _, length = host.prefix.partition("/")
            if length in ("", "32"):
                self._single[address] = host
            else:
                self._prefixes.append((ipaddress.IPv4Network(host.prefix, strict=False), host))
        self._prefixes.sort(key=lambda entry: -entry[0].prefixlen)

    def of(self, ip: str) -> IntentHost | None:
        """Where an address lives, None when nobody knows."""
        if ip in self._single:
            return self._single[ip]
        address = ipaddress.IPv4Address(ip)
        return next((host for prefix, host in self._prefixes if address in prefix), None)


def _flow_of(held: HeldPacket) -> tuple[int, str, int]:
    return held.dpid, held.target, held.dscp
