"""The search of ``delay_quantile`` compiled, path by path: it stops where a path's quantile is found."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gnn_model.compiled import inlined_kernel, kernel
from gnn_model.routenet.delay_quantile import IDLE_CENTRE, IDLE_WIDTH

Singles = npt.NDArray[np.float32]
MOST_STEPS = 60
CLOSE = 1e-4  # of the deviation of the wait, as the next step
ROOT_HALF = math.sqrt(0.5)
DENSITY = 1 / math.sqrt(2 * math.pi)


@inlined_kernel
def log_survival(
    at: float,
    row: int,
    sizes: int,
    atoms: Singles,
    chance: Singles,
    w: float,
    mean: float,
    deviation: float,
    sixth: float,
) -> tuple[float, float]:
    """See ``delay_quantile._log_survival``."""
    width = IDLE_WIDTH * max(mean, 1e-9)
    survival, density = 0.0, 0.0
    for size in range(sizes):
        part = chance[row, size]
        if not part > 0:
            continue
        wait = at - atoms[row, size]
        beyond, there = 1.0, 0.0
        if wait > 0:
            inside = max(1 + 3 * sixth * (wait - mean) / deviation, 1e-6)
            root = inside ** (1 / 3)
            normal = (root - 1) / sixth + sixth
            beyond = 0.5 * math.erfc(normal * ROOT_HALF)
            there = DENSITY * math.exp(-normal * normal / 2) / (root * root * deviation)
        if w < 1:
            none = 1 / (1 + math.exp(min(max(wait / width + IDLE_CENTRE, -80.0), 80.0)))
            survival += part * (1 - w) * none
            density += part * (1 - w) * none * (1 - none) / width
        survival += part * w * beyond
        density += part * w * there
    survival = max(survival, 1e-30)
    return math.log(survival), density / survival


@kernel
def search(
    target: float,
    atoms: Singles,
    chance: Singles,
    waiting: Singles,
    mean: Singles,
    deviation: Singles,
    sixth: Singles,
    closed: Singles,
    result: Singles,
) -> None:
    """The bracketed Newton iteration for every row, [rows] and [rows, sizes]; writes ``result`` [rows]."""
    sizes = atoms.shape[1]
    for row in range(len(closed)):
        m, d, s, w = float(mean[row]), float(deviation[row]), float(sixth[row]), float(waiting[row])
        smallest, largest = math.inf, -math.inf
        for size in range(sizes):
            if chance[row, size] > 0:
                smallest = min(smallest, atoms[row, size])
                largest = max(largest, atoms[row, size])
        low = smallest - 0.1 * m
        high = max(largest + closed[row], low)
        at = high
        for step in range(MOST_STEPS):
            beyond, slope = log_survival(at, row, sizes, atoms, chance, w, m, d, s)
            if abs(beyond - target) < CLOSE * slope * d or high - low < 1e-7 * (abs(high) + abs(low)):
                break
            if beyond > target:
                low = at
            else:
                high = at
            following = at + (beyond - target) / max(slope, 1e-9)
            at = following if low < following < high and step % 3 != 2 else (low + high) / 2
        result[row] = at
