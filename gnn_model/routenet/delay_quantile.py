"""Quantiles of a path's delay: own transmission times of few values, the chance to wait nowhere, and a gamma wait.

    P(delay > fixed + x) = sum over sizes k of c_k ((1 - w) [x < a_k] + w G(x - a_k))

with a_k the own transmission time less its mean, w the chance to wait at all and G the survival function of a shifted
gamma distribution (Wilson and Hilferty 1931) with the moments of the wait given that there is one.  Sizes of many
values are part of G, then w = 1 and the quantile has a closed form; elsewhere it is found by a bracketed Newton
iteration on the logarithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gnn_model.acceleration import COMPILED

SKEW_LIMITS = (-2.0, 4.0)
LEAST_SIXTH = 1e-3
STEPS = 30
IDLE_WIDTH = 0.02  # of the mean wait: packets that wait nowhere are spread so little, below 0
IDLE_CENTRE = 4.0  # widths below 0
LEAST_SLOPE = 0.2  # of the logarithm per deviation: between two sizes hardly any packet has its delay
LEAST_PART = 0.1  # of the variance, where moments and chance to wait contradict each other
LEAST_CHANCE = 1e-4


@dataclass(frozen=True)
class PathWaits:
    """What varies of a path's delay, [paths]; ``atoms`` and ``chance`` [paths, sizes], times in one unit.

    ``mean``, ``deviation`` and ``skew`` are those of the wait of packets that wait somewhere (of all packets, and of
    own transmission too, where ``continuous``), ``waiting`` is their part.
    """

    atoms: Tensor
    chance: Tensor
    waiting: Tensor
    mean: Tensor
    deviation: Tensor
    skew: Tensor

    @classmethod
    def of(
        cls,
        mean: Tensor,
        variance: Tensor,
        third: Tensor,
        log_idle: Tensor,
        continuous: Tensor,
        atoms: Tensor,
        chance: Tensor,
    ) -> PathWaits:
        """From mean, variance and third cumulant of all packets' waits; ``log_idle``: of the part that waits not."""
        one = torch.ones_like(mean)
        w = torch.where(continuous > 0, one, (-torch.expm1(log_idle)).clamp(LEAST_CHANCE, 1.0))
        idle = 1 - w
        given = mean / w
        # Raw moments over w, written without differences of large numbers.
        square = variance / w - given**2 * idle
        square = torch.maximum(square, LEAST_PART * (variance + idle * given**2)).clamp_min(1e-18)
        cube = third / w - 3 * given * variance * idle / w + given**3 * idle * (2 - w)
        deviation = torch.sqrt(square)
        return cls(atoms, chance, w, given, deviation, cube / (square * deviation))

    def quantile(self, normal: float, shift: Tensor | float = 0.0, stretch: Tensor | float = 1.0) -> Tensor:
        """Quantile less the mean own transmission; ``normal`` is that of the standard normal distribution.

        ``shift`` moves the wait by so many deviations, ``stretch`` multiplies its deviation.
        """
        mean = self.mean + shift * self.deviation
        deviation = self.deviation * stretch
        sixth = self.skew.clamp(*SKEW_LIMITS) / 6
        sixth = torch.where(sixth.abs() < LEAST_SIXTH, torch.full_like(sixth, LEAST_SIXTH), sixth)
        closed = mean + deviation * ((1 + sixth * normal - sixth**2).clamp_min(0.0) ** 3 - 1) / (3 * sixth)
        some = torch.nonzero((self.waiting < 1) | (self.chance[:, 1] > 0))[:, 0]
        if not len(some):
            return closed
        parts = (self.atoms, self.chance, self.waiting, mean, deviation, sixth)
        found = _search(normal, closed.index_select(0, some), *(part.index_select(0, some) for part in parts))
        return closed.index_copy(0, some, found)


def _search(normal: float, closed: Tensor, *parts: Tensor) -> Tensor:
    """``parts``: atoms, chance [paths, sizes]; waiting, mean, deviation, sixth [paths].  ``closed``: with one size."""
    target = math.log(0.5 * math.erfc(normal / math.sqrt(2)))
    sizes = max(int((parts[1] > 0).sum(1).max()), 1)  # the first ones of each row
    atoms, chance = parts[0][:, :sizes], parts[1][:, :sizes]
    with torch.no_grad():
        root = _root_compiled if COMPILED and closed.device.type == "cpu" else _root
        at = root(target, closed.detach(), atoms, chance, *parts[2:])
    if not torch.is_grad_enabled():
        return at
    waiting, mean, deviation, sixth = parts[2:]
    beyond, slope = _log_survival(at, atoms, chance, waiting, mean, deviation, sixth)
    with torch.no_grad():
        spread = torch.sqrt((deviation**2 + (chance * atoms**2).sum(1)).clamp_min(1e-18))
        slope = torch.maximum(slope, LEAST_SLOPE / spread)
    # The implicit function's derivative, at the value that was found.
    result: Tensor = at + (beyond - beyond.detach()) / slope
    return result


def _root(target: float, closed: Tensor, atoms: Tensor, chance: Tensor, *wait: Tensor) -> Tensor:
    """Where ``_log_survival`` is ``target``; with every size the wait's own quantile lies above it."""
    present = chance > 0
    infinite = torch.full_like(atoms, torch.inf)
    low = torch.where(present, atoms, infinite).amin(1) - 0.1 * wait[1]
    high = torch.maximum(torch.where(present, atoms, -infinite).amax(1) + closed, low)
    at = high
    for step in range(STEPS):
        beyond, slope = _log_survival(at, atoms, chance, *wait)
        above = beyond > target
        low, high = torch.where(above, at, low), torch.where(above, high, at)
        following = at + (beyond - target) / slope.clamp_min(1e-9)
        good = (following > low) & (following < high) & (step % 3 != 2)
        at = torch.where(good, following, (low + high) / 2)
    return at


def _root_compiled(target: float, closed: Tensor, *parts: Tensor) -> Tensor:
    from gnn_model.routenet.quantile_kernel import search

    atoms, chance, waiting, mean, deviation, sixth, start = (
        np.ascontiguousarray(part.detach().numpy()) for part in (*parts, closed)
    )
    result = np.empty_like(start)
    search(target, atoms, chance, waiting, mean, deviation, sixth, start, result)
    return torch.from_numpy(result)


def _log_survival(
    at: Tensor, atoms: Tensor, chance: Tensor, waiting: Tensor, mean: Tensor, deviation: Tensor, sixth: Tensor
) -> tuple[Tensor, Tensor]:
    """log P(X > at), [paths], and how fast it falls there."""
    waiting, mean, deviation, sixth = (part[:, None] for part in (waiting, mean, deviation, sixth))
    wait = at[:, None] - atoms
    inside = (1 + 3 * sixth * (wait - mean) / deviation).clamp_min(1e-6)
    root = inside ** (1 / 3)
    normal = (root - 1) / sixth + sixth
    positive = wait > 0
    waits = torch.where(positive, torch.special.ndtr(-normal), torch.ones_like(normal))
    width = IDLE_WIDTH * mean.clamp_min(1e-9)
    none = torch.sigmoid(-(wait / width + IDLE_CENTRE))
    survival = (chance * ((1 - waiting) * none + waiting * waits)).sum(1).clamp_min(1e-30)
    with torch.no_grad():
        density = torch.exp(-(normal**2) / 2) / (math.sqrt(2 * math.pi) * root**2 * deviation)
        density = waiting * torch.where(positive, density, torch.zeros_like(density))
        density = density + (1 - waiting) * none * (1 - none) / width
        slope = (chance * density).sum(1) / survival
    return torch.log(survival), slope
