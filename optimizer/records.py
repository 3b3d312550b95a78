"""JSON that explains: goals against what was measured or predicted, per class and per demand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gnn_model.predictor import Prediction
from optimizer.goals import GoalTable, Score, Violation, experienced_values, measured_values, violated_demands
from optimizer.loop_values import Key
from optimizer.planning import View
from optimizer.settings import ClassGoal
from topology_sync.network_state import DemandMeasurements
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler, Topology
from topology_sync.values import BoolArray, FloatArray

WORST_DEMANDS = 10


def number(value: float) -> float | None:
    """A number as JSON knows it: None where unknown or infinite."""
    return float(value) if math.isfinite(value) else None


def score_json(score: Score) -> dict[str, Any]:
    """The JSON form of a score."""
    return {
        "violation": number(score.violation),
        "max_utilisation": number(score.max_utilisation),
        "changed_demands": score.changed_demands,
        "changed_weights": score.changed_weights,
    }


def experience_json(experience: Prediction | DemandMeasurements, demand: int) -> dict[str, float | None]:
    """Delay, 99th percentile, jitter and loss of one demand."""
    return {
        "delay_s": number(experience.delay_s[demand]),
        "delay_p99_s": number(experience.delay_p99_s[demand]),
        "jitter_s": number(experience.jitter_s[demand]),
        "loss_ratio": number(experience.loss_ratio[demand]),
    }


def class_rows(
    scenario: Scenario, table: GoalTable, classes: Sequence[ClassGoal], values: FloatArray, violated: BoolArray
) -> list[dict[str, Any]]:
    """Per class its goal, the worst of its demands that carry traffic, and how many miss a goal.

    ``values`` [3, demands] as ``goals.experienced_values`` or ``goals.measured_values`` give them.
    """
    rows = []
    for entry in classes:
        of_class = np.array([name == entry.name for name in scenario.traffic.class_names], dtype=np.bool_)
        members = of_class[scenario.traffic.traffic_class] if len(of_class) else np.zeros(0, dtype=np.bool_)
        active = members & (scenario.traffic.rate_bps > 0)
        worst = [number(np.nanmax(row[active])) if np.isfinite(row[active]).any() else None for row in values]
        rows.append(
            {
                "class": entry.name,
                "priority": entry.priority,
                "sla": {key: value for key, value in asdict(entry.sla).items() if key != "traffic_class"},
                "worst": dict(zip(("delay_s", "jitter_s", "loss_ratio"), worst, strict=True)),
                "demands": int(active.sum()),
                "violated_demands": int((violated & members).sum()),
                "met": not bool((violated & members).any()),
            }
        )
    return rows


def predicted_classes(
    scenario: Scenario, table: GoalTable, classes: Sequence[ClassGoal], prediction: Prediction
) -> list[dict[str, Any]]:
    """``class_rows`` of a prediction."""
    values = experienced_values(prediction, table)
    return class_rows(scenario, table, classes, values, violated_demands(values, table))


def measured_classes(view: View, classes: Sequence[ClassGoal]) -> list[dict[str, Any]]:
    """``class_rows`` of what was measured; only misses beyond measurement uncertainty count."""
    violated = np.zeros(view.scenario.traffic.demand_count, dtype=np.bool_)
    violated[[item.demand for item in view.found]] = True
    return class_rows(view.scenario, view.table, classes, measured_values(view.state.demands, view.table), violated)


def demand_rows(view: View) -> list[dict[str, Any]]:
    """Per demand what was measured and its state: up, degraded (a goal is missed) or down (its path is broken)."""
    missed: dict[int, list[Violation]] = {}
    for item in view.found:
        missed.setdefault(item.demand, []).append(item)
    rows = []
    for demand, key in enumerate(view.keys):
        broken = key in view.snapshot.broken
        reasons = (
            ["its path crosses a dead link"] if broken else [violation_text(item) for item in missed.get(demand, ())]
        )
        rows.append(
            {
                **key_json(key),
                "rate_bps": number(view.scenario.traffic.rate_bps[demand]),
                "state": "down" if broken else "degraded" if reasons else "up",
                "reasons": reasons,
                "measured": experience_json(view.state.demands, demand),
            }
        )
    return rows


def comparison_rows(
    keys: Sequence[Key], changed: frozenset[int], before: Prediction, after: Prediction, measured: DemandMeasurements
) -> list[dict[str, Any]]:
    """Per demand: predicted before and after a plan, and measured before it."""
    return [
        {
            **key_json(key),
            "changed": demand in changed,
            "predicted_before": experience_json(before, demand),
            "predicted_after": experience_json(after, demand),
            "measured_before": experience_json(measured, demand),
        }
        for demand, key in enumerate(keys)
    ]


def link_rows(scenario: Scenario, after: Routing) -> list[dict[str, Any]]:
    """Per link: offered load over capacity before and after."""
    topology = scenario.topology
    loads = [routing.link_load_bps(scenario.traffic, topology.link_count) for routing in (scenario.routing, after)]
    names = topology.node_names
    return [
        {
            "source": names[topology.link_source[link]],
            "target": names[topology.link_target[link]],
            "utilisation_before": float(loads[0][link] / topology.capacity_bps[link]),
            "utilisation_after": float(loads[1][link] / topology.capacity_bps[link]),
        }
        for link in range(topology.link_count)
    ]


def queue_rows(topology: Topology, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Nodes with several queues, those that serve them alike together: discipline and weight by class."""
    alike: dict[Scheduler, list[str]] = {}
    for name, scheduler in zip(topology.node_names, topology.schedulers, strict=True):
        if scheduler.queue_count > 1:
            alike.setdefault(scheduler, []).append(name)
    return [
        {
            "scheduler": scheduler.discipline,
            "weights": {name: scheduler.weights[scheduler.queue_of(name)] for name in classes if scheduler.weights},
            "nodes": nodes,
        }
        for scheduler, nodes in alike.items()
    ]


def worst_rows(keys: Sequence[Key], found: Sequence[Violation]) -> list[dict[str, Any]]:
    """The worst violations, for people."""
    return [
        {
            **key_json(keys[item.demand]),
            "goal": item.kind,
            "value": number(item.value),
            "limit": number(item.limit),
            "text": violation_text(item),
        }
        for item in found[:WORST_DEMANDS]
    ]


def violation_text(item: Violation) -> str:
    """One violation in plain words."""
    if item.kind == "loss":
        return f"loss {item.value:.2%} against {item.limit:.2%}"
    return f"{item.kind} {item.value * 1e3:.1f} ms against {item.limit * 1e3:.1f} ms"


def key_json(key: Key) -> dict[str, str]:
    """A demand's key by name."""
    return {"source": key[0], "target": key[1], "class": key[2]}
