"""Scores and violations: what counts, in which order, and what uncertainty excuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import norm

from optimizer.goals import (
    EXCESS_CAP,
    SURE,
    GoalTable,
    MeasurementTolerance,
    Score,
    certain_values,
    class_goals,
    delay_at_percentile,
    excess_ratios,
    expected_severity,
    goal_table,
    is_clear,
    predicted_severity,
    severity,
    severity_slopes,
    violation_score,
    violations,
)
from optimizer.settings import ClassGoal
from topology_sync.network_state import DemandMeasurements
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.values import float_array, int_array

TOLERANCE = MeasurementTolerance()


def table(delay_s: float = 0.01, jitter_s: float = 0.005, loss: float = 0.01, percentile: float = 99.0) -> GoalTable:
    return GoalTable(np.array([[delay_s], [jitter_s], [loss]]), np.array([percentile]), np.array([1.0]))


def measured(**given: float) -> DemandMeasurements:
    values = {
        "packets_sent": 1000.0,
        "packets_lost": 0.0,
        "loss_ratio": 0.0,
        "delay_s": 0.002,
        "delay_p99_s": 0.003,
        "jitter_s": 0.001,
        "delay_min_s": 0.001,
        "probe_count": 50,
        **given,
    }
    arrays = {name: float_array([value]) for name, value in values.items() if name != "probe_count"}
    return DemandMeasurements(**arrays, probe_count=int_array([values["probe_count"]]))


def test_scores_compare_violation_then_utilisation_then_changes() -> None:
    assert Score(0.0, 0.9, 9).better_than(Score(0.1, 0.1, 0))
    assert Score(0.1, 0.5, 9).better_than(Score(0.1, 0.6, 0))
    assert Score(0.1, 0.5, 1).better_than(Score(0.1, 0.5, 2))
    assert not Score(0.1, 0.5, 2).better_than(Score(0.1, 0.5, 2))
    assert not Score(0.1 - 1e-12, 0.5, 3).better_than(Score(0.1, 0.5, 2))


@given(st.floats(0.001, 1.0), st.floats(0.0, 5.0), st.floats(50.0, 99.9))
def test_percentiles_of_a_constant_plus_an_exponential_are_exact(base: float, mean: float, percentile: float) -> None:
    exact = base - mean * np.log(1 - percentile / 100)
    p99 = base - mean * np.log(0.01)
    found = delay_at_percentile(np.array([base + mean]), np.array([p99]), np.array([percentile]))
    assert found[0] == pytest.approx(exact, rel=1e-9)


def test_no_percentile_means_the_mean() -> None:
    assert delay_at_percentile(np.array([0.5]), np.array([9.0]), np.array([np.nan]))[0] == 0.5


def test_unknown_is_never_a_violation() -> None:
    unknown = np.full((3, 1), np.nan)
    assert violations(unknown, table()) == ()
    assert is_clear(unknown, table(), 0.9)


def test_priority_weighs_and_idle_demands_do_not(hotspot_scenario: Scenario) -> None:
    classes = (ClassGoal("voice", 1, SlaGoal("voice", 0.01)), ClassGoal("bulk", 3, SlaGoal("bulk", 0.01)))
    traffic = hotspot_scenario.traffic
    found = goal_table(traffic, classes)
    assert found.weight[0] == 16 * found.weight[1]
    idle = goal_table(traffic.with_rates(traffic.rate_bps * 0), classes)
    assert not idle.weight.any()
    assert violations(np.full((3, traffic.demand_count), 1.0), idle) == ()


def test_classes_without_goal_promise_nothing(hotspot_scenario: Scenario) -> None:
    found = goal_table(hotspot_scenario.traffic, class_goals([SlaGoal("voice", loss_ratio=0.1)]))
    assert np.isinf(found.limit[:, 1]).all()
    assert found.limit[2, 0] == 0.1


def test_a_cut_off_demand_scores_finitely_and_zero_goals_work() -> None:
    values = np.array([[np.inf], [np.nan], [1.0]])
    excess = excess_ratios(values, table(loss=0.0))
    assert excess[0, 0] == EXCESS_CAP
    assert excess[2, 0] == EXCESS_CAP
    assert np.isfinite(violation_score(excess, np.ones(1)))


@given(st.lists(st.floats(0, 10), min_size=3, max_size=3), st.integers(0, 2), st.floats(0.001, 5))
def test_worse_values_never_score_better(values: list[float], row: int, more: float) -> None:
    worse = list(values)
    worse[row] += more
    scores = [float(violation_score(excess_ratios(np.array(v)[:, None], table()), np.ones(1))) for v in (values, worse)]
    assert scores[1] >= scores[0]


def test_one_late_probe_among_many_is_no_violation() -> None:
    spike = measured(delay_p99_s=0.5, delay_s=0.002 + 0.5 / 500, delay_min_s=0.001, probe_count=500)
    assert violations(certain_values(spike, table(), TOLERANCE), table()) == ()
    queue = measured(delay_p99_s=0.03, delay_s=0.02, delay_min_s=0.01)
    assert [item.kind for item in violations(certain_values(queue, table(), TOLERANCE), table())] == ["delay"]


def test_too_few_probes_and_too_few_losses_excuse() -> None:
    few = measured(delay_p99_s=0.5, delay_s=0.4, jitter_s=0.3, probe_count=4)
    assert violations(certain_values(few, table(), TOLERANCE), table()) == ()
    # 1 % of 1000 packets are permitted: 10, and 3 + 2 sqrt(10) are uncertain
    for lost, violated in ((19.0, False), (20.0, True)):
        seen = measured(packets_lost=lost, loss_ratio=lost / 1000)
        assert bool(violations(certain_values(seen, table(), TOLERANCE), table())) is violated


def test_clear_is_stricter_than_not_violated() -> None:
    close = np.array([[0.0095], [0.001], [0.0]])
    assert violations(close, table()) == ()
    assert not is_clear(close, table(), 0.9)


def as_uncertain(spread: float) -> GoalTable:
    return table().with_uncertainty((spread, spread, spread))


@given(st.floats(0.3, 3.0), st.floats(0.02, 0.6))
def test_the_expected_violation_is_the_mean_over_errors_of_the_prediction(ratio: float, spread: float) -> None:
    """Against the mean of the plain score over the quantiles of a lognormal error."""
    errors = np.exp(spread * norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    sampled = severity(np.maximum(ratio * errors - 1.0, 0.0)).mean()
    expected = expected_severity(np.full((3, 1), ratio), (spread, spread, spread))[0, 0]
    if np.log(ratio) / spread > -SURE:
        assert expected == pytest.approx(sampled, rel=2e-3, abs=1e-4)
    else:
        assert expected == 0.0
        assert sampled < 0.01


@given(st.lists(st.floats(0.1, 4.0), min_size=3, max_size=3), st.floats(0.05, 0.5))
def test_more_room_never_scores_worse_when_predictions_scatter(factors: list[float], spread: float) -> None:
    limits = np.array([0.01, 0.005, 0.01])
    near, far = (np.array(factors) * limits * scale for scale in (1.0, 0.9))
    scores = [float(predicted_severity(values[:, None], as_uncertain(spread)).sum()) for values in (near, far)]
    assert scores[1] <= scores[0]


def test_predictions_just_below_their_goals_are_told_apart_only_when_they_scatter() -> None:
    close, roomy = (np.array([0.01, 0.005, 0.01])[:, None] * part for part in (0.99, 0.8))
    assert predicted_severity(close, table()).sum() == predicted_severity(roomy, table()).sum() == 0.0
    assert (
        predicted_severity(close, as_uncertain(0.1)).sum() > 5 * predicted_severity(roomy, as_uncertain(0.1)).sum() > 0
    )


def test_scattering_little_is_not_scattering() -> None:
    for part in (0.5, 0.9, 1.1, 3.0):
        values = np.array([0.01, 0.005, 0.01])[:, None] * part
        plain = predicted_severity(values, table()).sum()
        assert predicted_severity(values, as_uncertain(1e-6)).sum() == pytest.approx(plain, abs=1e-9)


@given(st.floats(0.4, 2.0), st.sampled_from([0.0, 0.1, 0.3]))
def test_slopes_are_the_derivative_of_the_severity(ratio: float, spread: float) -> None:
    assume(abs(ratio - 1.0) > 1e-3 and (not spread or abs(np.log(ratio) / spread + SURE) > 1e-2))
    chosen = as_uncertain(spread)
    limits = np.array([0.01, 0.005, 0.01])

    def total(at: float) -> float:
        return float(predicted_severity((at * limits)[:, None], chosen).sum())

    slope = severity_slopes(np.full((3, 1), ratio), chosen).sum()
    assert slope == pytest.approx((total(ratio + 1e-5) - total(ratio - 1e-5)) / 2e-5, rel=1e-3, abs=1e-4)


def test_goals_of_some_demands_are_those_of_the_table() -> None:
    goals = GoalTable(np.arange(9.0).reshape(3, 3), np.arange(3.0), np.arange(3.0), (0.1, 0.2, 0.3))
    some = goals.of_demands(int_array([2, 0]))
    assert some.limit.tolist() == [[2.0, 0.0], [5.0, 3.0], [8.0, 6.0]]
    assert (some.percentile.tolist(), some.weight.tolist(), some.uncertainty) == ([2, 0], [2, 0], (0.1, 0.2, 0.3))
