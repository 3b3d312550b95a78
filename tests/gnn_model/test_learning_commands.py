"""``routewright train`` and ``evaluate`` on a small datanet directory, from the command line to the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gnn_model.learning_commands import register
from tests.gnn_model.test_datanet import (
    Builder,
    directory,  # noqa: F401  (a fixture)
)

RUN = CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    program = typer.Typer()
    register(program)
    return program


def test_train_then_evaluate(app: typer.Typer, directory: Builder, tmp_path: Path) -> None:  # noqa: F811
    data, out = directory(), tmp_path / "run"
    config = tmp_path / "config.json"
    config.write_text('{"epochs": 2, "model": {"width": 8, "rounds": 2}}')
    result = RUN.invoke(app, ["train", str(data), "--out", str(out), "--config", str(config), "--json"])
    assert result.exit_code == 0, result.output
    weights = out / "routenet.safetensors"
    assert json.loads(result.stdout)["weights"] == str(weights)
    result = RUN.invoke(app, ["evaluate", str(data), "--weights", str(weights), "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    figures = {"delay_mape", "delay_median_ape", "jitter_mape", "loss_mae"}
    assert set(answer) == {"samples", "flows", "baseline", "seconds_per_sample"} | figures
    assert set(answer["baseline"]) == figures
    assert (answer["samples"], answer["flows"], answer["jitter_mape"]) == (1, 2, None)
    assert answer["seconds_per_sample"] > 0
    # the card says where it was trained, and can be told anew
    card = out / "routenet.json"
    before = json.loads(card.read_text("utf-8"))
    assert set(before["ranges"]["measures"]) == {"ranges", "cells"}
    card.write_text(json.dumps(before | {"ranges": {}}), "utf-8")
    result = RUN.invoke(app, ["envelope", str(data), "--graphs", str(out / "graphs"), "--weights", str(weights)])
    assert result.exit_code == 0, result.output
    assert json.loads(card.read_text("utf-8")) == before


def test_evaluate_the_baseline_itself(app: typer.Typer, directory: Builder) -> None:  # noqa: F811
    result = RUN.invoke(app, ["evaluate", str(directory()), "--predictor", "analytic", "--json"])
    answer = json.loads(result.stdout)
    assert answer["delay_mape"] == answer["baseline"]["delay_mape"]
    assert RUN.invoke(app, ["evaluate", str(directory()), "--predictor", "analytic"]).exit_code == 0


def test_scenarios_are_judged_by_simulating_them(app: typer.Typer, tmp_path: Path) -> None:
    scenario = {
        "format": "routewright-scenario/1",
        "name": "pair",
        "topology": {
            "nodes": [{"id": "a"}, {"id": "b"}],
            "links": [{"source": "a", "target": "b", "capacity_bps": 1e6}],
        },
        "traffic": [{"source": "a", "target": "b", "rate_bps": 5e5, "packet_bits_mean": 1000}],
    }
    (tmp_path / "pair.json").write_text(json.dumps(scenario))
    result = RUN.invoke(app, ["evaluate", str(tmp_path), "--format", "scenario", "--predictor", "analytic", "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["delay_mape"] < 5
    assert answer["p99_mape"] < 10
    assert answer["jitter_mape"] < 15
