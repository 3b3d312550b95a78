"""WMMSE for scalar channels, vectorised over layouts and starts, for NumPy and torch alike: the reference solver.

Shi, Razaviyayn, Luo, He: An Iteratively Weighted MMSE Approach to Distributed Sum-Utility Maximization (IEEE Trans.
Signal Processing 59(9), 2011), in real form with ``h = sqrt(g)`` and ``v = sqrt(p)``:

    R_i = sum_j g_ij v_j^2 + 1      u_i = h_ii v_i / R_i      w_i = 1 / (1 - u_i h_ii v_i)
    v_j = clip(a_j w_j u_j h_jj / sum_i a_i g_ij w_i u_i^2, 0, 1)

With S_i = g_ii v_i^2 and I_i = R_i - S_i one gets w_i = R_i / I_i, so a step is

    v_j = clip(a_j g_jj v_j / I_j / sum_i g_ij a_i S_i / (I_i R_i), 0, 1)

which needs two products with the gain matrix and loses no digits where the SINR is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

import numpy as np

from gnn_model.wireless.rates import BITS_PER_NAT, Array, cross_gains, direct_gains, log1p
from topology_sync.values import FloatArray

SMALL = 1e-30
SMALLEST_AMPLITUDE = 1e-10
"""Silence: 200 dB below full power.  Smaller numbers become subnormal in 32 bits, and ten times slower."""
CACHE_BYTES = 2**20
"""Gains of one block of layouts in ``wmmse``: they are read twice per iteration, so they should stay in the cache."""


@dataclass(frozen=True)
class Interference(Generic[Array]):
    """A batch of channels made ready for WMMSE.

    ``cross`` [layouts, links, links] with a zero diagonal, ``direct`` and ``weights`` [layouts, 1, links].
    """

    cross: Array
    direct: Array
    weights: Array | None

    @classmethod
    def of(cls, gains: Array, weights: Array | None = None) -> Interference[Array]:
        """Channels [layouts, links, links] with link weights [layouts, links]."""
        return cls(
            cross_gains(gains), direct_gains(gains)[..., None, :], None if weights is None else weights[..., None, :]
        )

    def suffered(self, powers: Array) -> Array:
        """Interference and noise at every receiver [layouts, starts, links]."""
        return powers @ self.cross.swapaxes(-1, -2) + 1.0

    def sum_rate(self, powers: Array) -> Array:
        """(Weighted) sum rate of every start [layouts, starts] in bit/s/Hz."""
        rates = log1p(self.direct * powers / self.suffered(powers)) * BITS_PER_NAT
        total: Array = (rates if self.weights is None else rates * self.weights).sum(-1)
        return total


def wmmse_ratio(channels: Interference[Array], amplitudes: Array) -> Array:
    """By what factor one step would change every amplitude, before the limit of 1 [layouts, starts, links]."""
    signal = channels.direct * amplitudes * amplitudes
    suffered = channels.suffered(amplitudes * amplitudes)
    price = signal / (suffered * (suffered + signal))
    gain = channels.direct / suffered
    if channels.weights is not None:
        price, gain = price * channels.weights, gain * channels.weights
    # a link's own channel is part of the sum over receivers
    return gain / (price @ channels.cross + price * channels.direct + SMALL)


def wmmse_step(channels: Interference[Array], amplitudes: Array) -> Array:
    """One iteration on ``amplitudes`` [layouts, starts, links]; never lowers the (weighted) sum rate."""
    return (amplitudes * wmmse_ratio(channels, amplitudes)).clip(SMALLEST_AMPLITUDE, 1.0)


def wmmse_from(channels: Interference[Array], amplitudes: Array, iterations: int) -> Array:
    """``iterations`` steps; returns amplitudes."""
    for _ in range(iterations):
        amplitudes = wmmse_step(channels, amplitudes)
    return amplitudes


def wmmse(gains: Array, starts: Array, iterations: int = 100, weights: Array | None = None) -> Array:
    """Powers [layouts, links] after ``iterations`` steps, for each layout the best of its starts.

    ``gains`` [layouts, links, links] relative to the noise, ``starts`` [layouts, starts, links] powers,
    ``weights`` [layouts, links].  Blocks of layouts that fit the cache are solved one after the other.
    """
    layouts, links = gains.shape[0], gains.shape[-1]
    block = max(1, int(CACHE_BYTES / (links * links * gains.itemsize)))
    found = starts[:, 0, :] * 0.0
    for first in range(0, layouts, block):
        rows = slice(first, first + block)
        channels = Interference.of(gains[rows], None if weights is None else weights[rows])
        powers = wmmse_from(channels, starts[rows] ** 0.5, iterations) ** 2
        found[rows] = best_start(channels, powers)
    return found


def best_start(channels: Interference[Array], powers: Array) -> Array:
    """For each layout the powers [layouts, links] of the start with the largest (weighted) sum rate."""
    if powers.shape[1] == 1:
        return powers[:, 0, :]
    best = channels.sum_rate(powers).argmax(-1)
    return powers[range(len(powers)), best, :]


def random_starts(layouts: int, starts: int, links: int, seed: int) -> FloatArray:
    """Uniform random powers [layouts, starts, links]."""
    return np.random.default_rng(seed).uniform(0.0, 1.0, (layouts, starts, links))
