"""Simple answers to compare with: everyone at full power, greedy link by link, and FPLinQ."""

from __future__ import annotations

import numpy as np

from gnn_model.wireless.rates import cross_gains, direct_gains
from gnn_model.wireless.wmmse import wmmse
from topology_sync.values import FloatArray


def full_power(gains: FloatArray) -> FloatArray:
    """Everyone at full power [layouts, links]."""
    return np.ones(gains.shape[:-1])


def greedy(gains: FloatArray) -> FloatArray:
    """Links in order of falling direct gain, each switched on if the sum rate is larger with it [layouts, links]."""
    layouts, links = gains.shape[:2]
    cross, direct = cross_gains(gains), direct_gains(gains)
    order = np.argsort(-direct, axis=-1)
    every = np.arange(layouts)
    powers = np.zeros((layouts, links))
    suffered = np.ones((layouts, links))
    best = np.zeros(layouts)
    for place in range(links):
        link = order[:, place]
        louder = suffered + cross[every, :, link]
        trial = powers.copy()
        trial[every, link] = 1.0
        rate = np.log2(1.0 + direct * trial / louder).sum(-1)
        better = rate > best
        best = np.where(better, rate, best)
        powers = np.where(better[:, None], trial, powers)
        suffered = np.where(better[:, None], louder, suffered)
    return powers


def fplinq(gains: FloatArray, iterations: int = 100) -> FloatArray:
    """FPLinQ: fractional programming from full power, then every link on or off [layouts, links].

    Shen, Yu: FPLinQ: A Cooperative Spectrum Sharing Strategy for Device-to-Device Communications (ISIT 2017).  For one
    antenna and fixed pairs its update of the amplitudes is that of WMMSE; what differs is the decision at the end.
    """
    powers = wmmse(gains, full_power(gains)[:, None, :], iterations)
    return np.where(powers >= 0.25, 1.0, 0.0)  # an amplitude of at least one half
