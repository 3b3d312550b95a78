"""The paths that a demand may be moved to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from optimizer.settings import MaintenanceSettings
from topology_sync.network_state import NetworkState
from topology_sync.paths import k_shortest_paths
from topology_sync.topology import Topology
from topology_sync.values import BoolArray, FloatArray

PATHS_PER_WEIGHT = 4


@dataclass(frozen=True, eq=False)
class UsableLinks:
    """Which links may carry traffic: ``up`` is what is alive, ``allowed`` [links] leaves out links under maintenance
    too; nodes under maintenance may only be ends.
    """

    up: BoolArray
    allowed: BoolArray
    end_only_nodes: frozenset[int] = frozenset()

    @classmethod
    def all_of(cls, topology: Topology) -> UsableLinks:
        """Every link is up and nothing is under maintenance."""
        everything = np.ones(topology.link_count, dtype=np.bool_)
        return cls(everything, everything)

    def for_ends(self, topology: Topology, source: int, target: int) -> BoolArray:
        """Links that a demand between these nodes may use, [links]."""
        barred = [node for node in self.end_only_nodes if node not in (source, target)]
        if not barred:
            return self.allowed
        result: BoolArray = (
            self.allowed & ~np.isin(topology.link_source, barred) & ~np.isin(topology.link_target, barred)
        )
        return result


def usable_links(state: NetworkState, maintenance: MaintenanceSettings) -> UsableLinks:
    """What may carry traffic now.  Maintenance that names unknown links or nodes touches nothing."""
    topology = state.scenario.topology
    closed = {frozenset(pair) for pair in maintenance.links}
    names = topology.node_names
    allowed = np.array(
        [
            bool(state.links.up[link])
            and frozenset((names[topology.link_source[link]], names[topology.link_target[link]])) not in closed
            for link in range(topology.link_count)
        ],
        dtype=np.bool_,
    )
    index = topology.node_index
    nodes = frozenset(index[name] for name in maintenance.nodes if name in index)
    return UsableLinks(np.asarray(state.links.up, dtype=np.bool_), allowed, nodes)


@dataclass(eq=False)
class CandidatePaths:
    """Candidate paths per pair of nodes, found when first asked for and then kept.

    Shortest by hops, by 1/capacity and by propagation delay, ``per_weight`` of each.  The paths that present load makes
    attractive change too fast to keep: ``local_search`` asks ``shortest_path`` for those.
    """

    topology: Topology
    usable: UsableLinks
    per_weight: int = PATHS_PER_WEIGHT
    _known: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    def between(self, source: int, target: int) -> tuple[tuple[int, ...], ...]:
        """Candidate paths as link ids, fewest hops first; empty where there is no way."""
        pair = (source, target)
        if pair not in self._known:
            self._known[pair] = self._find(source, target)
        return self._known[pair]

    def _find(self, source: int, target: int) -> tuple[tuple[int, ...], ...]:
        usable = self.usable.for_ends(self.topology, source, target)
        found: dict[tuple[int, ...], None] = {}
        for weights in self._weights:
            for path in k_shortest_paths(self.topology, source, target, self.per_weight, weights, usable):
                found[path] = None
        return tuple(sorted(found, key=lambda path: (len(path), path)))

    @property
    def _weights(self) -> list[FloatArray]:
        topology = self.topology
        hops = np.ones(topology.link_count)
        inverse_capacity = topology.capacity_bps.max(initial=0.0) / topology.capacity_bps
        choices = [hops]
        if np.ptp(inverse_capacity) > 0:
            choices.append(inverse_capacity)
        if np.ptp(topology.delay_s) > 0:
            choices.append(topology.delay_s + 1e-6)
        return choices


@dataclass(eq=False)
class CandidateCache:
    """The candidate paths of the last topology seen, reused as long as what may carry traffic stays the same."""

    _last: CandidatePaths | None = None

    def get(self, topology: Topology, usable: UsableLinks) -> CandidatePaths:
        """Candidate paths for this topology."""
        last = self._last
        if (
            last is None
            or last.topology != topology
            or not np.array_equal(last.usable.allowed, usable.allowed)
            or last.usable.end_only_nodes != usable.end_only_nodes
        ):
            last = self._last = CandidatePaths(topology, usable)
        return last
