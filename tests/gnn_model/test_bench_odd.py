"""The battery of odd networks, and the command that judges predictors on it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gnn_model.analytic import AnalyticPredictor
from gnn_model.bench_commands import register_bench
from gnn_model.bench_odd import errors, summary
from gnn_model.model_file import SHIPPED
from gnn_model.odd_networks import odd_networks
from gnn_model.predictor import Prediction
from topology_sync.errors import InputError
from topology_sync.values import float_array

RUN = CliRunner()


def test_every_network_is_another_one_and_can_be_predicted() -> None:
    networks = list(odd_networks())
    assert len({network.name for network in networks}) == len(networks) > 60
    analytic = AnalyticPredictor()
    for network in networks:
        network.scenario.routing.check(network.scenario.topology, network.scenario.traffic)
        predicted = analytic.predict(network.scenario)
        assert np.isfinite(predicted.delay_s).all(), network.name


def prediction(delay_s: float, jitter_s: float, loss_ratio: float) -> Prediction:
    one = float_array([1.0])
    return Prediction(
        float_array([delay_s, delay_s]), float_array([delay_s] * 2), float_array([jitter_s] * 2),
        float_array([loss_ratio] * 2), one, one,
    )  # fmt: skip


def test_errors_have_the_sign_of_the_prediction_and_are_none_without_a_truth() -> None:
    truth = prediction(1.0, 1e-5, 0.01)
    found = errors(prediction(0.8, 1.0, 0.03), truth)
    assert found["delay"] == pytest.approx(-20)
    assert found["loss"] == pytest.approx(2)
    assert found["jitter"] is None  # there is none to speak of


def test_the_summary_counts_what_is_wrong_on_either_side() -> None:
    rows = [
        {"gnn": {"delay": delay, "p99": 1.0}, "validity": {"inside": inside}}
        for delay, inside in ((1.0, True), (-30.0, True), (50.0, False))
    ]
    found = summary(rows)
    assert (found["inside"]["networks"], found["inside"]["wrong"]) == (2, 1)
    assert found["outside"] == {"networks": 1, "wrong": 1, "median_error": 50.0}


@pytest.mark.skipif(not SHIPPED.exists(), reason="no weights are shipped with this version")
def test_the_command_judges_and_says_what_the_envelope_says() -> None:
    app = typer.Typer()
    register_bench(app)
    command = ["odd", "--max-hops", "60000", "--relative-error", "0.3", "--only"]
    answer = json.loads(RUN.invoke(app, [*command, "alone, 19 hops, periodic", "--json"]).stdout)
    (row,) = answer["networks"]
    assert abs(row["gnn"]["delay"]) < 0.5  # equal packets in equal steps never wait
    assert row["analytic"]["delay"] > 5
    assert row["validity"]["inside"] is False
    table = RUN.invoke(app, [*command, "0.1 s of propagation"]).stdout
    assert "inside" in table
    assert isinstance(RUN.invoke(app, [*command, "no such thing"]).exception, InputError)
