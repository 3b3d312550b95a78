"""Paths and hops of many candidate routings as flat arrays: what the analytic predictor computes on.

Paths are sorted by length, longest first, and hops are kept position by position: at position k the first ``active[k]``
paths have a hop.  A step along all paths is then a prefix slice, without masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnn_model.analytic_queues import Ports
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Layout:
    """Candidate routings of one scenario side by side.

    ``path_candidate``, ``path_demand``, ``share`` [paths]; ``hop_queue[k]`` [active[k]] is the queue
    (candidate * links * queues + link * queues + queue) at the k-th hop of the first paths; ``hop_link[k]`` the link.
    """

    candidates: int
    path_candidate: IntArray
    path_demand: IntArray
    share: FloatArray
    hop_queue: tuple[IntArray, ...]
    hop_link: tuple[IntArray, ...]


class PathPool:
    """The paths of a base routing and of every change against it, each stored once."""

    def __init__(self, scenario: Scenario) -> None:
        topology = scenario.topology
        self._scenario = scenario
        self.queues = max((scheduler.queue_count for scheduler in topology.schedulers), default=1)
        self._queue_of = np.array(
            [[scheduler.queue_of(name) for name in scenario.traffic.class_names] for scheduler in topology.schedulers],
            dtype=np.int64,
        ).reshape(topology.node_count, len(scenario.traffic.class_names))

    def layout(self, candidates: Sequence[Routing]) -> Layout:
        """Lay the candidates out.  Cheap for candidates made by ``Routing.with_changes`` of the scenario's routing."""
        base = self._scenario.routing
        flat = base.flat
        added: list[tuple[int, PathShare]] = []
        base_paths = len(flat.path_demand)
        chosen: list[IntArray] = []
        every = np.arange(base_paths)
        for candidate in candidates:
            pairs = enumerate(zip(base.paths, candidate.paths, strict=True))
            changed = [demand for demand, (old, new) in pairs if old is not new] if candidate is not base else []
            if not changed:
                chosen.append(every)
                continue
            is_changed = np.zeros(len(base.paths), dtype=np.bool_)
            is_changed[changed] = True
            start = base_paths + len(added)
            added.extend((demand, path) for demand in changed for path in candidate.paths[demand])
            kept = every[~is_changed[flat.path_demand]]
            chosen.append(np.concatenate([kept, np.arange(start, base_paths + len(added))]))

        added_lengths = [len(path.links) for _, path in added]
        length = np.concatenate([np.diff(flat.hop_pointer), np.array(added_lengths, dtype=np.int64)])
        longest = int(length.max(initial=0))
        links = np.zeros((len(length), max(longest, 1)), dtype=np.int64)
        links[flat.hop_path, np.arange(len(flat.hop_link)) - flat.hop_pointer[flat.hop_path]] = flat.hop_link
        for row, (_, path) in enumerate(added, start=base_paths):
            links[row, : len(path.links)] = path.links
        demand = np.concatenate([flat.path_demand, np.array([entry for entry, _ in added], dtype=np.int64)])
        share = np.concatenate([flat.share, np.array([path.share for _, path in added], dtype=np.float64)])
        return self._arrange(chosen, demand, share, length, links, longest)

    def _arrange(
        self,
        chosen: list[IntArray],
        demand: IntArray,
        share: FloatArray,
        length: IntArray,
        links: IntArray,
        longest: int,
    ) -> Layout:
        topology, traffic = self._scenario.topology, self._scenario.traffic
        if len(demand):
            node = topology.link_source[links]
            queue = links * self.queues + self._queue_of[node, traffic.traffic_class[demand][:, None]]
        else:
            queue = links
        row = np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
        candidate = np.repeat(np.arange(len(chosen)), [len(rows) for rows in chosen])
        # By length, and among equals by candidate and demand: sums then add up in the same order, alone or in a batch.
        by_demand = np.argsort(candidate * traffic.demand_count + demand[row], kind="stable")
        row, candidate = row[by_demand], candidate[by_demand]
        order = np.argsort((longest - length[row]).astype(np.int16), kind="stable")
        row, candidate = row[order], candidate[order]
        active = [int(np.count_nonzero(length[row] > position)) for position in range(longest)]
        offset = candidate * (topology.link_count * self.queues)
        return Layout(
            candidates=len(chosen),
            path_candidate=candidate,
            path_demand=demand[row],
            share=share[row],
            hop_queue=tuple(queue[row[:count], position] + offset[:count] for position, count in enumerate(active)),
            hop_link=tuple(links[row[:count], position] for position, count in enumerate(active)),
        )


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
