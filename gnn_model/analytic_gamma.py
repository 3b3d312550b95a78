"""Gamma and normal distributions as the analytic predictor needs them: vectorised, without scipy."""

from __future__ import annotations

import math

import numpy as np

from topology_sync.values import FloatArray

SKEW_LIMITS = (-2.0, 4.0)  # where the Wilson-Hilferty cube is good to a few per cent at the 99th percentile
NORMAL_99 = 2.3263478740408408


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


def gamma_mean_difference(shape: FloatArray) -> FloatArray:
    """E|X - Y| / E[X] for independent X, Y of a gamma distribution: 2 Gamma(k + 1/2) / (sqrt(pi) k Gamma(k)).

    1 for the exponential distribution (k = 1), 2 / sqrt(pi k) for large k.
    """
    # Gamma(k + 1/2) / Gamma(k): three steps of the recurrence up, then Stirling's series.
    shifted = shape + 3
    ratio = np.sqrt(shifted) * (1 - 1 / (8 * shifted) + 1 / (128 * shifted**2) + 5 / (1024 * shifted**3))
    for step in (2, 1, 0):
        ratio = ratio * (shape + step) / (shape + step + 0.5)
    result: FloatArray = 2 / math.sqrt(math.pi) * ratio / shape
    return result
