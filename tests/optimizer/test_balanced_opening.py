"""A search that begins at the routing of least maximum utilisation: usable, no worse, and taken only where it helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gnn_model.analytic import AnalyticPredictor
from optimizer.balanced_opening import balanced_opening
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.goals import class_goals, goal_table
from optimizer.local_search import SearchLimits, search
from optimizer.rl.evaluation import held_out_question
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario


def everything(scenario: Scenario) -> UsableLinks:
    return UsableLinks.all_of(scenario.topology)


def test_openings_are_complete_routings_and_the_last_splits_nothing(hotspot_scenario: Scenario) -> None:
    for single_path in (False, True):
        openings = balanced_opening(hotspot_scenario, everything(hotspot_scenario), 1.0, 1, single_path).routings
        for routing in openings:
            routing.check(hotspot_scenario.topology, hotspot_scenario.traffic)
        assert all(len(paths) == 1 for paths in openings[-1].paths)


def test_openings_avoid_links_that_may_not_carry_traffic(hotspot_scenario: Scenario) -> None:
    topology = hotspot_scenario.topology
    for link in range(topology.link_count):
        allowed = np.ones(topology.link_count, dtype=np.bool_)
        allowed[link] = False
        usable = UsableLinks(allowed, allowed)
        for routing in balanced_opening(hotspot_scenario, usable, 0.5, 1).routings:
            assert link not in routing.flat.hop_link


def test_nodes_that_only_some_demands_may_cross_leave_the_search_where_it_was(hotspot_scenario: Scenario) -> None:
    usable = replace(everything(hotspot_scenario), end_only_nodes=frozenset({0}))
    assert balanced_opening(hotspot_scenario, usable, 0.5, 1).routings == ()


def test_the_search_is_better_with_it_and_still_obeys_a_limit_on_changes() -> None:
    predictor = AnalyticPredictor()
    question = held_out_question("sndlib/polska", 0, predictor)
    scenario = question.scenario
    table = goal_table(scenario.traffic, class_goals(scenario.sla))
    candidates = CandidatePaths(scenario.topology, everything(scenario))
    opened = search(scenario, table, predictor, candidates, SearchLimits(1.0, from_balanced=True))
    assert opened.score.violation < opened.start_score.violation
    few = search(scenario, table, predictor, candidates, SearchLimits(0.5, max_changes=2, from_balanced=True))
    assert len(few.changed) <= 2


def test_few_changes_begin_at_the_exact_plan_with_so_many() -> None:
    predictor = AnalyticPredictor()
    scenario = held_out_question("sndlib/polska", 0, predictor).scenario
    for most in (1, 5):
        opening = balanced_opening(scenario, everything(scenario), 2.0, 1, max_changes=most)
        for routing in opening.routings:
            routing.check(scenario.topology, scenario.traffic)
            assert len(routing.changed_demands(scenario.routing)) <= most
        before, after = (
            routing.max_utilisation(scenario.traffic, scenario.topology)
            for routing in (scenario.routing, opening.routings[0])
        )
        assert after < before


def test_the_columns_of_the_exact_search_are_paths_of_their_demands() -> None:
    scenario = held_out_question("sndlib/polska", 0, AnalyticPredictor()).scenario
    topology, traffic = scenario.topology, scenario.traffic
    columns = balanced_opening(scenario, everything(scenario), 2.0, 1).columns
    assert columns
    for demand, links in columns:
        scenario.routing.with_changes({demand: (PathShare(links),)}).check(topology, traffic)
