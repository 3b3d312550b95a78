"""Traffic and loss from counters whose date is known: all of a round show the counts of one and the same moment.

Then rates are exact, and loss needs only the packets on the way: what had been sent one path delay before a reading
was either delivered or lost by then.  Each demand begins and ends its window at a reading where that is best known:
best where nothing had been sent for longer than the path takes, so that nothing was on the way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from topology_sync.counter_epochs import loss_levels
from topology_sync.values import FloatArray, IntArray

SLACK_S = 1.5
"""How much earlier or later than the window itself a demand may begin or end its own for loss."""
_IN_STEP_S = 0.003  # a publication goes through the rules one by one
_DOUBT_S = 0.03  # of a date
_PATIENCE = 0.05  # packets^2 of uncertainty that a second of distance from the window weighs
_USUAL_DELAY_S = 0.02
_LEAST_VARIANCE = 0.02  # packets^2: now and then something is counted a moment late


class Losses(NamedTuple):
    """Packets sent and lost per demand between its own two moments; NaN where unknown.  All [demands].

    ``deviation`` is the standard error of ``lost``.
    """

    sent: FloatArray
    lost: FloatArray
    from_s: FloatArray
    until_s: FloatArray
    deviation: FloatArray


def dated_losses(
    time_s: FloatArray,
    sent: FloatArray,
    delivered: FloatArray,
    unsure: FloatArray,
    delay_s: FloatArray,
    longest_delay_s: FloatArray,
    window_s: float,
) -> Losses:
    """Loss of every demand over about ``window_s`` up to the newest reading.

    ``time_s`` [readings] are the dates; ``sent``, ``delivered`` [readings, demands] cumulative packets at both ends at
    these dates, NaN where unknown; ``unsure`` [readings, demands] how many of ``delivered`` may not be theirs;
    ``delay_s``, ``longest_delay_s`` [demands] usual and (nearly) longest delay of the path, NaN where unknown.
    """
    count = sent.shape[1]
    if len(time_s) < 2 or not count:
        nothing = np.full(count, np.nan)
        return Losses(nothing, nothing, nothing, nothing, nothing)
    delay_s = np.where(np.isfinite(delay_s), delay_s, _USUAL_DELAY_S)
    longest_s = np.maximum(np.where(np.isfinite(longest_delay_s), longest_delay_s, _USUAL_DELAY_S), delay_s)
    moment_s, sent_by, variance = _aligned(time_s, sent, delay_s, longest_s)
    seen = sent_by - delivered
    variance = np.where(np.isfinite(seen), variance + 0.25 * unsure, np.inf)
    lost_by = loss_levels(time_s, np.where(np.isfinite(variance), seen, np.nan), _LEAST_VARIANCE + variance)
    end = _best(variance, moment_s, np.full(count, time_s[-1]))
    columns = np.arange(count)
    begin = _best(variance, moment_s, moment_s[end, columns] - window_s)
    known = (begin < end) & np.isfinite(variance[begin, columns]) & np.isfinite(variance[end, columns])

    def between(values: FloatArray) -> FloatArray:
        return np.where(known, values[end, columns] - values[begin, columns], np.nan)

    packets = between(sent_by)
    return Losses(
        packets,
        np.clip(between(lost_by), 0.0, packets),
        np.where(known, moment_s[begin, columns], np.nan),
        np.where(known, moment_s[end, columns], np.nan),
        np.where(known, np.sqrt(variance[begin, columns] + variance[end, columns]), np.nan),
    )


def _aligned(
    time_s: FloatArray, sent: FloatArray, delay_s: FloatArray, longest_s: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Per reading and demand: a moment such that all that was sent before has arrived or is lost at the reading, what
    was sent by then, and the variance of that in packets^2."""
    moment_s = time_s[:, None] - delay_s
    sent_by = np.empty_like(sent)
    variance = np.empty_like(sent)
    for column in range(sent.shape[1]):
        known = np.isfinite(sent[:, column])
        dates, counts = time_s[known], sent[known, column]
        if len(dates) < 2:
            sent_by[:, column] = np.nan
            variance[:, column] = np.inf
            continue
        after = np.clip(np.searchsorted(dates, moment_s[:, column]), 1, len(dates) - 1)
        span_s, packets = dates[after] - dates[after - 1], counts[after] - counts[after - 1]
        part = np.clip((moment_s[:, column] - dates[after - 1]) / span_s, 0.0, 1.0)
        sent_by[:, column] = counts[after - 1] + part * packets
        # A Poisson process between two known counts; and what the publication itself does not see at one moment.
        variance[:, column] = packets * part * (1 - part) + _IN_STEP_S * packets / span_s
        variance[moment_s[:, column] < dates[0], column] = np.inf
    quiet_since_s = np.empty_like(sent)
    quiet_since_s[0] = time_s[0]
    for reading in range(1, len(time_s)):
        same = sent[reading] == sent[reading - 1]
        quiet_since_s[reading] = np.where(same, quiet_since_s[reading - 1], time_s[reading])
    quiet = time_s[:, None] - quiet_since_s >= longest_s + _DOUBT_S
    middle_s = (np.maximum(quiet_since_s, time_s[:, None] - 1.0) + time_s[:, None]) / 2
    return np.where(quiet, middle_s, moment_s), np.where(quiet, sent, sent_by), np.where(quiet, 0.0, variance)


def _best(variance: FloatArray, moment_s: FloatArray, wanted_s: FloatArray) -> IntArray:
    """Per demand the reading within reach of ``wanted_s`` whose count is known best, [demands]."""
    away_s = np.abs(moment_s - wanted_s)
    cost = np.where(away_s <= SLACK_S, variance + _PATIENCE * away_s, np.inf)
    nearest = np.where(np.isfinite(variance), away_s, np.inf).argmin(axis=0)
    best: IntArray = np.where(np.isfinite(cost).any(axis=0), cost.argmin(axis=0), nearest)
    return best
