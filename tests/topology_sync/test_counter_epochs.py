"""Counter epochs: slips and straddles are found from all demands together, honest changes are left alone."""

import numpy as np
import pytest

from topology_sync.counter_epochs import common_lag_s, epoch_offsets, packets_lost, robust_slopes

TIME_S = np.arange(11.0)
RATE = np.array([100.0, 150.0, 200.0, 250.0, 120.0, 180.0, 90.0, 300.0])
ENDS = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2], [1, 3], [2, 0], [3, 1]])


def steady() -> np.ndarray:
    return TIME_S[:, None] * RATE


def test_slopes_are_robust_and_skip_what_is_missing():
    series = steady()
    series[4] += 1000
    series[7, 0] = np.nan
    series[:, 1] = np.nan
    slopes = robust_slopes(TIME_S, series)
    assert slopes[0] == pytest.approx(100)
    assert slopes[2] == pytest.approx(200, rel=0.02)
    assert np.isnan(slopes[1])
    assert np.isnan(robust_slopes(TIME_S[:1], series[:1])).all()


def test_a_slip_of_half_a_second_is_found():
    slipped = np.where(TIME_S >= 6, TIME_S - 0.5, TIME_S)[:, None] * RATE
    lag = common_lag_s(TIME_S, slipped)
    assert lag[-1] - lag[0] == pytest.approx(0.5)
    assert lag[6] - lag[5] == pytest.approx(0.5)


def test_steady_traffic_has_no_lag_and_neither_has_a_change_of_load():
    assert not common_lag_s(TIME_S, steady()).any()
    doubled = np.where(TIME_S >= 5, 2 * TIME_S - 5, TIME_S)[:, None] * RATE
    assert not common_lag_s(TIME_S, doubled).any(), "far more than counters can lag"
    one = steady()
    one[:, 7] = np.where(TIME_S >= 5, 3 * TIME_S - 10, TIME_S) * 300
    assert not common_lag_s(TIME_S, one).any(), "one demand alone is outvoted"


def test_few_witnesses_decide_nothing():
    slipped = np.where(TIME_S >= 6, TIME_S - 0.5, TIME_S)[:, None] * RATE[:3]
    assert not common_lag_s(TIME_S, slipped).any()
    assert not common_lag_s(TIME_S, np.zeros((11, 0))).any()


def missing_packets(offset_s: np.ndarray, loss_ratio: float) -> np.ndarray:
    return steady() * loss_ratio + 2.0 + RATE * (offset_s[:, ENDS[:, 0]] - offset_s[:, ENDS[:, 1]])


@pytest.mark.parametrize("readings", [[10], [0], [0, 4, 10], [6, 7, 8, 9, 10]])
@pytest.mark.parametrize("loss_ratio", [0.0, 0.1])
def test_a_switch_that_shows_another_publication_is_found_and_costs_no_accuracy(readings, loss_ratio):
    offset_s = np.zeros((11, 4))
    offset_s[readings, 2] = -0.5
    missing = missing_packets(offset_s, loss_ratio)
    found = epoch_offsets(TIME_S, missing, RATE, ENDS, 4)
    significant = found.significant_s()
    difference = significant[:, ENDS[:, 0]] - significant[:, ENDS[:, 1]]
    expected = offset_s[:, ENDS[:, 0]] - offset_s[:, ENDS[:, 1]]
    assert np.ptp(difference - expected, axis=0).max() < 0.05
    lost = packets_lost(TIME_S, missing, RATE, difference, np.full(difference.shape, 1e-4))
    assert lost / (10 * RATE) == pytest.approx(np.full(8, loss_ratio), abs=0.005)


def test_packets_on_the_way_average_out_where_nothing_is_lost():
    random = np.random.default_rng(3)
    missing = random.poisson(RATE * 0.03, (11, 8)).astype(float)
    none = np.zeros((11, 8))
    lost = packets_lost(TIME_S, missing, RATE, none, none)
    assert np.abs(lost).sum() < 0.5 * np.abs(missing[-1] - missing[0]).sum()


def test_lost_is_unknown_where_nothing_was_read():
    missing = steady() * 0.1
    missing[:, 3] = np.nan
    missing[2:5, 4] = np.nan
    lost = packets_lost(TIME_S, missing, RATE, np.zeros((11, 8)), np.zeros((11, 8)))
    assert np.isnan(lost[3])
    assert lost[4] == pytest.approx(120, rel=0.01)
