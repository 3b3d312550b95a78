"""The search with a proposer keeps every promise of the local search: never worse, valid, within its limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.goals import GoalTable, predicted_violation
from optimizer.local_search import SearchLimits, SearchResult
from optimizer.rl.environment import Policy
from optimizer.rl.evaluation import processor_clock
from optimizer.rl.policy import PathPolicy
from optimizer.rl.proposer import RankPolicy, TurnSettings, UniformPolicy, policy_search
from optimizer.rl.training_scenarios import Question
from topology_sync.routing import PathShare
from topology_sync.topology import Link, Topology
from topology_sync.values import bool_array, float_array

PREDICTOR = AnalyticPredictor()


@pytest.fixture(autouse=True)
def own_clock() -> Iterator[None]:
    """Time limits in processor time, so that a busy machine changes nothing."""
    with processor_clock():
        yield


def fresh_policy() -> PathPolicy:
    torch.manual_seed(2)
    return PathPolicy().eval()


POLICIES: tuple[Policy, ...] = (UniformPolicy(), RankPolicy(), fresh_policy())


def everything(question: Question) -> CandidatePaths:
    return CandidatePaths(question.scenario.topology, UsableLinks.all_of(question.scenario.topology))


def checked(question: Question, result: SearchResult, table: GoalTable | None = None) -> SearchResult:
    """What must hold of every result by the goals of ``table`` (without: those of the question)."""
    scenario = question.scenario
    result.routing.check(scenario.topology, scenario.traffic)
    assert result.changed == result.routing.changed_demands(scenario.routing)
    assert not result.start_score.better_than(result.score)
    told = PREDICTOR.predict(scenario.with_routing(result.routing))
    assert predicted_violation(told, table or question.table) == pytest.approx(result.score.violation, abs=1e-9)
    np.testing.assert_allclose(result.after.delay_s, told.delay_s)
    utilisation = result.routing.max_utilisation(scenario.traffic, scenario.topology)
    assert result.score.max_utilisation == pytest.approx(utilisation)
    return result


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(0, 5),
    which=st.integers(0, 2),
    seed=st.integers(0, 2**40),
    changes=st.sampled_from([None, 0, 1, 3]),
    time_s=st.sampled_from([0.01, 0.1]),
    balanced=st.booleans(),
    finish=st.booleans(),
    scatter=st.sampled_from([0.0, 0.3]),
)
def test_never_worse_and_always_valid(
    small_questions: list[Question],
    number: int,
    which: int,
    seed: int,
    changes: int | None,
    time_s: float,
    balanced: bool,
    finish: bool,
    scatter: float,
) -> None:
    question = small_questions[number]
    table = question.table.with_uncertainty((scatter, scatter, scatter))
    frozen = frozenset(range(0, question.scenario.traffic.demand_count, 3))
    limits = SearchLimits(time_s, max_changes=changes, frozen=frozen, seed=seed, from_balanced=balanced)
    result = policy_search(
        question.scenario,
        table,
        PREDICTOR,
        everything(question),
        limits,
        POLICIES[which],
        TurnSettings(finish=finish),
    )
    checked(question, result, table)
    before, after = (predicted_violation(told, question.table) for told in (result.before, result.after))
    assert after <= before * (1 + 1e-6)
    assert changes is None or len(result.changed) <= changes
    assert not frozen & set(result.changed)


def test_it_solves_what_can_be_solved(small_questions: list[Question]) -> None:
    solvable = [question for question in small_questions if question.solvable]
    assert solvable
    for question in solvable:
        limits = SearchLimits(1.0)
        result = policy_search(
            question.scenario, question.table, PREDICTOR, everything(question), limits, fresh_policy()
        )
        assert checked(question, result).score.violation == 0
        assert result.moves_screened > 0
        assert result.routings_judged > 0


def test_it_keeps_to_its_time(small_questions: list[Question]) -> None:
    question = small_questions[0]
    impossible = replace(question.table, limit=question.table.limit * 1e-3)
    began = time.monotonic()
    result = policy_search(
        question.scenario, impossible, PREDICTOR, everything(question), SearchLimits(0.3), fresh_policy()
    )
    assert result.score.violation > 0
    assert time.monotonic() - began < 1.0  # of processor time; 0.35 s as a rule


def test_it_ends_when_it_is_stopped(small_questions: list[Question]) -> None:
    question = small_questions[0]
    impossible = replace(question.table, limit=question.table.limit * 1e-3)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    result = policy_search(
        question.scenario, impossible, PREDICTOR, everything(question), SearchLimits(20.0, stop=stop), fresh_policy()
    )
    assert time.monotonic() - began < 10.0
    assert not result.start_score.better_than(result.score)
    assert result.routings_judged > 1


def test_demands_leave_dead_links_and_the_stranded_are_named(small_questions: list[Question]) -> None:
    question = small_questions[0]
    topology = question.scenario.topology
    load = question.scenario.routing.link_load_bps(question.scenario.traffic, topology.link_count)
    dead = int(np.argmax(load))
    up = np.ones(topology.link_count, dtype=bool)
    up[dead] = False
    usable = UsableLinks(bool_array(up), bool_array(up))
    result = policy_search(
        question.scenario,
        question.table,
        PREDICTOR,
        CandidatePaths(topology, usable),
        SearchLimits(0.2, max_changes=0),
        fresh_policy(),
    )
    assert result.repaired
    assert set(result.changed) == set(result.repaired)
    assert all(dead not in path.links for paths in result.routing.paths for path in paths)

    lonely = np.asarray(topology.link_target) == int(topology.link_target[dead])
    cut = UsableLinks(bool_array(~lonely), bool_array(~lonely))
    result = policy_search(
        question.scenario, question.table, PREDICTOR, CandidatePaths(topology, cut), SearchLimits(0.1), fresh_policy()
    )
    assert result.unroutable
    assert np.isinf(result.after.delay_s[list(result.unroutable)]).all()


def test_single_path_splits_nothing(small_questions: list[Question]) -> None:
    question = small_questions[0]
    candidates = everything(question)
    traffic = question.scenario.traffic
    options = candidates.between(int(traffic.source[0]), int(traffic.target[0]))
    halves = [PathShare(path, 0.5) for path in options[:2]]
    split = replace(
        question, scenario=question.scenario.with_routing(question.scenario.routing.with_changes({0: halves}))
    )
    limits = SearchLimits(0.1, single_path=True)
    result = policy_search(split.scenario, split.table, PREDICTOR, candidates, limits, fresh_policy())
    assert all(len(paths) == 1 for paths in result.routing.paths)


def test_without_goals_it_is_the_local_search(small_questions: list[Question]) -> None:
    question = small_questions[0]
    table = replace(question.table, limit=float_array(np.full_like(question.table.limit, np.inf)))
    scenario = question.scenario
    result = policy_search(scenario, table, PREDICTOR, everything(question), SearchLimits(0.3), RankPolicy())
    assert result.score.violation == 0
    before = scenario.routing.max_utilisation(scenario.traffic, scenario.topology)
    assert result.score.max_utilisation < before


def test_a_network_without_alternatives_stays_as_it_is(small_questions: list[Question]) -> None:
    question = small_questions[0]
    names = ("a", "b", "c")
    line = Topology.from_links(names, [Link(x, y, 1e6) for x, y in (("a", "b"), ("b", "c"), ("b", "a"), ("c", "b"))])
    from optimizer.goals import goal_table
    from topology_sync.paths import fewest_hops_routing
    from topology_sync.scenario import Scenario
    from topology_sync.traffic import Demand, TrafficMatrix

    goals = question.classes[:1]
    traffic = TrafficMatrix.from_demands([Demand("a", "c", 2e6, goals[0].name)], line.node_index)
    scenario = Scenario("line", line, traffic, fewest_hops_routing(line, traffic))
    table = goal_table(traffic, goals)
    candidates = CandidatePaths(line, UsableLinks.all_of(line))
    result = policy_search(scenario, table, PREDICTOR, candidates, SearchLimits(0.1), fresh_policy())
    assert result.score.violation > 0
    assert result.changed == ()
