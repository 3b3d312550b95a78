"""Cheapest paths at weights that differ from demand to demand: many a second, by the compiled search of ``exact``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from optimizer.exact.flow_problem import leaving_links
from optimizer.exact.shortest_paths import shortest_tree
from topology_sync.topology import Topology
from topology_sync.values import BoolArray, FloatArray, IntArray, int_array


@dataclass(eq=False)
class CheapestPaths:
    """Finds paths through one topology; not to be used from several threads at once."""

    topology: Topology
    _out_pointer: IntArray = field(init=False)
    _out_link: IntArray = field(init=False)

    def __post_init__(self) -> None:
        topology = self.topology
        links, nodes = topology.link_count, topology.node_count
        self._out_pointer, self._out_link = leaving_links(topology)
        self._head, self._tail = int_array(topology.link_target), topology.link_source.tolist()
        self._distance, self._via = np.empty(nodes), np.empty(nodes, dtype=np.int64)
        self._heap_key, self._heap_node = np.empty(links + 1), np.empty(links + 1, dtype=np.int64)

    def between(self, source: int, target: int, weight: FloatArray, usable: BoolArray) -> tuple[int, ...] | None:
        """The path of least total ``weight`` [links] over ``usable`` [links] as link ids; None without any way."""
        weight = np.ascontiguousarray(np.where(usable, weight, np.inf))
        shortest_tree(
            source,
            self._out_pointer,
            self._out_link,
            self._head,
            weight,
            self._distance,
            self._via,
            self._heap_key,
            self._heap_node,
        )
        if not np.isfinite(self._distance[target]):
            return None
        path: list[int] = []
        via, node = self._via, target
        while node != source:
            path.append(int(via[node]))
            node = self._tail[path[-1]]
        return tuple(reversed(path))
