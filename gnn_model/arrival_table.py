"""Arrivals of all demands as arrays, without a step per demand where demands share their objects."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from topology_sync.traffic import ARRIVAL_MODELS, Arrivals
from topology_sync.values import FloatArray, IntArray

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True)
class ArrivalTable:
    """Arrivals of each demand as arrays, [demands]: index into ARRIVAL_MODELS, and parameters (0 where not used)."""

    model: IntArray
    on_s: FloatArray
    off_s: FloatArray
    correlation: FloatArray
    sigma: FloatArray

    @classmethod
    def of(cls, arrivals: Sequence[Arrivals]) -> ArrivalTable:
        """The table of a traffic matrix's arrivals."""
        kinds, kind = distinct(arrivals)
        rows = [
            (
                ARRIVAL_MODELS.index(item.model),
                item.on_s if item.model == "onoff" else 0.0,
                item.off_s if item.model == "onoff" else 0.0,
                item.correlation if item.model in ("autocorrelated", "modulated") else 0.0,
                item.sigma if item.model == "modulated" else 0.0,
            )
            for item in kinds
        ]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 5).T[:, kind]
        return cls(table[0].astype(np.int64), *table[1:])


def distinct(items: Sequence[Item]) -> tuple[list[Item], IntArray]:
    """The distinct objects among ``items`` and the position among them of every item."""
    identity = np.fromiter(map(id, items), dtype=np.int64, count=len(items))
    _, first, position = np.unique(identity, return_index=True, return_inverse=True)
    return [items[index] for index in first.tolist()], position.astype(np.int64)
