"""Moves judged closely, the network asked anew about the ports that they change, against full predictions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
import torch

from gnn_model import neighbourhood
from gnn_model.acceleration import COMPILED
from gnn_model.bench_scenarios import mixed_network, single_moves
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.incremental import RoutingJudge
from gnn_model.predictor import MoveEffects, Prediction
from gnn_model.routenet.model import ModelConfig, RouteNet
from gnn_model.without_transmission import WithoutTransmission
from tests.gnn_model.test_incremental import random_moves
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray

Builder = Callable[..., Scenario]
Moves = list[dict[int, tuple[PathShare, ...]]]
FIELDS = ("delay_s", "delay_p99_s", "jitter_s", "loss_ratio")
pytestmark = pytest.mark.skipif(not COMPILED, reason="numba is not installed")


@pytest.fixture(scope="module")
def network() -> GnnPredictor:
    return GnnPredictor(threads=1)


@pytest.fixture(scope="module")
def mixed() -> Scenario:
    """Every scheduler, arrival model and size."""
    return mixed_network("sndlib/geant", "mixed", 0.9, seed=1)


@pytest.fixture(scope="module")
def moves(mixed: Scenario) -> Moves:
    return [{demand: paths} for demand, paths in islice(single_moves(mixed, 1), 64)]


@pytest.fixture(scope="module")
def full(network: GnnPredictor, mixed: Scenario, moves: Moves) -> list[Prediction]:
    return network.predict_batch(mixed, [mixed.routing.with_changes(move) for move in moves])


def judge_of(network: GnnPredictor, scenario: Scenario) -> RoutingJudge:
    judge = network.judge_of(scenario)
    assert judge is not None
    return judge


def closely(judge: RoutingJudge, moves: Moves) -> MoveEffects:
    effects = judge.judge_closely(moves)
    assert effects is not None
    return effects


def broken(found: Prediction, limit_s: FloatArray) -> float:
    """Promises of delay and loss that are broken, and by how much."""
    excess = np.stack([found.delay_p99_s / limit_s, found.loss_ratio / 1e-3])
    return float(np.where(excess > 1, 1 + np.log(np.maximum(excess, 1)), 0).sum())


def limits(prediction: Prediction) -> FloatArray:
    """Every demand a hundredth below or above what is predicted, by turns."""
    return prediction.delay_p99_s * np.where(np.arange(len(prediction.delay_s)) % 2, 1.01, 0.99)


def rank_correlation(found: list[float], wanted: list[float]) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(found)), np.argsort(np.argsort(wanted)))[0, 1])


def p99_error(effects: MoveEffects, judge: RoutingJudge, full: list[Prediction]) -> float:
    """Median relative error where a move changes the 99th percentile by more than a thousandth."""
    errors = []
    for index, wanted in enumerate(full):
        noticed = np.abs(wanted.delay_p99_s / judge.prediction.delay_p99_s - 1) > 1e-3
        errors.append(np.abs(effects.applied(index, judge.prediction).delay_p99_s / wanted.delay_p99_s - 1)[noticed])
    return float(np.median(np.concatenate(errors)))


def test_what_stays_is_read_as_it_was_predicted(
    network: GnnPredictor, mixed: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ports solved on their own and all their demands read again: nothing has changed, so nothing may differ."""
    monkeypatch.setattr(neighbourhood, "UNCHANGED", -1.0)
    judge = judge_of(network, mixed)
    effects = closely(judge, [{demand: mixed.routing.paths[demand]} for demand in (3, 50, 200)])
    assert len(effects.demand) > 100
    for name in FIELDS:
        predicted = getattr(judge.prediction, name)[effects.demand]
        np.testing.assert_allclose(getattr(effects, name), predicted, rtol=3e-3, atol=2e-6)


def test_moves_are_ordered_as_by_full_predictions(
    network: GnnPredictor, mixed: Scenario, moves: Moves, full: list[Prediction]
) -> None:
    """Estimates carry corrections over (bounded corrections of loss alone gave 0.45 here); close ones ask anew."""
    judge = judge_of(network, mixed)
    limit_s = limits(judge.prediction)
    wanted = [broken(prediction, limit_s) for prediction in full]

    def correlation(effects: MoveEffects) -> float:
        found = [broken(effects.applied(index, judge.prediction), limit_s) for index in range(len(moves))]
        return rank_correlation(found, wanted)

    estimated, close = correlation(judge.judge(moves)), correlation(closely(judge, moves))
    assert estimated > 0.8
    assert close > 0.93


def test_close_judgement_errs_a_third_of_an_estimate(
    network: GnnPredictor, mixed: Scenario, moves: Moves, full: list[Prediction]
) -> None:
    judge = judge_of(network, mixed)
    assert p99_error(closely(judge, moves), judge, full) < p99_error(judge.judge(moves), judge, full) / 3


def test_an_untrained_network_is_read_as_in_full(random_scenario: Builder) -> None:
    """It corrects nothing, so only the fixed point of the changed ports counts; several demands and paths at once."""
    scenario = random_scenario(21, peak=0.7)
    torch.manual_seed(1)
    network = GnnPredictor.of_model(RouteNet(ModelConfig(width=8)).eval(), threads=1)
    judge, moves = judge_of(network, scenario), random_moves(scenario, 8)
    effects = closely(judge, moves)
    full = network.predict_batch(scenario, [scenario.routing.with_changes(move) for move in moves])
    for index, wanted in enumerate(full):
        found = effects.applied(index, judge.prediction)
        assert list(moves[index]) == effects.demand[effects.pointer[index] :][: len(moves[index])].tolist()
        for name in FIELDS:
            np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=5e-3, atol=2e-4)


def test_moves_do_not_disturb_each_other(network: GnnPredictor, mixed: Scenario, moves: Moves) -> None:
    judge, threads = judge_of(network, mixed), judge_of(GnnPredictor(threads=2), mixed)
    together, alone = closely(threads, moves), closely(judge, moves[40:41])
    rows = slice(int(together.pointer[40]), int(together.pointer[41]))
    assert np.array_equal(together.demand[rows], alone.demand)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(together, name)[rows], getattr(alone, name), rtol=2e-3, atol=1e-6)


def test_transmission_times_are_left_out_of_close_judgements(
    network: GnnPredictor, mixed: Scenario, moves: Moves, full: list[Prediction]
) -> None:
    judge = WithoutTransmission(network).judge_of(mixed)
    assert judge is not None
    effects = judge.judge_closely(moves[:8])
    assert effects is not None
    found = effects.applied(5, judge.prediction)
    (demand,) = moves[5]
    assert found.delay_s[demand] < full[5].delay_s[demand] * 0.99
