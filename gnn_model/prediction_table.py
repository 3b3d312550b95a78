"""A prediction as a table for people: the demands furthest beyond their goals first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.table import Table

from gnn_model.predictor import Prediction
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.scenario_json import demand_keys
from topology_sync.values import FloatArray

ROWS_SHOWN = 20


@dataclass(frozen=True)
class GoalMark:
    """How a demand stands to its class's goals: ``worst`` is the largest value over goal (0: no goal, NaN: unknown)."""

    broken: tuple[str, ...]
    worst: float
    has_goal: bool

    @property
    def text(self) -> str:
        """One cell of the table, with rich's markup."""
        if not self.has_goal:
            return "-"
        return f"[red]violated: {', '.join(self.broken)}[/red]" if self.broken else "[green]met[/green]"


def goal_mark(prediction: Prediction, demand: int, goal: SlaGoal | None) -> GoalMark:
    """Compare one demand with its goal.

    A percentile other than the 99th is read off an exponential tail through the mean and the 99th percentile.
    """
    if goal is None:
        return GoalMark((), 0.0, False)
    mean, p99 = float(prediction.delay_s[demand]), float(prediction.delay_p99_s[demand])
    delay = mean
    if goal.percentile is not None:
        tail = -math.log(1 - goal.percentile / 100)
        delay = max(0.0, mean + (p99 - mean) * (tail - 1) / (math.log(100) - 1))
    values = {
        "delay": (delay, goal.delay_s),
        "jitter": (float(prediction.jitter_s[demand]), goal.jitter_s),
        "loss": (float(prediction.loss_ratio[demand]), goal.loss_ratio),
    }
    stated = {name: (value, limit) for name, (value, limit) in values.items() if limit is not None}
    broken = tuple(name for name, (value, limit) in stated.items() if value > limit * (1 + 1e-9))
    ratios = [value / max(limit, 1e-12) for value, limit in stated.values()]
    return GoalMark(broken, max(ratios, default=0.0), bool(stated))


def prediction_table(
    scenario: Scenario, prediction: Prediction, title: str, rse: FloatArray | None = None, rows: int = ROWS_SHOWN
) -> Table:
    """The ``rows`` worst demands: by excess over their goals, then by 99th percentile of delay."""
    keys = demand_keys(scenario.topology, scenario.traffic)
    marks = [goal_mark(prediction, demand, scenario.goal_of(key[2])) for demand, key in enumerate(keys)]
    order = sorted(
        range(len(keys)),
        key=lambda demand: (-_finite(marks[demand].worst), -_finite(float(prediction.delay_p99_s[demand]))),
    )
    violated = sum(1 for mark in marks if mark.broken)
    caption = f"{min(rows, len(keys))} of {len(keys)} demands, worst first"
    if any(mark.has_goal for mark in marks):
        caption += f"; {violated} violate a goal"
    table = Table(title=title, caption=caption)
    for name in ("source", "target", "class"):
        table.add_column(name)
    for name in ("mean ms", "p99 ms", "jitter ms", "loss %", *(("error %",) if rse is not None else ())):
        table.add_column(name, justify="right")
    table.add_column("goal")
    for demand in order[:rows]:
        milliseconds = (prediction.delay_s, prediction.delay_p99_s, prediction.jitter_s)
        cells = [f"{values[demand] * 1e3:.3f}" for values in milliseconds]
        cells.append(f"{prediction.loss_ratio[demand] * 100:.4f}")
        if rse is not None:
            cells.append(f"{rse[demand] * 100:.2f}")
        table.add_row(*keys[demand], *cells, marks[demand].text)
    return table


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
