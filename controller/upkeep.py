"""What the controller changes on its own: the intent follows the network it finds.  Pure functions.

New switches, links and hosts enter the intent; links get their way around; a demand seen for the first time gets the
default route; a demand whose path broke gets one when nobody else gave it a better one in time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace

from controller.intent import (
    DemandKey,
    ExplicitPath,
    IntentClass,
    IntentHost,
    IntentLink,
    NetworkIntent,
    QueueWeights,
    with_plan,
    with_topology,
)
from controller.labels import Hop, LabelTable
from controller.protection import with_protection
from controller.settings import ControllerSettings
from topology_sync.class_queues import ClassQueues
from topology_sync.discovery import DiscoveryState


def with_network(
    intent: NetworkIntent, discovery: DiscoveryState, settings: ControllerSettings, dpid_of: Callable[[str], int | None]
) -> NetworkIntent:
    """The intent with the switches, links and hosts that are known now; routes over links that are gone are dropped.

    A switch once known stays; a link stays while it is known, up or down.  Hosts stated in the settings win over
    learned ones.
    """
    queue_of = {} if settings.queues is None else settings.queues.queue_of
    switches = tuple(sorted({*intent.switches, *discovery.switches}))
    links = tuple(
        sorted(
            (IntentLink(*ends.source, *ends.target, up=record.up) for ends, record in discovery.links.items()),
            key=lambda link: link.hop,
        )
    )
    hosts = {
        f"{host.ip}/32": IntentHost(f"{host.ip}/32", host.mac, host.dpid, host.port)
        for host in discovery.hosts.values()
    }
    for host in settings.hosts:
        dpid = dpid_of(host.node)
        if dpid is not None and dpid in switches:
            prefix = str(ipaddress.IPv4Network(host.prefix))  # 10.0.0.1 is 10.0.0.1/32, as learned ones are written
            hosts[prefix] = IntentHost(prefix, host.mac, dpid, host.port)
    classes = tuple(IntentClass(entry.name, entry.dscp, queue_of.get(entry.name)) for entry in settings.classes)
    return replace(
        with_topology(intent, switches, links),
        hosts=tuple(hosts[prefix] for prefix in sorted(hosts)),
        classes=classes,
        queue_weights=valid_weights(intent, settings.queues),
    )


def valid_weights(intent: NetworkIntent, queues: ClassQueues | None) -> tuple[QueueWeights, ...]:
    """The weights that still hold: those set for the very queues that the operator asks for now."""
    if queues is None or intent.queue_of != queues.queue_of:
        return ()
    return tuple(entry for entry in intent.queue_weights if entry.configured == queues.weights)


def broken_demands(intent: NetworkIntent) -> frozenset[DemandKey]:
    """Demands of which some path has a link that is down, and those without any path."""
    up = {link.hop for link in intent.links if link.up}
    return frozenset(
        demand.key
        for demand in intent.demands
        if not demand.routes or any(hop not in up for route in demand.routes for hop in route.links)
    )


def default_routes(
    intent: NetworkIntent, keys: Iterable[DemandKey], reachable: Set[int], capacity_bps: Callable[[Hop], float]
) -> dict[DemandKey, tuple[ExplicitPath, ...]]:
    """The path of fewest hops over links that are up, for every demand that has one.

    Only switches that can be told about the path are on it.  Of parallel links the one with the largest capacity is
    taken, of equal paths the one whose first differing link has the smallest datapath id and port.
    """
    neighbours: dict[int, list[IntentLink]] = {}
    usable = [link for link in intent.links if link.up and {link.source_dpid, link.target_dpid} <= reachable]
    for link in sorted(usable, key=lambda link: (link.source_dpid, -capacity_bps(link.hop), link.hop)):
        neighbours.setdefault(link.source_dpid, []).append(link)
    trees: dict[int, dict[int, tuple[Hop, ...]]] = {}
    routes: dict[DemandKey, tuple[ExplicitPath, ...]] = {}
    for key in sorted(keys):
        tree = trees.setdefault(key.source_dpid, _tree(neighbours, key.source_dpid))
        path = tree.get(key.target_dpid, ())
        if path:
            routes[key] = (ExplicitPath(path),)
    return routes


def _tree(neighbours: Mapping[int, list[IntentLink]], source: int) -> dict[int, tuple[Hop, ...]]:
    """Breadth first: a path of fewest hops to every switch within reach."""
    reached: dict[int, tuple[Hop, ...]] = {source: ()}
    frontier = [source]
    while frontier:
        following: list[int] = []
        for dpid in frontier:
            for link in neighbours.get(dpid, ()):
                if link.target_dpid not in reached:
                    reached[link.target_dpid] = (*reached[dpid], link.hop)
                    following.append(link.target_dpid)
        frontier = following
    return reached


def kept_up(
    intent: NetworkIntent,
    labels: LabelTable,
    wanted: Iterable[DemandKey],
    to_heal: Set[DemandKey],
    reachable: Set[int],
    capacity_bps: Callable[[Hop], float],
    protect: bool,
    just_down: Set[Hop] = frozenset(),
) -> tuple[NetworkIntent, LabelTable]:
    """Default routes for new demands (``wanted``) and for broken ones whose time is up, and ways around all links.

    ``protect`` False leaves the ways around as they are: while links are still being found, short ones are not seen.
    Links in ``just_down`` may well come back, so ways around others that lead over them stay too.
    """
    pathless = {demand.key for demand in intent.demands if not demand.routes}
    keys = {key for key in wanted if key not in intent.demand_of} | pathless | (to_heal & broken_demands(intent))
    routes = default_routes(intent, keys, reachable, capacity_bps)
    if routes:
        intent, labels = with_plan(intent, labels, routes)
    if not protect:
        return intent, labels
    hoped = tuple(replace(link, up=link.up or link.hop in just_down) for link in intent.links)
    protected, labels = with_protection(replace(intent, links=hoped), labels)
    return replace(protected, links=intent.links), labels
