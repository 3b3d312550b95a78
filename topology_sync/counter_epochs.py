"""Exact differences of counters that a switch publishes only now and then.

Open vSwitch shows counters as of its last publication, made every half second or so, at nearly the same moment on all
bridges of a machine.  A reading is therefore old by an unknown lag, and two switches read together now and then show
different publications.  Over 10 s that is up to 5 % of a rate and 5 points of a loss ratio.  Both errors are common
to all demands of a switch, one demand's randomness is not: so all demands together tell them apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from topology_sync.values import FloatArray, IntArray

LARGEST_LAG_S = 0.75
_OFFSET_PRIOR_S = 0.3
_HUBER_LIMIT = 2.0
_TOLERANCE_S = 0.03
_END_READINGS = 4
_USUAL_STEP = 0.05
_MOSTLY = 0.65
_SMALLEST_SLIP_S = 0.25
_FEWEST_WITNESSES = 5
_FEWEST_PACKETS = 50.0


def robust_slopes(time_s: FloatArray, series: FloatArray) -> FloatArray:
    """Median of pairwise slopes (Theil 1950, Sen 1968) of every column; NaN where a column has under two readings.

    ``time_s`` [readings]; ``series`` [readings, columns], NaN where a reading is missing.
    """
    first, second = np.triu_indices(len(time_s), k=1)
    if not len(first) or not series.shape[1]:
        return np.full(series.shape[1], np.nan)
    slopes = (series[second] - series[first]) / (time_s[second] - time_s[first])[:, None]
    return _column_medians(slopes)


def common_lag_s(time_s: FloatArray, sent: FloatArray) -> FloatArray:
    """How much older than usual all counters are at each reading, in seconds around 0, [readings].

    Every demand that sends steadily is a clock: its count over its rate.  The median over demands (by rate) of what
    these clocks are slow is the common lag; a demand whose rate changes is outvoted.  Zero where no publication was
    slipped, where few demands would decide, or where the deviation is too large to be a lag.

    ``sent`` [readings, demands]: cumulative ingress packets.
    """
    none = np.zeros(len(time_s))
    if len(time_s) < 4:
        return none
    rate = robust_slopes(time_s, sent)
    steady = np.isfinite(sent).all(axis=0) & (rate * (time_s[-1] - time_s[0]) >= _FEWEST_PACKETS)
    if not steady.any():
        return none
    sent = sent[:, steady]
    weight = sent[-1] - sent[0]
    if weight.sum() ** 2 < _FEWEST_WITNESSES * (weight**2).sum():  # a few large demands decide alone
        return none
    step = np.array([_weighted_median(row, weight) for row in np.diff(sent, axis=0) / weight])
    step_s = np.diff(time_s)
    noise = 1.25 / np.sqrt(weight.sum() * np.median(step))  # relative, of one step, were all arrivals Poisson
    speed = step / step_s
    usual = np.abs(speed / np.median(speed) - 1) < max(_USUAL_STEP, 3 * noise)
    progress = np.concatenate([[0.0], np.cumsum(step)])
    if usual.mean() > _MOSTLY:  # in step with the publications but for a slip now and then
        slope = step[usual].sum() / step_s[usual].sum()
    else:
        slope = robust_slopes(time_s, progress[:, None])[0]
    lag: FloatArray = time_s - time_s[0] - progress / slope
    slip_s = max(_SMALLEST_SLIP_S, 3 * noise * float(np.median(step_s)))
    if np.ptp(lag) > LARGEST_LAG_S or np.abs(np.diff(lag)).max() < slip_s:
        return none
    return lag


class EpochOffsets(NamedTuple):
    """How much newer one switch's counters are than others' at each reading: mean [readings, switches] in seconds and
    covariance [readings, switches, switches]."""

    mean_s: FloatArray
    covariance_s2: FloatArray

    def significant_s(self) -> FloatArray:
        """Offsets against most switches where they are beyond doubt, else 0, [readings, switches]."""
        if not self.mean_s.size:
            return self.mean_s
        offset = self.mean_s - np.median(self.mean_s, axis=1, keepdims=True)
        deviation = np.sqrt(np.diagonal(self.covariance_s2, axis1=1, axis2=2))
        return np.where(np.abs(offset) > np.maximum(3 * deviation, _TOLERANCE_S), offset, 0.0)


def epoch_offsets(
    time_s: FloatArray, missing: FloatArray, rate: FloatArray, ends: IntArray, switches: int
) -> EpochOffsets:
    """Offset of every switch's publication at every reading, from the jumps of "sent minus received".

    A demand's missing packets (lost and on the way) follow a line; a reading whose ingress is ``x`` seconds newer
    than its egress stands ``rate * x`` above it.  One least-squares problem per reading finds the offsets of switches
    that explain the jumps of all demands, with a prior of no offset and Huber's weights (1964) against single outliers.

    ``missing`` [readings, demands] cumulative ingress minus egress packets, NaN where unknown; ``rate`` [demands] in
    packets/s; ``ends`` [demands, 2] index of ingress and egress switch.
    """
    readings = len(time_s)
    slope = np.maximum(robust_slopes(time_s, missing), 0.0)
    residual = missing - slope * (time_s - time_s[0])[:, None]
    residual -= _column_medians(residual)
    span_s = time_s[-1] - time_s[0] if readings else 0.0
    noise = 1.0 + slope * span_s / 6 + 0.1 * rate  # packets^2: counting, wandering loss, delay variation
    mean = np.zeros((readings, switches))
    covariance = np.zeros((readings, switches, switches))
    prior = np.eye(switches) / _OFFSET_PRIOR_S**2
    for reading in range(readings):
        known = np.flatnonzero(np.isfinite(residual[reading]) & np.isfinite(noise) & (rate > 0))
        source, target = ends[known, 0], ends[known, 1]
        jump, speed, variance = residual[reading, known], rate[known], noise[known]
        offset = np.zeros(switches)
        for _ in range(4):
            surprise = np.abs(jump - speed * (offset[source] - offset[target])) / np.sqrt(variance)
            trust = np.minimum(1.0, _HUBER_LIMIT / np.maximum(surprise, 1e-9)) if offset.any() else np.ones(len(known))
            weight = trust * speed**2 / variance
            precision = prior.copy()
            np.add.at(precision, (source, source), weight)
            np.add.at(precision, (target, target), weight)
            np.add.at(precision, (source, target), -weight)
            np.add.at(precision, (target, source), -weight)
            pull = np.zeros(switches)
            np.add.at(pull, source, weight * jump / speed)
            np.add.at(pull, target, -weight * jump / speed)
            covariance[reading] = np.linalg.inv(precision)
            offset = covariance[reading] @ pull
        mean[reading] = offset
    return EpochOffsets(mean, covariance)


def trusted_ends(offset_s: FloatArray, deviation_s: FloatArray) -> tuple[int, int]:
    """First and last reading between which counter differences are exact: both of the same offset, far apart.

    ``offset_s`` [readings] of a demand's ingress against its egress, ``deviation_s`` its standard deviation.  Looks at
    the four readings at either end: a reading that shows two publications is left out at the price of a shorter window.
    """
    last = len(offset_s) - 1
    reach = min(_END_READINGS, (last + 1) // 2)
    candidates = [(first, last - back) for first in range(reach) for back in range(reach) if first < last - back]

    def cost(ends: tuple[int, int]) -> tuple[float, int, int]:
        first, second = ends
        allowed = max(_TOLERANCE_S, float(np.hypot(deviation_s[first], deviation_s[second])))
        beyond = max(abs(float(offset_s[second] - offset_s[first])) - allowed, 0.0)
        return round(beyond, 2), first - second, first

    return min(candidates, key=cost)


def _column_medians(values: FloatArray) -> FloatArray:
    """Median of every column without its NaN, NaN where nothing is left."""
    result = np.full(values.shape[1], np.nan)
    filled = np.isfinite(values).any(axis=0)
    if filled.any():
        result[filled] = np.nanmedian(values[:, filled], axis=0)
    return result


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
