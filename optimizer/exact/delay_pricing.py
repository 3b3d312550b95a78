"""Cheapest paths within a delay limit: exact, by labels in order of price.

A label at a node is a (price, delay) of a way to it.  Labels leave the heap in order of price, so one is dominated
exactly if an earlier one at its node was not slower; a demand's path is the first label at its target within its limit.
Labels that cannot reach any target of their source in time are not made (least remaining delays are known beforehand).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from optimizer.exact.compiled import compiled
from optimizer.exact.flow_problem import FlowProblem, LinkArray
from optimizer.exact.shortest_paths import shortest_tree
from topology_sync.errors import InputError
from topology_sync.values import FloatArray, IntArray

DELAY_TOLERANCE_S = 1e-12
FIRST_LABELS = 4096


@dataclass(eq=False)
class DelayBoundPricing:
    """``PathPricing`` within ``problem.delay_limit_s``."""

    problem: FlowProblem
    distance: FloatArray = field(init=False)
    _slack_s: FloatArray = field(init=False)  # [nodes, nodes]: latest useful arrival at a node on ways from a source
    _pointer: IntArray = field(init=False)
    _links: LinkArray = field(init=False)

    def __post_init__(self) -> None:
        problem = self.problem
        self.distance = np.full(problem.demand_count, np.inf)
        self._slack_s = np.full((problem.node_count, problem.node_count), -np.inf)
        ahead = least_delays(problem)
        for demand in range(problem.demand_count):
            source, target = problem.source[demand], problem.target[demand]
            np.maximum(
                self._slack_s[source],
                problem.delay_limit_s[demand] + DELAY_TOLERANCE_S - ahead[:, target],
                out=self._slack_s[source],
            )
        self._pointer = np.zeros(problem.demand_count + 1, dtype=np.int64)
        self._links = np.empty(0, dtype=np.int32)
        self._room = FIRST_LABELS

    def price(self, weight: FloatArray) -> FloatArray:
        """Least price within the limit per demand, [demands]."""
        problem = self.problem
        parts: list[LinkArray] = []
        lengths = np.zeros(problem.demand_count, dtype=np.int64)
        self.distance[:] = np.inf
        for source in np.flatnonzero(np.diff(problem.source_pointer)).tolist():
            first, last = problem.source_pointer[source], problem.source_pointer[source + 1]
            while True:
                links = np.empty((last - first) * problem.node_count, dtype=np.int32)
                done = _label(
                    source,
                    self._room,
                    problem.out_pointer,
                    problem.out_link,
                    problem.head,
                    problem.tail,
                    weight,
                    problem.delay_s,
                    self._slack_s[source],
                    problem.target[first:last],
                    problem.delay_limit_s[first:last],
                    self.distance[first:last],
                    lengths[first:last],
                    links,
                )
                if done:
                    break
                self._room *= 2
            parts.append(links[: lengths[first:last].sum()])
        self._pointer = np.concatenate([[0], np.cumsum(lengths)])
        self._links = np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
        return self.distance

    def paths(self, chosen: IntArray) -> tuple[IntArray, LinkArray]:
        """Paths of the ``chosen`` demands found last."""
        pieces = [self._links[self._pointer[demand] : self._pointer[demand + 1]] for demand in chosen.tolist()]
        pointer = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)])
        return pointer, np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int32)


def least_delays(problem: FlowProblem) -> FloatArray:
    """Least propagation delay from every node to every node over the usable links, [nodes, nodes]."""
    nodes = problem.node_count
    result = np.empty((nodes, nodes))
    via, heap = np.empty(nodes, dtype=np.int64), np.empty(problem.link_count + 1, dtype=np.int64)
    for source in range(nodes):
        shortest_tree(
            source,
            problem.out_pointer,
            problem.out_link,
            problem.head,
            problem.delay_s,
            result[source],
            via,
            np.empty(problem.link_count + 1),
            heap,
        )
    return result


def check_limits(problem: FlowProblem, names: tuple[str, ...]) -> None:
    """Raise InputError naming a demand that no path serves within its limit."""
    late = np.flatnonzero(
        least_delays(problem)[problem.source, problem.target] > problem.delay_limit_s + DELAY_TOLERANCE_S
    )
    if len(late):
        demand = int(late[0])
        source, target = names[int(problem.source[demand])], names[int(problem.target[demand])]
        limit_ms = float(problem.delay_limit_s[demand]) * 1e3
        raise InputError(
            "delay limit",
            f"{len(late)} demands have no path that is fast enough, such as '{source}' to '{target}' ({limit_ms:g} ms)",
            "give a longer limit",
        )


@compiled
def _before(one: int, other: int, price: FloatArray, delay: FloatArray) -> bool:
    return bool(price[one] < price[other] or (price[one] == price[other] and delay[one] < delay[other]))


@compiled
def _label(
    source: int,
    room: int,
    out_pointer: IntArray,
    out_link: IntArray,
    head: IntArray,
    tail: IntArray,
    weight: FloatArray,
    delay: FloatArray,
    slack: FloatArray,
    target: IntArray,
    limit: FloatArray,
    price: FloatArray,
    length: IntArray,
    links: LinkArray,
) -> bool:
    """Label from one source; False where ``room`` labels are too few.  Paths go to ``links`` in order of demands."""
    nodes = len(out_pointer) - 1
    label_price = np.empty(room)
    label_delay = np.empty(room)
    label_node = np.empty(room, dtype=np.int64)
    label_link = np.empty(room, dtype=np.int64)
    label_from = np.empty(room, dtype=np.int64)
    heap = np.empty(room, dtype=np.int64)
    fastest = np.full(nodes, np.inf)
    found = np.full(len(target), -1, dtype=np.int64)
    by_target = np.argsort(target)
    first_at = np.searchsorted(target[by_target], np.arange(nodes + 1))
    missing = len(target)
    label_price[0] = 0.0
    label_delay[0] = 0.0
    label_node[0] = source
    label_link[0] = -1
    label_from[0] = -1
    heap[0] = 0
    labels = 1
    size = 1
    while size > 0 and missing > 0:
        label = heap[0]
        size -= 1
        if size > 0:
            last = heap[size]
            position = 0
            while True:
                child = 2 * position + 1
                if child >= size:
                    break
                if child + 1 < size and _before(heap[child + 1], heap[child], label_price, label_delay):
                    child += 1
                if not _before(heap[child], last, label_price, label_delay):
                    break
                heap[position] = heap[child]
                position = child
            heap[position] = last
        node = label_node[label]
        if label_delay[label] >= fastest[node]:
            continue
        fastest[node] = label_delay[label]
        for index in range(first_at[node], first_at[node + 1]):
            demand = by_target[index]
            if found[demand] < 0 and label_delay[label] <= limit[demand] + DELAY_TOLERANCE_S:
                found[demand] = label
                price[demand] = label_price[label]
                missing -= 1
        for index in range(out_pointer[node], out_pointer[node + 1]):
            link = out_link[index]
            end = head[link]
            arrival = label_delay[label] + delay[link]
            if arrival >= fastest[end] or arrival > slack[end]:
                continue
            if labels == room:
                return False
            label_price[labels] = label_price[label] + weight[link]
            label_delay[labels] = arrival
            label_node[labels] = end
            label_link[labels] = link
            label_from[labels] = label
            position = size
            size += 1
            while position > 0:
                parent = (position - 1) >> 1
                if not _before(labels, heap[parent], label_price, label_delay):
                    break
                heap[position] = heap[parent]
                position = parent
            heap[position] = labels
            labels += 1
    used = 0
    for demand in range(len(target)):
        label = found[demand]
        hops = 0
        while label >= 0 and label_link[label] >= 0:
            hops += 1
            label = label_from[label]
        length[demand] = hops
        label = found[demand]
        for hop in range(hops - 1, -1, -1):
            links[used + hop] = label_link[label]
            label = label_from[label]
        used += hops
    return True
