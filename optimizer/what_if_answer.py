"""Answers to what-if questions: before, after and re-optimised, per class and per demand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gnn_model.configurations import rescheduled
from gnn_model.predictor import Prediction, Predictor
from gnn_model.validity import verdict_json
from optimizer.candidates import CandidatePaths
from optimizer.goals import (
    GoalTable,
    Score,
    class_goals,
    excess_ratios,
    experienced_values,
    goal_table,
    violated_demands,
    violation_score,
)
from optimizer.local_search import SearchLimits, search
from optimizer.prediction_error import allowing_for_error
from optimizer.records import experience_json, number
from optimizer.what_if import ChangedNetwork, Changes, Fallback, FallbackKind, changed_network, fallback_of
from optimizer.what_if import repaired_routing as repaired
from topology_sync.named_paths import name_route, route_to_json
from topology_sync.node_json import node_to_json
from topology_sync.plan_json import plan_schedulers
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys
from topology_sync.values import BoolArray, FloatArray, float_array


@dataclass(frozen=True, eq=False)
class Situation:
    """A network under one routing and what is predicted for it.

    ``lost_share`` [demands] is what no path carries; it is part of the prediction's loss.  ``mean_delay_s`` is weighted
    by carried traffic.
    """

    scenario: Scenario
    lost_share: FloatArray
    prediction: Prediction
    violated: BoolArray
    score: Score
    mean_delay_s: float

    @property
    def rank(self) -> tuple[float, float, float, float]:
        """Smaller is better: traffic that goes nowhere, violation, fullest link, mean delay."""
        lost = float(self.lost_share @ self.scenario.traffic.rate_bps)
        return lost, self.score.violation, self.score.max_utilisation, self.mean_delay_s


@dataclass(frozen=True, eq=False)
class Answer:
    """``reoptimised`` None: not asked for.  ``unreachable`` are demands that no routing can carry after the changes."""

    before: Situation
    after: Situation
    reoptimised: Situation | None
    fallback: Fallback
    unreachable: frozenset[int]
    changed: tuple[int, ...] = ()
    search_s: float = 0.0

    @property
    def final(self) -> Situation:
        """The last situation that was asked for."""
        return self.reoptimised or self.after


def assess(
    scenario: Scenario, routing: Routing, lost_share: FloatArray, predictor: Predictor, table: GoalTable | None = None
) -> Situation:
    """Predict ``routing`` when ``lost_share`` [demands] of the traffic goes nowhere; lost traffic loads no link.

    A demand that is lost altogether has no delay and loses every packet.
    """
    table = table or goal_table(scenario.traffic, class_goals(scenario.sla))
    carried = _carried(scenario, routing, lost_share)
    rate = carried.traffic.rate_bps
    prediction = _with_losses(predictor.predict(carried), lost_share)
    values = experienced_values(prediction, table)
    score = Score(
        float(violation_score(excess_ratios(values, table), table.weight)),
        routing.max_utilisation(carried.traffic, scenario.topology),
        0,
    )
    known = np.isfinite(prediction.delay_s) & (rate > 0)
    mean_delay = float(np.average(prediction.delay_s[known], weights=rate[known])) if known.any() else 0.0
    return Situation(
        scenario.with_routing(routing), lost_share, prediction, violated_demands(values, table), score, mean_delay
    )


def _carried(scenario: Scenario, routing: Routing, lost_share: FloatArray) -> Scenario:
    """What is left of a scenario when part of its traffic goes nowhere."""
    rate = float_array(scenario.traffic.rate_bps * (1.0 - lost_share))
    return replace(scenario, traffic=scenario.traffic.with_rates(rate), routing=routing)


def validity_json(predictor: Predictor, **situations: Situation | None) -> dict[str, Any]:
    """``{"validity": {name: verdict}}``: which situations lie where the predictor was trained; {} where it was not."""
    verdicts = {
        name: verdict_json(predictor, _carried(found.scenario, found.scenario.routing, found.lost_share))
        for name, found in situations.items()
        if found is not None
    }
    return {} if None in verdicts.values() else {"validity": verdicts}


def _with_losses(prediction: Prediction, lost_share: FloatArray) -> Prediction:
    if not lost_share.any():
        return prediction
    cut = lost_share >= 1.0

    def marked(values: FloatArray, value: float) -> FloatArray:
        return float_array(np.where(cut, value, values))

    return replace(
        prediction,
        delay_s=marked(prediction.delay_s, np.inf),
        delay_p99_s=marked(prediction.delay_p99_s, np.inf),
        jitter_s=marked(prediction.jitter_s, np.nan),
        loss_ratio=float_array(1.0 - (1.0 - lost_share) * (1.0 - np.where(cut, 0.0, prediction.loss_ratio))),
    )


def situation_before(scenario: Scenario, predictor: Predictor) -> Situation:
    """The network as it is."""
    return assess(scenario, scenario.routing, np.zeros(scenario.traffic.demand_count), predictor)


def answer_question(
    before: Situation,
    changes: Changes,
    predictor: Predictor,
    fallback_kind: FallbackKind = "bypass",
    limits: SearchLimits | None = None,
    searcher: Predictor | None = None,
) -> Answer:
    """What ``changes`` do to the network of ``before`` and, given ``limits``, what a new routing makes of it.

    ``searcher`` judges during the search where ``predictor`` is too slow for that.
    """
    network = changed_network(before.scenario, changes)
    fallback = fallback_of(network, fallback_kind)
    after = assess(network.scenario, fallback.routing, fallback.lost_share, predictor)
    start, unreachable = repaired(network, fallback)
    if limits is None:
        return Answer(before, after, None, fallback, unreachable)
    began = time.perf_counter()
    found, changed = _reoptimise(network, start, unreachable, after, predictor, searcher or predictor, limits)
    return Answer(before, after, found, fallback, unreachable, changed, time.perf_counter() - began)


def _reoptimise(
    network: ChangedNetwork,
    start: Routing,
    unreachable: frozenset[int],
    after: Situation,
    predictor: Predictor,
    searcher: Predictor,
    limits: SearchLimits,
) -> tuple[Situation, tuple[int, ...]]:
    """The searched routing; the fallback, without its loops or as it is, where that is predicted to be better.

    The search repairs broken demands itself, one after the other by the load that is there by then: detours would all
    fill the same links and leave it much to undo.
    """
    scenario = network.scenario
    table = goal_table(scenario.traffic, class_goals(scenario.sla))
    lost = np.zeros(scenario.traffic.demand_count)
    lost[list(unreachable)] = 1.0
    candidates = CandidatePaths(scenario.topology, network.usable)
    result = search(scenario, allowing_for_error(table, searcher), searcher, candidates, limits)
    best = assess(rescheduled(scenario, result.schedulers), result.routing, float_array(lost), predictor, table)
    if best.rank > after.rank:
        best = min(assess(scenario, start, float_array(lost), predictor, table), after, key=lambda found: found.rank)
    return best, best.scenario.routing.changed_demands(scenario.routing)


# JSON


def situation_json(situation: Situation) -> dict[str, Any]:
    """``{"max_utilisation", "violated", "mean_delay_s", "classes"}``."""
    return {
        "max_utilisation": situation.score.max_utilisation,
        "violation": number(situation.score.violation),
        "violated": int(situation.violated.sum()),
        "mean_delay_s": number(situation.mean_delay_s),
        "classes": class_rows(situation),
    }


def class_rows(situation: Situation) -> list[dict[str, Any]]:
    """Per class: demands with traffic, those that miss a goal or are cut off, and the worst that others experience."""
    traffic, prediction = situation.scenario.traffic, situation.prediction
    rows = []
    for index, name in enumerate(traffic.class_names):
        members = (traffic.traffic_class == index) & (traffic.rate_bps > 0)
        cut = members & (situation.lost_share >= 1.0)
        heard = members & ~cut
        goal = situation.scenario.goal_of(name)
        rows.append(
            {
                "class": name,
                "demands": int(members.sum()),
                "violated": int((situation.violated & members).sum()),
                "cut_off": int(cut.sum()),
                "worst_delay_s": _worst(prediction.delay_s[heard]),
                "worst_delay_p99_s": _worst(prediction.delay_p99_s[heard]),
                "worst_jitter_s": _worst(prediction.jitter_s[heard]),
                "worst_loss_ratio": _worst(prediction.loss_ratio[heard]),
                "sla": None
                if goal is None
                else {
                    "delay_s": goal.delay_s,
                    "percentile": goal.percentile,
                    "jitter_s": goal.jitter_s,
                    "loss_ratio": goal.loss_ratio,
                },
            }
        )
    return rows


def _worst(values: FloatArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else None


def answer_json(answer: Answer, changes: Sequence[dict[str, Any]], predictor: str, seconds: float) -> dict[str, Any]:
    """The command's JSON object."""
    scenario = answer.before.scenario
    keys = demand_keys(scenario.topology, scenario.traffic)
    changed = frozenset(answer.changed)
    situations = {"before": answer.before, "after": answer.after, "reoptimized": answer.reoptimised}
    rows = []
    for demand, (source, target, traffic_class) in enumerate(keys):
        row: dict[str, Any] = {"source": source, "target": target, "class": traffic_class}
        for name, situation in situations.items():
            row[name] = None if situation is None else _experience(situation, demand)
        row["detoured"] = demand in answer.fallback.rerouted
        row["rerouted"] = demand in changed
        rows.append(row)
    reoptimised = None
    if answer.reoptimised is not None:
        topology = answer.reoptimised.scenario.topology
        paths = answer.reoptimised.scenario.routing.paths
        nodes = plan_schedulers(answer.after.scenario.topology, topology)
        reoptimised = {
            **situation_json(answer.reoptimised),
            "changed_demands": len(changed),
            "search_s": answer.search_s,
            "changed_nodes": len(nodes),
            "nodes": [node_to_json(entry.node, entry.scheduler) for entry in nodes],
            "routing": [route_to_json(name_route(topology, keys[demand], paths[demand])) for demand in answer.changed],
        }
    return {
        "scenario": scenario.name,
        "changes": list(changes),
        "predictor": predictor,
        "before": situation_json(answer.before),
        "after": situation_json(answer.after),
        "reoptimized": reoptimised,
        "demands": rows,
        "cut_off": cut_off_json(answer, keys),
        "seconds": seconds,
    }


def _experience(situation: Situation, demand: int) -> dict[str, Any]:
    return {**experience_json(situation.prediction, demand), "violated": bool(situation.violated[demand])}


def cut_off_json(answer: Answer, keys: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Demands that the network loses by itself, in part or whole, and whether a new routing could carry them."""
    return [
        {
            "source": keys[demand][0],
            "target": keys[demand][1],
            "class": keys[demand][2],
            "lost_share": float(answer.after.lost_share[demand]),
            "reachable": demand not in answer.unreachable,
        }
        for demand in np.nonzero(answer.after.lost_share)[0].tolist()
    ]
