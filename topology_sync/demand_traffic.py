"""What every demand sent and lost over the last window, from the totals of the counters at both of its ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from topology_sync.counter_epochs import common_lag_s, epoch_offsets, packets_lost, robust_slopes
from topology_sync.dated_counters import dated_losses
from topology_sync.path_delays import DelayStatistics
from topology_sync.telemetry import (
    EGRESS_TABLE,
    INGRESS_TABLE,
    MPLS_LABEL_BYTES,
    CounterKey,
    Reading,
    TelemetrySettings,
    TelemetryState,
)
from topology_sync.values import FloatArray


class Window(NamedTuple):
    """The time that rates are of, by the clock of the events."""

    from_s: float
    until_s: float


class DemandEnds(NamedTuple):
    """A demand by its number in the cookies, and the datapath ids of its ends."""

    number: int
    source_dpid: int
    target_dpid: int


@dataclass(frozen=True)
class DemandTraffic:
    """What a demand sent over the window; NaN where unknown.

    Sizes and rates are of frames with the MPLS label.  ``packets_sent`` is counted between the readings at
    ``counted_from_s`` and ``counted_until_s``, ``packets_lost`` is estimated between them.
    """

    offered_bps: float = math.nan
    packets_per_s: float = math.nan
    packet_bits_mean: float = math.nan
    packets_sent: float = math.nan
    packets_lost: float = math.nan
    loss_ratio: float = math.nan
    counted_from_s: float = math.nan
    counted_until_s: float = math.nan


def demand_rates(
    state: TelemetryState,
    now_s: float,
    demands: Iterable[DemandEnds],
    settings: TelemetrySettings,
    delays: Mapping[int, DelayStatistics] | None = None,
) -> dict[int, DemandTraffic]:
    """Rates, packet sizes and loss of the demands over the window before ``now_s``, by demand number.

    What was sent is a difference of counters, exact in packets.  How far two readings are apart in time and what was
    lost between them is known where readings are dated (``dated_counters``), else estimated (``counter_epochs``).
    ``delays`` of the paths, by demand number, tell how many packets were on the way.
    """
    demands = tuple(demands)
    dated = _dated_rounds(state, now_s, settings)
    if len(dated) >= settings.fewest_readings:
        return _from_dated(dated, demands, delays or {}, settings)
    rounds = _rounds(state, now_s, settings, settings.window_s + settings.together_s)
    if len(rounds) < 2:
        return {demand.number: DemandTraffic() for demand in demands}
    return _from_lagging(rounds, demands, settings)


def _offered(packets: float, counted_bytes: float, elapsed_s: float) -> DemandTraffic:
    """What was sent into a demand, by its counters at the ingress, which see packets without their label."""
    bits = 8 * (counted_bytes + MPLS_LABEL_BYTES * packets)
    return DemandTraffic(
        offered_bps=float(bits / elapsed_s),
        packets_per_s=float(packets / elapsed_s),
        packet_bits_mean=float(bits / packets) if packets else math.nan,
    )


def _from_lagging(
    rounds: Sequence[Mapping[int, Reading]], demands: Sequence[DemandEnds], settings: TelemetrySettings
) -> dict[int, DemandTraffic]:
    """Where nobody knows when the counters were published: all demands together tell, see ``counter_epochs``."""
    sent, sent_bytes = _series(rounds, [(d.source_dpid, CounterKey(d.number, INGRESS_TABLE)) for d in demands])
    delivered, _ = _series(rounds, [(d.target_dpid, CounterKey(d.number, EGRESS_TABLE)) for d in demands])
    time_s = np.array([min(reading.time_s for reading in group.values()) for group in rounds])
    clock_s = np.array(
        [[group[d.source_dpid].clock_s if d.source_dpid in group else math.nan for d in demands] for group in rounds]
    ).reshape(len(rounds), len(demands))
    dpids = {dpid: index for index, dpid in enumerate(sorted({end for d in demands for end in d[1:]}))}
    ends = np.array([[dpids[d.source_dpid], dpids[d.target_dpid]] for d in demands], dtype=np.int64).reshape(-1, 2)
    rate = robust_slopes(time_s, sent)
    offsets = epoch_offsets(time_s, sent - delivered, rate, ends, len(dpids))
    source, target = ends.T
    covariance = offsets.covariance_s2
    variance = covariance[:, source, source] + covariance[:, target, target] - 2 * covariance[:, source, target]
    offset_s = offsets.significant_s()
    losses = packets_lost(time_s, sent - delivered, rate, offset_s[:, source] - offset_s[:, target], variance)
    switch_s = offset_s[:, source]
    newer_s = switch_s - common_lag_s(time_s, sent - rate * switch_s)[:, None]
    found = {}
    for column, demand in enumerate(demands):
        known = np.flatnonzero(np.isfinite(sent[:, column]))
        traffic = DemandTraffic()
        if len(known) >= 2:
            first, last = known[0], known[-1]
            shown_s = clock_s[:, column] + newer_s[:, column]
            elapsed_s = max(shown_s[last] - shown_s[first], 0.5 * (clock_s[last, column] - clock_s[first, column]))
            traffic = _offered(
                sent[last, column] - sent[first, column],
                sent_bytes[last, column] - sent_bytes[first, column],
                elapsed_s,
            )
        both = np.flatnonzero(np.isfinite(sent[:, column] - delivered[:, column]))
        if len(both) >= settings.fewest_readings:
            begin, end = both[0], both[-1]
            packets_sent = float(sent[end, column] - sent[begin, column])
            lost = min(max(float(losses[column]), 0.0), packets_sent)
            shown_sent = packets_sent - rate[column] * (switch_s[end, column] - switch_s[begin, column])
            ratio = lost / max(shown_sent, lost) if packets_sent and max(shown_sent, lost) > 0 else math.nan
            traffic = replace(
                traffic,
                packets_sent=packets_sent,
                packets_lost=lost,
                loss_ratio=ratio,
                counted_from_s=float(time_s[begin]),
                counted_until_s=float(time_s[end]),
            )
        found[demand.number] = traffic
    return found


def rate_window(state: TelemetryState, now_s: float, settings: TelemetrySettings) -> Window | None:
    """What the rates of ``demand_rates`` at ``now_s`` are of; None where there are none."""
    dated = _dated_rounds(state, now_s, settings)
    if len(dated) >= settings.fewest_readings:
        dates_s = [_date_s(group) for group in dated]
        return Window(dates_s[_first_of_window(dates_s, settings)], dates_s[-1])
    rounds = _rounds(state, now_s, settings, settings.window_s + settings.together_s)
    return Window(_date_s(rounds[0]), _date_s(rounds[-1])) if len(rounds) > 1 else None


def _from_dated(
    rounds: Sequence[Mapping[int, Reading]],
    demands: Sequence[DemandEnds],
    delays: Mapping[int, DelayStatistics],
    settings: TelemetrySettings,
) -> dict[int, DemandTraffic]:
    date_s = np.array([_date_s(group) for group in rounds])
    ingress = [(d.source_dpid, CounterKey(d.number, INGRESS_TABLE)) for d in demands]
    egress = [(d.target_dpid, CounterKey(d.number, EGRESS_TABLE)) for d in demands]
    sent, sent_bytes = _series(rounds, ingress)
    delivered, _ = _series(rounds, egress)
    unsure = np.array(
        [[group[dpid].unsure.get(key, 0) if dpid in group else 0 for dpid, key in egress] for group in rounds]
    )
    of = [delays.get(d.number, DelayStatistics()) for d in demands]
    losses = dated_losses(
        date_s,
        sent,
        delivered,
        unsure.reshape(sent.shape),
        np.array([one.delay_s for one in of]),
        np.array([one.delay_p99_s for one in of]),
        settings.window_s,
    )
    start = _first_of_window(date_s.tolist(), settings)
    found = {}
    for column, demand in enumerate(demands):
        known = start + np.flatnonzero(np.isfinite(sent[start:, column]))
        traffic = DemandTraffic()
        if len(known) >= 2:
            first, last = known[0], known[-1]
            elapsed_s = date_s[last] - date_s[first]
            traffic = _offered(
                sent[last, column] - sent[first, column],
                sent_bytes[last, column] - sent_bytes[first, column],
                elapsed_s,
            )
        packets_sent, lost = float(losses.sent[column]), float(losses.lost[column])
        if not math.isnan(packets_sent):
            traffic = replace(
                traffic,
                packets_sent=packets_sent,
                packets_lost=lost,
                loss_ratio=lost / packets_sent if packets_sent > 0 else math.nan,
                counted_from_s=float(losses.from_s[column]),
                counted_until_s=float(losses.until_s[column]),
            )
        found[demand.number] = traffic
    return found


def _dated_rounds(state: TelemetryState, now_s: float, settings: TelemetrySettings) -> list[dict[int, Reading]]:
    """Those of the rounds kept that show one and the same moment; none unless they reach up to the present."""
    rounds = _rounds(state, now_s, settings, settings.kept_s)
    dated = [group for group in rounds if all(reading.dated for reading in group.values())]
    if not dated or _date_s(rounds[-1]) - _date_s(dated[-1]) > settings.window_s / 3:
        return []
    return dated


def _first_of_window(date_s: Sequence[float], settings: TelemetrySettings) -> int:
    """The round that lies nearest to the beginning of the window that ends with the last one."""
    start_s = date_s[-1] - settings.window_s
    return min(range(len(date_s) - 1), key=lambda number: abs(date_s[number] - start_s))


def _date_s(group: Mapping[int, Reading]) -> float:
    return min(reading.time_s for reading in group.values())


def _rounds(
    state: TelemetryState, now_s: float, settings: TelemetrySettings, reach_s: float
) -> list[dict[int, Reading]]:
    """The readings of the last ``reach_s``, those of all switches taken together as one round, oldest first."""
    readings = sorted(
        ((reading.time_s, dpid, reading) for dpid, switch in state.switches.items() for reading in switch.readings),
        key=lambda entry: entry[:2],
    )
    newest_s = min(readings[-1][0], now_s) if readings else now_s
    if now_s - newest_s > settings.window_s:
        return []
    rounds: list[dict[int, Reading]] = []
    started_s = -math.inf
    for time_s, dpid, reading in readings:
        if not newest_s - reach_s <= time_s <= now_s:
            continue
        if time_s - started_s > settings.together_s or dpid in rounds[-1]:
            rounds.append({})
            started_s = time_s
        rounds[-1][dpid] = reading
    return rounds


def _series(
    rounds: Sequence[Mapping[int, Reading]], counters: Sequence[tuple[int, CounterKey]]
) -> tuple[FloatArray, FloatArray]:
    """Cumulative packets and bytes [rounds, counters]; NaN where the switch did not answer or never had the rule."""
    values = np.full((2, len(rounds), len(counters)), np.nan)
    for row, group in enumerate(rounds):
        for column, (dpid, key) in enumerate(counters):
            reading = group.get(dpid)
            total = None if reading is None else reading.totals.get(key)
            if total is not None:
                values[:, row, column] = total
    return values[0], values[1]
