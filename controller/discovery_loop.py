"""Sends our LLDP out of every port, evenly over the period, and takes in what comes back."""

from __future__ import annotations

import time
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.network_view import NetworkView
from controller.settings import ControllerSettings
from controller.switches import Switches
from topology_sync.discovery import PortKey
from topology_sync.events import ClockTicked, HostSeen, LldpReceived, Port, PortChanged, SwitchConnected
from topology_sync.lldp import decode_lldp, encode_lldp, is_fresh

TICK_S = 0.05
PROVEN_S = 1.5
"""A port that has been up so long without LLDP leads to no switch of ours."""


class DiscoveryLoop:
    """``step`` is the paced sender; ``on_*`` are called by handlers and never block."""

    def __init__(self, settings: ControllerSettings, secret: bytes, view: NetworkView, switches: Switches) -> None:
        self._period_s = settings.lldp_period_s
        self._max_age_s = settings.link_timeout_s
        self._secret = secret
        self._view = view
        self._switches = switches
        self._static_hosts = {(host.node, host.port) for host in settings.hosts}
        self._sequence: dict[PortKey, int] = {}
        self._newest: dict[PortKey, int] = {}
        self._due_s: dict[PortKey, float] = {}
        self._up_since_s: dict[PortKey, float] = {}
        self._host_ports: set[PortKey] = set()

    def step(self) -> float:
        """Send what is due within this tick; returns the pause until the next."""
        now_s = time.monotonic()
        self._view.fold(ClockTicked(now_s))
        for key, due_s in self._due_s.items():
            if due_s <= now_s:
                self._send(key)
                behind = now_s - due_s > self._period_s
                self._due_s[key] = (now_s if behind else due_s) + self._period_s
        return TICK_S

    def on_switch(self, event: SwitchConnected) -> None:
        """A switch is there: ask out of all of its ports at once."""
        for key in [key for key in self._due_s if key.dpid == event.dpid]:
            self._forget(key)
        for port in event.ports:
            if port.up:
                self._port_up(PortKey(event.dpid, port.number))

    def on_switch_gone(self, dpid: int) -> None:
        """Nothing can be sent there now."""
        for key in [key for key in self._due_s if key.dpid == dpid]:
            self._forget(key)

    def on_port(self, event: PortChanged) -> None:
        """A fresh port is asked at once; one that went down may be cabled anew."""
        key = PortKey(event.dpid, event.port.number)
        if event.removed or not event.port.up:
            self._forget(key)
        elif key not in self._due_s:
            self._port_up(key)

    def on_rules(self, dpid: int) -> None:
        """The switch now hands LLDP up to us: ask again, out of its own ports and out of those that may lead to it."""
        for key in self._due_s:
            if key.dpid == dpid:
                self._send(key)

    def on_host(self, event: HostSeen) -> None:
        """A port with a host on it is no end of a link until it has been down."""
        key = PortKey(event.dpid, event.port)
        if not self._view.discovery.is_link_port(*key):
            self._host_ports.add(key)

    def on_lldp(self, dpid: int, port: int, frame: bytes) -> None:
        """Take in a frame if it is ours, fresh, and did not come from a host's port."""
        arrived = PortKey(dpid, port)
        content = decode_lldp(self._secret, frame)
        if content is None or arrived in self._host_ports:
            return
        source = PortKey(content.dpid, content.port)
        now_s = time.monotonic()
        if source in self._host_ports or not is_fresh(content, now_s, self._newest.get(source), self._max_age_s):
            return
        self._newest[source] = content.sequence
        self._view.fold(LldpReceived(now_s, *source, *arrived))

    def edge_ports(self) -> list[PortKey]:
        """Ports that are up and lead to no switch of ours, known long enough to be sure."""
        now_s = time.monotonic()
        discovery = self._view.discovery
        ends = {end for link in discovery.links for end in link}
        return [key for key, since_s in self._up_since_s.items() if key not in ends and now_s - since_s > PROVEN_S]

    def _port_up(self, key: PortKey) -> None:
        now_s = time.monotonic()
        self._up_since_s[key] = now_s
        self._send(key)
        # A phase of its own for every port spreads the frames over the period.
        self._due_s[key] = now_s + self._period_s * (0.5 + hash(key) % 97 / 194)

    def _forget(self, key: PortKey) -> None:
        self._due_s.pop(key, None)
        self._up_since_s.pop(key, None)
        self._host_ports.discard(key)

    def _send(self, key: PortKey) -> None:
        channel = self._switches.channel(key.dpid)
        if channel is None:
            return
        self._sequence[key] = sequence = self._sequence.get(key, 0) + 1

        def build() -> Any:
            frame = encode_lldp(self._secret, key.dpid, key.port, sequence, time.monotonic())
            return packet_out(channel.datapath, [parser.OFPActionOutput(key.port)], frame)

        channel.post(build)


def packet_out(datapath: Any, actions: list[Any], frame: bytes, in_port: int = ofproto.OFPP_CONTROLLER) -> Any:
    """A packet-out of a whole frame."""
    return parser.OFPPacketOut(datapath, ofproto.OFP_NO_BUFFER, in_port, actions, frame)


def physical_port(description: Any) -> Port | None:
    """Ryu's OFPPort as a value; None for the switch's own local port."""
    if description.port_no > ofproto.OFPP_MAX:
        return None
    down = bool(description.config & ofproto.OFPPC_PORT_DOWN or description.state & ofproto.OFPPS_LINK_DOWN)
    name = description.name
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return Port(description.port_no, text, description.hw_addr, not down)
