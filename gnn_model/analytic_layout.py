"""Paths and hops of many candidate routings as flat arrays: what the analytic predictor computes on.

Paths are sorted by length, longest first.  Hops are kept path by path; where a step goes along all paths at once they
are also had position by position: at position k the first ``active[k]`` paths have a hop, so it is a prefix slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress, count
from operator import is_not

import numpy as np

from gnn_model.analytic_queues import Ports
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Layout:
    """Candidate routings of one scenario side by side.

    ``path_candidate``, ``path_demand``, ``share`` [paths]; the hops of path p are ``hop_pointer[p]:hop_pointer[p +
    1]``, of which ``flat_queue`` [hops] is the queue (candidate * links * queues + link * queues + queue) and
    ``flat_link`` the link.  ``hop_queue[k]`` and ``hop_link[k]`` [active[k]] are the same at the k-th hop of the first
    paths.
    """

    candidates: int
    path_candidate: IntArray
    path_demand: IntArray
    share: FloatArray
    hop_pointer: IntArray
    flat_queue: IntArray
    flat_link: IntArray

    @cached_property
    def active(self) -> list[int]:
        """Paths with a hop at each position."""
        lengths = np.diff(self.hop_pointer)
        return [int(np.count_nonzero(lengths > position)) for position in range(int(lengths.max(initial=0)))]

    @cached_property
    def hop_queue(self) -> tuple[IntArray, ...]:
        """Queues position by position."""
        return tuple(self.flat_queue[self.hop_pointer[:n] + position] for position, n in enumerate(self.active))

    @cached_property
    def hop_link(self) -> tuple[IntArray, ...]:
        """Links position by position."""
        return tuple(self.flat_link[self.hop_pointer[:n] + position] for position, n in enumerate(self.active))


class PathPool:
    """The paths of a base routing and of every change against it, each stored once."""

    def __init__(self, scenario: Scenario) -> None:
        topology, traffic = scenario.topology, scenario.traffic
        self._scenario = scenario
        self.queues = max((scheduler.queue_count for scheduler in topology.schedulers), default=1)
        queue_of = np.array(
            [[scheduler.queue_of(name) for name in traffic.class_names] for scheduler in topology.schedulers],
            dtype=np.int64,
        ).reshape(topology.node_count, len(traffic.class_names))
        # The queue that a class takes at a link, as link * queues + queue.
        self._queue_at = np.arange(topology.link_count)[:, None] * self.queues + queue_of[topology.link_source]

    def rescheduled(self, scenario: Scenario) -> PathPool:
        """The pool of the same scenario under other schedulers: this one where every class keeps its queue."""
        other = PathPool(scenario)
        same = other.queues == self.queues and np.array_equal(other._queue_at, self._queue_at)
        return self if same else other

    def layout(self, candidates: Sequence[Routing]) -> Layout:
        """Lay the candidates out.  Cheap for candidates made by ``Routing.with_changes`` of the scenario's routing."""
        base = self._scenario.routing
        flat = base.flat
        added: list[tuple[int, PathShare]] = []
        base_paths = len(flat.path_demand)
        chosen: list[IntArray] = []
        every = np.arange(base_paths)
        for candidate in candidates:
            changed = changed_paths(base, candidate)
            if not changed:
                chosen.append(every)
                continue
            is_changed = np.zeros(len(base.paths), dtype=np.bool_)
            is_changed[changed] = True
            start = base_paths + len(added)
            added.extend((demand, path) for demand in changed for path in candidate.paths[demand])
            kept = every[~is_changed[flat.path_demand]]
            chosen.append(np.concatenate([kept, np.arange(start, base_paths + len(added))]))

        added_lengths = np.array([len(path.links) for _, path in added], dtype=np.int64)
        added_links = np.fromiter(chain.from_iterable(path.links for _, path in added), dtype=np.int64)
        return self._arrange(
            chosen,
            demand=np.concatenate([flat.path_demand, np.array([entry for entry, _ in added], dtype=np.int64)]),
            share=np.concatenate([flat.share, np.array([path.share for _, path in added], dtype=np.float64)]),
            length=np.concatenate([np.diff(flat.hop_pointer), added_lengths]),
            links=np.concatenate([flat.hop_link, added_links]),
        )

    def _arrange(
        self, chosen: list[IntArray], demand: IntArray, share: FloatArray, length: IntArray, links: IntArray
    ) -> Layout:
        topology, traffic = self._scenario.topology, self._scenario.traffic
        start = np.cumsum(length) - length
        longest = int(length.max(initial=0))
        row = np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
        candidate = np.repeat(np.arange(len(chosen)), [len(rows) for rows in chosen])
        # By length, and among equals by candidate and demand: sums then add up in the same order, alone or in a batch.
        by_demand = np.argsort(candidate * traffic.demand_count + demand[row], kind="stable")
        row, candidate = row[by_demand], candidate[by_demand]
        order = np.argsort((longest - length[row]).astype(np.int16), kind="stable")
        row, candidate = row[order], candidate[order]
        lengths = length[row]
        pointer = np.concatenate([[0], np.cumsum(lengths)])
        hop_link = links[np.arange(pointer[-1]) + np.repeat(start[row] - pointer[:-1], lengths)]
        if len(traffic.class_names):
            of_class = np.repeat(traffic.traffic_class[demand[row]], lengths)
            queue = self._queue_at.reshape(-1)[hop_link * len(traffic.class_names) + of_class]
        else:
            queue = hop_link
        if len(chosen) > 1:
            queue = queue + np.repeat(candidate * (topology.link_count * self.queues), lengths)
        return Layout(len(chosen), candidate, demand[row], share[row], pointer, queue, hop_link)


def changed_paths(base: Routing, candidate: Routing) -> list[int]:
    """Demands whose paths are not the very same objects in both routings."""
    if candidate is base:
        return []
    if len(base.paths) != len(candidate.paths):
        raise ValueError(f"a routing of {len(candidate.paths)} demands where there are {len(base.paths)}")
    return list(compress(count(), map(is_not, base.paths, candidate.paths)))


def ports_of(scenario: Scenario, queues: int) -> Ports:
    """The ports of a scenario: discipline, weights, buffer and capacity per link."""
    topology = scenario.topology
    weight = np.zeros((topology.node_count, queues))
    for node, scheduler in enumerate(topology.schedulers):
        count = scheduler.queue_count
        given = (*scheduler.weights, *([1.0] * count))[:count]
        weight[node, :count] = given
    discipline = [scheduler.discipline for scheduler in topology.schedulers]
    return Ports(
        capacity_bps=topology.capacity_bps,
        room=topology.queue_packets.astype(np.float64),
        strict=_flags(discipline, ("strict",))[topology.link_source],
        weighted=_flags(discipline, ("wfq", "drr"))[topology.link_source],
        weight=weight[topology.link_source],
    )


def _flags(values: Sequence[str], wanted: tuple[str, ...]) -> BoolArray:
    return np.array([value in wanted for value in values], dtype=np.bool_)
