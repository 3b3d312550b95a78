"""A scenario is what it says: calm before, broken promises with shortest paths, and another routing keeps them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from deploy.testbed.base_traffic import CLASSES, MAX_EMULATOR_LOAD, emulated_topology, emulator_load_ratio
from deploy.testbed.scenarios import EVENT_S, Kind, TestbedScenario, make_scenario
from deploy.testbed.traffic_plan import make_schedule
from gnn_model.analytic import AnalyticPredictor
from gnn_model.predictor_choice import warmed_up
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.exact.warm_up import warm_up
from optimizer.goals import class_goals, excess_ratios, experienced_values, goal_table
from optimizer.local_search import SearchLimits, search
from topology_sync.errors import ScenarioError
from topology_sync.paths import fewest_hops_routing
from topology_sync.scenario import Scenario
from topology_sync.sources import load_scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import TrafficMatrix

NSFNET = "topohub:sndlib/nobel-us"


@pytest.fixture(scope="module", autouse=True)
def compiled_kernels() -> None:
    """A search's time is for searching: kernels that nobody has compiled yet would take all of it."""
    warmed_up(AnalyticPredictor())
    warm_up()


@lru_cache
def drawn(kind: Kind, seed: int) -> TestbedScenario:
    return make_scenario(kind, NSFNET, load_scenario(NSFNET), seed)


def missed(scenario: Scenario, usable: UsableLinks | None = None) -> set[str]:
    """Classes with a demand that is predicted to miss a goal."""
    table = goal_table(scenario.traffic, class_goals(scenario.sla))
    excess = excess_ratios(experienced_values(AnalyticPredictor().predict(scenario), table), table)
    demands = np.nonzero((excess > 0).any(axis=0))[0]
    return {scenario.traffic.class_name(int(demand)) for demand in demands}


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_hotspot_breaks_every_class_with_shortest_paths_and_the_search_mends_all(seed: int) -> None:
    scenario = drawn("hotspot", seed)
    assert missed(scenario.base) == set()
    assert missed(scenario.stressed) == {entry.name for entry in CLASSES}
    assert scenario.stressed.routing == fewest_hops_routing(scenario.base.topology, scenario.stressed.traffic)
    table = goal_table(scenario.stressed.traffic, class_goals(scenario.stressed.sla))
    topology = scenario.stressed.topology
    candidates = CandidatePaths(topology, UsableLinks.all_of(topology))
    found = search(scenario.stressed, table, AnalyticPredictor(), candidates, SearchLimits(time_s=2.0, max_changes=20))
    assert missed(scenario.stressed.with_routing(found.routing)) == set()


@pytest.mark.parametrize("seed", [1, 2])
def test_failure_leaves_ways_around_the_broken_cable(seed: int) -> None:
    scenario = drawn("failure", seed)
    assert scenario.failed_link is not None
    assert missed(scenario.base) == set()
    used = {link for paths in scenario.base.routing.paths for path in paths for link in path.links}
    after = {link for paths in scenario.stressed.routing.paths for path in paths for link in path.links}
    assert scenario.failed_link in used
    assert scenario.failed_link not in after


@pytest.mark.parametrize("seed", [3, 5])
def test_queues_break_promises_that_paths_cannot_keep_and_weights_can(seed: int) -> None:
    scenario = drawn("queues", seed)
    assert missed(scenario.base) == set()
    assert missed(scenario.stressed) - {"default"}
    table = goal_table(scenario.stressed.traffic, class_goals(scenario.stressed.sla))
    topology = scenario.stressed.topology
    candidates = CandidatePaths(topology, UsableLinks.all_of(topology))
    left = {}
    for weights in (False, True):
        limits = SearchLimits(time_s=1.5, max_changes=20, queue_weights=weights)
        found = search(scenario.stressed, table, AnalyticPredictor(), candidates, limits)
        topology = scenario.stressed.topology.with_schedulers(dict(enumerate(found.schedulers)))
        left[weights] = missed(replace(scenario.stressed, topology=topology, routing=found.routing))
    assert left[False]
    assert left[True] == set()


@pytest.mark.parametrize("kind", ["hotspot", "failure", "steady", "queues"])
def test_the_emulator_can_carry_it(kind: Kind) -> None:
    scenario = drawn(kind, 1)
    assert scenario.emulator_load_ratio == max(
        emulator_load_ratio(scenario.base), emulator_load_ratio(scenario.stressed)
    )
    assert 0 < scenario.emulator_load_ratio < MAX_EMULATOR_LOAD


def test_seeds_choose_and_are_repeatable() -> None:
    again = make_scenario("hotspot", NSFNET, load_scenario(NSFNET), 1)
    assert again.base == drawn("hotspot", 1).base
    assert again.demands == drawn("hotspot", 1).demands
    assert len({drawn("hotspot", seed).hot for seed in (1, 2, 3, 4)}) > 1


def test_senders_offer_the_rates_that_were_predicted_with() -> None:
    scenario = drawn("hotspot", 1)
    end_s = EVENT_S + 60.0
    schedule = make_schedule(scenario.demands, end_s, 1, scenario.seed)
    late = schedule.time_s > EVENT_S + 10.0
    bits = np.bincount(schedule.demand[late], schedule.frame_bits[late], len(scenario.demands))
    offered = bits / (end_s - EVENT_S - 10.0)
    expected = scenario.stressed.traffic.rate_bps
    assert offered.sum() == pytest.approx(expected.sum(), rel=0.02)
    assert offered[list(scenario.hot)] == pytest.approx(expected[list(scenario.hot)], rel=0.05)


def test_at_least_three_classes_with_different_promises() -> None:
    assert len({entry.goal for entry in CLASSES}) == len(CLASSES) >= 3


def test_topologies_without_such_a_run_are_refused_in_one_line() -> None:
    line = Topology.from_links(
        ["a", "b", "c"], [Link(one, two, 1e9) for one, two in (("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"))]
    )
    traffic = TrafficMatrix.from_demands((), line.node_index)
    source = Scenario("line", line, traffic, fewest_hops_routing(line, traffic))
    with pytest.raises(ScenarioError, match="try another topology or seed") as refused:
        make_scenario("failure", "line", source, 1)
    assert "\n" not in str(refused.value)


def test_one_way_links_are_refused() -> None:
    one_way = Topology.from_links(["a", "b"], [Link("a", "b", 1e9)])
    with pytest.raises(ScenarioError, match="no link in the opposite direction"):
        emulated_topology(one_way)
