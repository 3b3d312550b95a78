"""The columns of a linear programme: paths that demands may be moved to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from optimizer.exact.flow_problem import LinkArray
from optimizer.exact.shortest_paths import path_prices
from topology_sync.values import FloatArray, IntArray


@dataclass(eq=False)
class ColumnTable:
    """Paths in the order in which they were found; ``demand`` and ``links`` have one entry per column."""

    demand: list[int] = field(default_factory=list)
    links: list[tuple[int, ...]] = field(default_factory=list)
    _known: set[tuple[int, tuple[int, ...]]] = field(default_factory=set)
    _pointer: list[int] = field(default_factory=lambda: [0])
    _hops: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.demand)

    def add(self, demand: int, links: tuple[int, ...]) -> bool:
        """Add a path unless it is there; returns whether it was new."""
        key = (demand, links)
        if key in self._known:
            return False
        self._known.add(key)
        self.demand.append(demand)
        self.links.append(links)
        self._hops.extend(links)
        self._pointer.append(len(self._hops))
        return True

    def of_demand(self, demand: int) -> list[int]:
        """Columns of one demand."""
        return [column for column, mover in enumerate(self.demand) if mover == demand]

    def prices(self, weight: FloatArray) -> FloatArray:
        """Sum of link prices over every path, [columns]."""
        result = np.empty(len(self))
        path_prices(np.array(self._pointer), np.array(self._hops, dtype=np.int32), weight, result)
        return result

    def flat(self, columns: IntArray) -> tuple[IntArray, LinkArray]:
        """``pointer`` [columns + 1] and links of some columns behind each other."""
        chosen = [self.links[column] for column in columns.tolist()]
        pointer = np.concatenate([[0], np.cumsum([len(links) for links in chosen], dtype=np.int64)])
        return pointer, np.array([link for links in chosen for link in links], dtype=np.int32)
