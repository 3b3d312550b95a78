"""Steps of queue weights touch what they may and no more; with them the search keeps promises that paths cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from gnn_model.configurations import rescheduled
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.goals import class_goals, experienced_values, goal_table, predicted_violation, violated_demands
from optimizer.local_search import SearchLimits, SearchResult, search
from optimizer.weight_steps import (
    FINENESS,
    LEAST_PARTS,
    ClassNeeds,
    WeightSteps,
    changed_nodes,
    put_back,
    weight_changes,
)
from tests.optimizer.test_local_search import GOALS, random_scenario
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.topology import WEIGHTED, Scheduler

QUEUES = (("voice", 0), ("bulk", 1))


def mixed(seed: int, nodes: int = 8, load: float = 1.0) -> Scenario:
    """A random network whose nodes draw discipline, weights (any units) and which class waits where."""
    random = np.random.default_rng(seed)
    scenario = random_scenario(seed, nodes, load)
    kinds = [
        Scheduler(),
        Scheduler("strict", (), QUEUES),
        Scheduler("wfq", tuple(random.uniform(0.01, 50.0, 2).tolist()), QUEUES),
        Scheduler("drr", (1.0, 2.0, 3.0), (("voice", 2), ("bulk", 1), ("unheard", 0))),
        Scheduler("wfq", (5.0, 1.0), (("bulk", 1),)),  # voice is not named: queue 0
        Scheduler("drr", (7.0, 1.0), (("voice", 1), ("bulk", 1))),  # both in one queue: nothing to share out
    ]
    chosen = {node: kinds[int(random.integers(len(kinds)))] for node in range(nodes)}
    return replace(scenario, topology=scenario.topology.with_schedulers(chosen))


def run(scenario: Scenario, goals: object = GOALS, **limits: object) -> SearchResult:
    table = goal_table(scenario.traffic, goals)  # type: ignore[arg-type]
    candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
    given_limits = SearchLimits(**{"time_s": 3.0, "queue_weights": True, **limits})  # type: ignore[arg-type]
    return search(scenario, table, AnalyticPredictor(1), candidates, given_limits)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    missed=st.tuples(st.floats(0, 50), st.floats(0, 50)),
    slack=st.tuples(st.floats(-2, 1), st.floats(-2, 1)),
    factor=st.floats(1.05, 16),
    frozen=st.frozensets(st.integers(0, 7)),
)
def test_steps_keep_to_weighted_nodes_and_to_the_units_they_were_written_in(
    seed: int, missed: tuple[float, float], slack: tuple[float, float], factor: float, frozen: frozenset[int]
) -> None:
    scenario = mixed(seed)
    present = scenario.topology.schedulers
    steps = WeightSteps(scenario, frozen, factor)
    found = steps.proposals(present, ClassNeeds(np.array(missed), np.array(slack)), range(8))
    assert len(set(found)) == len(found)
    if not sum(missed):
        assert not found
    for proposal in found:
        changed = changed_nodes(present, proposal)
        assert changed
        for node in changed:
            before, after = present[node], proposal[node]
            assert node not in frozen
            assert before.discipline in WEIGHTED
            assert replace(after, weights=before.weights) == before
            used = sorted({before.queue_of("voice"), before.queue_of("bulk")})
            assert len(used) == 2
            assert min(after.weights) > 0
            assert sum(after.weights) == pytest.approx(sum(before.weights), rel=1e-9)
            unused = [queue for queue in range(len(before.weights)) if queue not in used]
            assert [after.weights[queue] for queue in unused] == [before.weights[queue] for queue in unused]
            share = sum(before.weights[queue] for queue in used) / FINENESS
            floor = min(LEAST_PARTS * share, *(before.weights[queue] for queue in used))
            assert min(after.weights[queue] for queue in used) >= min(floor, share) * (1 - 1e-9)


def test_who_misses_goals_gets_more_in_the_first_step(shared_link_scenario: Scenario) -> None:
    scenario = shared_link_scenario
    present = scenario.topology.schedulers
    for needy in (0, 1):
        missed = np.array([float(needy == 0), float(needy == 1)])
        first = WeightSteps(scenario).proposals(present, ClassNeeds(missed, np.ones(2)), [])[0]
        assert all(new.weights[needy] > old.weights[needy] for new, old in zip(first[:2], present[:2], strict=True))


def test_steps_shrink_until_they_begin_anew_and_grow_where_they_help(shared_link_scenario: Scenario) -> None:
    steps = WeightSteps(shared_link_scenario)
    sizes = []
    for _ in range(5):
        sizes.append(steps.factor)
        steps.adapt(False)
        if steps.exhausted:
            break
    assert sizes == sorted(sizes, reverse=True)
    assert steps.exhausted
    assert steps.factor == sizes[0]
    steps.adapt(True)
    assert steps.factor > sizes[0]
    assert not steps.exhausted


def test_the_way_back_is_tried_too(shared_link_scenario: Scenario) -> None:
    start = shared_link_scenario.topology.schedulers
    steps = WeightSteps(shared_link_scenario)
    here = tuple(replace(scheduler, weights=(60.0, 40.0)) for scheduler in start)
    found = steps.proposals(here, ClassNeeds(np.array([0.0, 1.0]), np.ones(2)), [])
    assert start in found
    assert any(start[0].weights[0] < proposal[0].weights[0] < here[0].weights[0] for proposal in found)


def test_equal_new_weights_count_once() -> None:
    old = (Scheduler("wfq", (1.0, 1.0), QUEUES),) * 4
    new, other = Scheduler("wfq", (3.0, 1.0), QUEUES), Scheduler("wfq", (1.0, 3.0), QUEUES)
    assert weight_changes(old, old) == 0
    assert weight_changes(old, (new,) * 4) == 1
    assert weight_changes(old, (new, new, old[2], other)) == 2
    assert weight_changes(old, (new, Scheduler("wfq", (2.0, 1.0), QUEUES), other, old[3])) == 3
    back = list(put_back(old, (new, new, old[2], other)))
    assert back == [old, (new, new, old[2], old[3])]


def test_weights_mend_what_paths_cannot(shared_link_scenario: Scenario) -> None:
    table = goal_table(shared_link_scenario.traffic, GOALS)
    without = run(shared_link_scenario, queue_weights=False, max_changes=3)
    assert without.score.violation == without.start_score.violation > 0
    assert without.changed_nodes == ()
    assert without.schedulers == shared_link_scenario.topology.schedulers
    result = run(shared_link_scenario, max_changes=1)
    assert result.score.violation == 0
    assert result.changed == ()
    assert result.score.changed_weights == 1
    better = rescheduled(shared_link_scenario, result.schedulers)
    assert AnalyticPredictor(1).predict(better) == result.after
    assert not violated_demands(experienced_values(result.after, table), table).any()


def test_no_change_is_left_for_weights_where_none_is_allowed(shared_link_scenario: Scenario) -> None:
    assert run(shared_link_scenario, max_changes=0).changed_nodes == ()
    assert run(shared_link_scenario, max_changes=3, frozen_nodes=frozenset({0, 1, 2})).changed_nodes == ()


def test_weights_go_back_where_they_keep_no_promise(shared_link_scenario: Scenario) -> None:
    hopeless = class_goals([SlaGoal("voice", 1e-5, 99.0), SlaGoal("bulk", None, None, None, 0.5)])
    result = run(shared_link_scenario, hopeless, max_changes=3)
    if result.changed_nodes:
        assert result.score.violation < result.start_score.violation
    kept = run(shared_link_scenario, class_goals([SlaGoal("voice", 10.0, 99.0)]))
    assert kept.changed_nodes == ()


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 1000),
    changes=st.sampled_from([None, 0, 1, 4]),
    load=st.sampled_from([0.9, 1.2]),
    balanced=st.booleans(),
)
def test_never_worse_and_within_limits_on_mixed_networks(
    seed: int, changes: int | None, load: float, balanced: bool
) -> None:
    scenario = mixed(seed, load=load)
    present = scenario.topology.schedulers
    table = goal_table(scenario.traffic, GOALS)
    result = run(scenario, time_s=0.4, max_changes=changes, seed=seed, from_balanced=balanced)
    assert not result.start_score.better_than(result.score)
    assert all(present[node].discipline in WEIGHTED for node in result.changed_nodes)
    assert result.changed_nodes == changed_nodes(present, result.schedulers)
    assert result.score.changed_weights == weight_changes(present, result.schedulers)
    if changes is not None:
        assert len(result.changed) + result.score.changed_weights <= changes
    told = AnalyticPredictor(1).predict(rescheduled(scenario, result.schedulers).with_routing(result.routing))
    assert predicted_violation(told, table) == pytest.approx(result.score.violation)


def test_the_same_seed_finds_the_same_weights(shared_link_scenario: Scenario) -> None:
    first, second = (run(shared_link_scenario, time_s=20.0, max_changes=3, seed=3) for _ in range(2))
    assert first.schedulers == second.schedulers
    assert first.routing == second.routing
