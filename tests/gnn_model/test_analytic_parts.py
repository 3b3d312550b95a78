"""The parts of the analytic predictor against exact sums, samples and the packet simulator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.analytic_bursts import burstiness_of, dispersion
from gnn_model.analytic_flows import size_moments
from gnn_model.analytic_gamma import gamma_mean_difference, gamma_quantile, gamma_survival, normal_survival
from gnn_model.analytic_jitter import relaxation
from gnn_model.analytic_queues import full_probability, position_moments
from gnn_model.arrival_table import ArrivalTable
from gnn_model.bench_analytic import Case, compare
from gnn_model.packet_simulator.simulator import PacketSimulator
from topology_sync.scenario import Scenario
from topology_sync.traffic import Arrivals, PacketSize

Builder = Callable[..., Scenario]


@pytest.mark.parametrize("ratio", [1e-6, 0.3, 0.9, 0.9999, 1.0, 1.00001, 1.01, 1.5, 40.0])
@pytest.mark.parametrize("room", [1, 2, 32, 700])
def test_closed_forms_of_the_queue_are_the_sums(ratio: float, room: int) -> None:
    n = np.arange(room + 1.0)
    weights = np.exp((n - (room if ratio > 1 else 0)) * math.log(ratio))
    assert full_probability(np.array([ratio]), np.array([float(room)]))[0] == pytest.approx(
        weights[-1] / weights.sum(), rel=1e-9, abs=1e-290
    )
    k, chance = n[:-1] + 1, weights[:-1] / weights[:-1].sum()
    exact = [(chance * k).sum(), (chance * k * (k + 1)).sum(), (chance * k * (k + 1) * (k + 2)).sum()]
    found = [moment[0] for moment in position_moments(np.array([ratio]), np.array([float(room)]))]
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize(("shape", "error"), [(0.5, 0.02), (1.0, 0.01), (4.0, 0.005), (100.0, 0.003)])
def test_gamma_quantiles_and_survival(shape: float, error: float) -> None:
    sample = np.random.default_rng(3).gamma(shape, 1.0, 400_000)
    mean, deviation, skew = (np.array([value]) for value in (shape, math.sqrt(shape), 2 / math.sqrt(shape)))
    quantile = gamma_quantile(mean, deviation, skew)
    assert quantile[0] == pytest.approx(np.quantile(sample, 0.99), rel=error + 0.01)
    assert gamma_survival(quantile, mean, deviation, skew)[0] == pytest.approx(0.01, rel=1e-4)
    other = np.random.default_rng(4).gamma(shape, 1.0, 400_000)
    difference = np.abs(sample - other).mean() / shape
    assert gamma_mean_difference(np.array([shape]))[0] == pytest.approx(difference, rel=0.01)


def test_a_constant_delay_survives_up_to_itself() -> None:
    zero = np.zeros(2)
    np.testing.assert_array_equal(gamma_survival(np.array([0.9, 1.1]), np.ones(2), zero, zero), [1.0, 0.0])
    np.testing.assert_allclose(gamma_quantile(np.ones(2), zero, zero), 1.0)


def test_the_normal_distribution() -> None:
    points = np.array([-3.0, -1.0, 0.0, 0.5, 2.3263478740408408, 6.0])
    exact = [0.5 * math.erfc(point / math.sqrt(2)) for point in points]
    np.testing.assert_allclose(normal_survival(points), exact, atol=1e-7)


@pytest.mark.parametrize("load", [0.0, 0.01, 0.5, 0.9, 1.0])
def test_the_memory_of_a_queue_starts_ends_and_integrates_as_in_mm1(load: float) -> None:
    slow, slow_time, fast_time = (value[0] for value in relaxation(np.array([load])))
    assert 0 <= slow < 1
    assert slow / slow_time + (1 - slow) / fast_time == pytest.approx(1, rel=1e-3)
    assert slow * slow_time + (1 - slow) * fast_time == pytest.approx(1 + load, rel=1e-2)
    assert slow_time == pytest.approx((1 + math.sqrt(load)) ** 2)


def test_size_moments() -> None:
    sizes = (
        PacketSize("constant"),
        PacketSize(),
        PacketSize("bimodal"),
        PacketSize("discrete", (1.0, 3.0), (0.5, 0.5)),
    )
    found = size_moments(sizes)
    np.testing.assert_allclose(found[:3, 0], 1)
    np.testing.assert_allclose(found[:, 1], [2, 6, 24, math.sqrt(0.5)])
    np.testing.assert_allclose(found[:3, 3], [1.25, 1.75, 2.5625])
    assert found[3, 3] == pytest.approx(0.5 / math.sqrt(2 * 0.25), rel=1e-9)
    np.testing.assert_allclose(found[0], [size.second_moment_ratio for size in sizes])


def counts(times: np.ndarray, window: float) -> float:
    """Variance over mean of the events in windows of this length."""
    number = np.histogram(times, bins=np.arange(0, times[-1], window))[0]
    return float(number.var() / number.mean())


@pytest.mark.parametrize("window", [0.02, 0.3, 4.0])
def test_dispersion_of_on_off_traffic(window: float) -> None:
    rng = np.random.default_rng(8)
    on_s, off_s, rate = 0.4, 0.6, 50.0
    lengths, gaps = rng.exponential(on_s, 40_000), rng.exponential(off_s, 40_000)
    packets = rng.poisson(lengths * rate * (on_s + off_s) / on_s)
    begin = np.cumsum(gaps + lengths) - lengths
    times = np.sort(np.repeat(begin, packets) + rng.random(packets.sum()) * np.repeat(lengths, packets))
    bursts = burstiness_of(ArrivalTable.of([Arrivals("onoff", on_s, off_s)]), np.array([rate]))
    found = dispersion(bursts, np.array([0]), np.array([window]))[0]
    assert found == pytest.approx(counts(times, window), rel=0.06)


@pytest.mark.parametrize("window", [5.0, 200.0])
@pytest.mark.parametrize("model", ["autocorrelated", "modulated"])
def test_dispersion_of_correlated_gaps(model: str, window: float) -> None:
    rng = np.random.default_rng(9)
    level = np.empty(600_000)
    noise = rng.normal(size=len(level)) * math.sqrt(1 - 0.8**2)
    level[0] = 0.0
    for step in range(1, len(level)):
        level[step] = 0.8 * level[step - 1] + noise[step]
    if model == "autocorrelated":
        gaps = -np.log(np.maximum(normal_survival(level), 1e-12))
    else:
        gaps = rng.exponential(size=len(level)) * np.exp(0.5 * level - 0.125)
    bursts = burstiness_of(
        ArrivalTable.of([Arrivals(model, correlation=0.8, sigma=0.5)]),  # type: ignore[arg-type]
        np.ones(1),
    )
    found = dispersion(bursts, np.array([0]), np.array([window]))[0]
    assert found == pytest.approx(counts(np.cumsum(gaps), window), rel=0.15)


def test_evenly_spaced_packets_are_smooth() -> None:
    bursts = burstiness_of(ArrivalTable.of([Arrivals("cbr"), Arrivals()]), np.array([10.0, 10.0]))
    times = np.array([1e-6, 0.05, 10.0])
    even = dispersion(bursts, np.zeros(3, dtype=np.int64), times)
    assert even[0] == pytest.approx(1, abs=1e-3)
    assert even[1] == pytest.approx(0.5, rel=0.01)
    assert even[2] < 0.01
    np.testing.assert_allclose(dispersion(bursts, np.ones(3, dtype=np.int64), times), 1)
    assert burstiness_of(ArrivalTable.of([Arrivals()]), np.ones(1)).poisson


CASES = (
    (Case("nobel-us", 0.9), 0.03, 0.05, 0.08),
    (Case("nobel-us", 1.1, "constant", "strict"), 0.05, 0.10, 0.20),
    (Case("nobel-us", 0.9, "exponential", "wfq"), 0.06, 0.10, 0.15),
    (Case("nobel-us", 0.9, "exponential", "fifo", "cbr"), 0.10, 0.10, 0.10),
)


@pytest.mark.parametrize(("case", "mean", "p99", "jitter"), CASES, ids=str)
def test_analytic_is_close_to_the_simulator(case: Case, mean: float, p99: float, jitter: float) -> None:
    """Median errors over the demands of a national network; docs/analytic.md has the whole table."""
    scenario = case.scenario()
    simulated = PacketSimulator(relative_error=1e-6, max_hops=3_000_000).simulate(scenario)
    row = compare(AnalyticPredictor().predict(scenario), simulated)
    assert row["demands"] > 40
    assert row["mean"]["median"] < mean
    assert row["p99"]["median"] < p99
    assert row["jitter"]["median"] < jitter
    assert row["loss_mae"] < 0.003
