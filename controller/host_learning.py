"""Learns hosts from ARP and first packets, answers ARP for known ones and asks the edge for unknown ones (RFC 826).

Most questions for known hosts are answered by the switches (``controller.arp_answers``); hosts are learnt here from
those, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.discovery_loop import DiscoveryLoop, packet_out
from controller.network_view import NetworkView
from controller.packets import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    CONTROLLER_MAC,
    NO_ADDRESS,
    Arp,
    decode_arp,
    encode_arp,
)
from controller.settings import ControllerSettings
from controller.switches import Switches
from topology_sync.discovery import PortKey
from topology_sync.events import HostSeen

ASK_AGAIN_S = 0.5
WAITING_LIMIT = 256
WAIT_S = 5.0
NO_MAC = "00:00:00:00:00:00"


class HostLearning:
    """``on_arp`` and ``saw`` are called by handlers and never block."""

    def __init__(
        self, settings: ControllerSettings, view: NetworkView, discovery: DiscoveryLoop, switches: Switches
    ) -> None:
        self._static = {host.prefix.removesuffix("/32"): host.mac for host in settings.hosts}
        self._view = view
        self._discovery = discovery
        self._switches = switches
        self._asked_s: dict[str, float] = {}
        self._waiting: dict[tuple[str, str], tuple[float, PortKey, Arp]] = {}
        self.on_found: Callable[[str], None] = lambda ip: None

    def on_arp(self, dpid: int, port: int, frame: bytes, answered: bool) -> None:
        """A host asks (``answered``: and the switch has told it), answers or announces itself."""
        message = decode_arp(frame)
        if message is None or self._view.discovery.is_link_port(dpid, port):
            return
        if message.sender_is_a_host:
            self.saw(dpid, port, message.sender_ip, message.sender_mac)
        if answered or message.operation != ARP_REQUEST or message.target_ip == message.sender_ip:
            return
        mac = self._mac_of(message.target_ip)
        if mac is None:
            self._wait_for(PortKey(dpid, port), message)
            self.ask_for(message.target_ip, but=PortKey(dpid, port))
        elif mac != message.sender_mac and not self._is_here(message.target_ip, dpid, port):
            self._answer(PortKey(dpid, port), message, mac)

    def saw(self, dpid: int, port: int, ip: str, mac: str) -> None:
        """A packet of a host came in here."""
        if ip in self._static:
            return
        event = HostSeen(time.monotonic(), ip, mac, dpid, port)
        before = self._view.discovery.hosts.get(ip)
        self._view.fold(event)
        after = self._view.discovery.hosts.get(ip)
        if after is None or (after.dpid, after.port) != (dpid, port):
            return
        self._discovery.on_host(event)
        if after != before:
            self._answer_waiting(ip, mac)
            self.on_found(ip)

    def ask_for(self, ip: str, but: PortKey | None = None) -> None:
        """Ask for an unknown host out of every port at the edge, not too often."""
        now_s = time.monotonic()
        if now_s - self._asked_s.get(ip, -ASK_AGAIN_S) < ASK_AGAIN_S:
            return
        self._asked_s = {old: asked_s for old, asked_s in self._asked_s.items() if now_s - asked_s < ASK_AGAIN_S}
        self._asked_s[ip] = now_s
        # A probe (RFC 5227): with no sender address it disturbs nobody's ARP table.
        request = encode_arp(Arp(ARP_REQUEST, CONTROLLER_MAC, NO_ADDRESS, NO_MAC, ip), BROADCAST)
        for key in self._discovery.edge_ports():
            if key != but:
                self._send(key, request)

    def _is_here(self, ip: str, dpid: int, port: int) -> bool:
        """Whether the host is behind this port: then it answers itself, and its MAC must not be seen on our side."""
        known = self._view.discovery.hosts.get(ip)
        return known is not None and (known.dpid, known.port) == (dpid, port)

    def _mac_of(self, ip: str) -> str | None:
        known = self._view.discovery.hosts.get(ip)
        return known.mac if known is not None else self._static.get(ip)

    def _wait_for(self, asker: PortKey, message: Arp) -> None:
        now_s = time.monotonic()
        if len(self._waiting) >= WAITING_LIMIT:
            self._waiting = {key: entry for key, entry in self._waiting.items() if now_s - entry[0] < WAIT_S}
        if len(self._waiting) < WAITING_LIMIT:
            self._waiting[message.sender_ip, message.target_ip] = (now_s, asker, message)

    def _answer_waiting(self, ip: str, mac: str) -> None:
        now_s = time.monotonic()
        for key in [key for key in self._waiting if key[1] == ip]:
            asked_s, asker, message = self._waiting.pop(key)
            if now_s - asked_s < WAIT_S and mac != message.sender_mac and not self._is_here(ip, *asker):
                self._answer(asker, message, mac)

    def _answer(self, asker: PortKey, request: Arp, mac: str) -> None:
        answer = Arp(ARP_REPLY, mac, request.target_ip, request.sender_mac, request.sender_ip)
        self._send(asker, encode_arp(answer, request.sender_mac))

    def _send(self, key: PortKey, frame: bytes) -> None:
        channel = self._switches.channel(key.dpid)
        if channel is not None:
            channel.post(lambda: packet_out(channel.datapath, [parser.OFPActionOutput(key.port)], frame))
