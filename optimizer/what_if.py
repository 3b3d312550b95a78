"""What a set of changes makes of a scenario, and what the network does about it by itself.

Failures: the controller's protection (ARCHITECTURE.md, "Protection at every hop") sends packets of a dead link over its
bypass, the way with fewest hops around it, and then on along their own path, so a detour may pass a node twice.  A dead
node has no way around it to itself, so paths through it deliver nothing until they are re-routed.  ``shortest`` models
a network without such protection whose control plane moves every broken demand to a path with fewest hops.

Drains are planned: what crosses a drained link or node is moved to a path with fewest hops before it goes away.
Links that are down stay in the topology, without traffic, so that link ids and names keep their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from optimizer.candidates import UsableLinks
from optimizer.displaced import displaced_demands
from topology_sync.paths import fewest_hops_paths
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.values import BoolArray, FloatArray, float_array

FallbackKind = Literal["bypass", "shortest"]
Path = tuple[int, ...]


@dataclass(frozen=True)
class Changes:
    """What happens to a network; links by id (each direction its own), nodes by id, factors by class name.

    ``capacity_bps`` gives existing links another capacity, ``new_links`` are added behind the existing ones.
    """

    failed_links: frozenset[int] = frozenset()
    failed_nodes: frozenset[int] = frozenset()
    drained_links: frozenset[int] = frozenset()
    drained_nodes: frozenset[int] = frozenset()
    traffic_factor: float = 1.0
    class_factor: Mapping[str, float] = field(default_factory=dict)
    capacity_bps: Mapping[int, float] = field(default_factory=dict)
    new_links: tuple[Link, ...] = ()


@dataclass(frozen=True, eq=False)
class ChangedNetwork:
    """The scenario after the changes, still with the routing from before, and which of its links may be used."""

    scenario: Scenario
    usable: UsableLinks


@dataclass(frozen=True, eq=False)
class Fallback:
    """Where traffic goes without the optimizer.

    ``routing`` is aligned with the demands; ``lost_share`` [demands] is the part of each that no path carries any more
    (1: cut off, its paths are those from before).  ``rerouted`` are the demands whose packets take another way.
    """

    routing: Routing
    lost_share: FloatArray
    rerouted: frozenset[int]


def changed_network(scenario: Scenario, changes: Changes) -> ChangedNetwork:
    """Apply ``changes``; raises ScenarioError where a new link does not fit the topology."""
    topology = scenario.topology
    capacity = topology.capacity_bps.copy()
    for link, value in changes.capacity_bps.items():
        capacity[link] = value
    topology = replace(topology, capacity_bps=float_array(capacity))
    if changes.new_links:
        topology = Topology.from_links(
            topology.node_names, (*topology.links_of(), *changes.new_links), topology.schedulers
        )
    traffic = scenario.traffic
    factor = np.array([changes.class_factor.get(name, 1.0) for name in traffic.class_names])
    rate = traffic.rate_bps * changes.traffic_factor * factor[traffic.traffic_class]
    return ChangedNetwork(
        replace(scenario, topology=topology, traffic=traffic.with_rates(float_array(rate))),
        _usable(topology, changes),
    )


def _usable(topology: Topology, changes: Changes) -> UsableLinks:
    ids = np.arange(topology.link_count)
    dead_nodes = list(changes.failed_nodes)
    up = ~(
        np.isin(ids, list(changes.failed_links))
        | np.isin(topology.link_source, dead_nodes)
        | np.isin(topology.link_target, dead_nodes)
    )
    return UsableLinks(up, up & ~np.isin(ids, list(changes.drained_links)), changes.drained_nodes)


def fallback_of(network: ChangedNetwork, kind: FallbackKind = "bypass") -> Fallback:
    """What becomes of the routing from before; nothing where nothing failed and nothing is drained."""
    scenario, usable = network.scenario, network.usable
    ways = _Ways(scenario.topology, usable)
    drained = set(displaced_demands(scenario, usable))
    routed = list(scenario.routing.paths)
    lost = np.zeros(len(routed))
    rerouted = set()
    for demand, paths in enumerate(scenario.routing.paths):
        dead = any(not usable.up[link] for path in paths for link in path.links)
        if dead and kind == "bypass":
            kept = [(ways.around_failures(path.links), path.share) for path in paths]
            carried = sum(share for path, share in kept if path)
            lost[demand] = 1.0 - carried if carried < 1.0 - 1e-9 else 0.0
            if carried > 0:
                routed[demand] = tuple(PathShare(path, share / carried) for path, share in kept if path)
                rerouted.add(demand)
        elif dead or demand in drained:
            way = ways.fewest_hops(*_ends(scenario, demand))
            if way:
                routed[demand] = (PathShare(way),)
                rerouted.add(demand)
            elif dead:
                lost[demand] = 1.0
    return Fallback(Routing(tuple(routed)), float_array(lost), frozenset(rerouted))


def repaired_routing(network: ChangedNetwork, fallback: Fallback) -> tuple[Routing, frozenset[int]]:
    """The fallback without its loops, as paths that can be installed, and the demands that no way is left for.

    Demands that the fallback loses, in part or whole, get one path with fewest hops where there is any.
    """
    scenario = network.scenario
    ways = _Ways(scenario.topology, network.usable)
    routed = list(fallback.routing.paths)
    unreachable = set()
    for demand, paths in enumerate(fallback.routing.paths):
        if fallback.lost_share[demand] > 0:
            way = ways.fewest_hops(*_ends(scenario, demand))
            if way:
                routed[demand] = (PathShare(way),)
            elif fallback.lost_share[demand] >= 1.0:
                unreachable.add(demand)
        elif demand in fallback.rerouted:
            routed[demand] = _without_loops(scenario.topology, paths)
    return Routing(tuple(routed)), frozenset(unreachable)


def _without_loops(topology: Topology, paths: tuple[PathShare, ...]) -> tuple[PathShare, ...]:
    shares: dict[Path, float] = {}
    for path in paths:
        kept: list[int] = []
        for link in path.links:
            target = topology.link_target[link]
            kept.append(link)
            for position, before in enumerate(kept):
                if topology.link_source[before] == target:
                    del kept[position:]
                    break
        shares[tuple(kept)] = shares.get(tuple(kept), 0.0) + path.share
    return tuple(PathShare(links, share) for links, share in shares.items())


def _ends(scenario: Scenario, demand: int) -> tuple[int, int]:
    return int(scenario.traffic.source[demand]), int(scenario.traffic.target[demand])


@dataclass(eq=False)
class _Ways:
    """Bypasses and paths with fewest hops, each found once."""

    topology: Topology
    usable: UsableLinks
    _bypass: dict[int, Path] = field(default_factory=dict)
    _path: dict[tuple[int, int], Path] = field(default_factory=dict)

    def around_failures(self, links: Path) -> Path:
        """The links that packets of a path now take, () where it is cut."""
        way: list[int] = []
        for link in links:
            detour = (link,) if self.usable.up[link] else self.bypass(link)
            if not detour:
                return ()
            way += detour
        return tuple(way)

    def bypass(self, link: int) -> Path:
        """The way around a link: the one installed before where all of it is alive, else over what is left."""
        if link not in self._bypass:
            installed = self._around(link, np.ones(self.topology.link_count, dtype=np.bool_))
            alive = all(self.usable.up[hop] for hop in installed)
            self._bypass[link] = installed if alive else self._around(link, self.usable.up)
        return self._bypass[link]

    def _around(self, link: int, up: BoolArray) -> Path:
        up = up.copy()
        up[link] = False
        ends = int(self.topology.link_source[link]), int(self.topology.link_target[link])
        return fewest_hops_paths(self.topology, [ends], up)[0] or ()

    def fewest_hops(self, source: int, target: int) -> Path:
        """The shortest usable path, () where there is none."""
        ends = (source, target)
        if ends not in self._path:
            usable = self.usable.for_ends(self.topology, source, target)
            self._path[ends] = fewest_hops_paths(self.topology, [ends], usable)[0] or ()
        return self._path[ends]
