"""What the analytic predictor needs to know of each demand's packets: sizes, spacing and bursts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnn_model.analytic_bursts import Burstiness, burstiness_of
from gnn_model.arrival_table import ArrivalTable, distinct
from gnn_model.size_atoms import SizeAtoms
from topology_sync.traffic import ARRIVAL_MODELS, PacketSize, TrafficMatrix
from topology_sync.values import BoolArray, FloatArray


@dataclass(frozen=True)
class Flows:
    """Per demand, [demands].

    ``bits`` is the mean size; ``second``, ``third``, ``fourth``: E[bits^n] / E[bits]^n; ``size_difference_ratio``: mean
    absolute difference of two sizes over its deviation (1 for constant sizes, which have none).  ``spacing_ratio``:
    usual time between packets over its long-run mean (below 1 for on-off traffic), the same each time where
    ``constant_spacing``.  ``atoms``: the sizes themselves where they take few values.
    """

    packets_per_s: FloatArray
    bits: FloatArray
    second: FloatArray
    third: FloatArray
    fourth: FloatArray
    size_difference_ratio: FloatArray
    spacing_ratio: FloatArray
    constant_spacing: BoolArray
    bursts: Burstiness
    atoms: SizeAtoms


def flows_of(traffic: TrafficMatrix) -> Flows:
    """The demands of a traffic matrix."""
    sizes = size_moments(traffic.packet_size)
    arrivals = ArrivalTable.of(traffic.arrivals)
    periods = arrivals.on_s + arrivals.off_s
    return Flows(
        packets_per_s=traffic.packets_per_s,
        bits=traffic.packet_bits_mean,
        second=sizes[0],
        third=sizes[1],
        fourth=sizes[2],
        size_difference_ratio=sizes[3],
        spacing_ratio=np.where(periods > 0, arrivals.on_s / np.where(periods > 0, periods, 1.0), 1.0),
        constant_spacing=arrivals.model == ARRIVAL_MODELS.index("cbr"),
        bursts=burstiness_of(arrivals, traffic.packets_per_s),
        atoms=SizeAtoms.of(traffic.packet_size),
    )


def size_moments(sizes: Sequence[PacketSize]) -> FloatArray:
    """E[size^n] / E[size]^n for n = 2, 3, 4 and the ratio of mean absolute difference to its deviation, [4, sizes]."""
    kinds, kind = distinct(sizes)
    rows = [_moments(size) for size in kinds]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 4).T[:, kind]


def _moments(size: PacketSize) -> tuple[float, float, float, float]:
    if size.model == "constant":
        return 1.0, 1.0, 1.0, 1.0
    if size.model == "exponential":
        return 2.0, 6.0, 24.0, math.sqrt(0.5)
    values, chances = (np.array(part) for part in size.support)
    relative = values / float(values @ chances)
    second = float(relative**2 @ chances)
    difference = float(chances @ np.abs(relative[:, None] - relative) @ chances)
    ratio = difference / math.sqrt(2 * (second - 1)) if second > 1 + 1e-12 else 1.0
    return second, float(relative**3 @ chances), float(relative**4 @ chances), ratio
