"""A prediction as tables for people: the demands furthest beyond their goals first, and the fullest links."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from gnn_model.predictor import Prediction
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.scenario_json import demand_keys
from topology_sync.values import FloatArray

ROWS_SHOWN = 20
LINKS_SHOWN = 5


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
        table.add_row(*map(escape, keys[demand]), *cells, marks[demand].text)
    return table


def idle_goals(scenario: Scenario) -> str:
    """A line on goals that promise nothing to anybody, most likely by a slip in the name of the class; else empty."""
    used = {key[2] for key in demand_keys(scenario.topology, scenario.traffic)}
    idle = [goal.traffic_class for goal in scenario.sla if goal.traffic_class not in used]
    return f"No demand is of the class {' or '.join(map(repr, idle))}, which has goals." if idle else ""


def link_table(scenario: Scenario, prediction: Prediction, rows: int = LINKS_SHOWN) -> Table:
    """The ``rows`` fullest links."""
    topology, load = scenario.topology, prediction.link_utilisation_ratio
    table = Table(caption=f"{min(rows, topology.link_count)} of {topology.link_count} links, fullest first")
    for name in ("link", "capacity Mbit/s", "carried %", "loss %"):
        table.add_column(name, justify="left" if name == "link" else "right")
    for link in sorted(range(topology.link_count), key=lambda link: -_finite(float(load[link])))[:rows]:
        ends = (topology.node_names[int(end[link])] for end in (topology.link_source, topology.link_target))
        table.add_row(
            escape(" -> ".join(ends)),
            f"{topology.capacity_bps[link] / 1e6:,.6g}",
            f"{load[link] * 100:.1f}",
            f"{prediction.link_loss_ratio[link] * 100:.4f}",
        )
    return table


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
