"""From moments of path delays to percentiles and jitter: vectorised gamma approximations without scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gnn_model.analytic_layout import Layout
from gnn_model.analytic_queues import NOTHING, Waits
from topology_sync.values import BoolArray, FloatArray, IntArray

SKEW_LIMITS = (-2.0, 4.0)  # where the Wilson-Hilferty cube is good to a few per cent at the 99th percentile
NORMAL_99 = 2.3263478740408408
BISECTIONS = 40
# Gauss-Laguerre nodes and weights: the mean over an exponentially distributed spacing.
SPACING_NODES, SPACING_WEIGHTS = np.polynomial.laguerre.laggauss(6)


def gamma_quantile(mean: FloatArray, deviation: FloatArray, skew: FloatArray, normal: float = NORMAL_99) -> FloatArray:
    """Quantile of the shifted gamma (Pearson III) with these moments, by Wilson and Hilferty (1931).

    ``normal`` is the quantile of the standard normal distribution at the same probability.
    """
    skew = np.clip(skew, *SKEW_LIMITS)
    sixth = np.where(np.abs(skew) < 1e-4, 1e-4, skew) / 6
    factor = (np.maximum(1 + sixth * normal - sixth**2, 0.0) ** 3 - 1) / (3 * sixth)
    result: FloatArray = mean + deviation * factor
    return result


def gamma_survival(at: FloatArray, mean: FloatArray, deviation: FloatArray, skew: FloatArray) -> FloatArray:
    """P(X > at) of the same shifted gamma: the inverse of :func:`gamma_quantile`."""
    skew = np.clip(skew, *SKEW_LIMITS)
    sixth = np.where(np.abs(skew) < 1e-4, 1e-4, skew) / 6
    scaled = (at - mean) / np.where(deviation > 0, deviation, 1.0)
    inside = 1 + 3 * sixth * scaled
    normal = (np.cbrt(np.maximum(inside, 0.0)) - 1) / sixth + sixth
    # Beyond the end of the gamma's support.
    normal = np.where(inside > 0, normal, np.where(sixth > 0, -40.0, 40.0))
    result: FloatArray = np.where(deviation > 0, normal_survival(normal), np.where(at < mean, 1.0, 0.0))
    return result


def normal_survival(at: FloatArray) -> FloatArray:
    """P(N > at), Abramowitz and Stegun 26.2.17 (absolute error below 1e-7)."""
    size = np.abs(at)
    t = 1 / (1 + 0.2316419 * size)
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-(size**2) / 2) / math.sqrt(2 * math.pi) * series
    result: FloatArray = np.where(at < 0, 1 - tail, tail)
    return result


def mean_difference_ratio(skew: FloatArray) -> FloatArray:
    """E|X - Y| over the standard deviation of X - Y, for X, Y independent gamma variables with this skewness.

    With shape k = 4 / skew^2 it is sqrt(2/pi) Gamma(k + 1/2) / (Gamma(k) sqrt(k)): sqrt(2/pi) for the normal
    distribution (skew 0), 1 / sqrt(2) for the exponential one (skew 2).
    """
    shape = 4 / np.clip(np.abs(skew), 1e-3, 8.0) ** 2
    # Gamma(k + 1/2) / Gamma(k): three steps of the recurrence up, then Stirling's series.
    shifted = shape + 3
    ratio = np.sqrt(shifted) * (1 - 1 / (8 * shifted) + 1 / (128 * shifted**2) + 5 / (1024 * shifted**3))
    for step in (2, 1, 0):
        ratio = ratio * (shape + step) / (shape + step + 0.5)
    result: FloatArray = math.sqrt(2 / math.pi) * ratio / np.sqrt(shape)
    return result


def relaxation(load: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Autocorrelation of a queue after a time t, as slow * exp(-t/slow_time) + (1 - slow) * exp(-t/fast_time).

    Returns (slow, slow_time, fast_time), times in units of the initial decay time.  Three facts about M/M/1 fix it:
    initial slope 1, integral 1 + load, asymptotic relaxation time (1 + sqrt(load))^2 (Morse 1955; Abate and Whitt,
    "Transient behavior of the M/M/1 queue: starting at the origin", Queueing Systems 2 (1987)).
    """
    slow_time = (1 + np.sqrt(load)) ** 2
    slow = load / (slow_time + (1 + load) / slow_time - 2)
    slow = np.where(load > 1e-6, slow, 0.2)
    fast_time = (1 - slow) / (1 - slow / slow_time)
    return slow, slow_time, fast_time


@dataclass(frozen=True)
class DelayStatistics:
    """Mean, 99th percentile, jitter and loss, [paths] or [candidates, demands]."""

    mean_s: FloatArray
    p99_s: FloatArray
    jitter_s: FloatArray
    loss_ratio: FloatArray


@dataclass(frozen=True)
class PathDelays:
    """Delay of delivered packets per path, [paths]; ``different_s`` is the jitter between independent packets."""

    mean_s: FloatArray
    deviation_s: FloatArray
    skew: FloatArray
    jitter_s: FloatArray
    survival: FloatArray

    def demands(self, layout: Layout, demand_count: int) -> DelayStatistics:
        """Put the paths of each demand together, [candidates, demands]; delivered packets weigh."""
        shape = (layout.candidates, demand_count)
        group = layout.path_candidate * demand_count + layout.path_demand
        size = layout.candidates * demand_count

        def collect(per_path: FloatArray) -> FloatArray:
            return np.bincount(group, weights=per_path, minlength=size).astype(np.float64)

        weight = layout.share * np.maximum(self.survival, 1e-12)
        weight = weight / collect(weight)[group]
        mean = collect(weight * self.mean_s)
        p99 = collect(weight * gamma_quantile(self.mean_s, self.deviation_s, self.skew))
        jitter = collect(weight * self.jitter_s)
        loss = collect(layout.share * (1 - self.survival)) / np.maximum(collect(layout.share), 1e-300)
        split = np.bincount(group, minlength=size) > 1
        if split.any():
            self._mix(group, weight, split, p99, jitter)
        return DelayStatistics(
            mean.reshape(shape), p99.reshape(shape), jitter.reshape(shape), np.clip(loss, 0.0, 1.0).reshape(shape)
        )

    def _mix(self, group: IntArray, weight: FloatArray, split: BoolArray, p99: FloatArray, jitter: FloatArray) -> None:
        """Replace ``p99`` and ``jitter`` of split demands: each packet takes a path by chance."""
        rows = np.flatnonzero(split[group])
        names, member = np.unique(group[rows], return_inverse=True)
        share = weight[rows]
        mean, deviation, skew = self.mean_s[rows], self.deviation_s[rows], self.skew[rows]
        low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        np.minimum.at(low, member, mean)
        np.maximum.at(high, member, np.maximum(gamma_quantile(mean, deviation, skew, 5.0), mean))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            survival = np.bincount(
                member, weights=share * gamma_survival(middle[member], mean, deviation, skew), minlength=len(names)
            )
            low, high = np.where(survival > 0.01, middle, low), np.where(survival > 0.01, high, middle)
        p99[names] = (low + high) / 2
        jitter[names] = _mixed_jitter(member, share, mean, deviation, self.jitter_s[rows], len(names))


def _mixed_jitter(
    member: IntArray, share: FloatArray, mean: FloatArray, deviation: FloatArray, same: FloatArray, count: int
) -> FloatArray:
    """E|d - d'| where d and d' take paths by chance: the same path's jitter, else a folded normal difference."""
    order = np.argsort(member, kind="stable")
    counts = np.bincount(member, minlength=count)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    repeats = counts[member[order]]
    left = np.repeat(order, repeats)
    within = np.arange(len(left)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    right = order[np.repeat(starts[member[order]], repeats) + within]
    apart = np.abs(mean[left] - mean[right])
    together = np.sqrt(deviation[left] ** 2 + deviation[right] ** 2)
    scaled = apart / np.where(together > 0, together, 1.0)
    folded = together * math.sqrt(2 / math.pi) * np.exp(-(scaled**2) / 2) + apart * (1 - 2 * normal_survival(scaled))
    difference = np.where(left == right, same[left], np.where(together > 0, folded, apart))
    return np.bincount(member[left], weights=share[left] * share[right] * difference, minlength=count).astype(
        np.float64
    )


def path_statistics(
    layout: Layout,
    waits: Waits,
    load: FloatArray,
    survival: FloatArray,
    capacity_bps: FloatArray,
    propagation_s: FloatArray,
    packets_per_s: FloatArray,
    bits: FloatArray,
    second: FloatArray,
    third: FloatArray,
) -> PathDelays:
    """Sum the waits [candidates, links, queues] and own transmission times along every path.

    Cumulants of independent hops add up; the own size is the same at all hops, so its deviation adds up linearly.
    Jitter is E|d_i - d_(i-1)|: the difference of two packets ``spacing`` apart has variance 2 sum_l Var(W_l) (1 -
    r_l(spacing)) plus that of two independent sizes, r_l the autocorrelation of queue l (:func:`relaxation`), averaged
    over exponential spacings.
    """
    demand = layout.path_demand
    paths = len(demand)
    mean_wait, variance, third_wait = np.zeros(paths), np.zeros(paths), np.zeros(paths)
    per_bit, fixed = np.zeros(paths), np.zeros(paths)
    queue_mean, queue_variance = waits.mean_s.reshape(-1), waits.variance_s2.reshape(-1)
    queue_third = waits.third_s3.reshape(-1)
    bit_time = 1 / capacity_bps
    for queue, link in zip(layout.hop_queue, layout.hop_link, strict=True):
        count = len(queue)
        mean_wait[:count] += queue_mean[queue]
        variance[:count] += queue_variance[queue]
        third_wait[:count] += queue_third[queue]
        per_bit[:count] += bit_time[link]
        fixed[:count] += propagation_s[link]
    own = per_bit * bits[demand]
    size_variance = own**2 * (second[demand] - 1)
    size_third = own**3 * (third[demand] - 3 * second[demand] + 2)
    total = variance + size_variance
    deviation = np.sqrt(total)
    skew = (third_wait + size_third) / np.where(total > NOTHING, deviation**3, 1.0)

    arriving = packets_per_s[demand] * layout.share * np.maximum(survival, 1e-12)
    rate = np.bincount(
        layout.path_candidate * len(bits) + demand, weights=arriving, minlength=layout.candidates * len(bits)
    )[layout.path_candidate * len(bits) + demand]
    remaining = _difference_variance(layout, waits, load, rate)
    ratio = mean_difference_ratio(skew)
    spread = np.sqrt(remaining + 2 * size_variance[:, None]) @ SPACING_WEIGHTS
    return PathDelays(fixed + mean_wait + own, deviation, skew, ratio * spread, survival)


def _difference_variance(layout: Layout, waits: Waits, load: FloatArray, rate: FloatArray) -> FloatArray:
    """Variance of the difference of two packets' summed waits, [paths, spacing nodes]."""
    slow, slow_time, fast_time = relaxation(load.reshape(-1))
    tau = waits.relaxation_s.reshape(-1)
    moving = tau > 0
    decay_slow = np.where(moving, 1 / np.where(moving, tau * slow_time, 1.0), 0.0)
    decay_fast = np.where(moving, 1 / np.where(moving, tau * fast_time, 1.0), 0.0)
    twice = 2 * waits.variance_s2.reshape(-1)
    some = rate > NOTHING
    spacing = np.where(some[:, None], SPACING_NODES / np.where(some, rate, 1.0)[:, None], np.inf)
    difference = np.zeros((len(rate), len(SPACING_NODES)))
    for queue in layout.hop_queue:
        gap = spacing[: len(queue)]
        weight = slow[queue][:, None]
        with np.errstate(invalid="ignore"):
            kept = weight * np.exp(-gap * decay_slow[queue][:, None])
            kept += (1 - weight) * np.exp(-gap * decay_fast[queue][:, None])
        difference[: len(queue)] += twice[queue][:, None] * (1 - np.nan_to_num(kept, nan=0.0))
    return difference
