"""``suite joint``: which questions a problem gives, what each method may change, and that work is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from gnn_model.predictor_choice import load_predictor
from optimizer import suite_commands
from optimizer.exact.warm_up import warm_up
from optimizer.joint_bench import METHODS, Question, answered, judged, questions_of
from optimizer.sla_suite import Entry, Problem
from topology_sync.errors import InputError
from topology_sync.scenario import Scenario, SlaGoal

HOPS = 300_000
GOALS = (SlaGoal("voice", 0.015, 99.0, None, 0.001), SlaGoal("bulk", None, None, None, 0.01))


@pytest.fixture
def problem(shared_link_scenario: Scenario) -> Problem:
    """Voice misses its goals by the weights alone, so that the routing is a solution for other weights."""
    entry = Entry("small", "known", "", "wfq", "poisson", "constant", 3, True)
    return Problem(entry, replace(shared_link_scenario, sla=GOALS), shared_link_scenario.routing)


def test_a_known_problem_is_asked_three_ways_and_an_open_one_as_it_is(problem: Problem) -> None:
    paths, weights, both = questions_of(problem)
    assert [question.kind for question in (paths, weights, both)] == ["paths", "weights", "both"]
    assert paths.scenario is problem.scenario
    assert weights.scenario.routing == problem.solution
    assert weights.scenario.topology == both.scenario.topology
    for scheduler in both.scenario.topology.schedulers:
        assert scheduler.weights[0] <= 0.5 * scheduler.weights[1]
        assert sum(scheduler.weights) == pytest.approx(100, abs=1)
    (still_open,) = questions_of(replace(problem, solution=None))
    assert (still_open.kind, still_open.scenario) == ("open", problem.scenario)
    assert not list(questions_of(replace(problem, entry=replace(problem.entry, discipline="fifo"))))


def test_methods_change_what_they_are_named_after(problem: Problem) -> None:
    question = Question("small", "open", True, problem.scenario)
    predictor = load_predictor("analytic")
    warm_up()
    rows = {method: answered(question, method, predictor, 1.0, 1) for method in METHODS}
    assert rows["paths only"]["changed_weights"] == rows["weights only"]["changed_demands"] == 0
    assert rows["weights only"]["changed_weights"] > 0
    left = {method: judged(question, row, HOPS)["violated"] for method, row in rows.items()}
    assert left["present"] == left["paths only"] > max(left["weights only"], left["both"])


def test_the_command_goes_on_where_it_was(problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_commands, "_problems", lambda *_: iter([problem]))
    out = tmp_path / "joint.json"

    def joint(*options: object) -> Result:
        app = typer.Typer(pretty_exceptions_enable=False)
        suite_commands.register(app)
        given = ("suite", "joint", tmp_path, "--predictor", "analytic", "--time-limit", 0.2, "--hops", HOPS, *options)
        return CliRunner().invoke(app, [str(option) for option in given])

    assert joint("--out", out, "--search-only").exit_code == 0
    searched = json.loads(out.read_text())
    assert len(searched) == 3 * len(METHODS)
    assert not any("violated" in row for row in searched.values())
    result = joint("--out", out)
    assert result.exit_code == 0
    assert "| both | 3 |" in result.stdout
    finished = json.loads(out.read_text())
    assert {key: row["plan"] for key, row in finished.items()} == {key: row["plan"] for key, row in searched.items()}
    assert "searched" not in result.stderr
    assert joint("--out", out).stderr == ""
    assert json.loads(out.read_text()) == finished
    for content in ("{", "[]", '{"a": 1}'):
        out.write_text(content)
        assert isinstance(joint("--out", out).exception, InputError)
        assert out.read_text() == content
    assert isinstance(joint("--predictor", "oracle").exception, InputError)
