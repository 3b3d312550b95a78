"""Moves of a few demands to other paths as flat arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from topology_sync.routing import PathShare
from topology_sync.values import FloatArray, IntArray

if TYPE_CHECKING:
    from gnn_model import moves_kernel

Move = Mapping[int, Sequence[PathShare]]


@dataclass(frozen=True)
class AddedPaths:
    """Paths side by side: ``demand`` and ``share`` [paths], hops ``pointer[p]:pointer[p + 1]`` with queue and link."""

    demand: IntArray
    share: FloatArray
    pointer: IntArray
    queue: IntArray
    link: IntArray

    def part(self, first: int, last: int) -> AddedPaths:
        """Some of them."""
        hops = slice(int(self.pointer[first]), int(self.pointer[last]))
        pointer = self.pointer[first : last + 1] - self.pointer[first]
        return AddedPaths(self.demand[first:last], self.share[first:last], pointer, self.queue[hops], self.link[hops])


@dataclass(frozen=True)
class QueueOf:
    """``at`` [links, classes]: the queue of a class at a link; ``traffic_class`` [demands]."""

    at: IntArray
    traffic_class: IntArray


@dataclass(frozen=True)
class LaidOut:
    """Moves one after the other, see ``moves_kernel.Moves``: entries are demands that move."""

    pointer: IntArray  # [moves + 1]
    demand: IntArray  # [entries]
    path_pointer: IntArray  # [entries + 1]
    paths: AddedPaths

    @classmethod
    def of(cls, moves: Sequence[Move], queue_of: QueueOf) -> LaidOut:
        entries = [(demand, paths) for move in moves for demand, paths in move.items()]
        paths = list(chain.from_iterable(paths for _, paths in entries))
        demand = np.array([demand for demand, _ in entries], dtype=np.int64)
        paths_of = np.array([len(paths) for _, paths in entries], dtype=np.int64)
        hops_of = np.array([len(path.links) for path in paths], dtype=np.int64)
        link = np.fromiter(chain.from_iterable(path.links for path in paths), dtype=np.int64)
        path_demand = np.repeat(demand, paths_of)
        return cls(
            pointer=cumulated(np.array([len(move) for move in moves], dtype=np.int64)),
            demand=demand,
            path_pointer=cumulated(paths_of),
            paths=AddedPaths(
                demand=path_demand,
                share=np.array([path.share for path in paths], dtype=np.float64),
                pointer=cumulated(hops_of),
                queue=queue_of.at[link, queue_of.traffic_class[np.repeat(path_demand, hops_of)]],
                link=link,
            ),
        )

    @cached_property
    def entry_move(self) -> IntArray:
        """The move of every entry."""
        return np.repeat(np.arange(len(self.pointer) - 1), np.diff(self.pointer))

    @cached_property
    def path_entry(self) -> IntArray:
        """The entry of every path."""
        return np.repeat(np.arange(len(self.demand)), np.diff(self.path_pointer))

    def for_kernel(self, hop_factor: FloatArray) -> moves_kernel.Moves:
        """The same with the predicted wait over the analytic one at every hop, [hops]."""
        from gnn_model import moves_kernel

        paths = self.paths
        return moves_kernel.Moves(
            pointer=self.pointer,
            demand=self.demand,
            path_pointer=self.path_pointer,
            path_demand=paths.demand,
            share=paths.share,
            hop_pointer=paths.pointer,
            hop_path=np.repeat(np.arange(len(paths.demand)), np.diff(paths.pointer)),
            queue=paths.queue,
            link=paths.link,
            factor=hop_factor,
        )


def cumulated(counts: IntArray) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def pointer_of(values: IntArray, count: int) -> IntArray:
    return cumulated(np.bincount(values, minlength=count).astype(np.int64))
