"""``routewright dataset`` from the command line, and what is made goes into ``train`` and ``evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gnn_model.dataset import commands
from gnn_model.learning_commands import register

pytest.importorskip("pyarrow")
RUN = CliRunner()
QUICK = ["--relative-error", "0.4", "--max-hops", "60000"]


@pytest.fixture
def app() -> typer.Typer:
    program = typer.Typer()
    commands.register(program)
    register(program)
    return program


def test_own_topology_in_one_command(app: typer.Typer, tmp_path: Path) -> None:
    file = tmp_path / "ring.graphml"
    edges = "".join(f'<edge source="n{node}" target="n{(node + 1) % 4}"/>' for node in range(4))
    nodes = "".join(f'<node id="n{node}"/>' for node in range(4))
    file.write_text(
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">'
        f"{nodes}{edges}</graph></graphml>"
    )
    out = tmp_path / "set"
    made = RUN.invoke(app, ["dataset", "generate", str(out), "--topology", str(file), "--samples", "2", *QUICK])
    assert made.exit_code == 0, made.output
    answer = RUN.invoke(app, ["dataset", "info", str(out), "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert (found["samples"], found["damaged"], found["nodes"]) == (2, [], [4, 4])
    assert found["kinds"]["topology"] == {str(file): 2}
    assert "all right" in RUN.invoke(app, ["dataset", "info", str(out)]).stdout


def test_damage_is_exit_code_1(app: typer.Typer, tmp_path: Path) -> None:
    RUN.invoke(app, ["dataset", "generate", str(tmp_path), "--nodes", "4:5", "--samples", "1", *QUICK])
    (tmp_path / "part-00000.parquet").unlink()
    assert RUN.invoke(app, ["dataset", "info", str(tmp_path)]).exit_code == 1


def test_train_and_evaluate_on_own_data(app: typer.Typer, tmp_path: Path) -> None:
    data, out, config = tmp_path / "data", tmp_path / "run", tmp_path / "config.json"
    made = RUN.invoke(app, ["dataset", "generate", str(data), "--nodes", "4:6", "--samples", "3", *QUICK])
    assert made.exit_code == 0, made.output
    config.write_text('{"epochs": 2, "model": {"width": 8, "rounds": 2}}')
    result = RUN.invoke(app, ["train", str(data), "--out", str(out), "--config", str(config), "--json"])
    assert result.exit_code == 0, result.output
    fit = json.loads(result.stdout)["fit"]["data"]
    assert fit["samples"] == 3
    assert fit["p99_mape"] > 0
    assert fit["jitter_mape"] > 0
    weights = str(out / "routenet.safetensors")
    result = RUN.invoke(app, ["evaluate", str(data), "--format", "dataset", "--weights", weights, "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["samples"] == 3
    assert answer["p99_mape"] > 0
    assert answer["noise_floor"] > 0
    assert answer["baseline"]["p99_mape"] > 0


def test_ranges_that_are_none(app: typer.Typer, tmp_path: Path) -> None:
    result = RUN.invoke(app, ["dataset", "generate", str(tmp_path), "--load", "high"])
    assert result.exit_code != 0
    assert "--load" in str(result.exception)
