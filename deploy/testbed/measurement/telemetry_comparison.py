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
    of the 99th percentile, ``delay_within`` whether that is in its goal, ``delay_in_doubt`` whether it is within what
    the receivers' own percentile is certain to (95 %); ``received`` packets behind that; ``jitter_s`` error.
    """

    rate: FloatArray
    loss: FloatArray
    one_packet: FloatArray
    delay_s: FloatArray
    delay_within: BoolArray
    delay_in_doubt: BoolArray
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
    delay_s = measured(state.demands.delay_p99_s) - truth.delay_p99_s
    delay_s = np.where(received >= LEAST_PACKETS_FOR_P99, delay_s, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Comparison(
            rate=measured(state.scenario.traffic.rate_bps) / truth.sent_rate_bps - 1.0,
            loss=measured(state.demands.loss_ratio) - lost / sent,
            one_packet=1.0 / sent,
            delay_s=delay_s,
            delay_within=(np.abs(delay_s) <= DELAY_GOAL_RATIO * truth.delay_p99_s) | (np.abs(delay_s) <= DELAY_GOAL_S),
            delay_in_doubt=_in_doubt(part, measured(state.demands.delay_p99_s)),
            received=received,
            jitter_s=measured(state.demands.jitter_s) - truth.jitter_s,
        )


def figures(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """What all comparisons together show."""
    rate, loss, packet, delay, received, jitter = (
        np.stack([getattr(one, name) for one in comparisons])
        for name in ("rate", "loss", "one_packet", "delay_s", "received", "jitter_s")
    )
    within, in_doubt = (
        np.stack([getattr(one, name) for one in comparisons]) for name in ("delay_within", "delay_in_doubt")
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


def _in_doubt(table: PacketTable, p99_s: FloatArray) -> BoolArray:
    """Whether each value lies in the 95 % confidence interval of the receivers' 99th percentile (order statistics)."""
    result = np.zeros(len(p99_s), dtype=np.bool_)
    for demand in range(len(p99_s)):
        delay_s = np.sort(table.delay_s[(table.demand == demand) & np.isfinite(table.delay_s)])
        count = len(delay_s)
        if count:
            spread = 1.96 * math.sqrt(0.0099 * count)
            low, high = math.floor(0.99 * count - spread), math.ceil(0.99 * count + spread)
            result[demand] = delay_s[max(low - 1, 0)] <= p99_s[demand] <= delay_s[min(high, count - 1)]
    return result


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
