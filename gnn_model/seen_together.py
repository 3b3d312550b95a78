"""Which values of two measures of a path training ever had at once.

A box around each measure alone says nothing about their combinations.  Here each pair of measures has a grid of cells;
a cell counts as seen where paths of enough networks fell into it or into one next to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from gnn_model.graph_tensors import GraphTensors
from gnn_model.path_measures import LOGARITHMIC, MEASURES, path_measures
from topology_sync.errors import InputError
from topology_sync.values import BoolArray, FloatArray, IntArray

CELLS = 16  # along each measure
FEWEST_NETWORKS = 5  # whose paths fell into a cell or beside it, or one in NETWORKS_PER_ONE where that is fewer
NETWORKS_PER_ONE = 100
TOLERANCE = 0.02  # of a range's width, beyond its ends
PAIRS = tuple(combinations(range(len(MEASURES)), 2))
Cells = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Unseen:
    """Paths [paths] with a value, or two, that training did not have; ``reason`` says which, of the worst path."""

    paths: BoolArray
    reason: str


@dataclass(frozen=True)
class SeenTogether:
    """``ranges`` [measures, 2] low and high; ``cells`` [pairs, CELLS, CELLS] those with paths of enough networks."""

    ranges: FloatArray
    cells: Cells

    @classmethod
    def of(cls, graphs: Iterable[GraphTensors]) -> SeenTogether:
        """Of the graphs that were trained on.  Raises ValueError where no path has a hop."""
        found = [_scaled(path_measures(graph)) for graph in graphs if len(graph.hop_queue)]
        if not found:
            raise ValueError("ranges need graphs with paths")
        low = np.min([values.min(axis=0) for values in found], axis=0)
        high = np.max([values.max(axis=0) for values in found], axis=0)
        ranges = np.stack([low, high], axis=1)
        networks = np.zeros((len(PAIRS), CELLS, CELLS), dtype=np.int64)
        for values in found:
            cell = _cell(values, ranges)
            here = np.zeros(networks.shape, dtype=np.bool_)
            for pair, (one, other) in enumerate(PAIRS):
                here[pair, cell[:, one], cell[:, other]] = True
            networks += _widened(here)
        return cls(ranges, networks >= min(FEWEST_NETWORKS, max(len(found) // NETWORKS_PER_ONE, 1)))

    @cached_property
    def _lows(self) -> FloatArray:
        return self.ranges[:, 0]

    def unseen(self, graph: GraphTensors) -> list[Unseen]:
        """What of a graph's paths training did not have, that of most paths first."""
        if not len(graph.hop_queue):
            return []
        plain = path_measures(graph)
        values = _scaled(plain)
        width = np.maximum(self.ranges[:, 1] - self.ranges[:, 0], 1e-3)
        beyond = np.maximum(self._lows - values, values - self.ranges[:, 1]) / width - TOLERANCE
        names = list(MEASURES.values())
        found: list[Unseen] = []
        for measure in np.flatnonzero((beyond > 0).any(axis=0)).tolist():
            paths = beyond[:, measure] > 0
            value = plain[int(np.argmax(beyond[:, measure])), measure]
            low, high = _plain(self.ranges[measure], measure)
            found.append(Unseen(paths, f"{names[measure]}: {value:.3g}, trained on {low:.3g} to {high:.3g}"))
        cell = _cell(values, self.ranges)
        explained = (beyond > 0).any(axis=1)
        for pair, (one, other) in enumerate(PAIRS):
            paths = ~self.cells[pair, cell[:, one], cell[:, other]] & ~explained
            if paths.any():
                worst = plain[int(np.argmax(paths))]
                reason = (
                    f"{names[one]} {worst[one]:.3g} with {names[other]} {worst[other]:.3g}: never trained on together"
                )
                found.append(Unseen(paths, reason))
        return sorted(found, key=lambda item: -int(item.paths.sum()))

    def to_json(self) -> dict[str, Any]:
        """``{"ranges": {measure: [low, high]}, "cells": {"measure,measure": hexadecimal digits, row by row}}``."""
        names = list(MEASURES)
        return {
            "ranges": {
                name: [float(f"{value:.6g}") for value in _plain(self.ranges[number], number)]
                for number, name in enumerate(names)
            },
            "cells": {
                f"{names[one]},{names[other]}": np.packbits(self.cells[pair]).tobytes().hex()
                for pair, (one, other) in enumerate(PAIRS)
            },
        }

    @classmethod
    def from_json(cls, data: Any, place: str = "measures") -> SeenTogether:
        """The inverse of ``to_json``.  Raises InputError where it is of other measures than this version's."""
        names = list(MEASURES)
        try:
            plain = np.array([data["ranges"][name] for name in names], dtype=np.float64)
            packed = [bytes.fromhex(data["cells"][f"{names[one]},{names[other]}"]) for one, other in PAIRS]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(place, f"does not name this version's measures ({error})", _REMEDY) from None
        if plain.shape != (len(names), 2) or any(len(cells) * 8 != CELLS * CELLS for cells in packed):
            raise InputError(place, "does not hold what this version needs", _REMEDY)
        cells = np.unpackbits(np.frombuffer(b"".join(packed), dtype=np.uint8)).astype(np.bool_)
        return cls(_scaled(plain.T).T, cells.reshape(len(PAIRS), CELLS, CELLS))


_REMEDY = "run `routewright envelope` again"


def _scaled(values: FloatArray) -> FloatArray:
    """Measures [rows, measures] with logarithms where these spread better."""
    columns = [
        np.log(np.maximum(values[:, number], 1e-6)) if name in LOGARITHMIC else values[:, number]
        for number, name in enumerate(MEASURES)
    ]
    return np.stack(columns, axis=1)


def _plain(limits: FloatArray, measure: int) -> FloatArray:
    result: FloatArray = np.exp(limits) if list(MEASURES)[measure] in LOGARITHMIC else limits
    return result


def _cell(values: FloatArray, ranges: FloatArray) -> IntArray:
    width = np.maximum(ranges[:, 1] - ranges[:, 0], 1e-3)
    place = np.floor((values - ranges[:, 0]) / width * CELLS)
    return np.clip(place, 0, CELLS - 1).astype(np.int64)


def _widened(cells: Cells) -> Cells:
    """Cells and those next to them, corners included."""
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
    result = np.zeros_like(cells)
    for row in range(3):
        for column in range(3):
            result |= padded[:, row : row + CELLS, column : column + CELLS]
    return result
