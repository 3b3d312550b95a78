"""Random networks, routings and changes for property tests, and what an intent promises to each packet."""

from __future__ import annotations

import ipaddress
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import networkx as nx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from controller.intent import (
    DemandKey,
    ExplicitPath,
    IntentClass,
    IntentDemand,
    IntentHost,
    IntentLink,
    IntentRoute,
    NetworkIntent,
    with_plan,
)
from controller.labels import Hop, LabelTable
from controller.protection import with_protection
from controller.rules import ETHERTYPE_ARP
from controller.simulated_network import SimulatedNetwork, Trace, trace
from controller.simulated_switch import Packet
from controller.update_steps import AddFlow, DeleteFlow, Message, Stage

CLASSES = (IntentClass("voice", (46, 40)), IntentClass("video", (34,)), IntentClass("rest"))
QUEUED_CLASSES = tuple(replace(entry, queue=queue) for entry, queue in zip(CLASSES, (2, 0, 1), strict=True))
DSCPS = (46, 34, 0, 40)
HOST_PORT = 100


@dataclass(frozen=True)
class Sample:
    """A network with its cables, an intent on it, and the state of the label allocator."""

    intent: NetworkIntent
    labels: LabelTable

    def cables(self) -> dict[Hop, Hop]:
        return {link.hop: Hop(link.target_dpid, link.target_port) for link in self.intent.links}

    def network(self) -> SimulatedNetwork:
        return SimulatedNetwork(self.intent.switches, self.cables())


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


def searched(examples: int) -> settings:
    """How long to search for a counterexample; long with ``HYPOTHESIS_PROFILE=thorough pytest --timeout=0``."""
    return settings(
        max_examples=20 * examples if THOROUGH else examples,
        deadline=None,
        derandomize=not THOROUGH,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def seeds() -> st.SearchStrategy[random.Random]:
    return st.integers(0, 2**32 - 1).map(random.Random)


@st.composite
def samples(
    draw: st.DrawFn, smallest: int = 4, largest: int = 12 if THOROUGH else 7, queued: bool | None = None
) -> tuple[Sample, random.Random]:
    """A connected network with hosts, nested prefixes, demands (some split) and protection; and a source of chance.

    ``queued``: whether every class has a queue; None: some networks have them and others do not.
    """
    chance = draw(seeds())
    classes = QUEUED_CLASSES if draw(st.booleans() if queued is None else st.just(queued)) else CLASSES
    links = _links(chance, draw(st.integers(smallest, largest)), draw(st.integers(0, 8)))
    switches = tuple(sorted({link.source_dpid for link in links}))
    intent = NetworkIntent(switches, links, random_hosts(chance, switches), classes)
    intent, labels = with_protection(intent, LabelTable())
    intent, labels = with_plan(intent, labels, random_routes(chance, intent, all_keys(intent), 0.8))
    return Sample(intent, labels), chance


def _links(chance: random.Random, count: int, extra: int) -> tuple[IntentLink, ...]:
    """A random tree and ``extra`` more cables, parallel ones included; datapath ids with gaps, ports from 1 up."""
    dpids = chance.sample(range(1, 40), count)
    pairs = [(dpid, chance.choice(dpids[:position])) for position, dpid in enumerate(dpids) if position]
    pairs += [tuple(chance.sample(dpids, 2)) for _ in range(extra)]
    next_port = dict.fromkeys(dpids, 1)
    links = []
    for first, second in pairs:
        ports = next_port[first], next_port[second]
        next_port[first] += 1
        next_port[second] += 1
        links += [IntentLink(first, ports[0], second, ports[1]), IntentLink(second, ports[1], first, ports[0])]
    return tuple(sorted(links, key=lambda link: link.hop))


def random_hosts(chance: random.Random, switches: tuple[int, ...]) -> tuple[IntentHost, ...]:
    """Some hosts, gateways with prefixes around or within them, and maybe a default gateway."""
    prefixes = [f"10.{net}.{host}.1/32" for net in range(2) for host in range(3)]
    prefixes += ["10.0.0.0/24", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]
    return tuple(
        IntentHost(prefix, "02:00:00:00:00:01", chance.choice(switches), HOST_PORT + chance.randrange(3))
        for prefix in prefixes
        if chance.random() < (0.8 if prefix.endswith("/32") else 0.4)
    )


def all_keys(intent: NetworkIntent) -> list[DemandKey]:
    """Every demand that hosts could need."""
    egresses = sorted({host.dpid for host in intent.hosts})
    return [
        DemandKey(ingress, egress, entry.name)
        for ingress in intent.switches
        for egress in egresses
        for entry in intent.classes
        if ingress != egress
    ]


def random_routes(
    chance: random.Random, intent: NetworkIntent, keys: list[DemandKey], ratio: float
) -> dict[DemandKey, list[ExplicitPath]]:
    """Random paths, one to three each, for a random part of the demands."""
    return {key: random_paths(chance, intent, key) for key in keys if chance.random() < ratio}


def random_paths(chance: random.Random, intent: NetworkIntent, key: DemandKey) -> list[ExplicitPath]:
    wanted = chance.choice((1, 1, 2, 3))
    links = {random_path(chance, intent, key.source_dpid, key.target_dpid) for _ in range(wanted)}
    return [ExplicitPath(path, chance.randint(1, 4)) for path in sorted(links)]


def random_path(chance: random.Random, intent: NetworkIntent, source: int, target: int) -> tuple[Hop, ...]:
    """A random loop-free path, by depth-first search in random order."""
    neighbours: dict[int, list[IntentLink]] = {}
    for link in intent.links:
        neighbours.setdefault(link.source_dpid, []).append(link)

    def search(at: int, seen: frozenset[int]) -> tuple[Hop, ...] | None:
        if at == target:
            return ()
        for link in chance.sample(neighbours[at], len(neighbours[at])):
            if link.target_dpid not in seen:
                rest = search(link.target_dpid, seen | {link.target_dpid})
                if rest is not None:
                    return (link.hop, *rest)
        return None

    path = search(source, frozenset({source}))
    assert path is not None
    return path


def next_plan(sample: Sample, chance: random.Random, ratio: float = 0.5) -> Sample:
    """New routes for some demands: some keep a path, some change only weights, some are new, some go."""
    intent = sample.intent
    routes = random_routes(chance, intent, all_keys(intent), ratio)
    for key in list(routes):
        present = intent.demand_of.get(key)
        if present is None or not present.routes:
            continue
        kept = [ExplicitPath(route.links, chance.randint(1, 4)) for route in present.routes]
        what = chance.random()
        if what < 0.2:
            routes[key] = kept
        elif what < 0.4:
            merged = {path.links: path for path in routes[key] + kept[:1]}
            routes[key] = list(merged.values())
    intent, labels = with_plan(intent, sample.labels, routes)
    if chance.random() < 0.3:
        intent = replace(intent, demands=tuple(demand for demand in intent.demands if chance.random() < 0.9))
    if chance.random() < 0.5:
        intent, labels = with_protection(with_links_down(intent, chance), labels)
    return Sample(intent, labels)


Visit = tuple[int, Packet]
"""A packet and the switch where it enters."""

Ending = tuple[str, int, int, tuple[Hop, ...], float]
"""Kind of outcome, switch, port, links taken, share of the flows."""

Endings = tuple[Ending, ...]
"""All ways of one packet, sorted."""


def visits(*intents: NetworkIntent) -> list[Visit]:
    """One packet for everything that an intent can tell apart: each ingress, prefix and class."""
    addresses = {"192.0.2.1"}
    for intent in intents:
        for host in intent.hosts:
            network = ipaddress.IPv4Network(host.prefix)
            addresses |= {str(network.network_address + (0 if network.prefixlen == 32 else 9))}
    switches = sorted({dpid for intent in intents for dpid in intent.switches})
    return [
        (dpid, Packet(ipv4_dst=address, ip_dscp=dscp))
        for dpid in switches
        for address in sorted(addresses)
        for dscp in DSCPS[: 4 if dpid == switches[0] else 3]
    ]


def host_of(intent: NetworkIntent, packet: Packet) -> IntentHost | None:
    """Whose packet it is: the longest prefix wins."""
    address = ipaddress.IPv4Address(packet.ipv4_dst)
    fitting = [host for host in intent.hosts if address in ipaddress.IPv4Network(host.prefix)]
    return max(fitting, key=lambda host: ipaddress.IPv4Network(host.prefix).prefixlen, default=None)


def demand_for(intent: NetworkIntent, visit: Visit) -> IntentDemand | None:
    """The demand that the packet belongs to, if it has one."""
    dpid, packet = visit
    host = host_of(intent, packet)
    name = next((entry.name for entry in intent.classes if packet.ip_dscp in entry.dscp), "rest")
    return None if host is None else intent.demand_of.get(DemandKey(dpid, host.dpid, name))


def promised(intent: NetworkIntent, visit: Visit, dead: frozenset[Hop] = frozenset()) -> Endings:
    """What the intent promises while the links ``dead`` are down, worked out without any rules."""
    dpid, packet = visit
    host = host_of(intent, packet)
    if host is not None and host.dpid == dpid:
        return (("delivered", dpid, host.port, (), 1.0),)
    demand = demand_for(intent, visit)
    if host is None or demand is None:
        return (("controller", dpid, 0, (), 1.0),)
    if not demand.routes:
        return (("dropped", dpid, 0, (), 1.0),)
    total = sum(route.weight for route in demand.routes)
    return tuple(sorted(_along(intent, route, host, dead, route.weight / total) for route in demand.routes))


def _along(intent: NetworkIntent, route: IntentRoute, host: IntentHost, dead: frozenset[Hop], share: float) -> Ending:
    taken: list[Hop] = []
    for hop in route.links:
        if hop not in dead:
            taken.append(hop)
            continue
        around = intent.bypass_of[hop].hops if hop in intent.bypass_of else ()
        for step in around:
            if step in dead:
                return ("dropped", step.dpid, 0 if step == around[0] else step.port, tuple(taken), share)
            taken.append(step)
        if not around:
            return ("dropped", hop.dpid, 0, tuple(taken), share)
    return ("delivered", host.dpid, host.port, tuple(taken), share)


def delivery_port(intent: NetworkIntent, dpid: int, packet: Packet) -> int | None:
    """Where a packet comes out that has reached switch ``dpid``."""
    host = host_of(replace(intent, hosts=tuple(host for host in intent.hosts if host.dpid == dpid)), packet)
    return None if host is None else host.port


def endings(traces: list[Trace]) -> Endings:
    """What became of a packet; fails if any way multiplies it or goes in circles."""
    for way in traces:
        assert len(way.outcomes) == 1, way
        assert way.outcomes[0].reason not in ("loop", "groups in a circle", "output to the ingress port"), way
    return tuple(sorted((end.kind, end.dpid, end.port, end.hops, way.share) for way in traces for end in way.outcomes))


class Watcher:
    """Traces packets again whenever a switch that they pass has changed in something that they could meet there."""

    def __init__(self, network: SimulatedNetwork, watched: list[Visit]) -> None:
        self.network = network
        self.seen: dict[Visit, Endings] = {}
        self.labels: dict[Visit, frozenset[int]] = {}
        self.queues: dict[Visit, frozenset[tuple[int | None, int | None]]] = {}
        self.passing: dict[int, set[Visit]] = {dpid: set() for dpid in network.switches}
        for visit in watched:
            self._look(visit)

    def _look(self, visit: Visit) -> None:
        traces = trace(self.network, visit[0], HOST_PORT + 50, visit[1])
        self.seen[visit] = endings(traces)
        self.labels[visit] = frozenset(
            label for way in traces for end in way.outcomes for stack in end.labels for label in stack
        )
        self.queues[visit] = frozenset(queue for way in traces for end in way.outcomes for queue in end.queues)
        for way in traces:
            for dpid in {visit[0], *(hop.dpid for hop in way.outcomes[0].hops), way.outcomes[0].dpid}:
                self.passing[dpid].add(visit)

    def _may_meet(self, visit: Visit, dpid: int, message: Message) -> bool:
        if not isinstance(message, AddFlow | DeleteFlow):
            return True
        match, table = message.flow.match, message.flow.table
        if match.eth_type == ETHERTYPE_ARP:
            return False
        if match.mpls_label is not None:
            return match.mpls_label in self.labels[visit]
        if table < 2 and visit[0] != dpid:
            return False  # unlabelled packets meet tables 0 and 1 only where they enter
        address = ipaddress.IPv4Address(visit[1].ipv4_dst)
        return match.ipv4_dst is None or address in ipaddress.IPv4Network(match.ipv4_dst)

    def apply(self, dpid: int, message: Message) -> Iterator[tuple[Visit, Endings]]:
        """Carry the message out and look again at every packet that it may concern."""
        self.network.apply(dpid, message)
        concerned = {visit for visit in self.passing[dpid] if self._may_meet(visit, dpid, message)}
        self.passing[dpid] -= concerned
        for visit in concerned:
            self._look(visit)
            yield visit, self.seen[visit]


def interleaved(stage: Stage, chance: random.Random) -> list[tuple[int, Message]]:
    """The messages of a stage in some order in which concurrent switches could carry them out."""
    rest = {dpid: list(messages) for dpid, messages in stage.items()}
    merged = []
    while rest:
        dpid = chance.choice(sorted(rest))
        merged.append((dpid, rest[dpid].pop(0)))
        if not rest[dpid]:
            del rest[dpid]
    return merged


def with_links_down(intent: NetworkIntent, chance: random.Random, count: int = 3) -> NetworkIntent:
    """The same network with some directed links down, as discovery would say."""
    down = frozenset(chance.sample(range(len(intent.links)), min(count, len(intent.links))))
    links = tuple(replace(link, up=place not in down) for place, link in enumerate(intent.links))
    return replace(intent, links=links)


def is_bridge(intent: NetworkIntent, hop: Hop) -> bool:
    """Whether the network falls apart without the cable of this link."""
    graph = nx.MultiGraph((link.source_dpid, link.target_dpid, link.hop) for link in intent.links)
    link = intent.link_of[hop]
    graph.remove_edge(link.source_dpid, link.target_dpid, hop)
    graph.remove_edge(link.source_dpid, link.target_dpid, Hop(link.target_dpid, link.target_port))
    return not nx.is_connected(graph)
