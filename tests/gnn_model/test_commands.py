"""``routewright predict`` and ``routewright simulate`` as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gnn_model.commands import register
from gnn_model.model_file import SHIPPED
from topology_sync.errors import InputError
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.scenario_json import write_scenario

Builder = Callable[..., Scenario]


@pytest.fixture
def question(one_link: Builder, tmp_path: Path) -> str:
    """A file with two classes of which the first has a goal it cannot meet."""
    goals = (
        SlaGoal("c0", delay_s=1e-4, percentile=99.0, loss_ratio=0.5),
        SlaGoal("c1", delay_s=10.0, percentile=None),
    )
    path = tmp_path / "question.json"
    write_scenario(replace(one_link([0.4, 0.3]), sla=goals), path)
    return str(path)


def command(*arguments: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def answer(*arguments: str) -> dict[str, Any]:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("predictor", ["analytic", "simulator"])
def test_predict_prints_the_agreed_json(question: str, predictor: str) -> None:
    data = answer("predict", question, "--predictor", predictor)
    assert list(data) == ["predictor", "flows", "links", "seconds"]
    assert data["predictor"] == predictor
    assert [flow["class"] for flow in data["flows"]] == ["c0", "c1"]
    keys = ["source", "target", "class", "delay_s", "delay_p99_s", "jitter_s", "loss_ratio"]
    assert list(data["flows"][0]) == keys
    assert data["flows"][0]["delay_s"] == pytest.approx(1e-3 / 0.3, rel=0.03)
    assert list(data["links"][0]) == ["source", "target", "utilisation_ratio", "loss_ratio"]
    assert data["links"][0]["utilisation_ratio"] == pytest.approx(0.7, rel=0.01)


@pytest.mark.skipif(not SHIPPED.exists(), reason="no weights are shipped with this version")
@pytest.mark.parametrize(("load", "inside"), [(0.6, True), (20.0, False)])
def test_predict_says_whether_the_model_knows_such_networks(
    one_link: Builder, tmp_path: Path, load: float, inside: bool
) -> None:
    path = str(tmp_path / "link.json")
    write_scenario(one_link([load]), Path(path))
    validity = answer("predict", path)["validity"]
    assert validity["inside"] is inside
    assert len(validity["exceeded"]) > 0 or inside
    told = command("predict", path).output
    assert ("outside what the model was trained on" in " ".join(told.split())) is not inside


def test_simulate_adds_errors_and_says_what_it_cost(question: str) -> None:
    data = answer("simulate", question, "--relative-error", "0.02", "--seed", "3")
    assert data["predictor"] == "simulator"
    assert all(0 < flow["rse"] <= 0.02 for flow in data["flows"])
    assert data["relative_error_reached"] is True
    assert data["packet_hops"] > 10_000
    again = answer("simulate", question, "--relative-error", "0.02", "--seed", "3")
    assert again["flows"] == data["flows"]


def test_what_is_unknown_is_null(one_link: Builder, tmp_path: Path) -> None:
    path = tmp_path / "idle.json"
    write_scenario(one_link([0.5, 0.0]), path)
    data = answer("simulate", str(path), "--max-hops", "20000")
    assert data["flows"][1]["delay_s"] is None
    assert data["relative_error_reached"] is False


def test_the_table_marks_goals_worst_first(question: str) -> None:
    result = command("predict", question)
    assert result.exit_code == 0, "predict reports, it does not judge"
    lines = [line for line in result.stdout.splitlines() if "c0" in line or "c1" in line]
    assert "violated: delay" in lines[0]
    assert "c0" in lines[0]
    assert "met" in lines[1]
    assert "1 violate a goal" in result.stdout
    assert "violated: delay" in command("simulate", question, "--relative-error", "0.05").stdout


def test_people_see_the_fullest_links_and_goals_that_are_nobodys(one_link: Builder, tmp_path: Path) -> None:
    goals = (SlaGoal("c0", delay_s=1.0), SlaGoal("vioce", delay_s=0.03))
    write_scenario(replace(one_link([0.4, 0.3]), sla=goals), tmp_path / "typo.json")
    result = command("predict", str(tmp_path / "typo.json"), "--predictor", "analytic")
    assert result.exit_code == 0, result.output
    assert "No demand is of the class 'vioce', which has goals." in result.stdout
    row = next(line for line in result.stdout.splitlines() if " -> " in line)
    assert float(row.split("│")[3]) == pytest.approx(70, rel=0.01)


def test_the_learned_model_answers_too(question: str) -> None:
    pytest.importorskip("torch")
    result = command("predict", question, "--predictor", "gnn", "--json")
    assert result.exit_code == 0
    data = json.loads(result.output)
    assert data["predictor"] == "gnn"
    assert all(flow["delay_s"] > 0 for flow in data["flows"])


@pytest.mark.parametrize("wrong", [("--relative-error", "0"), ("--max-hops", "5")])
def test_impossible_options_are_bad_input(question: str, wrong: tuple[str, str]) -> None:
    assert isinstance(command("simulate", question, *wrong).exception, InputError)
