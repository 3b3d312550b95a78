"""The routing that a linear programme starts from and moves demands away from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.exact.compiled import compiled
from optimizer.exact.flow_problem import FlowProblem, LinkArray
from optimizer.exact.single_paths import SinglePaths
from topology_sync.routing import Routing
from topology_sync.values import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class KeyRouting:
    """Hops of demand d are ``pointer[d] : pointer[d + 1]``; ``share`` [hops] is how much of the demand takes each.

    ``load`` [links] is what all demands sum to.
    """

    pointer: IntArray
    links: LinkArray
    share: FloatArray
    load: FloatArray

    @classmethod
    def of_paths(cls, paths: SinglePaths) -> KeyRouting:
        """One path per demand."""
        pointer, links = paths.flat()
        return cls(pointer, links, np.ones(len(links)), paths.load.copy())

    @classmethod
    def of_routing(cls, problem: FlowProblem, routing: Routing) -> KeyRouting:
        """A routing that may split, of the traffic matrix that ``problem`` was made of."""
        counts, links, share = [], [], []
        for demand in problem.original.tolist():
            paths = routing.paths[demand]
            counts.append(sum(len(path.links) for path in paths))
            for path in paths:
                links += path.links
                share += [path.share] * len(path.links)
        pointer = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        link_array, share_array = np.array(links, dtype=np.int32), np.array(share, dtype=np.float64)
        weight = np.repeat(problem.rate, counts) * share_array
        load = np.bincount(link_array, weights=weight, minlength=problem.link_count).astype(np.float64)
        return cls(pointer, link_array, share_array, load)

    def prices(self, weight: FloatArray) -> FloatArray:
        """What a unit of each demand pays at link prices ``weight``, [demands]."""
        result = np.empty(len(self.pointer) - 1)
        _key_prices(self.pointer, self.links, self.share, weight, result)
        return result

    def differences(
        self, problem: FlowProblem, demand: IntArray, pointer: IntArray, links: LinkArray
    ) -> tuple[IntArray, IntArray, FloatArray]:
        """What taking each path whole adds to the utilisation of links: ``start`` [paths + 1], link and value."""
        lengths = self.pointer[demand + 1] - self.pointer[demand]
        room = int(len(links) + lengths.sum())
        start = np.empty(len(demand) + 1, dtype=np.int64)
        index, value = np.empty(room, dtype=np.int64), np.empty(room)
        _differences(
            demand,
            pointer,
            links,
            self.pointer,
            self.links,
            self.share,
            problem.rate,
            problem.capacity,
            np.zeros(problem.link_count),
            start,
            index,
            value,
        )
        return start, index[: start[-1]], value[: start[-1]]


@compiled
def _key_prices(pointer: IntArray, links: LinkArray, share: FloatArray, weight: FloatArray, price: FloatArray) -> None:
    for demand in range(len(price)):
        total = 0.0
        for hop in range(pointer[demand], pointer[demand + 1]):
            total += weight[links[hop]] * share[hop]
        price[demand] = total


@compiled
def _differences(
    demand: IntArray,
    pointer: IntArray,
    links: LinkArray,
    key_pointer: IntArray,
    key_links: LinkArray,
    key_share: FloatArray,
    rate: FloatArray,
    capacity: FloatArray,
    part: FloatArray,
    start: IntArray,
    index: IntArray,
    value: FloatArray,
) -> None:
    used = 0
    for path in range(len(demand)):
        start[path] = used
        moved = demand[path]
        for hop in range(pointer[path], pointer[path + 1]):
            part[links[hop]] += 1.0
        for hop in range(key_pointer[moved], key_pointer[moved + 1]):
            part[key_links[hop]] -= key_share[hop]
        for hop in range(pointer[path], pointer[path + 1]):
            link = links[hop]
            if abs(part[link]) > 1e-12:
                index[used] = link
                value[used] = part[link] * rate[moved] / capacity[link]
                used += 1
            part[link] = 0.0
        for hop in range(key_pointer[moved], key_pointer[moved + 1]):
            link = key_links[hop]
            if abs(part[link]) > 1e-12:
                index[used] = link
                value[used] = part[link] * rate[moved] / capacity[link]
                used += 1
            part[link] = 0.0
    start[len(demand)] = used
