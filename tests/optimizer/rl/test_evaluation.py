"""The side-by-side bench counts right and goes on where it was; the commands answer in one line or one object."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deploy.cli import run
from gnn_model.analytic import AnalyticPredictor
from optimizer.rl.evaluation import (
    HELD_OUT,
    METHODS,
    Results,
    Trial,
    changes_allowed,
    held_out_question,
    processor_clock,
    summary,
    trials,
)
from optimizer.rl.model_file import save_policy
from optimizer.rl.plots import table_text
from optimizer.rl.policy import PathPolicy, PolicyConfig
from optimizer.rl.training_scenarios import Question
from topology_sync.errors import InputError
from topology_sync.scenario_json import scenario_to_json


def record(method: str, question: int, violation: float, violated: int) -> dict[str, object]:
    return {
        "network": "n",
        "question": question,
        "method": method,
        "time_limit_s": 1.0,
        "seed": 1,
        "violation": violation,
        "violated": violated,
        "simulated_violated": violated + 1,
        "max_utilisation": 0.5,
        "changed": 2,
        "seconds": 0.9,
    }


def test_the_summary_compares_question_by_question() -> None:
    records = [record("local-search", number, 5.0, 2) for number in range(6)]
    records += [record("policy", number, 4.0, 1) for number in range(5)] + [record("policy", 5, 5.0, 2)]
    rows = {row["method"]: row for row in summary(records)}
    assert (rows["policy"]["better"], rows["policy"]["worse"]) == (5, 0)
    assert rows["policy"]["sign_test"] == pytest.approx(2 / 32)
    assert rows["policy"]["violated"] == pytest.approx(7 / 6)
    assert rows["policy"]["simulated_violated"] == pytest.approx(13 / 6)
    assert rows["policy"]["untrained_better"] == 0
    assert rows["local-search"]["untrained_better"] is None
    assert rows["local-search"]["better"] == rows["local-search"]["worse"] == 0


def test_the_trained_policy_is_compared_with_the_ranking_it_started_from() -> None:
    records = [record("rank", number, 5.0, 2) for number in range(4)]
    records += [record("policy", number, value, 2) for number, value in enumerate((4.0, 4.0, 5.0, 6.0))]
    rows = {row["method"]: row for row in summary(records)}
    policy = rows["policy"]
    assert (policy["untrained_better"], policy["untrained_worse"], policy["better"]) == (2, 1, 0)
    assert policy["untrained_sign_test"] == pytest.approx(1.0)
    assert "| 2 / 1 (p 1) |" in table_text(records)


def test_a_limit_of_changes_is_a_part_of_what_descent_needs(
    small_questions: list[Question], predictor: AnalyticPredictor
) -> None:
    solvable = next(question for question in small_questions if question.solvable)
    half, whole = (changes_allowed(solvable, part, predictor) for part in (0.5, 1.0))
    assert changes_allowed(solvable, None, predictor) is None
    assert half is not None
    assert whole is not None
    assert 2 <= half <= whole
    assert half == max(round(0.5 * whole), 2)
    keys = {Trial("n", 0, "policy", 1.0, 1, part).key for part in (None, 0.5, 0.25)}
    assert len(keys) == 3


def test_shortest_paths_are_judged_once() -> None:
    chosen = trials(["a", "b"], 2, METHODS, [0.1, 1.0], 3)
    assert len([trial for trial in chosen if trial.method == "shortest-path"]) == 4
    assert len([trial for trial in chosen if trial.method == "policy"]) == 2 * 2 * 2 * 3
    assert len({trial.key for trial in chosen}) == len(chosen)


def test_held_out_questions_have_an_answer_and_repeat_themselves(predictor: AnalyticPredictor) -> None:
    one, two = (held_out_question(HELD_OUT[0], 0, predictor) for _ in range(2))
    assert one.solvable
    assert one.scenario == two.scenario
    assert held_out_question(HELD_OUT[0], 1, predictor).scenario != one.scenario


def test_by_the_processor_clock_sleep_takes_no_time() -> None:
    with processor_clock():
        began = time.monotonic()
        time.sleep(0.2)
        assert time.monotonic() - began < 0.1
    began = time.monotonic()
    time.sleep(0.2)
    assert time.monotonic() - began >= 0.2


def test_results_are_kept_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    key = Trial("n", 0, "policy", 1.0, 1).key
    Results(path).keep({"key": key, "violated": 3})
    assert Results(path).records[key]["violated"] == 3
    path.write_text('{"format": "other"}')
    with pytest.raises(InputError, match="no file of this bench"):
        Results(path)


def test_bench_and_optimize_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "policy.safetensors"
    save_policy(weights, PathPolicy(PolicyConfig(8, 1)), {})
    out = tmp_path / "results.json"
    arguments = [
        "bench",
        "rl",
        "--network",
        "sndlib/polska",
        "--questions",
        "1",
        "--time-limit",
        "0.05",
        "--seeds",
        "1",
    ]
    arguments += ["--weights", str(weights), "--out", str(out), "--no-simulate", "--json", "--processor-time"]
    arguments += ["--changes", "0.5"]
    assert run(arguments) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)["summary"]}
    assert set(rows) == set(METHODS)
    assert all(row["violated"] <= rows["shortest-path"]["violated"] for row in rows.values())
    kept = json.loads(out.read_text())["records"]
    assert all(item["changed"] <= item["max_changes"] for item in kept)
    written = out.read_text()
    assert run(arguments) == 0  # nothing is measured again
    assert out.read_text() == written
    capsys.readouterr()

    question = held_out_question("sndlib/polska", 0, AnalyticPredictor())
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps(scenario_to_json(question.scenario)))
    asked = ["optimize", str(scenario), "--optimizer", "rl", "--predictor", "analytic", "--time-limit", "0.3", "--json"]
    with processor_clock():
        assert run(asked) in (0, 1)
    answer = json.loads(capsys.readouterr().out)
    assert answer["optimizer"] == "rl"
    assert answer["sla"]["violated_after"] < answer["sla"]["violated_before"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["bench", "rl", "--method", "magic"], "'magic' is not known"),
        (["bench", "rl", "--network", "sndlib/nowhere", "--no-simulate"], "there is no such network"),
        (["bench", "rl", "--weights", "/nonexistent.safetensors"], "cannot be read with its card"),
        (["rl", "train", "--out", "x", "--predictor", "magic"], "'magic' is not known"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1
