"""Who leaves how many promises broken on the suite: routings by name, judged by the packet simulator."""

from __future__ import annotations

import functools
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnn_model.predictor_choice import load_predictor
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.exact.least_utilisation import UtilisationLimits, least_utilisation
from optimizer.exact.warm_up import warm_up
from optimizer.goals import class_goals, goal_table
from optimizer.local_search import Search, SearchLimits, search
from optimizer.prediction_error import allowing_for_error
from optimizer.sla_suite import CLASSES, JUDGING_SEED, Problem, simulated, violated
from optimizer.sla_suite_files import read_plan
from topology_sync.errors import InputError
from topology_sync.paths import Path as LinkPath
from topology_sync.plan_json import routing_with_plan
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario

if TYPE_CHECKING:
    from gnn_model.predictor import Predictor

MOST_EQUAL_PATHS = 16

Method = Callable[[Scenario, float, int], Routing]
"""(scenario, seconds, seed) -> routing."""


def shortest_paths(scenario: Scenario, time_s: float, seed: int) -> Routing:
    """What the scenario comes with: fewest hops."""
    return scenario.routing


def equal_cost_paths(scenario: Scenario, time_s: float, seed: int) -> Routing:
    """Every node splits evenly over all its neighbours that are one hop nearer (ECMP).

    Of more than MOST_EQUAL_PATHS ways of a demand those with the largest shares are kept.
    """
    topology, traffic = scenario.topology, scenario.traffic
    ways: dict[tuple[int, int], tuple[PathShare, ...]] = {}
    for target in np.unique(traffic.target).tolist():
        hops = _hops_to(scenario, target)
        for source in np.unique(traffic.source[traffic.target == target]).tolist():
            found: list[tuple[float, LinkPath]] = [(1.0, ())]
            for _ in range(hops[source]):
                longer = []
                for share, links in found:
                    node = int(topology.link_target[links[-1]]) if links else source
                    onwards = [
                        link
                        for link in topology.links_from[node]
                        if hops[int(topology.link_target[link])] == hops[node] - 1
                    ]
                    longer += [(share / len(onwards), (*links, link)) for link in onwards]
                found = sorted(longer, key=lambda item: (-item[0], item[1]))[:MOST_EQUAL_PATHS]
            total = sum(share for share, _ in found)
            ways[source, target] = tuple(PathShare(links, share / total) for share, links in found)
    pairs = zip(traffic.source.tolist(), traffic.target.tolist(), strict=True)
    return Routing(tuple(ways[pair] for pair in pairs))


def _hops_to(scenario: Scenario, target: int) -> list[int]:
    """Hops from every node to ``target``; as many as there are nodes where there is no way."""
    topology = scenario.topology
    arriving: list[list[int]] = [[] for _ in topology.node_names]
    for source, end in zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True):
        arriving[end].append(source)
    hops = [topology.node_count] * topology.node_count
    hops[target] = 0
    queue = [target]
    for node in queue:
        for other in arriving[node]:
            if hops[other] == topology.node_count:
                hops[other] = hops[node] + 1
                queue.append(other)
    return hops


def optimal_utilisation(scenario: Scenario, time_s: float, seed: int) -> Routing:
    """Least maximum utilisation (a linear programme, with splitting), whatever the goals."""
    return least_utilisation(scenario, UtilisationLimits(time_s, seed, near_present=False)).routing


def local_search_on(
    predictor: Callable[[], Predictor], from_balanced: bool = False, believing: bool = False, learned: bool = False
) -> Method:
    """The optimizer's local search, judged on the way by ``predictor``, from shortest or from balanced paths.

    ``believing`` takes predictions at their word, so that what allowing for their error brings can be seen; ``learned``
    adds the shipped policy's proposals.
    """

    def method(scenario: Scenario, time_s: float, seed: int) -> Routing:
        judge = predictor()
        table = goal_table(scenario.traffic, class_goals(scenario.sla))
        if not believing:
            table = allowing_for_error(table, judge)
        candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
        limits = SearchLimits(time_s, seed=seed, from_balanced=from_balanced)
        chosen: Search = search
        if learned:
            from optimizer.rl.proposer import shipped_policy_search

            chosen = shipped_policy_search()
        return chosen(scenario, table, judge, candidates, limits).routing

    return method


@functools.cache
def _analytic() -> Predictor:
    return load_predictor("analytic")


@functools.cache
def _gnn() -> Predictor:
    return load_predictor("gnn")


METHODS: dict[str, Method] = {
    "shortest-path": shortest_paths,
    "ecmp": equal_cost_paths,
    "lp-optimum": optimal_utilisation,
    "local-search-analytic": local_search_on(_analytic),
    "local-search-gnn": local_search_on(_gnn),
    "balanced-search-analytic": local_search_on(_analytic, from_balanced=True),
    "balanced-search-gnn": local_search_on(_gnn, from_balanced=True),
    "believing-search-gnn": local_search_on(_gnn, from_balanced=True, believing=True),
    "rl-search-gnn": local_search_on(_gnn, from_balanced=True, learned=True),
}
"""Others join by name."""
KNOWN = "known-solution"
GNN_NEEDS = ("torch", "safetensors")


def available() -> list[str]:
    """Names of the methods whose libraries are installed."""
    has_gnn = all(importlib.util.find_spec(name) is not None for name in GNN_NEEDS)
    return [name for name in METHODS if has_gnn or not name.endswith("gnn")]


class Judge:
    """Routes problems by method or by given plans and simulates what comes out."""

    def __init__(self, methods: Sequence[str] | None, plans: Sequence[str], time_s: float, seed: int) -> None:
        """``plans``: LABEL=DIR each.  Raises InputError for a method that is not known."""
        self._plans = dict(_label(item) for item in plans)
        self._methods = list(methods) if methods else [*available(), KNOWN]
        self._time_s, self._seed = time_s, seed
        warm_up()
        for name in self._methods:
            if name != KNOWN and name not in METHODS:
                raise InputError("--method", f"'{name}' is not known", f"use {', '.join([*METHODS, KNOWN])}")

    def methods_of(self, problem: Problem) -> list[str]:
        """Names of what routes this problem."""
        known = [name for name in self._methods if name != KNOWN or problem.solution is not None]
        return [*known, *self._plans]

    def row(self, problem: Problem, name: str) -> dict[str, Any]:
        """What is left violated under one method's routing."""
        scenario = problem.scenario
        started = time.monotonic()
        if name in self._plans:
            plan = read_plan(self._plans[name] / f"{problem.entry.name}.json")
            routing = routing_with_plan(scenario, plan)
        elif name == KNOWN:
            routing = problem.solution or scenario.routing
        else:
            routing = METHODS[name](scenario, self._time_s, self._seed)
        seconds = time.monotonic() - started
        routing.check(scenario.topology, scenario.traffic)
        routed = scenario.with_routing(routing)
        missed = violated(routed, simulated(routed, JUDGING_SEED))
        by_class = np.bincount(scenario.traffic.traffic_class[missed], minlength=len(CLASSES))
        return {
            "problem": problem.entry.name,
            "kind": problem.entry.kind,
            "test": problem.entry.test,
            "method": name,
            "demands": scenario.traffic.demand_count,
            "violated": int(missed.sum()),
            "violated_by_class": dict(zip(CLASSES, by_class.tolist(), strict=True)),
            "max_utilisation": routing.max_utilisation(scenario.traffic, scenario.topology),
            "changed_demands": len(routing.changed_demands(scenario.routing)),
            "seconds": seconds,
        }


def _label(text: str) -> tuple[str, Path]:
    label, equals, folder = text.partition("=")
    if not label or not equals or label in METHODS or not Path(folder).is_dir():
        raise InputError("--plans", f"is '{text}'", "give LABEL=DIR with a folder that is there and a name of its own")
    return label, Path(folder)


def table(methods: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """The totals as a markdown table."""
    groups = list(next(iter(methods.values()))) if methods else []
    head = ["left violated (problems solved)", *groups]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in methods.items():
        cells = [
            f"{one['violated']} of {one['demands']} ({one['solved']} of {one['problems']})"
            for one in (found[group] for group in groups)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
