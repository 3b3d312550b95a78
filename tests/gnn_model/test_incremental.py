"""Moves judged incrementally against full predictions of the routings that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.acceleration import COMPILED
from gnn_model.analytic import AnalyticPredictor, hold
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.incremental import RoutingJudge
from gnn_model.predictor import IncrementalPredictor
from gnn_model.routenet.model import ModelConfig, RouteNet
from gnn_model.without_transmission import WithoutTransmission
from topology_sync.paths import k_shortest_paths
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario
from topology_sync.sources import load_scenario
from topology_sync.traffic import ArrivalModel, Arrivals

Builder = Callable[..., Scenario]
Moves = list[dict[int, tuple[PathShare, ...]]]
FIELDS = ("delay_s", "delay_p99_s", "jitter_s", "loss_ratio")
pytestmark = pytest.mark.skipif(not COMPILED, reason="numba is not installed")


def random_moves(scenario: Scenario, seed: int, count: int = 12) -> Moves:
    """One to three demands each to one path or two."""
    random = np.random.default_rng(seed)
    topology, traffic = scenario.topology, scenario.traffic
    moves: Moves = []
    for _ in range(count):
        move = {}
        for demand in random.choice(traffic.demand_count, min(int(random.integers(1, 4)), traffic.demand_count), False):
            ends = int(traffic.source[demand]), int(traffic.target[demand])
            paths = list(k_shortest_paths(topology, *ends, 4, np.ones(topology.link_count)))
            chosen = [paths[index] for index in random.permutation(len(paths))[: int(random.integers(1, 3))]]
            shares = random.dirichlet(np.ones(len(chosen)))
            move[int(demand)] = tuple(PathShare(path, float(part)) for path, part in zip(chosen, shares, strict=True))
        moves.append(move)
    return moves


def assert_close(scenario: Scenario, seed: int, usual: float, largest: float) -> None:
    """Nine of ten values within ``usual``, all within ``largest`` of a full prediction, followed without tolerance."""
    judge = RoutingJudge(scenario, hold, tolerance=0.0)
    moves = random_moves(scenario, seed)
    effects = judge.judge(moves)
    full = AnalyticPredictor().predict_batch(scenario, [scenario.routing.with_changes(move) for move in moves])
    for index, wanted in enumerate(full):
        found = effects.applied(index, judge.prediction)
        assert set(moves[index]) == set(effects.demand[effects.pointer[index] :][: len(moves[index])].tolist())
        for field in FIELDS:
            one, other = getattr(found, field), getattr(wanted, field)
            error = np.abs(one - other) / np.maximum(np.abs(other), 1e-4)
            assert np.quantile(error, 0.9, method="lower") < usual, f"{field} of move {index}"
            assert error.max() < largest, f"{field} of move {index}"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 100_000), peak=st.sampled_from([0.4, 0.9]))
def test_followed_everywhere_a_move_is_judged_as_in_full(random_scenario: Builder, seed: int, peak: float) -> None:
    """Up to where both fixed points stop; overloaded ones may creep, so that two starts end apart."""
    scenario = random_scenario(seed, peak=peak)
    poisson = replace(scenario.traffic, arrivals=(Arrivals(),) * scenario.traffic.demand_count)
    assert_close(replace(scenario, traffic=poisson), seed, usual=1e-3, largest=0.1)


@pytest.mark.parametrize("model", ["cbr", "onoff", "modulated"])
def test_bursty_traffic_is_judged_as_in_full(model: ArrivalModel) -> None:
    """Bursts are solved to 1e-4 a round."""
    scenario = load_scenario("topohub:sndlib/nobel-us?demands=uniform&max_utilisation=0.9")
    arrivals = (Arrivals(model, 0.01, 0.01),) * scenario.traffic.demand_count
    assert_close(replace(scenario, traffic=replace(scenario.traffic, arrivals=arrivals)), 3, usual=1e-3, largest=0.02)


def test_poisson_traffic_is_judged_exactly() -> None:
    plain_scenario = load_scenario("topohub:sndlib/nobel-us?demands=uniform&max_utilisation=1.1")
    judge = RoutingJudge(plain_scenario, hold, tolerance=0.0)
    moves = random_moves(plain_scenario, 3)
    effects = judge.judge(moves)
    full = AnalyticPredictor().predict_batch(
        plain_scenario, [plain_scenario.routing.with_changes(move) for move in moves]
    )
    for index, wanted in enumerate(full):
        found = effects.applied(index, judge.prediction)
        for field in FIELDS:
            np.testing.assert_allclose(getattr(found, field), getattr(wanted, field), rtol=1e-6, atol=1e-10)


def test_judging_leaves_no_trace(random_scenario: Builder) -> None:
    """The same moves again, in another order and on other threads: the same values to the last bit."""
    scenario = random_scenario(11, peak=1.3)
    moves = random_moves(scenario, 5, 48)
    judge, threads = RoutingJudge(scenario, hold), RoutingJudge(scenario, hold, threads=3)
    first, backwards, together = judge.judge(moves), judge.judge(moves[::-1]), threads.judge(moves)
    assert np.array_equal(first.delay_p99_s, together.delay_p99_s)
    assert np.array_equal(first.demand, together.demand)
    rows = slice(int(first.pointer[5]), int(first.pointer[6]))
    other = slice(int(backwards.pointer[42]), int(backwards.pointer[43]))
    assert np.array_equal(first.jitter_s[rows], backwards.jitter_s[other])


def test_accepting_predicts_in_full(random_scenario: Builder) -> None:
    scenario = random_scenario(4, peak=0.9)
    judge = AnalyticPredictor().judge_of(scenario)
    assert judge is not None
    (move,) = random_moves(scenario, 2, 1)
    wanted = AnalyticPredictor().predict(scenario.with_routing(scenario.routing.with_changes(move)))
    assert judge.accept(move) == wanted == judge.prediction
    effects = judge.judge([{demand: scenario.routing.paths[demand] for demand in move}])
    back = effects.applied(0, judge.prediction)
    np.testing.assert_allclose(back.delay_s, AnalyticPredictor().predict(scenario).delay_s, rtol=2e-3)


def test_an_untrained_network_judges_like_the_analytic_predictor(random_scenario: Builder) -> None:
    """It corrects nothing, so nothing is lost by carrying corrections over."""
    scenario = random_scenario(21, peak=0.9)
    torch.manual_seed(1)
    network = GnnPredictor.of_model(RouteNet(ModelConfig(width=8)).eval(), threads=1)
    moves = random_moves(scenario, 8)
    learned, analytic = network.judge_of(scenario), AnalyticPredictor().judge_of(scenario)
    assert learned is not None
    assert analytic is not None
    found, wanted = learned.judge(moves), analytic.judge(moves)
    assert np.array_equal(found.demand, wanted.demand)
    np.testing.assert_allclose(found.delay_s, wanted.delay_s, rtol=1e-3)


def test_transmission_times_are_left_out_of_moves_too(random_scenario: Builder) -> None:
    scenario = random_scenario(6, peak=0.9)
    predictor = WithoutTransmission(AnalyticPredictor())
    assert isinstance(predictor, IncrementalPredictor)
    judge = predictor.judge_of(scenario)
    assert judge is not None
    moves = random_moves(scenario, 1)
    effects = judge.judge(moves)
    for index, move in enumerate(moves):
        wanted = predictor.predict(scenario.with_routing(scenario.routing.with_changes(move)))
        found = effects.applied(index, judge.prediction)
        np.testing.assert_allclose(found.delay_s, wanted.delay_s, rtol=2e-3, atol=1e-9)
