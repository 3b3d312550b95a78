"""Paths, queue weights or both: what each kind of decision leaves broken at equal time, judged packet by packet.

The questions are the weighted ones (wfq, drr) of the SLA suite, in four kinds:

``paths``    as the suite has them: weights as in the solution, shortest paths (a solution is known: other paths)
``weights``  the paths of the solution, but other weights (known: the suite's weights)
``both``     shortest paths and other weights (known: the solution's paths with the suite's weights)
``open``     those of the suite where it is not known whether all promises can be kept

The other weights are drawn from the problem's seed and give the first class, with the tightest goals, least.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from gnn_model.configurations import rescheduled
from gnn_model.predictor import Predictor
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.goals import class_goals, goal_table
from optimizer.local_search import SearchLimits, search
from optimizer.prediction_error import allowing_for_error
from optimizer.sla_suite import JUDGING_SEED, Problem, simulated, violated
from topology_sync.plan import RoutingPlan
from topology_sync.plan_json import (
    plan_from_json,
    plan_routes,
    plan_schedulers,
    plan_to_json,
    routing_with_plan,
    topology_with_plan,
)
from topology_sync.scenario import Scenario
from topology_sync.topology import WEIGHTED

Kind = Literal["paths", "weights", "both", "open"]
KINDS: tuple[Kind, ...] = ("paths", "weights", "both", "open")
METHODS = ("present", "paths only", "weights only", "both")
LEAST_SHARE, MOST_SHARE = 0.05, 0.8
SMALLER_BY = 0.5  # of the last class' weight, the first class has at most this much


@dataclass(frozen=True, eq=False)
class Question:
    """A scenario to be searched; ``test``: in the suite's test half."""

    name: str
    kind: Kind
    test: bool
    scenario: Scenario


def questions_of(problem: Problem) -> Iterator[Question]:
    """The questions that a problem of the suite gives: none where nodes have no weights."""
    entry, scenario = problem.entry, problem.scenario
    if entry.discipline not in WEIGHTED:
        return
    if problem.solution is None:
        yield Question(entry.name, "open", entry.test, scenario)
        return
    other = other_weights(scenario, entry.seed)
    yield Question(f"{entry.name}:paths", "paths", entry.test, scenario)
    yield Question(f"{entry.name}:weights", "weights", entry.test, other.with_routing(problem.solution))
    yield Question(f"{entry.name}:both", "both", entry.test, other)


def other_weights(scenario: Scenario, seed: int) -> Scenario:
    """The same network with weights that favour the last class, in percent, the same in all nodes."""
    random = np.random.default_rng([seed, 1])
    queues = len(scenario.topology.schedulers[0].weights)
    while True:
        drawn = np.exp(random.uniform(np.log(LEAST_SHARE), np.log(MOST_SHARE), queues))
        shares = np.round(100 * drawn / drawn.sum())
        if shares[0] <= SMALLER_BY * shares[-1] and shares.min() >= 100 * LEAST_SHARE:
            break
    weights = tuple(shares.tolist())
    return rescheduled(scenario, tuple(replace(item, weights=weights) for item in scenario.topology.schedulers))


def answered(question: Question, method: str, predictor: Predictor, time_s: float, seed: int) -> dict[str, Any]:
    """A method's row, not judged yet: its plan and what the predictor promises of it."""
    scenario = question.scenario
    began = time.monotonic()
    row: dict[str, Any] = {"question": question.name, "kind": question.kind, "test": question.test, "method": method}
    row["demands"] = scenario.traffic.demand_count
    if method == "present":
        return {**row, "plan": plan_to_json(RoutingPlan(question.name, 0, ()))}
    table = allowing_for_error(goal_table(scenario.traffic, class_goals(scenario.sla)), predictor)
    movable = method != "weights only"
    limits = SearchLimits(
        time_s,
        seed=seed,
        frozen=frozenset() if movable else frozenset(range(scenario.traffic.demand_count)),
        from_balanced=movable,
        queue_weights=method != "paths only",
    )
    candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
    found = search(scenario, table, predictor, candidates, limits)
    after = rescheduled(scenario, found.schedulers)
    plan = RoutingPlan(
        question.name,
        0,
        plan_routes(scenario, found.routing, found.changed),
        plan_schedulers(scenario.topology, after.topology),
    )
    return {
        **row,
        "plan": plan_to_json(plan),
        "violation_before": found.start_score.violation,
        "violation_after": found.score.violation,
        "changed_demands": len(found.changed),
        "changed_weights": found.score.changed_weights,
        "routings_judged": found.routings_judged,
        "seconds": time.monotonic() - began,
    }


def judged(question: Question, row: Mapping[str, Any], max_hops: int) -> dict[str, Any]:
    """The row with the demands that its plan leaves violated, as the packet simulator sees it."""
    plan = plan_from_json(row["plan"])
    scenario = question.scenario
    after = replace(
        scenario, routing=routing_with_plan(scenario, plan), topology=topology_with_plan(scenario.topology, plan)
    )
    after.routing.check(after.topology, after.traffic)
    return {**row, "violated": int(violated(after, simulated(after, JUDGING_SEED, max_hops)).sum())}


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Demands left violated by kind and method as a markdown table, with the questions solved in brackets."""
    lines = ["| question | demands | " + " | ".join(METHODS) + " |", "|---|---|" + "---|" * len(METHODS)]
    for kind in KINDS:
        cells = []
        for method in METHODS:
            found = [row for row in rows if row["kind"] == kind and row["method"] == method and "violated" in row]
            solved = sum(row["violated"] == 0 for row in found)
            cells.append(f"{sum(row['violated'] for row in found)} ({solved} of {len(found)})" if found else "-")
        demands = {row["question"]: row["demands"] for row in rows if row["kind"] == kind}
        if demands:
            lines.append(f"| {kind} | {sum(demands.values()):,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
