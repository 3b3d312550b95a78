"""Mending by runs of moves: many promises for few predictions, and nothing that a predictor does not confirm."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.predictor import Prediction
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.exact.warm_up import warm_up
from optimizer.goals import class_goals, goal_table
from optimizer.mending import mend_roughly
from optimizer.rl.evaluation import held_out_question
from optimizer.search_limits import SearchLimits
from optimizer.search_state import SearchState
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario


class Doubter:
    """Says of every routing but the first that it loses everything."""

    name = "doubter"

    def __init__(self, first: Routing) -> None:
        self._first, self._believed = first, AnalyticPredictor()

    def predict(self, scenario: Scenario) -> Prediction:
        found = self._believed.predict(scenario)
        if scenario.routing is self._first:
            return found
        return replace(found, loss_ratio=np.ones_like(found.loss_ratio))

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        return [self.predict(scenario.with_routing(candidate)) for candidate in candidates]


@pytest.fixture(autouse=True, scope="module")
def _kernels() -> None:
    warm_up()


def standing(predictor: object, scenario: Scenario, **limits: object) -> SearchState:
    table = goal_table(scenario.traffic, class_goals(scenario.sla))
    candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
    given = SearchLimits(**{"time_s": 60.0, **limits})  # type: ignore[arg-type]
    state = SearchState(scenario, table, predictor, candidates, given)  # type: ignore[arg-type]
    state.take(scenario.routing, state.judging.predict([scenario.routing])[0])
    return state


@pytest.mark.parametrize("network", ["sndlib/polska", "sndlib/geant"])
def test_many_promises_are_mended_for_few_predictions(network: str) -> None:
    predictor = AnalyticPredictor()
    state = standing(predictor, held_out_question(network, 0, predictor).scenario)
    before, predicted = state.violation, state.judging.judged
    mend_roughly(state, state.deadline)
    assert state.violation < 0.6 * before
    assert state.judging.judged - predicted < 40
    state.routing.check(state.scenario.topology, state.scenario.traffic)


def test_nothing_is_taken_that_the_predictor_does_not_confirm() -> None:
    scenario = held_out_question("sndlib/polska", 0, AnalyticPredictor()).scenario
    state = standing(Doubter(scenario.routing), scenario)
    for _ in range(3):
        mend_roughly(state, state.deadline)
        assert state.routing is scenario.routing
    assert state.rough.reach == 1
    assert state.judging.judged < 10


def test_frozen_demands_stay_and_a_limit_on_changes_leaves_all_to_single_moves() -> None:
    predictor = AnalyticPredictor()
    scenario = held_out_question("sndlib/polska", 0, predictor).scenario
    frozen = frozenset(range(0, scenario.traffic.demand_count, 2))
    state = standing(predictor, scenario, frozen=frozen)
    mend_roughly(state, state.deadline)
    changed = set(state.routing.changed_demands(scenario.routing))
    assert changed
    assert not changed & frozen
    few = standing(predictor, scenario, max_changes=3)
    mend_roughly(few, few.deadline)
    assert few.routing is scenario.routing


def test_no_run_is_begun_too_late() -> None:
    predictor = AnalyticPredictor()
    state = standing(predictor, held_out_question("sndlib/polska", 0, predictor).scenario)
    routing = state.routing
    mend_roughly(state, time.monotonic() - 1.0)
    assert state.routing is routing
