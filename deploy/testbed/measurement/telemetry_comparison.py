"""A snapshot beside what senders and receivers logged: errors per demand, and the figures made of them.  Pure.

Every figure of a snapshot is compared over the window that the snapshot states for it.  Packets count to the window in
which they were sent, for senders and receivers alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from deploy.testbed.statistics import PacketTable, demand_statistics, window
from topology_sync.network_state import NetworkState
from topology_sync.scenario_json import demand_keys
from topology_sync.values import BoolArray, FloatArray

RATE_GOAL = 0.03
LOSS_GOAL = 0.005
DELAY_GOAL_RATIO, DELAY_GOAL_S = 0.20, 0.002
LEAST_PACKETS_FOR_P99 = 200
PACKETS_FOR_P99_TO_20_PERCENT = 450
"""What the receivers' own percentile needs to be within 20 %, 19 times of 20: with an exponential tail of scale s it is
4.6 s and its standard error sqrt(0.0099 / packets) / 0.01 s."""
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Comparison:
    """One snapshot against the truth, NaN where there is nothing to compare.  All [demands].

    ``rate`` relative error; ``loss`` error of the loss ratio, ``one_packet`` what a packet is of it; ``delay_s`` error
    of the 99th percentile, ``delay_within`` whether that is in its goal; ``delay_in_doubt`` whether the measured one
    lies in the 95 % confidence interval of the receivers' own, ``delay_compatible`` whether the goal is met against
    some value in that interval, ``delay_uncertain`` whether the interval alone is wider than the goal; ``received``
    packets behind it; ``jitter_s`` error.
    """

    rate: FloatArray
    loss: FloatArray
    one_packet: FloatArray
    delay_s: FloatArray
    delay_within: BoolArray
    delay_in_doubt: BoolArray
    delay_compatible: BoolArray
    delay_uncertain: BoolArray
    received: FloatArray
    jitter_s: FloatArray


def compare(state: NetworkState, table: PacketTable, keys: Sequence[tuple[str, str, str]]) -> Comparison:
    """Compare for the demands ``keys`` (source, target, class), which the packets of ``table`` number."""
    place = {key: row for row, key in enumerate(demand_keys(state.scenario.topology, state.scenario.traffic))}
    rows = np.array([place.get(key, -1) for key in keys])
    known = rows >= 0

    def measured(values: FloatArray) -> FloatArray:
        return np.where(known, values[rows], np.nan) if len(values) else np.full(len(rows), np.nan)

    end_ns = round(state.time_s * NANOSECONDS)
    part = window(table, end_ns - round(state.window_s * NANOSECONDS), end_ns)
    truth = demand_statistics(part, len(keys), state.window_s)
    sent, lost = _sent_and_lost(table, measured(state.demands.counted_from_s), measured(state.demands.counted_until_s))
    received = truth.received.astype(float)
    p99_s = measured(state.demands.delay_p99_s)
    delay_s = p99_s - truth.delay_p99_s
    low_s, high_s = receivers_interval_s(part, len(keys))
    delay_s = np.where(received >= LEAST_PACKETS_FOR_P99, delay_s, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Comparison(
            rate=measured(state.scenario.traffic.rate_bps) / truth.sent_rate_bps - 1.0,
            loss=measured(state.demands.loss_ratio) - lost / sent,
            one_packet=1.0 / sent,
            delay_s=delay_s,
            delay_within=_meets_goal(delay_s, truth.delay_p99_s),
            delay_in_doubt=(low_s <= p99_s) & (p99_s <= high_s),
            delay_compatible=_meets_goal(p99_s - np.clip(p99_s, low_s, high_s), np.clip(p99_s, low_s, high_s)),
            delay_uncertain=~(
                _meets_goal(low_s - truth.delay_p99_s, truth.delay_p99_s)
                & _meets_goal(high_s - truth.delay_p99_s, truth.delay_p99_s)
            ),
            received=received,
            jitter_s=measured(state.demands.jitter_s) - truth.jitter_s,
        )


def figures(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """What all comparisons together show."""
    rate, loss, packet, delay, received, jitter = (
        np.stack([getattr(one, name) for one in comparisons])
        for name in ("rate", "loss", "one_packet", "delay_s", "received", "jitter_s")
    )
    within, in_doubt, compatible, uncertain = (
        np.stack([getattr(one, f"delay_{name}") for one in comparisons])
        for name in ("within", "in_doubt", "compatible", "uncertain")
    )
    many = np.where(received >= PACKETS_FOR_P99_TO_20_PERCENT, delay, np.nan)
    rate_of, loss_of = np.abs(_middle(rate)), np.abs(_middle(loss))
    return {
        "rate_relative_error": _spread(rate),
        "rate_within_3_percent_ratio": _share(np.abs(rate) <= RATE_GOAL, rate),
        "demands_always_within_3_percent_ratio": float((np.nan_to_num(np.abs(rate)) <= RATE_GOAL).all(axis=0).mean()),
        "rate_median_per_demand": _spread(rate_of),
        "loss_error_points": _points(_spread(loss)),
        "loss_within_half_point_ratio": _share(np.abs(loss) <= LOSS_GOAL, loss),
        "loss_within_half_point_or_one_packet_ratio": _share(np.abs(loss) <= np.fmax(LOSS_GOAL, packet), loss),
        "loss_median_per_demand_points": _points(_spread(loss_of)),
        "delay_p99_error_s": _spread(delay),
        "delay_p99_comparisons": int(np.isfinite(delay).sum()),
        "delay_p99_within_20_percent_or_2_ms_ratio": _share(within, delay),
        "delay_p99_within_or_in_doubt_ratio": _share(within | in_doubt, delay),
        "delay_p99_goal_overlaps_receivers_interval_ratio": _share(compatible, delay),
        "delay_p99_receivers_interval_wider_than_goal_ratio": _share(uncertain, delay),
        "delay_p99_comparisons_of_450_packets": int(np.isfinite(many).sum()),
        "delay_p99_of_450_packets_within_20_percent_or_2_ms_ratio": _share(within, many),
        "jitter_error_s": _spread(jitter),
    }


def _sent_and_lost(table: PacketTable, from_s: FloatArray, until_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Packets that each demand sent between its own two moments (since the epoch), and those that never arrived."""
    sent, lost = np.full(len(from_s), np.nan), np.full(len(from_s), np.nan)
    order = np.argsort(table.demand, kind="stable")
    bounds = np.searchsorted(table.demand[order], np.arange(len(from_s) + 1))
    for demand in range(len(from_s)):
        if math.isnan(from_s[demand]):
            continue
        mine = order[bounds[demand] : bounds[demand + 1]]
        when_s = table.sent_ns[mine] / NANOSECONDS
        inside = mine[(when_s > from_s[demand]) & (when_s <= until_s[demand])]
        if len(inside):
            sent[demand], lost[demand] = len(inside), (table.copies[inside] == 0).sum()
    return sent, lost


def receivers_interval_s(table: PacketTable, demands: int) -> tuple[FloatArray, FloatArray]:
    """95 % confidence interval of each demand's 99th percentile by order statistics, low and high, [demands].

    As many of n packets stay below it as a binomial (n, 0.99) says, so it lies between the order statistics at that
    one's 2.5 and 97.5 percentiles (Hahn and Meeker, Statistical Intervals, 5.2).  With fewer than 368 packets all of
    them may well lie below it: then there is no upper bound.  Packets are taken as independent; those that queue behind
    one another are not, so the true interval is wider.
    """
    low_s, high_s = np.full(demands, np.nan), np.full(demands, np.nan)
    arrived = np.isfinite(table.delay_s)
    for demand in range(demands):
        delay_s = np.sort(table.delay_s[arrived & (table.demand == demand)])
        if not len(delay_s):
            continue
        low, high = (int(count) for count in binom.ppf((0.025, 0.975), len(delay_s), 0.99))
        low_s[demand] = delay_s[max(low - 1, 0)]
        high_s[demand] = delay_s[high] if high < len(delay_s) else np.inf
    return low_s, high_s


def _meets_goal(error_s: FloatArray, truth_s: FloatArray) -> BoolArray:
    size_s = np.abs(error_s)
    met: BoolArray = (size_s <= DELAY_GOAL_RATIO * truth_s) | (size_s <= DELAY_GOAL_S)
    return met


def _middle(values: FloatArray) -> FloatArray:
    known = np.isfinite(values).any(axis=0)
    result = np.full(values.shape[1], np.nan)
    result[known] = np.nanmedian(values[:, known], axis=0)
    return result


def _spread(values: FloatArray) -> dict[str, float]:
    finite = np.abs(values[np.isfinite(values)])
    if not len(finite):
        return {"median": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    median, p95, p99 = np.percentile(finite, [50, 95, 99])
    return {"median": float(median), "p95": float(p95), "p99": float(p99), "max": float(finite.max())}


def _points(values: dict[str, float]) -> dict[str, float]:
    return {name: 100 * value for name, value in values.items()}


def _share(good: BoolArray, values: FloatArray) -> float:
    known = np.isfinite(values)
    return float(good[known].mean()) if known.any() else 0.0
