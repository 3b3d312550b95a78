"""One path per demand as flat arrays that kernels change in place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.exact.flow_problem import FlowProblem, LinkArray
from topology_sync.values import FloatArray, IntArray


@dataclass(eq=False)
class SinglePaths:
    """One path per demand: path d is ``links[start[d] : start[d] + length[d]]``; ``load`` [links] is what they sum to.

    Kernels append new paths at ``used`` and leave the old ones behind until ``compact``.
    """

    start: IntArray
    length: IntArray
    links: LinkArray
    used: int
    load: FloatArray

    @classmethod
    def from_paths(cls, problem: FlowProblem, pointer: IntArray, links: IntArray | LinkArray) -> SinglePaths:
        """From paths behind each other, ``pointer`` [demands + 1]."""
        length = np.diff(pointer)
        load = np.bincount(links, weights=np.repeat(problem.rate, length), minlength=problem.link_count)
        room = np.empty(2 * len(links) + problem.node_count**2 + 64, dtype=np.int32)
        room[: len(links)] = links
        return cls(pointer[:-1].astype(np.int64), length.astype(np.int64), room, len(links), load.astype(np.float64))

    def path(self, demand: int) -> tuple[int, ...]:
        """Links of one path."""
        return tuple(self.links[self.start[demand] : self.start[demand] + self.length[demand]].tolist())

    def flat(self) -> tuple[IntArray, LinkArray]:
        """``pointer`` [demands + 1] and the links of all paths behind each other."""
        pointer = np.concatenate([[0], np.cumsum(self.length)])
        index = np.repeat(self.start - pointer[:-1], self.length) + np.arange(pointer[-1])
        return pointer, self.links[index]

    def compact(self, spare: int) -> None:
        """Drop paths that are not in use any more and leave room for ``spare`` links."""
        pointer, links = self.flat()
        self.links = np.empty(len(links) + max(spare, len(links) // 2), dtype=np.int32)
        self.links[: len(links)] = links
        self.start, self.used = pointer[:-1].copy(), len(links)

    def max_utilisation(self, problem: FlowProblem) -> float:
        """Largest load over capacity."""
        return float(np.max(self.load / problem.capacity, initial=0.0))

    def copy(self) -> SinglePaths:
        """An independent copy, compacted."""
        pointer, links = self.flat()
        room = np.empty(2 * len(links) + 64, dtype=np.int32)
        room[: len(links)] = links
        return SinglePaths(pointer[:-1].copy(), self.length.copy(), room, len(links), self.load.copy())
