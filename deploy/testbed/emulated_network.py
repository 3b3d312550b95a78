"""A topology as a running Mininet network: a switch and a host per node, shaped veth pairs as links."""

from __future__ import annotations

import os
import resource
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from deploy.process_control import die_with_parent
from deploy.testbed.frame_sizes import HOST_MTU, LINK_MTU
from deploy.testbed.link_shaping import ShapedInterface, line_commands, queue_commands, run_batch, shape
from deploy.testbed.mininet_import import import_mininet
from deploy.testbed.network_namespace import NetworkNamespace, disable_ipv6
from deploy.testbed.private_openvswitch import PrivateOpenvSwitch
from topology_sync.errors import ScenarioError
from topology_sync.topology import Topology

HOST_PORT = 1
_OFFLOADS_OFF = ("tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")
MAX_NODES = 250
MAX_ADDRESSES = 250


@dataclass(frozen=True)
class EmulatedHost:
    """The host of a node: where its switch sees it and in which namespace (that of ``process_id``) it lives."""

    name: str
    node: str
    process_id: int
    interface: str
    mac: str
    addresses: tuple[str, ...]
    port: int


@dataclass(frozen=True)
class LinkInterfaces:
    """The interfaces of one directed link: ``sending`` at its source, ``receiving`` at its target.

    Where ports have queues, ``line`` is the far end of the cable between them, which sends at the rate of the line.
    """

    sending: str
    receiving: str
    line: str | None = None


def host_addresses(node: int, count: int) -> tuple[str, ...]:
    """IPv4 addresses of the host of a node: ``10.0.NODE+1.1`` and up."""
    return tuple(f"10.0.{node + 1}.{number}" for number in range(1, count + 1))


def paired_links(topology: Topology) -> list[tuple[int, int]]:
    """Each link with the link of the opposite direction, as one cable carries both.

    Parallel links pair up in id order.  Raises ScenarioError for a link without an opposite one.
    """
    waiting: dict[tuple[int, int], list[int]] = {}
    pairs = []
    for link in range(topology.link_count):
        ends = int(topology.link_source[link]), int(topology.link_target[link])
        opposite = waiting.get((ends[1], ends[0]))
        if opposite:
            pairs.append((opposite.pop(0), link))
        else:
            waiting.setdefault(ends, []).append(link)
    for links in waiting.values():
        for link in links:
            raise ScenarioError(
                f"topology.links[{link}]",
                f"{topology.link_name(link)} has no link in the opposite direction",
                "the testbed's cables carry both directions: add it",
            )
    return pairs


class EmulatedNetwork:
    """Build with ``start``, take away with ``stop``; everything lives in the caller's network namespace.

    Switch of node i has datapath id i+1; port 1 leads to its host, the following ones to its links.  Hosts hold
    ``addresses_per_host`` addresses, because Open vSwitch's user-space datapath spreads UDP over the buckets of a
    SELECT group by address only.  With ``queued`` the controller sets up the queues of the ports, and ``tell_apart``
    then leads packets to them.
    """

    def __init__(
        self,
        topology: Topology,
        openvswitch: PrivateOpenvSwitch,
        controller_port: int,
        addresses_per_host: int = 4,
        queued: bool = False,
    ) -> None:
        if topology.node_count > MAX_NODES:
            raise ScenarioError("topology", f"has {topology.node_count} nodes", f"the testbed takes up to {MAX_NODES}")
        if not 1 <= addresses_per_host <= MAX_ADDRESSES:
            raise ScenarioError("addresses per host", f"is {addresses_per_host}", f"give 1 to {MAX_ADDRESSES}")
        self.topology = topology
        self.hosts: tuple[EmulatedHost, ...] = ()
        self.link_interfaces: tuple[LinkInterfaces, ...] = ()
        self._openvswitch = openvswitch
        self._controller_port = controller_port
        self._addresses_per_host = addresses_per_host
        self._queued = queued
        self._pairs = paired_links(topology)
        self._network: Any = None

    def start(self) -> None:
        """Create switches, hosts, cables and queues, and point the switches at the controller's port."""
        os.environ.update(self._openvswitch.environment)  # Mininet's own ovs-vsctl calls inherit it
        _allow_many_files()
        self._network = network = self._mininet()
        switches = [
            network.addSwitch(f"s{node + 1}", dpid=f"{node + 1:016x}", batch=True)
            for node in range(self.topology.node_count)
        ]
        hosts = [network.addHost(f"h{node + 1}", ip=None) for node in range(self.topology.node_count)]
        host_links = [
            network.addLink(host, switch, port1=0, port2=HOST_PORT, addr1=_mac(node))
            for node, (host, switch) in enumerate(zip(hosts, switches, strict=True))
        ]
        next_port = [HOST_PORT + 1] * self.topology.node_count
        interfaces: dict[int, LinkInterfaces] = {}
        for forward, backward in self._pairs:
            one, two = int(self.topology.link_source[forward]), int(self.topology.link_target[forward])
            ports = next_port[one], next_port[two]
            next_port[one] += 1
            next_port[two] += 1
            if self._queued:
                near, far = _lined_port(switches[one], ports[0]), _lined_port(switches[two], ports[1])
                interfaces[forward] = LinkInterfaces(near.port, far.port, far.line)
                interfaces[backward] = LinkInterfaces(far.port, near.port, near.line)
            else:
                cable = network.addLink(switches[one], switches[two], port1=ports[0], port2=ports[1])
                interfaces[forward] = LinkInterfaces(cable.intf1.name, cable.intf2.name)
                interfaces[backward] = LinkInterfaces(cable.intf2.name, cable.intf1.name)
        self.link_interfaces = tuple(interfaces[link] for link in range(self.topology.link_count))
        self._bring_up([link.intf2.name for link in host_links])
        network.start()
        # Open vSwitch takes queueing disciplines away from the ports it is given, so they come last.
        if self._queued:
            self._lay_lines()
        else:
            shape(self._shaped(link, self.link_interfaces[link].sending) for link in range(self.topology.link_count))
        self.hosts = tuple(
            EmulatedHost(
                name=host.name,
                node=self.topology.node_names[node],
                process_id=host.pid,
                interface=link.intf1.name,
                mac=_mac(node),
                addresses=host_addresses(node, self._addresses_per_host),
                port=HOST_PORT,
            )
            for node, (host, link) in enumerate(zip(hosts, host_links, strict=True))
        )
        for host in self.hosts:
            _configure_host(host)

    def _shaped(self, link: int, interface: str) -> ShapedInterface:
        capacity_bps, queue_packets = self.topology.capacity_bps[link], self.topology.queue_packets[link]
        return ShapedInterface(interface, float(capacity_bps), int(queue_packets))

    def _lay_lines(self) -> None:
        entrance = {}
        for forward, backward in self._pairs:
            entrance[forward] = self.link_interfaces[backward].line
            entrance[backward] = self.link_interfaces[forward].line
        run_batch(
            "tc",
            "".join(
                line_commands(self._shaped(link, str(ends.line)), str(entrance[link]))
                for link, ends in enumerate(self.link_interfaces)
            ),
        )

    def tell_apart(self, dscp_of_queue: Sequence[Sequence[int]]) -> None:
        """Lead packets at the ports of links to the queues that Open vSwitch has there by now; see ``link_shaping``."""
        run_batch(
            "tc",
            "".join(
                queue_commands(ends.sending, int(self.topology.queue_packets[link]), dscp_of_queue)
                for link, ends in enumerate(self.link_interfaces)
            ),
        )

    def announce_hosts(self) -> None:
        """Every host says in gratuitous ARP (RFC 5227, announcement) which addresses it has."""
        for host in self.hosts:
            _announce(host)

    def set_link(self, link: int, up: bool) -> None:
        """Take a cable down (both directions) or up again; ``link`` is one of its two directed links."""
        backward = next(pair[pair[0] == link] for pair in self._pairs if link in pair)
        lines = [self.link_interfaces[one].line for one in (link, backward)]
        # Without a line in between one end takes the carrier of the other with it.
        names = [name for name in lines if name is not None] or [self.link_interfaces[link].sending]
        run_batch("ip", "".join(f"link set dev {name} {'up' if up else 'down'}\n" for name in names))

    def stop(self) -> None:
        """End hosts and switches.  Whatever is left goes with the namespace."""
        if self._network is not None:
            for node in (*self._network.hosts, *self._network.switches, *self._network.controllers):
                node.terminate()
            self._network = None

    def _mininet(self) -> Any:
        net, node = import_mininet("net"), import_mininet("node")
        # Mininet's own initialisation raises machine-wide limits, and we promised to leave the machine alone.
        net.Mininet.inited = True
        switch_class, host_class = _dying(node.OVSSwitch), _dying(node.Host)
        switch_class.OVSVersion = "3.1"
        network = net.Mininet(
            switch=partial(switch_class, datapath="user", protocols="OpenFlow13", failMode="secure"),
            host=host_class,
            controller=None,
            build=False,
        )
        port = self._controller_port
        network.controllers.append(
            SimpleNamespace(
                name="controller",
                protocol="tcp",
                port=port,
                IP=lambda: "127.0.0.1",
                start=lambda: None,
                terminate=lambda: None,
            )
        )
        return network

    def _bring_up(self, host_ports: list[str]) -> None:
        names = [name for link in self.link_interfaces for name in (link.sending, link.line) if name is not None]
        lines = [f"link set dev {name} mtu {LINK_MTU} up" for name in names]
        lines += [f"link set dev {name} mtu {LINK_MTU} up" for name in host_ports]
        run_batch("ip", "\n".join(lines) + "\n")


@dataclass(frozen=True)
class _LinedPort:
    """A port of a switch and the other end of its veth pair, where the line begins and ends."""

    port: str
    line: str


def _lined_port(switch: Any, number: int) -> _LinedPort:
    ends = _LinedPort(f"{switch.name}-eth{number}", f"{switch.name}-line{number}")
    run_batch("ip", f"link add name {ends.port} type veth peer name {ends.line}\n")
    import_mininet("link").Intf(ends.port, node=switch, port=number)
    return ends


def _dying(node_class: Any) -> Any:
    """The Mininet class, its shell tied to our life."""

    class Dying(node_class):  # type: ignore[misc]
        def _popen(self, cmd: Any, **params: Any) -> Any:
            parent = os.getpid()
            return subprocess.Popen(cmd, preexec_fn=lambda: die_with_parent(parent), **params)

    return Dying


def _mac(node: int) -> str:
    return f"02:52:57:00:00:{node + 1:02x}"


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 16384)), hard))


def _configure_host(host: EmulatedHost) -> None:
    namespace = NetworkNamespace.of_process(host.process_id)
    try:
        with namespace.entered():
            disable_ipv6()
            # One network for all, so that hosts ask for each other by ARP.
            addresses = [f"address add {address}/8 dev {host.interface}" for address in host.addresses]
            run_batch(
                "ip",
                "\n".join(["link set lo up", f"link set dev {host.interface} mtu {HOST_MTU} up", *addresses]) + "\n",
            )
            # The user-space datapath completes no checksums: without this TCP would silently never connect.
            subprocess.run(
                ["ethtool", "-K", host.interface, *_OFFLOADS_OFF],
                check=False,
                timeout=10,
                capture_output=True,
            )
    finally:
        namespace.close()


def _announce(host: EmulatedHost) -> None:
    namespace = NetworkNamespace.of_process(host.process_id)
    try:
        with namespace.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((host.interface, 0))
            mac = bytes.fromhex(host.mac.replace(":", ""))
            for address in host.addresses:
                ip = socket.inet_aton(address)
                header = struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
                raw.send((b"\xff" * 6 + mac + header + mac + ip + bytes(6) + ip).ljust(60, b"\0"))
    finally:
        namespace.close()
