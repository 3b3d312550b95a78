"""The loop plans for the traffic to come: rises are carried on, noise and falls are not, and the plan lasts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from optimizer.candidates import CandidateCache, CandidatePaths, UsableLinks
from optimizer.goals import class_goals, experienced_values, goal_table, violated_demands
from optimizer.local_search import SearchLimits, search
from optimizer.loop_values import StartSearch, Trigger
from optimizer.moving_traffic.forecast import ForecastSettings, RateHistory
from optimizer.moving_traffic.planning_ahead import search_ahead
from optimizer.planning import view_of
from optimizer.searching import decision_of, find
from optimizer.settings import OptimizerSettings
from topology_sync.paths import fewest_hops_routing
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix
from topology_sync.values import FloatArray, float_array

KEYS = (("a", "b", "voice"), ("b", "a", "bulk"), ("a", "c", "bulk"))
WINDOW_S = 5.0


def remembered(rates: FloatArray, configured: ForecastSettings | None = None) -> RateHistory:
    """A history of ``rates`` [snapshots, demands], one every WINDOW_S seconds from 0 on."""
    history = RateHistory(configured or ForecastSettings())
    for index, row in enumerate(rates):
        history.note(index * WINDOW_S, WINDOW_S, KEYS[: len(row)], row)
    return history


def planned(rates: FloatArray, configured: ForecastSettings | None = None) -> FloatArray:
    return remembered(rates, configured).rates_to_plan_for(
        (len(rates) - 1) * WINDOW_S, KEYS[: rates.shape[1]], rates[-1]
    )


def test_a_rise_is_carried_on_over_the_horizon() -> None:
    times = np.arange(10) * WINDOW_S
    rates = np.stack([1e6 + 2e4 * times, np.full(10, 1e6)], axis=1)
    assert planned(rates) == pytest.approx([1e6 + 2e4 * (times[-1] + 30), 1e6])
    assert planned(rates, ForecastSettings(horizon_s=10))[0] == pytest.approx(1e6 + 2e4 * (times[-1] + 10))


def test_a_rise_is_not_carried_beyond_the_largest_growth() -> None:
    rates = np.linspace(1e5, 1e6, 6)[:, None]
    assert planned(rates, ForecastSettings(horizon_s=1e4))[0] == pytest.approx(2e6)


def test_steady_and_falling_traffic_and_a_switched_off_forecast_change_nothing() -> None:
    falling = np.linspace(2e6, 1e6, 10)[:, None]
    rising = falling[::-1].copy()
    for rates in (falling, np.full((10, 2), 1e6), rising[:3]):
        assert planned(rates) is not None
        assert np.array_equal(planned(rates), rates[-1])
    assert np.array_equal(planned(rising, ForecastSettings(horizon_s=0)), rising[-1])
    assert planned(rising)[0] > rising[-1, 0]


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_rates_are_never_planned_below_the_measured_nor_beyond_the_largest_growth(seed: int) -> None:
    random = np.random.default_rng(seed)
    rates = random.lognormal(13, 1, 3) * np.exp(random.normal(0, 0.4, (12, 3)).cumsum(axis=0))
    found = planned(rates)
    assert (found >= rates[-1] - 1e-9).all()
    assert (found <= 2 * rates.max(axis=0) + 1e-9).all()


def test_noise_alone_rarely_changes_the_plan() -> None:
    random = np.random.default_rng(5)
    moved = [
        not np.array_equal(planned(rates), rates[-1])
        for rates in (1e6 * (1 + 0.03 * random.normal(size=(20, 3))) for _ in range(100))
    ]
    assert sum(moved) <= 3


def test_demands_that_come_and_go_and_clocks_set_back_are_taken_as_measured() -> None:
    history = remembered(np.linspace(1e6, 2e6, 8)[:, None])
    now = float_array([2e6, 5e5])
    assert history.rates_to_plan_for(35.0, KEYS[:2], now)[1] == 5e5
    history.note(3.0, WINDOW_S, KEYS[:1], now[:1])
    assert np.array_equal(history.rates_to_plan_for(3.0, KEYS[:1], now[:1]), now[:1])


def test_a_search_records_which_rises_it_planned_for(controller: Any, settings: OptimizerSettings) -> None:
    view = view_of(controller.state(), settings)
    request = StartSearch(1, Trigger("sla", 0.0, 0.0), 20, frozenset())
    rates = view.scenario.traffic.rate_bps
    coming = float_array(rates * np.array([1.3, 1, 1, 1, 1, 1.05]))
    for planned_bps, rises in ((coming, [(*view.keys[0],)]), (None, None), (rates, None)):
        found = find(view, request, settings, AnalyticPredictor(), CandidateCache(), planned_bps)
        record = decision_of(found, settings, AnalyticPredictor(), 0.0).detail["assumed"]["forecast"]
        assert (record and [(row["source"], row["target"], row["class"]) for row in record["demands"]]) == rises
        assert found.result.score.better_than(found.result.start_score)


def growing() -> tuple[Scenario, FloatArray]:
    """a-b is too full; now c is the emptier way around, but what c sends itself is going to more than double."""
    names = ("a", "b", "c", "d")
    pairs = [("a", "b", 1e7), ("a", "c", 1.2e7), ("c", "b", 1.2e7), ("a", "d", 6.5e6), ("d", "b", 6.5e6)]
    topology = Topology.from_links(names, [Link(x, y, c, 0.0005) for a, b, c in pairs for x, y in ((a, b), (b, a))])
    demands = [Demand("a", "b", 5e6, "voice"), Demand("a", "b", 4.6e6, "bulk"), Demand("c", "b", 3.5e6, "bulk")]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    goals = (SlaGoal("voice", 0.02, 99.0, None, 0.001), SlaGoal("bulk", 0.03, 99.0, None, 0.01))
    scenario = Scenario("growing", topology, traffic, fewest_hops_routing(topology, traffic), goals)
    return scenario, float_array(traffic.rate_bps * np.array([1.0, 1.0, 2.2]))


def test_a_plan_for_the_rates_to_come_keeps_the_goals_when_they_come_and_now() -> None:
    scenario, coming = growing()
    predictor, candidates = (
        AnalyticPredictor(),
        CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology)),
    )
    table = goal_table(scenario.traffic, class_goals(scenario.sla))
    limits = SearchLimits(0.6, max_changes=1)
    found = search_ahead(scenario, coming, table, predictor, candidates, limits)
    later = replace(scenario, traffic=scenario.traffic.with_rates(coming), routing=found.routing)
    for question in (scenario.with_routing(found.routing), later):
        prediction = predictor.predict(question)
        assert not violated_demands(experienced_values(prediction, table), table).any()
    assert found.after == predictor.predict(scenario.with_routing(found.routing))
    assert found.score.better_than(found.start_score)
    behind = search(scenario, table, predictor, candidates, limits)
    prediction = predictor.predict(later.with_routing(behind.routing))
    assert violated_demands(experienced_values(prediction, table), table).any()  # what the last snapshot leads to


def test_a_plan_ahead_that_is_worse_now_gives_way_to_one_for_the_measured_rates() -> None:
    scenario, _ = growing()
    predictor, candidates = (
        AnalyticPredictor(),
        CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology)),
    )
    table = goal_table(scenario.traffic, class_goals(scenario.sla))
    limits = SearchLimits(0.4)
    # the forecast says that c-b fills, so the plan ahead moves the third demand and leaves the overload of now
    coming = float_array(scenario.traffic.rate_bps * np.array([0.1, 0.1, 1.6]))
    found = search_ahead(scenario, coming, table, predictor, candidates, limits)
    direct = search(scenario, table, predictor, candidates, limits)
    assert found.score.violation == pytest.approx(direct.score.violation)
    assert found.score.better_than(found.start_score)
