"""What happens to the base traffic: a hotspot that shortest paths cannot carry, or a cable that breaks.

Checked beforehand with the analytic predictor: the event violates goals (hotspot), and another routing meets all of
them with margin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import networkx as nx
import numpy as np

from deploy.testbed.base_traffic import CLASSES, MAX_EMULATOR_LOAD, emulator_load_ratio
from deploy.testbed.emulated_network import paired_links
from gnn_model.analytic import AnalyticPredictor
from optimizer.goals import class_goals, excess_ratios, experienced_values, goal_table
from topology_sync.paths import fewest_hops_routing, k_shortest_paths
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array

CALM = 0.8  # largest part of a goal that may be predicted for the base traffic
_HOT_UTILISATION = 1.25
_FAILURE_UTILISATION = 0.48  # below what the loop would level out before the cable breaks
_GOOD = 0.75  # part of a goal that may be predicted for the routing that solves the event
_CLEARLY_VIOLATED = 1.3  # a demand counts as violated from this multiple of a goal
_LEAST_VIOLATED = 4
_PATHS_TRIED = 8


@dataclass(frozen=True)
class Event:
    """``base`` before and ``stressed`` after it; demands ``hot`` grow, or load the cable of ``link`` that breaks."""

    base: Scenario
    stressed: Scenario
    hot: tuple[int, ...]
    link: int | None


def draw_hotspot(base: Scenario, random: np.random.Generator) -> Event | str:
    """Two demands over one link grow until it is overloaded; another way for both must solve it."""
    link = int(random.choice(_full_links(base)))
    hot = _two_over(base, link, ("default", "video"), random)
    if hot is None:
        return "no two demands share a link"
    stressed = base_with = _grown(base, hot, link, _HOT_UTILISATION)
    if base_with is None or stressed is None:
        return "the link has no room to grow"
    if violated(stressed) < _LEAST_VIOLATED or len(_violated_classes(stressed)) < len(CLASSES):
        return "the hotspot violates too few goals"
    if emulator_load_ratio(stressed) > MAX_EMULATOR_LOAD:
        return "the load is more than the emulator should carry"
    if solved_by_moving(stressed, hot) is None:
        return "moving the growing demands alone does not meet all goals"
    return Event(base, stressed, hot, None)


def draw_failure(base: Scenario, random: np.random.Generator) -> Event | str:
    """Two demands load a cable well; when it breaks, another way for them must exist that meets all goals."""
    link = int(random.choice(_full_links(base)))
    hot = _two_over(base, link, ("default", "video"), random)
    if hot is None:
        return "no two demands share a link"
    loaded = _grown(base, hot, link, _FAILURE_UTILISATION)
    if loaded is None or not meets(loaded, loaded.routing, CALM):
        return "the loaded cable misses goals before it breaks"
    if emulator_load_ratio(loaded) > MAX_EMULATOR_LOAD:
        return "the load is more than the emulator should carry"
    topology = base.topology
    cable = next(pair for pair in paired_links(topology) if link in pair)
    usable = np.ones(topology.link_count, dtype=np.bool_)
    usable[list(cable)] = False
    graph = nx.Graph(
        (int(topology.link_source[other]), int(topology.link_target[other]))
        for other in range(topology.link_count)
        if usable[other]
    )
    if graph.number_of_nodes() < topology.node_count or not nx.is_connected(graph):
        return "the cable has no way around it"
    rerouted = fewest_hops_routing(topology, loaded.traffic, usable)
    displaced = {
        demand: rerouted.paths[demand]
        for demand, paths in enumerate(loaded.routing.paths)
        if any(other in path.links for path in paths for other in cable)
    }
    stressed = loaded.with_routing(loaded.routing.with_changes(displaced))
    if solved_by_moving(stressed, hot, usable) is None:
        return "no routing around the broken cable meets all goals"
    return Event(loaded, stressed, hot, link)


def _full_links(scenario: Scenario) -> FloatArray:
    """The fuller half of the links."""
    load = scenario.routing.link_load_bps(scenario.traffic, scenario.topology.link_count)
    return np.argsort(-load, kind="stable")[: max(1, len(load) // 2)]


def _two_over(
    scenario: Scenario, link: int, classes: tuple[str, ...], random: np.random.Generator
) -> tuple[int, int] | None:
    traffic = scenario.traffic
    over = [
        demand
        for demand, paths in enumerate(scenario.routing.paths)
        if traffic.class_name(demand) in classes and len(paths[0].links) <= 3 and link in paths[0].links
    ]
    ends: dict[tuple[int, int], int] = {}
    for demand in over:  # one demand per pair of ends, so that two ways are needed
        ends.setdefault((int(traffic.source[demand]), int(traffic.target[demand])), demand)
    if len(ends) < 2:
        return None
    one, two = random.choice(list(ends.values()), 2, replace=False)
    return int(one), int(two)


def _grown(scenario: Scenario, hot: tuple[int, ...], link: int, utilisation: float) -> Scenario | None:
    """The demands in ``hot`` grow alike until ``link`` is offered ``utilisation`` times its capacity."""
    topology, traffic = scenario.topology, scenario.traffic
    others = np.array(traffic.rate_bps)
    others[list(hot)] = 0.0
    load = scenario.routing.link_load_bps(traffic.with_rates(float_array(others)), topology.link_count)
    rate = (utilisation * float(topology.capacity_bps[link]) - float(load[link])) / len(hot)
    if rate <= max(float(traffic.rate_bps[demand]) for demand in hot):
        return None
    others[list(hot)] = rate
    return replace(scenario, traffic=traffic.with_rates(float_array(others)))


def solved_by_moving(
    scenario: Scenario,
    hot: tuple[int, ...],
    usable: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None = None,
    part: float = _GOOD,
) -> Routing | None:
    """A routing that differs only in the paths of ``hot`` and is predicted to stay within ``part`` of all goals."""
    topology, traffic = scenario.topology, scenario.traffic
    ones = np.ones(topology.link_count)
    choices = [
        k_shortest_paths(topology, int(traffic.source[d]), int(traffic.target[d]), _PATHS_TRIED, ones, usable)
        for d in hot
    ]
    routings = [
        scenario.routing.with_changes(
            {demand: (PathShare(path),) for demand, path in zip(hot, combination, strict=True)}
        )
        for combination in product(*choices)
    ]
    routings.sort(key=lambda routing: routing.max_utilisation(traffic, topology))
    return next((routing for routing in routings[:16] if meets(scenario, routing, part)), None)


def _excess(scenario: Scenario, routing: Routing, part: float) -> FloatArray:
    table = goal_table(scenario.traffic, class_goals(scenario.sla)).with_headroom(1.0 - part)
    prediction = AnalyticPredictor().predict(scenario.with_routing(routing))
    return excess_ratios(experienced_values(prediction, table), table)


def meets(scenario: Scenario, routing: Routing, part: float) -> bool:
    """Whether every demand is predicted to stay within ``part`` of its goals."""
    return not (_excess(scenario, routing, part) > 0).any()


def violated(scenario: Scenario) -> int:
    return int((_excess(scenario, scenario.routing, _CLEARLY_VIOLATED) > 0).any(axis=0).sum())


def _violated_classes(scenario: Scenario) -> set[int]:
    violated = (_excess(scenario, scenario.routing, _CLEARLY_VIOLATED) > 0).any(axis=0)
    return set(scenario.traffic.traffic_class[violated].tolist())
