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
_OFFSET_PRIOR_S = 0.3  # standard deviation of an offset before anything is known
_TOLERANCE_S = 0.05  # offsets below are delay variation, not publications
_HUBER_LIMIT = 2.0
_REWEIGHTINGS = 3
_PASSES = 6
_NEAR, _NEARBY = 2, 4  # readings apart
_ON_THE_WAY_S = 0.03  # variance of the packets on the way, per packet/s
_LEAST_WANDER = 0.05  # packets/s of loss that may come from nowhere
_USUAL_STEP = 0.05
_MOSTLY = 0.65
_SMALLEST_SLIP_S = 0.25
_FEWEST_WITNESSES = 5
_FEWEST_PACKETS = 50.0


def robust_slopes(time_s: FloatArray, series: FloatArray, reach: int | None = None) -> FloatArray:
    """Median of pairwise slopes (Theil 1950, Sen 1968) of every column; NaN where a column has under two readings.

    ``time_s`` [readings]; ``series`` [readings, columns], NaN where a reading is missing.  Only pairs up to ``reach``
    readings apart count, if given: then a jump in the middle spoils few of them.
    """
    first, second = np.triu_indices(len(time_s), k=1)
    if reach is not None:
        near = second - first <= reach
        first, second = first[near], second[near]
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
        usual = np.sort(self.mean_s, axis=1)[:, [(self.mean_s.shape[1] - 1) // 2]]  # one of them, not between two
        offset = self.mean_s - usual
        covariance = self.covariance_s2
        variance = np.diagonal(covariance, axis1=1, axis2=2) - 2 * covariance.mean(axis=1)
        deviation = np.sqrt(np.maximum(variance + covariance.mean(axis=(1, 2))[:, None], 0.0))  # what all share is moot
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
    # A jump in the middle of the window looks like a slope to most pairs of readings, but not to near ones.
    slope = robust_slopes(time_s, missing, reach=_NEAR)
    corrected = missing
    for _ in range(_PASSES):
        slope = np.maximum(slope, 0.0)
        line = slope * (time_s - time_s[0])[:, None]
        residual = missing - line - _column_medians(corrected - line)
        noise = 1.0 + slope * (time_s[-1] - time_s[0]) / 6 + 0.04 * rate  # packets^2: counting, wandering loss, delay
        offsets = EpochOffsets(*_solve_offsets(residual, noise, rate, ends, switches))
        offset_s = offsets.significant_s()
        corrected = missing - rate * (offset_s[:, ends[:, 0]] - offset_s[:, ends[:, 1]])
        slope = robust_slopes(time_s, corrected, reach=_NEARBY)
    return offsets


def _solve_offsets(
    residual: FloatArray, noise: FloatArray, rate: FloatArray, ends: IntArray, switches: int
) -> tuple[FloatArray, FloatArray]:
    """Mean [readings, switches] and covariance [readings, switches, switches] given what stands off the lines."""
    readings = len(residual)
    mean = np.zeros((readings, switches))
    covariance = np.zeros((readings, switches, switches))
    prior = np.eye(switches) / _OFFSET_PRIOR_S**2
    for reading in range(readings):
        known = np.flatnonzero(np.isfinite(residual[reading]) & np.isfinite(noise) & (rate > 0))
        source, target = ends[known, 0], ends[known, 1]
        jump, speed, variance = residual[reading, known], rate[known], noise[known]
        weight = speed**2 / variance
        for _ in range(_REWEIGHTINGS):
            precision = prior.copy()
            np.add.at(precision, (source, source), weight)
            np.add.at(precision, (target, target), weight)
            np.add.at(precision, (source, target), -weight)
            np.add.at(precision, (target, source), -weight)
            pull = np.zeros(switches)
            np.add.at(pull, source, weight * jump / speed)
            np.add.at(pull, target, -weight * jump / speed)
            covariance[reading] = np.linalg.inv(precision)
            mean[reading] = covariance[reading] @ pull
            offset_s = mean[reading, source] - mean[reading, target]
            spread = variance + speed * np.abs(offset_s)  # the packets of an offset are random too
            surprise = np.abs(jump - speed * offset_s) / np.sqrt(spread)
            weight = np.minimum(1.0, _HUBER_LIMIT / np.maximum(surprise, 1e-9)) * speed**2 / spread
    return mean, covariance


def packets_lost(
    time_s: FloatArray, missing: FloatArray, rate: FloatArray, offset_s: FloatArray, variance_s2: FloatArray
) -> FloatArray:
    """Packets lost between the first and the last reading of every demand, [demands].

    ``missing`` [readings, demands] cumulative ingress minus egress packets, NaN where unknown, of which
    ``rate * offset`` is due to different publications; ``offset_s`` and ``variance_s2`` [readings, demands].
    """
    noise = 0.1 + rate * (_ON_THE_WAY_S + np.abs(offset_s)) + rate**2 * variance_s2
    level = loss_levels(time_s, missing - rate * offset_s, noise)
    known = np.isfinite(missing)
    first, last = known.argmax(axis=0), len(time_s) - 1 - known[::-1].argmax(axis=0)
    columns = np.arange(missing.shape[1])
    lost: FloatArray = level[last, columns] - level[first, columns]
    return lost


def loss_levels(time_s: FloatArray, seen: FloatArray, noise: FloatArray) -> FloatArray:
    """What had been lost by each reading, up to a constant per demand, [readings, demands].

    What is seen at a reading is what was lost so far (a Poisson process: it wanders) and a noise of its own with
    variance ``noise`` in packets^2 (packets on the way just then, dates).  The most likely losses solve one tridiagonal
    system (the smoother of a random walk with drift): where a reading is beyond doubt its count decides, else its
    neighbours do.

    ``seen``, ``noise`` [readings, demands]; NaN in ``seen`` where unknown, all NaN where nothing is known of a demand.
    """
    known = np.isfinite(seen)
    filled = np.where(known, seen, 0.0)
    drift = np.maximum(robust_slopes(time_s, seen), 0.0)
    drift = np.where(np.isfinite(drift), drift, 0.0)
    weight = np.where(known, 1.0 / noise, 0.0)
    step_s = np.diff(time_s)[:, None]
    span_s = time_s[-1] - time_s[0]
    first, last = known.argmax(axis=0), len(time_s) - 1 - known[::-1].argmax(axis=0)
    columns = np.arange(seen.shape[1])
    wander = np.maximum(drift, (filled[last, columns] - filled[first, columns]) / span_s)
    link = 1.0 / (np.maximum(wander, _LEAST_WANDER) * step_s)  # [steps, demands]
    matrix = np.zeros((seen.shape[1], len(time_s), len(time_s)))
    index = np.arange(len(time_s))
    matrix[:, index, index] = weight.T
    matrix[:, index[:-1], index[:-1]] += link.T
    matrix[:, index[1:], index[1:]] += link.T
    matrix[:, index[:-1], index[1:]] -= link.T
    matrix[:, index[1:], index[:-1]] -= link.T
    pull = weight * filled
    pull[:-1] -= link * drift * step_s
    pull[1:] += link * drift * step_s
    solvable = known.any(axis=0)
    level = np.full(seen.shape, np.nan)
    level[:, solvable] = np.linalg.solve(matrix[solvable], pull.T[solvable][:, :, None])[:, :, 0].T
    return level


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
