"""How good a routing is: first the promises kept, then the fullest link, then how little had to change.

A percentile that nobody measured or predicted is taken from an exponential tail through the mean m and the 99th
percentile q: ``delay(p) = m + (q - m) (-ln(1 - p/100) - 1) / (ln 100 - 1)``, exact for p = 99 and for any delay that is
a constant plus an exponential.

A predictor errs, so a plan may be scored by what is to be expected of it instead (``GoalTable.uncertainty``): with
ln(truth / prediction) normal of standard deviation s and x = ln(prediction / goal), a goal that adds 1 + ln(value /
goal) where it is missed adds Phi(x / s) (1 + x) + s phi(x / s) on average.  So of plans that are predicted to keep
everything the one with more room, in units of s, scores better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from gnn_model.predictor import Prediction
from optimizer.settings import ClassGoal
from topology_sync.network_state import DemandMeasurements
from topology_sync.scenario import SlaGoal
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import BoolArray, FloatArray, IntArray

GoalKind = Literal["delay", "jitter", "loss"]
GOAL_KINDS: tuple[GoalKind, ...] = ("delay", "jitter", "loss")

PRIORITY_FACTOR = 4.0  # a violation of one priority weighs as much as four of the next
EXCESS_CAP = 1e4  # a demand that is cut off counts as this many times beyond its goal
SMALLEST_GOAL = (1e-6, 1e-6, 1e-4)  # a goal of zero: excess is relative to this (s, s, ratio)
TAIL_99 = float(np.log(100.0))
VIOLATION_TOLERANCE = 1e-9
SURE = 2.5  # standard deviations of a prediction below its goal: kept, for all that the search cares

Uncertainty = tuple[float, float, float]  # of the natural logarithm of predicted delay, jitter and loss
CERTAIN: Uncertainty = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class MeasurementTolerance:
    """How far a measurement must be beyond a goal to count, since it is itself uncertain.

    Delay and jitter: at least ``min_probes`` probes and more than ``relative_margin`` beyond the goal; the 99th
    percentile of few probes is their largest, so the smaller of it and of the exponential tail through smallest and
    mean delay is taken: one late probe among many does not violate a goal.  Loss: more packets lost than the goal
    permits, by ``min_lost_packets`` and by two standard deviations of a Poisson count.
    """

    relative_margin: float = 0.05
    min_probes: int = 5
    min_lost_packets: float = 3.0


@dataclass(frozen=True, eq=False)
class GoalTable:
    """Goals per demand as arrays: ``limit`` [3, demands] in the order of GOAL_KINDS, infinite without a promise.

    ``percentile`` [demands] is NaN for the mean; ``weight`` [demands] falls with priority and is 0 without traffic.
    ``uncertainty``: how far predictions scatter, by kind of goal; 0 takes them at their word.
    """

    limit: FloatArray
    percentile: FloatArray
    weight: FloatArray
    uncertainty: Uncertainty = CERTAIN

    def with_headroom(self, headroom_ratio: float) -> GoalTable:
        """Stricter goals: each limit lowered by ``headroom_ratio``."""
        return replace(self, limit=self.limit * (1.0 - headroom_ratio))

    def with_uncertainty(self, uncertainty: Uncertainty) -> GoalTable:
        """The same goals for predictions that scatter so much."""
        return replace(self, uncertainty=uncertainty)

    def of_demands(self, rows: IntArray) -> GoalTable:
        """The goals of some demands alone, in the order of ``rows``."""
        return replace(self, limit=self.limit[:, rows], percentile=self.percentile[rows], weight=self.weight[rows])


class Violation(NamedTuple):
    """One demand beyond one goal.  ``excess_ratio`` is how far, relative to the goal."""

    demand: int
    kind: GoalKind
    value: float
    limit: float
    excess_ratio: float
    weight: float


class Score(NamedTuple):
    """Smaller is better, in this order."""

    violation: float
    max_utilisation: float
    changed_demands: int
    changed_weights: int = 0

    def better_than(self, other: Score, tolerance: float = VIOLATION_TOLERANCE) -> bool:
        """Whether this is better beyond rounding."""
        for mine, theirs in zip(self, other, strict=True):
            if mine < theirs - tolerance:
                return True
            if mine > theirs + tolerance:
                return False
        return False


def class_goals(sla: Sequence[SlaGoal]) -> tuple[ClassGoal, ...]:
    """Classes of equal priority for goals that come without one."""
    return tuple(ClassGoal(goal.traffic_class, 1, goal) for goal in sla)


def goal_table(traffic: TrafficMatrix, classes: Sequence[ClassGoal]) -> GoalTable:
    """The goals of every demand; classes that are not named promise nothing."""
    by_name = {entry.name: entry for entry in classes}
    limit = np.full((3, len(traffic.class_names)), np.inf)
    percentile = np.full(len(traffic.class_names), np.nan)
    weight = np.zeros(len(traffic.class_names))
    for index, name in enumerate(traffic.class_names):
        entry = by_name.get(name)
        if entry is None:
            continue
        for row, value in enumerate((entry.sla.delay_s, entry.sla.jitter_s, entry.sla.loss_ratio)):
            limit[row, index] = np.inf if value is None else value
        percentile[index] = np.nan if entry.sla.percentile is None else entry.sla.percentile
        weight[index] = PRIORITY_FACTOR ** (1 - entry.priority)
    of_class = traffic.traffic_class
    active = np.nan_to_num(traffic.rate_bps) > 0
    return GoalTable(limit[:, of_class], percentile[of_class], np.where(active, weight[of_class], 0.0))


def delay_at_percentile(mean_s: FloatArray, p99_s: FloatArray, percentile: FloatArray) -> FloatArray:
    """Delay at each demand's percentile (NaN: the mean) by the module's formula, [demands] in seconds."""
    tail = -np.log(np.clip(1.0 - np.nan_to_num(percentile, nan=0.0) / 100.0, 1e-6, 1.0))
    with np.errstate(invalid="ignore"):
        at_percentile = mean_s + (p99_s - mean_s) * (tail - 1.0) / (TAIL_99 - 1.0)
    exact = np.where(percentile == 99.0, p99_s, np.maximum(at_percentile, 0.0))
    result: FloatArray = np.where(np.isnan(percentile), mean_s, exact)
    return result


def experienced_values(prediction: Prediction, table: GoalTable) -> FloatArray:
    """Predicted delay at the percentile, jitter and loss, [3, demands]."""
    delay = delay_at_percentile(prediction.delay_s, prediction.delay_p99_s, table.percentile)
    return np.stack([delay, prediction.jitter_s, prediction.loss_ratio])


def measured_values(measured: DemandMeasurements, table: GoalTable) -> FloatArray:
    """Measured delay at the percentile, jitter and loss, [3, demands], NaN where unknown."""
    delay = delay_at_percentile(measured.delay_s, measured.delay_p99_s, table.percentile)
    return np.stack([delay, measured.jitter_s, measured.loss_ratio])


def certain_values(measured: DemandMeasurements, table: GoalTable, tolerance: MeasurementTolerance) -> FloatArray:
    """What the measurement shows for certain, [3, demands]: NaN where it shows too little to judge a goal."""
    enough = measured.probe_count >= tolerance.min_probes
    with np.errstate(invalid="ignore", divide="ignore"):
        tail = measured.delay_min_s + (measured.delay_s - measured.delay_min_s) * TAIL_99
        p99 = np.fmin(measured.delay_p99_s, tail)
        delay = delay_at_percentile(measured.delay_s, p99, table.percentile) / (1.0 + tolerance.relative_margin)
        jitter = measured.jitter_s / (1.0 + tolerance.relative_margin)
        permitted = np.where(np.isfinite(table.limit[2]), table.limit[2], 0.0) * measured.packets_sent
        uncertain = tolerance.min_lost_packets + 2.0 * np.sqrt(permitted)
        loss = (measured.packets_lost - uncertain) / measured.packets_sent
        loss = np.where(measured.packets_sent > 0, np.maximum(loss, 0.0), np.nan)
    return np.stack([np.where(enough, delay, np.nan), np.where(enough, jitter, np.nan), loss])


def _beyond(values: FloatArray, table: GoalTable) -> FloatArray:
    """Values less their goals, relative to the goal, [..., 3, demands]; NaN where unknown or not promised."""
    floor = np.array(SMALLEST_GOAL)[:, None]
    with np.errstate(invalid="ignore"):
        beyond = (values - table.limit) / np.maximum(table.limit, floor)
    result: FloatArray = np.where(np.isfinite(table.limit), beyond, np.nan)
    return result


def value_ratios(values: FloatArray, table: GoalTable) -> FloatArray:
    """Values over their goals, [..., 3, demands]; 0 where unknown or not promised (of a goal of zero: 1 + excess)."""
    ratio = np.nan_to_num(1.0 + _beyond(values, table), nan=0.0, posinf=EXCESS_CAP)
    result: FloatArray = np.clip(ratio, 0.0, EXCESS_CAP)
    return result


def excess_ratios(values: FloatArray, table: GoalTable) -> FloatArray:
    """How far beyond each goal, relative to it, [..., 3, demands]; 0 where kept, unknown or not promised."""
    excess = np.nan_to_num(_beyond(values, table), nan=0.0, posinf=EXCESS_CAP, neginf=0.0)
    result: FloatArray = np.clip(excess, 0.0, EXCESS_CAP)
    return result


def violation_score(excess: FloatArray, weight: FloatArray) -> FloatArray:
    """Weighted sum over demands and goals of 1 + ln(1 + excess) wherever a goal is missed, [...].

    The one counts violated goals, the logarithm keeps one hopeless demand from hiding all others.
    """
    result: FloatArray = (severity(excess).sum(axis=-2) * weight).sum(axis=-1)
    return result


def severity(excess: FloatArray) -> FloatArray:
    """What each goal adds to the violation score before weights, like ``excess``."""
    result: FloatArray = np.where(excess > VIOLATION_TOLERANCE, 1.0 + np.log1p(excess), 0.0)
    return result


def _normal_probability(deviations: FloatArray) -> FloatArray:
    from scipy.special import ndtr  # a fifth of a second that `routewright --help` need not wait

    result: FloatArray = ndtr(deviations)
    return result


def _scattered(ratio: FloatArray, uncertainty: Uncertainty) -> tuple[FloatArray, FloatArray, FloatArray]:
    """s [3, 1], and x / s and phi(x / s) of the module's formula, like ``ratio`` [..., 3, demands]."""
    spread = np.maximum(np.array(uncertainty), 1e-9)[:, None]
    room = np.log(np.maximum(ratio, 1e-12)) / spread
    return spread, room, np.exp(-0.5 * room * room) / np.sqrt(2.0 * np.pi)


def expected_severity(ratio: FloatArray, uncertainty: Uncertainty) -> FloatArray:
    """What each goal adds to the violation score on average (module's formula), like ``ratio`` [..., 3, demands]."""
    spread, room, density = _scattered(ratio, uncertainty)
    result: FloatArray = np.where(
        room > -SURE, _normal_probability(room) * (1.0 + room * spread) + spread * density, 0.0
    )
    return result


def severity_slopes(ratio: FloatArray, table: GoalTable) -> FloatArray:
    """How fast each goal's severity grows with the ratio of value and goal, like ``ratio`` [..., 3, demands]."""
    if not any(table.uncertainty):
        return np.where(ratio > 1.0, 1.0 / np.maximum(ratio, 1.0), 0.0)
    spread, room, density = _scattered(ratio, table.uncertainty)
    result: FloatArray = np.where(
        room > -SURE, (density / spread + _normal_probability(room)) / np.maximum(ratio, 1e-12), 0.0
    )
    return result


def predicted_severity(values: FloatArray, table: GoalTable) -> FloatArray:
    """What every demand adds to the violation score, [..., demands], for predicted ``values`` [..., 3, demands]."""
    if any(table.uncertainty):
        of_goals = expected_severity(value_ratios(values, table), table.uncertainty)
    else:
        of_goals = severity(excess_ratios(values, table))
    result: FloatArray = of_goals.sum(axis=-2) * table.weight
    return result


def predicted_violation(prediction: Prediction, table: GoalTable) -> float:
    """The violation part of the score of a prediction: as predicted, or to be expected with ``table.uncertainty``."""
    return float(predicted_severity(experienced_values(prediction, table), table).sum())


def violations(values: FloatArray, table: GoalTable) -> tuple[Violation, ...]:
    """Every goal that ``values`` [3, demands] miss, the worst first; demands without traffic miss none."""
    excess = excess_ratios(values, table)
    found = [
        Violation(
            int(demand),
            GOAL_KINDS[row],
            float(values[row, demand]),
            float(table.limit[row, demand]),
            float(excess[row, demand]),
            float(table.weight[demand]),
        )
        for row, demand in zip(*np.nonzero((excess > VIOLATION_TOLERANCE) & (table.weight > 0)), strict=True)
    ]
    return tuple(sorted(found, key=lambda item: (-item.weight * (1 + item.excess_ratio), item.demand, item.kind)))


def violated_demands(values: FloatArray, table: GoalTable) -> BoolArray:
    """Which demands miss any goal, [demands]."""
    result: BoolArray = (excess_ratios(values, table) > VIOLATION_TOLERANCE).any(axis=0) & (table.weight > 0)
    return result


def is_clear(values: FloatArray, table: GoalTable, clear_ratio: float) -> bool:
    """Whether every demand is below ``clear_ratio`` of each of its goals: the end of a violation."""
    stricter = replace(table, limit=table.limit * clear_ratio)
    return not bool(violated_demands(values, stricter).any())
