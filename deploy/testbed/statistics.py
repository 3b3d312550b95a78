"""What receivers measured, per demand and per class, from the sender's and the receiver's logs.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from deploy.testbed.receiver_log import Records
from deploy.testbed.traffic_plan import Schedule
from topology_sync.scenario import SlaGoal
from topology_sync.values import ArrayValue, BoolArray, FloatArray, IntArray, bool_array, float_array, int_array


@dataclass(frozen=True, eq=False)
class PacketTable(ArrayValue):
    """What became of every packet of the schedule that was sent.  All [packets], in order of sending.

    ``sent_ns`` is CLOCK_REALTIME, ``delay_s`` the one-way delay of its first copy (NaN when lost), ``copies`` how many
    arrived, ``arrival_rank`` its place among the first copies of its demand in order of receipt (-1 when lost),
    ``overtaken`` whether a packet of its demand with a higher number arrived before it (RFC 4737).
    """

    demand: IntArray
    sequence: IntArray
    sent_ns: IntArray
    frame_bits: IntArray
    delay_s: FloatArray
    copies: IntArray
    arrival_rank: IntArray
    overtaken: BoolArray


@dataclass(frozen=True, eq=False)
class DemandStatistics(ArrayValue):
    """Figures per demand over a window of sending times; NaN where nothing arrived.  All [demands].

    ``jitter_s`` is the mean |difference of the delays| of packets received one after the other (RFC 3393),
    ``sent_rate_bps`` counts frame bits with one label.
    """

    sent: IntArray
    received: IntArray
    lost: IntArray
    duplicated: IntArray
    reordered: IntArray
    loss_ratio: FloatArray
    delay_mean_s: FloatArray
    delay_p50_s: FloatArray
    delay_p99_s: FloatArray
    delay_max_s: FloatArray
    jitter_s: FloatArray
    sent_rate_bps: FloatArray


def packet_table(schedule: Schedule, sent_ns: IntArray, received: Records) -> PacketTable:
    """Join both logs.  ``sent_ns`` covers the first packets of the schedule, 0 or less for those not sent.

    Records of packets that are not in the schedule are left out.
    """
    counts = np.bincount(schedule.demand, minlength=int(schedule.demand.max(initial=-1)) + 1)
    first = np.concatenate([[0], np.cumsum(counts)])
    position = np.empty(schedule.packet_count, dtype=np.int64)  # packet key -> place in the schedule
    position[first[schedule.demand] + schedule.sequence] = np.arange(schedule.packet_count)

    demand, sequence = received["demand"].astype(np.int64), received["sequence"].astype(np.int64)
    known = demand < len(counts)
    known[known] = sequence[known] < counts[demand[known]]
    records = received[known]
    # Sockets are emptied one by one; only the kernel's times give the order of receipt.
    records = records[np.argsort(records["received_ns"], kind="stable")]
    place = position[first[records["demand"].astype(np.int64)] + records["sequence"].astype(np.int64)]
    copies = np.bincount(place, minlength=schedule.packet_count)
    _, earliest = np.unique(place, return_index=True)
    firsts = np.sort(earliest)
    place = place[firsts]
    delay_s = np.full(schedule.packet_count, np.nan)
    delay_s[place] = (records["received_ns"][firsts] - records["sent_ns"][firsts]) * 1e-9
    rank = np.full(schedule.packet_count, -1, dtype=np.int64)
    overtaken = np.zeros(schedule.packet_count, dtype=np.bool_)
    by_demand = np.argsort(schedule.demand[place], kind="stable")
    ordered = place[by_demand]
    bounds = np.searchsorted(schedule.demand[ordered], np.arange(len(counts) + 1))
    for index in range(len(counts)):
        mine = ordered[bounds[index] : bounds[index + 1]]
        rank[mine] = np.arange(len(mine))
        numbers = schedule.sequence[mine]
        overtaken[mine] = numbers < np.maximum.accumulate(numbers)
    was_sent = np.zeros(schedule.packet_count, dtype=np.bool_)
    was_sent[: len(sent_ns)] = sent_ns > 0
    full_sent = np.zeros(schedule.packet_count, dtype=np.int64)
    full_sent[: len(sent_ns)] = sent_ns
    return PacketTable(
        demand=int_array(schedule.demand[was_sent]),
        sequence=int_array(schedule.sequence[was_sent]),
        sent_ns=int_array(full_sent[was_sent]),
        frame_bits=int_array(schedule.frame_bits[was_sent]),
        delay_s=float_array(delay_s[was_sent]),
        copies=int_array(copies[was_sent]),
        arrival_rank=int_array(rank[was_sent]),
        overtaken=bool_array(overtaken[was_sent]),
    )


def window(table: PacketTable, start_ns: int, end_ns: int) -> PacketTable:
    """The packets sent from ``start_ns`` up to but not at ``end_ns``."""
    inside = (table.sent_ns >= start_ns) & (table.sent_ns < end_ns)
    return PacketTable(*(_frozen(getattr(table, field.name)[inside]) for field in fields(table)))


def demand_statistics(table: PacketTable, demand_count: int, window_s: float) -> DemandStatistics:
    """Figures of the packets in ``table``, which were sent over ``window_s`` seconds."""
    sent = np.bincount(table.demand, minlength=demand_count)
    arrived = table.copies > 0
    received = np.bincount(table.demand[arrived], minlength=demand_count)
    figures = {name: np.full(demand_count, np.nan) for name in ("mean", "p50", "p99", "max", "jitter")}
    order = np.lexsort((table.arrival_rank, table.demand))
    order = order[arrived[order]]
    bounds = np.searchsorted(table.demand[order], np.arange(demand_count + 1))
    for demand in range(demand_count):
        delays = table.delay_s[order[bounds[demand] : bounds[demand + 1]]]
        if len(delays):
            figures["mean"][demand] = delays.mean()
            figures["p50"][demand], figures["p99"][demand] = np.percentile(delays, [50, 99])
            figures["max"][demand] = delays.max()
        if len(delays) > 1:
            figures["jitter"][demand] = np.abs(np.diff(delays)).mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        loss_ratio = (sent - received) / sent
    return DemandStatistics(
        sent=int_array(sent),
        received=int_array(received),
        lost=int_array(sent - received),
        duplicated=int_array(np.bincount(table.demand, np.maximum(table.copies - 1, 0), demand_count)),
        reordered=int_array(np.bincount(table.demand[table.overtaken], minlength=demand_count)),
        loss_ratio=float_array(loss_ratio),
        delay_mean_s=float_array(figures["mean"]),
        delay_p50_s=float_array(figures["p50"]),
        delay_p99_s=float_array(figures["p99"]),
        delay_max_s=float_array(figures["max"]),
        jitter_s=float_array(figures["jitter"]),
        sent_rate_bps=float_array(np.bincount(table.demand, table.frame_bits, demand_count) / max(window_s, 1e-9)),
    )


def delay_at(table: PacketTable, demand_count: int, percentile: float | None) -> FloatArray:
    """Delay per demand at a percentile (None: the mean), [demands]; NaN where nothing arrived."""
    result = np.full(demand_count, np.nan)
    arrived = np.isfinite(table.delay_s)
    for demand in np.unique(table.demand[arrived]):
        delays = table.delay_s[arrived & (table.demand == demand)]
        result[demand] = delays.mean() if percentile is None else np.percentile(delays, percentile)
    return float_array(result)


@dataclass(frozen=True)
class Experience:
    """What a demand, or the worst-off demand of a class, experienced, and whether the goal was met."""

    delay_p99_s: float
    jitter_s: float
    loss_ratio: float
    met: bool


def judge(goal: SlaGoal | None, delay_s: float, jitter_s: float, loss_ratio: float) -> bool:
    """Whether figures meet a goal; nothing received at all meets no goal but that of no promise."""
    if goal is None:
        return True
    promised = ((goal.delay_s, delay_s), (goal.jitter_s, jitter_s), (goal.loss_ratio, loss_ratio))
    return all(limit is None or value <= limit for limit, value in promised)


def demand_experiences(table: PacketTable, goals: Sequence[SlaGoal | None], window_s: float) -> list[Experience | None]:
    """Per demand what it experienced in this window against its goal; None for a demand that sent nothing."""
    figures = demand_statistics(table, len(goals), window_s)
    percentiles = {goal.percentile for goal in goals if goal is not None}
    at = {percentile: delay_at(table, len(goals), percentile) for percentile in percentiles}
    experiences: list[Experience | None] = []
    for demand, goal in enumerate(goals):
        if not figures.sent[demand]:
            experiences.append(None)
            continue
        jitter_s, loss_ratio = float(figures.jitter_s[demand]), float(figures.loss_ratio[demand])
        delay_s = float(at[goal.percentile][demand]) if goal is not None else float("nan")
        if figures.received[demand] == 1:
            jitter_s = 0.0
        experiences.append(
            Experience(
                float(figures.delay_p99_s[demand]), jitter_s, loss_ratio, judge(goal, delay_s, jitter_s, loss_ratio)
            )
        )
    return experiences


def worst_of(experiences: Sequence[Experience | None]) -> Experience:
    """The worst of each figure; met when all met.  A class promises its goal to every demand."""
    present = [experience for experience in experiences if experience is not None]

    def worst(name: str) -> float:
        values = np.array([getattr(experience, name) for experience in present], dtype=float)
        return float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")

    return Experience(
        worst("delay_p99_s"), worst("jitter_s"), worst("loss_ratio"), all(experience.met for experience in present)
    )


def _frozen(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    values.setflags(write=False)
    return values
