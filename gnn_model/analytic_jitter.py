"""Jitter, E|d_i - d_(i-1)| of consecutive packets of a demand (RFC 3393), from the queues' waits and their memory."""

from __future__ import annotations

import math

import numpy as np

from gnn_model.analytic_gamma import gamma_mean_difference
from gnn_model.analytic_layout import Layout
from gnn_model.analytic_queues import NOTHING, Waits
from topology_sync.values import BoolArray, FloatArray

# Gauss-Laguerre nodes and weights: the mean over an exponentially distributed spacing of packets.
SPACING_NODES, SPACING_WEIGHTS = np.polynomial.laguerre.laggauss(6)
NORMAL_RATIO = math.sqrt(2 / math.pi)  # E|N| of the standard normal distribution


def relaxation(load: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Autocorrelation of a queue after a time t, as slow * exp(-t/slow_time) + (1 - slow) * exp(-t/fast_time).

    Returns (slow, slow_time, fast_time), times in units of the initial decay time.  Three facts about M/M/1 fix it:
    initial slope 1, integral 1 + load, asymptotic relaxation time (1 + sqrt(load))^2 (Morse 1955; Abate and Whitt,
    "Transient behavior of the M/M/1 queue: starting at the origin", Queueing Systems 2 (1987)).
    """
    slow_time = (1 + np.sqrt(load)) ** 2
    some = load > 1e-6
    slow = np.where(some, load / np.where(some, slow_time + (1 + load) / slow_time - 2, 1.0), 0.2)
    fast_time = (1 - slow) / (1 - slow / slow_time)
    return slow, slow_time, fast_time


def path_jitter(
    layout: Layout,
    waits: Waits,
    load: FloatArray,
    bit_time_s: FloatArray,
    spacing_s: FloatArray,
    constant_spacing: BoolArray,
    bits: FloatArray,
    size_variance_ratio: FloatArray,
    size_difference_ratio: FloatArray,
) -> FloatArray:
    """Jitter of each path, [paths] in seconds.

    The difference of two packets ``spacing_s`` [paths] apart (exponentially distributed, or ``constant_spacing``) has
    the variance ``sum_l 2 Var(W_l) (1 - r_l) + Var(s) (T^2 + (sum_l (1 - r_l) / C_l)^2)``: r_l is queue l's
    autocorrelation over that time and T the sum of 1 / C_l.  The second part is the packets' own sizes s: what is still
    remembered of the first packet is its own size too, in which the second one stands.  ``load`` [queues] sets r_l.

    From deviation to mean absolute value: waits that are 0 with the probability that no server is busy, else gamma
    distributed; own sizes by ``size_difference_ratio`` [paths]; mixed as excess kurtosis does, with squared shares of
    the variance.  ``size_variance_ratio`` [paths] is Var(s) / E[s]^2.
    """
    changed, forgotten = _differences(layout, waits, load, bit_time_s, spacing_s, constant_spacing)
    mean, variance, idle, per_bit = (np.zeros(len(bits)) for _ in range(4))
    queue_mean, queue_variance = waits.mean_s.reshape(-1), waits.variance_s2.reshape(-1)
    log_idle = np.log(np.maximum(1 - waits.waiting_probability.reshape(-1), 1e-30))
    for queue, link in zip(layout.hop_queue, layout.hop_link, strict=True):
        count = len(queue)
        mean[:count] += queue_mean[queue]
        variance[:count] += queue_variance[queue]
        idle[:count] += log_idle[queue]
        per_bit[:count] += bit_time_s[link]
    size_variance = bits**2 * size_variance_ratio
    own = size_variance[:, None] * (per_bit[:, None] ** 2 + forgotten**2)
    total = changed + own
    part = own / np.maximum(total, NOTHING)
    waits_ratio = _difference_ratio(mean, variance, np.exp(idle))[:, None]
    lacking = (NORMAL_RATIO - waits_ratio) * (1 - part) ** 2 + (NORMAL_RATIO - size_difference_ratio[:, None]) * part**2
    result: FloatArray = (np.sqrt(total) * (NORMAL_RATIO - lacking)) @ SPACING_WEIGHTS
    return result


def _difference_ratio(mean: FloatArray, variance: FloatArray, zero: FloatArray) -> FloatArray:
    """E|X - Y| over the deviation of X - Y for X, Y with this mean and variance: 0 with chance ``zero``, else gamma."""
    rest = np.maximum(1 - zero, 1e-12)
    some = variance > NOTHING
    positive = mean / rest
    spread = np.maximum((variance + mean**2) / rest - positive**2, 1e-6 * positive**2)
    shape = np.where(some, positive**2 / np.where(some, spread, 1.0), 1.0)
    difference = 2 * zero * mean + rest * mean * gamma_mean_difference(np.maximum(shape, 1e-3))
    result: FloatArray = np.where(some, difference / np.sqrt(np.where(some, 2 * variance, 1.0)), NORMAL_RATIO)
    return np.minimum(result, NORMAL_RATIO)


def _differences(
    layout: Layout,
    waits: Waits,
    load: FloatArray,
    bit_time_s: FloatArray,
    spacing_s: FloatArray,
    constant_spacing: BoolArray,
) -> tuple[FloatArray, FloatArray]:
    """sum_l 2 Var(W_l) (1 - r_l) and sum_l (1 - r_l) / C_l, [paths, spacing nodes]."""
    slow, slow_time, fast_time = relaxation(load.reshape(-1))
    tau = waits.relaxation_s.reshape(-1)
    moving = tau > NOTHING
    decay_slow = np.where(moving, 1 / np.where(moving, tau * slow_time, 1.0), np.inf)
    decay_fast = np.where(moving, 1 / np.where(moving, tau * fast_time, 1.0), np.inf)
    twice = 2 * waits.variance_s2.reshape(-1)
    nodes = np.where(constant_spacing[:, None], 1.0, SPACING_NODES)
    spacing = np.maximum(spacing_s, NOTHING)[:, None] * nodes
    changed, forgotten = np.zeros(spacing.shape), np.zeros(spacing.shape)
    for queue, link in zip(layout.hop_queue, layout.hop_link, strict=True):
        count = len(queue)
        gap = spacing[:count]
        weight = slow[queue][:, None]
        lost = 1 - weight * np.exp(-gap * decay_slow[queue][:, None])
        lost -= (1 - weight) * np.exp(-gap * decay_fast[queue][:, None])
        changed[:count] += twice[queue][:, None] * lost
        forgotten[:count] += bit_time_s[link][:, None] * lost
    return changed, forgotten
