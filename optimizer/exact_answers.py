"""What ``optimize --json`` answers, from whichever search the routing comes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gnn_model.predictor import Prediction, Predictor
from gnn_model.validity import validity_of_change
from optimizer.exact.least_utilisation import UtilisationLimits, least_utilisation
from optimizer.exact.warm_up import warm_up
from optimizer.goals import class_goals, experienced_values, goal_table, violated_demands
from topology_sync.node_json import node_to_json
from topology_sync.plan import RoutingPlan
from topology_sync.plan_json import plan_routes, plan_schedulers, plan_to_json
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import scenario_to_json
from topology_sync.topology import Scheduler


def answer_exactly(
    question: Scenario, limits: UtilisationLimits, judge: Predictor | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Answer and plan of the search for least maximum utilisation; the clock starts when its kernels are loaded.

    ``judge`` counts broken promises; None where nothing is promised.
    """
    warm_up(limits.single_path, limits.delay_limit_s is not None)
    plan = least_utilisation(question, limits)
    predictions = None
    if judge is not None:
        before, after = judge.predict_batch(question, [question.routing, plan.routing])
        predictions = before, after
    method = "single-path" if limits.single_path else "exact"
    answer, changes = answer_json(
        question, plan.routing, plan.lower_bound, plan.seconds, method, "max-utilisation", predictions
    )
    if judge is None:
        return answer, changes
    validity = validity_of_change(judge, question, question.with_routing(plan.routing))
    return {**answer, "predictor": judge.name, **validity}, changes


def answer_json(
    question: Scenario,
    routing: Routing,
    lower_bound: float,
    seconds: float,
    optimizer: str,
    objective: str,
    predictions: tuple[Prediction, Prediction] | None,
    schedulers: tuple[Scheduler, ...] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer and the plan's JSON; ``predictions`` (before, after) are needed only where something is promised.

    ``schedulers`` [nodes] where queue weights were a decision too: the answer then names the nodes that change.
    """
    traffic, topology = question.traffic, question.topology
    maximum = routing.max_utilisation(traffic, topology)
    counts = [0, 0]
    if predictions is not None:
        table = goal_table(traffic, class_goals(question.sla))
        counts = [
            int(violated_demands(experienced_values(prediction, table), table).sum()) for prediction in predictions
        ]
    changed = routing.changed_demands(question.routing)
    answer = {
        "max_utilisation": maximum,
        "max_utilisation_before": question.routing.max_utilisation(traffic, topology),
        "lower_bound": lower_bound,
        "gap": maximum / lower_bound - 1.0 if lower_bound > 0 else (None if maximum > 0 else 0.0),
        "changed_demands": len(changed),
        "split_demands": sum(len(paths) > 1 for paths in routing.paths),
        "seconds": seconds,
        "optimizer": optimizer,
        "objective": objective,
        "sla": {"violated_before": counts[0], "violated_after": counts[1]},
        "routing": scenario_to_json(question.with_routing(routing))["routing"],
    }
    routes = plan_routes(question, routing, changed)
    nodes = () if schedulers is None else plan_schedulers(topology, replace(topology, schedulers=schedulers))
    if schedulers is not None:
        answer["changed_nodes"] = len(nodes)
        answer["nodes"] = [node_to_json(entry.node, entry.scheduler) for entry in nodes]
    return answer, plan_to_json(RoutingPlan(f"optimize-{question.name}", 0, routes, nodes))
