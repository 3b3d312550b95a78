"""Sizes of few values: a packet's own transmission time then takes few values too, whatever it waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnn_model.arrival_table import distinct
from topology_sync.traffic import PacketSize
from topology_sync.values import BoolArray, FloatArray

ATOMS = 5  # more values than this count as a continuous distribution
EXPONENTIAL_LARGEST = float(np.log(100.0))  # of the mean: once in a hundred


@dataclass(frozen=True)
class SizeAtoms:
    """Per demand: sizes less their mean, over their mean, [demands, ATOMS], and their probabilities.

    Continuous sizes are one atom at the mean, and ``continuous`` [demands].  ``largest`` [demands]: the largest size
    over the mean (exceeded once in a hundred packets where continuous); ``greatest``: never exceeded, may be infinite.
    """

    offset: FloatArray
    chance: FloatArray
    continuous: BoolArray
    largest: FloatArray
    greatest: FloatArray

    @classmethod
    def of(cls, sizes: Sequence[PacketSize]) -> SizeAtoms:
        kinds, kind = distinct(sizes)
        rows = [_atoms(size) for size in kinds]
        offset = np.array([row[0] for row in rows], dtype=np.float64).reshape(len(rows), ATOMS)
        chance = np.array([row[1] for row in rows], dtype=np.float64).reshape(len(rows), ATOMS)
        continuous = np.array([row[2] for row in rows], dtype=np.bool_)
        largest = np.array([row[3] for row in rows], dtype=np.float64)
        unbounded = np.array([size.model == "exponential" for size in kinds], dtype=np.bool_)
        greatest = np.where(unbounded, np.inf, largest)
        return cls(offset[kind], chance[kind], continuous[kind], largest[kind], greatest[kind])


def _atoms(size: PacketSize) -> tuple[list[float], list[float], bool, float]:
    alone = [0.0] * ATOMS, [1.0] + [0.0] * (ATOMS - 1)
    if size.model == "exponential":
        return *alone, True, EXPONENTIAL_LARGEST
    if size.model == "constant":
        return *alone, False, 1.0
    values, chances = size.support
    mean = sum(value * chance for value, chance in zip(values, chances, strict=True))
    largest = max(values) / mean
    if len(values) > ATOMS:
        return *alone, True, largest
    missing = [0.0] * (ATOMS - len(values))
    return [value / mean - 1 for value in values] + missing, [*chances, *missing], False, largest
