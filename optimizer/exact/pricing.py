"""The cheapest path of every demand at given link prices, and the lower bound that these prices prove.

For any prices y >= 0, LP duality gives  max utilisation >= sum_d rate_d dist_y(s_d, t_d) / sum_e y_e c_e.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from optimizer.exact.flow_problem import FlowProblem, LinkArray
from optimizer.exact.shortest_paths import price_demands, tree_paths
from topology_sync.values import FloatArray, IntArray

NODES_FOR_THREADS = 60
THREADS = 2


class PathPricing(Protocol):
    """Finds the cheapest permitted path of every demand."""

    def price(self, weight: FloatArray) -> FloatArray:
        """Least price of a permitted way per demand at prices ``weight`` [links], [demands]; infinite without any."""

    def paths(self, chosen: IntArray) -> tuple[IntArray, LinkArray]:
        """The cheapest paths found last of the ``chosen`` demands: ``pointer`` [chosen + 1] and their links."""


@dataclass(eq=False)
class ShortestPathPricing:
    """Prices all demands; ``distance`` [demands] and the trees are those of the last call of ``price``."""

    problem: FlowProblem
    distance: FloatArray = field(init=False)
    _via: LinkArray = field(init=False)

    def __post_init__(self) -> None:
        nodes = self.problem.node_count
        self.distance = np.full(self.problem.demand_count, np.inf)
        self._via = np.empty((nodes, nodes), dtype=np.int32)

    def price(self, weight: FloatArray) -> FloatArray:
        """Least price of a way per demand, [demands]; infinite where there is none."""
        nodes = self.problem.node_count
        if nodes < NODES_FOR_THREADS:
            self._part(0, nodes, weight)
        else:
            middle = nodes // THREADS
            with ThreadPoolExecutor(THREADS - 1) as pool:
                other = pool.submit(self._part, middle, nodes, weight)
                self._part(0, middle, weight)
                other.result()
        return self.distance

    def _part(self, first: int, last: int, weight: FloatArray) -> None:
        problem = self.problem
        price_demands(
            first,
            last,
            problem.out_pointer,
            problem.out_link,
            problem.head,
            weight,
            problem.source_pointer,
            problem.target,
            self.distance,
            self._via,
        )

    def paths(self, chosen: IntArray) -> tuple[IntArray, LinkArray]:
        """Cheapest paths of the ``chosen`` demands: ``pointer`` [chosen + 1] and links behind each other."""
        problem = self.problem
        pointer = np.empty(len(chosen) + 1, dtype=np.int64)
        links = np.empty(16 * len(chosen) + 64, dtype=np.int32)
        while True:
            needed = tree_paths(chosen, problem.source, problem.target, problem.tail, self._via, pointer, links)
            if needed <= len(links):
                return pointer, links[:needed]
            links = np.empty(needed, dtype=np.int32)
