"""``routewright bench accuracy``: one row per set, and the curve over sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gnn_model.accuracy_commands import register_bench
from gnn_model.dataset.generate import generate
from gnn_model.dataset.presets import PRESETS, preset
from gnn_model.dataset.reader import find_datasets, iterate_dataset
from gnn_model.dataset.recipe import DatasetRecipe
from gnn_model.graph_tensors import graph_tensors
from gnn_model.model_file import save_model
from gnn_model.routenet.model import RouteNet
from gnn_model.validity import Envelope
from topology_sync.errors import ConfigurationError, InputError

pytest.importorskip("pyarrow")
RUN = CliRunner()


def test_every_set_is_judged_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for nodes in (4, 6):
        recipe = DatasetRecipe(nodes=(nodes, nodes), relative_error=0.4, max_hops=60_000)
        generate(tmp_path / "sets" / f"n{nodes}", recipe, seed=1, samples=2)
    fresh, plot = tmp_path / "fresh.safetensors", tmp_path / "curve.svg"
    save_model(fresh, RouteNet(), {})
    app = typer.Typer()
    app.command("other")(lambda: None)
    register_bench(app)
    command = ["accuracy", str(tmp_path / "sets"), "--weights", str(fresh), "--plot", str(plot), "--trained-up-to", "5"]
    result = RUN.invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["sets"]
    assert [(row["set"], row["nodes"], row["samples"]) for row in rows] == [("n4", 4, 2), ("n6", 6, 2)]
    for row in rows:  # a fresh network is the analytic predictor
        assert row["delay_mape"] == pytest.approx(row["baseline"]["delay_mape"], rel=1e-2)
        assert row["noise_floor"] > 0
    assert plot.read_text().startswith("<?xml")
    kinds = json.loads(RUN.invoke(app, [*command[:4], "--by", "routing", "--json"]).stdout)["sets"]
    assert sum(row["samples"] for row in kinds) == 4
    assert {row["set"] for row in kinds} <= {"hops", "weights", "alternatives", "multipath"}
    table = RUN.invoke(app, command).stdout
    assert "n4" in table
    assert "(analytic)" in table
    pooled = ["envelope", str(tmp_path / "sets"), "--weights", str(fresh)]
    assert isinstance(RUN.invoke(app, pooled).exception, InputError)  # nobody said where it was trained
    samples = [sample for folder in find_datasets(tmp_path / "sets") for sample in iterate_dataset(folder)]
    known = Envelope.of(graph_tensors(sample.scenario) for sample in samples if len(sample.scenario.routing.paths) > 12)
    save_model(fresh, RouteNet(), {"ranges": known.to_json()})
    answer = json.loads(RUN.invoke(app, [*pooled, "--json"]).stdout)
    assert answer["samples"] == 4
    assert 0 < answer["flows_outside"] < answer["flows"]
    assert answer["inside"]["delay_mape"] > 0
    assert "of the flows are called outside" in RUN.invoke(app, pooled).stdout


def test_presets_judge_on_nothing_that_is_trained_on() -> None:
    judged = {name for preset in PRESETS.values() for name in preset.recipe.topologies if name.startswith("topohub")}
    assert {"topohub:sndlib/nobel-germany", "topohub:sndlib/germany50", "topohub:sndlib/polska"} <= judged
    for name, chosen in PRESETS.items():
        if name.startswith("train"):
            assert chosen.recipe.nodes[1] <= 50
            assert not any(topology.startswith("topohub:sndlib") for topology in chosen.recipe.topologies)
            assert "topozoo/Nsfnet" in chosen.recipe.exclude
    seeds = [chosen.seed for name, chosen in PRESETS.items() if not name.startswith("curve")]
    assert len(set(seeds)) == len(seeds)
    with pytest.raises(ConfigurationError, match="use train"):
        preset("none")
