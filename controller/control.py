"""The controller put together: who hears of what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controller.arp_answers import ANSWER_COOKIE
from controller.counter_corrections import ProbeDiscount
from controller.discovery_loop import DiscoveryLoop
from controller.first_packets import FirstPackets
from controller.heartbeat import Loops
from controller.host_learning import HostLearning
from controller.journal import Journal
from controller.keeper import Keeper
from controller.link_facts import Names
from controller.metrics import Metrics
from controller.network_view import NetworkView
from controller.packets import ETHERTYPE_ARP, ETHERTYPE_IPV4, ethertype
from controller.probe_loop import ProbeLoop
from controller.rule_audit import RuleAudit
from controller.rules import ETHERTYPE_LLDP
from controller.settings import ControllerSettings
from controller.store import Store, read_or_make_secret
from controller.switch_queues import SwitchQueues
from controller.switches import Switches
from controller.telemetry_loop import TelemetryLoop
from controller.transactions import Transactions
from topology_sync.discovery import DiscoveryState
from topology_sync.events import PortChanged, SwitchConnected, SwitchDisconnected
from topology_sync.probes import PROBE_PROTOCOL, PROBE_TARGET

TRANSACTION_HUNG_S = 120.0
AUDIT_HUNG_S = 60.0
QUEUES_HUNG_S = 120.0


class Control:
    """Builds all parts and passes on what the Ryu application hears (``application.Listener``)."""

    def __init__(self, settings: ControllerSettings) -> None:
        directory = Path(settings.state_directory)
        secret = read_or_make_secret(directory)
        store = Store(directory)
        stored = store.read()
        self.settings = settings
        self.names = Names(settings)
        self.metrics = Metrics()
        self.journal = Journal()
        self.switches = Switches(settings, self.metrics, self.journal, self._rules_known)
        self.view = NetworkView(settings, stored, self.names, self.metrics, self.journal, self._network_changed)
        self.transactions = Transactions(
            stored,
            store,
            self.switches,
            lambda: self.keeper.links(),
            lambda: self.view.discovery.topology_version,
            settings.transaction_timeout_s,
            self.metrics,
            self.journal,
        )
        self.keeper = Keeper(settings, self.names, self.view, self.switches, self.transactions)
        self.discovery = DiscoveryLoop(settings, secret, self.view, self.switches)
        self.hosts = HostLearning(settings, self.view, self.discovery, self.switches)
        self.first_packets = FirstPackets(
            settings, self.view, self.hosts, self.switches, self.metrics, self.keeper.request
        )
        self.keeper.first_packets = self.first_packets
        self.transactions.held_packets = lambda dpid: self.first_packets.take(dpid, self.transactions.intent)
        discount = ProbeDiscount()
        self.telemetry = TelemetryLoop(settings, self.view, self.switches, self.transactions, discount)
        self.probes = ProbeLoop(settings, secret, self.view, self.switches, self.transactions, discount)
        self.audit = RuleAudit(settings, self.names, self.switches, self.metrics, self.journal)
        self.queues = SwitchQueues(
            settings,
            self.names,
            self.switches,
            self.transactions,
            self.keeper.links,
            self.metrics,
            self.journal,
        )
        self.transactions.set_weights = self.queues.set_weights
        self.loops = Loops(self.metrics)

    def start(self) -> None:
        """Start all loops."""
        self.loops.start("discovery", self.discovery.step)
        self.loops.start("upkeep", self.keeper.step, TRANSACTION_HUNG_S)
        self.loops.start("telemetry", self.telemetry.step)
        self.loops.start("probes", self.probes.step)
        self.loops.start("queues", self.queues.step, QUEUES_HUNG_S)
        self.loops.start("audit", self.audit.step, AUDIT_HUNG_S)

    def stop(self) -> None:
        """Stop all loops and close the connections; the switches keep their rules."""
        self.loops.stop()
        self.switches.close()

    def switch_connected(self, datapath: Any, event: SwitchConnected) -> None:
        """A switch finished its handshake."""
        self.switches.connect(datapath)
        self.view.fold(event)
        self.discovery.on_switch(event)

    def switch_disconnected(self, datapath: Any, event: SwitchDisconnected) -> None:
        """A connection ended."""
        if self.switches.disconnect(datapath):
            self.view.fold(event)
            self.discovery.on_switch_gone(event.dpid)

    def port_changed(self, event: PortChanged) -> None:
        """A port came, changed or went."""
        self.view.fold(event)
        self.discovery.on_port(event)

    def packet_in(self, dpid: int, port: int, frame: bytes, arrived_s: float | None, cookie: int) -> None:
        """A packet came up, sent by the rule with this cookie."""
        kind = ethertype(frame)
        if kind == ETHERTYPE_IPV4 and frame[23:24] == bytes([PROBE_PROTOCOL]) and frame[30:34] == PROBE_TARGET:
            self.metrics.packet_ins.labels("probe").inc()
            self.probes.on_probe(dpid, frame, arrived_s)
        elif kind == ETHERTYPE_LLDP:
            self.metrics.packet_ins.labels("lldp").inc()
            self.discovery.on_lldp(dpid, port, frame)
        elif kind == ETHERTYPE_ARP:
            self.metrics.packet_ins.labels("arp").inc()
            self.hosts.on_arp(dpid, port, frame, cookie == ANSWER_COOKIE)
        elif kind == ETHERTYPE_IPV4:
            self.metrics.packet_ins.labels("first_packet").inc()
            self.first_packets.on_ipv4(dpid, port, frame)
        else:
            self.metrics.packet_ins.labels("other").inc()

    def flow_removed(self, dpid: int, message: Any) -> None:
        """A rule is gone."""
        self.telemetry.on_flow_removed(dpid, message)

    def reply(self, dpid: int, message: Any) -> None:
        """An answer or an error came from a switch."""
        channel = self.switches.channel(dpid)
        if channel is not None and channel.datapath is message.datapath:
            channel.on_reply(message)

    def _rules_known(self, dpid: int) -> None:
        self.transactions.note_rules(dpid)
        self.discovery.on_rules(dpid)
        self.keeper.request(urgent=False)

    def _network_changed(self, before: DiscoveryState, after: DiscoveryState) -> None:
        self.keeper.on_network_change(before, after)
