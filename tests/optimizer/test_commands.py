"""The commands as people and programs call them: answers, exit codes, one-line errors."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gnn_model.analytic import AnalyticPredictor
from optimizer import commands, optimize_command
from optimizer.controller_client import ControllerClient
from optimizer.goals import class_goals, experienced_values, goal_table, violated_demands
from optimizer.history import History
from optimizer.process import serve
from optimizer.settings import OptimizerSettings
from topology_sync.errors import InputError, UnavailableError
from topology_sync.plan_json import plan_from_json, routing_with_plan, topology_with_plan
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.scenario_json import scenario_from_json, scenario_to_json, write_scenario

GOALS = (SlaGoal("voice", 0.015, 99.0, None, 0.001), SlaGoal("bulk", None, None, None, 0.01))


def call(*arguments: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    commands.register(app)
    optimize_command.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path, hotspot_scenario: Scenario) -> Path:
    path = tmp_path / "hotspot.json"
    write_scenario(replace(hotspot_scenario, sla=GOALS), path)
    return path


def test_optimize_answers_as_the_contract_says(file: Path, tmp_path: Path, hotspot_scenario: Scenario) -> None:
    plan_file = tmp_path / "plan.json"
    result = call("optimize", file, "--objective", "sla", "--time-limit", "2", "--out", plan_file, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["sla"]["violated_before"] > 0
    assert answer["sla"]["violated_after"] == 0
    assert answer["optimizer"] == "local-search"
    assert 0 < answer["lower_bound"] <= answer["max_utilisation"] < 1
    assert answer["gap"] == pytest.approx(answer["max_utilisation"] / answer["lower_bound"] - 1)
    whole = {**scenario_to_json(hotspot_scenario), "routing": answer["routing"]}
    routing = scenario_from_json(whole).routing
    traffic, topology = hotspot_scenario.traffic, hotspot_scenario.topology
    assert routing.max_utilisation(traffic, topology) == pytest.approx(answer["max_utilisation"])
    plan = plan_from_json(json.loads(plan_file.read_text()))
    assert len(plan.routes) == answer["changed_demands"]
    assert routing_with_plan(hotspot_scenario, plan) == routing


def test_optimize_lowers_utilisation_and_obeys_max_changes(file: Path) -> None:
    options = ("--objective", "max-utilisation", "--single-path", "--time-limit", "0.5", "--json")
    free = json.loads(call("optimize", file, *options).stdout)
    bound = json.loads(call("optimize", file, *options, "--max-changes", "1").stdout)
    assert bound["changed_demands"] == 1
    assert free["max_utilisation"] <= bound["max_utilisation"] < free["max_utilisation_before"]


@pytest.mark.parametrize("objective", ["max-utilisation", "sla"])
def test_demands_that_are_split_now_count_as_changes_of_single_paths(tmp_path: Path, objective: str) -> None:
    ends = [(a, b) for a in "abc" for b in "abc" if a != b]
    data = {
        "format": "routewright-scenario/1",
        "topology": {
            "nodes": [{"id": name} for name in "abc"],
            "links": [{"source": a, "target": b, "capacity_bps": 1e6} for a, b in ends],
        },
        "traffic": [{"source": a, "target": b, "rate_bps": 7e5} for a, b in (("a", "b"), ("a", "c"), ("b", "c"))],
        "routing": [{"source": "a", "target": "b", "paths": [{"nodes": list("ab"), "share": 0.5}]}],
        "sla": [{"class": "default", "delay_s": 1e-6}],
    }
    data["routing"][0]["paths"].append({"nodes": list("acb"), "share": 0.5})  # type: ignore[index]
    path = tmp_path / "split.json"
    path.write_text(json.dumps(data))
    options = ("--objective", objective, "--single-path", "--time-limit", "0.3", "--json", "--max-changes")
    refused = call("optimize", path, *options, "0")
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception).startswith("--max-changes: is 0")
    answer = json.loads(call("optimize", path, *options, "1").stdout)
    assert (answer["split_demands"], answer["changed_demands"]) == (0, 1)


def test_both_objectives_count_broken_promises_alike(file: Path) -> None:
    counts = [
        json.loads(call("optimize", file, "--objective", objective, "--time-limit", "0.3", "--json").stdout)
        for objective in ("max-utilisation", "sla")
    ]
    assert counts[0]["sla"]["violated_before"] == counts[1]["sla"]["violated_before"]
    assert {answer["predictor"] for answer in counts} == {"gnn"}
    assert all(set(answer["validity"]) == {"before", "after"} for answer in counts)  # does the model know them?


def test_goals_that_cannot_be_met_exit_with_one(file: Path, tmp_path: Path, hotspot_scenario: Scenario) -> None:
    path = tmp_path / "hopeless.json"
    write_scenario(replace(hotspot_scenario, sla=(SlaGoal("voice", 1e-5),)), path)
    result = call("optimize", path, "--time-limit", "0.3", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["sla"]["violated_after"] > 0


def test_optimize_is_exact_about_utilisation_and_says_how_near_it_is(file: Path) -> None:
    answer = json.loads(call("optimize", file, "--objective", "max-utilisation", "--json").stdout)
    assert answer["optimizer"] == "exact"
    assert answer["gap"] == pytest.approx(0.0, abs=2e-6)
    single = json.loads(call("optimize", file, "--optimizer", "exact", "--single-path", "--json").stdout)
    assert single["optimizer"] == "single-path"
    assert single["split_demands"] == 0
    assert answer["max_utilisation"] <= single["max_utilisation"] < single["max_utilisation_before"]
    few = json.loads(call("optimize", file, "--optimizer", "exact", "--max-changes", "1", "--json").stdout)
    assert few["changed_demands"] == 1
    assert answer["max_utilisation"] <= few["max_utilisation"] < few["max_utilisation_before"]
    assert few["lower_bound"] <= few["max_utilisation"]


def test_optimize_keeps_delay_limits(file: Path) -> None:
    options = ("--objective", "max-utilisation", "--realisable", "--max-stretch", "1", "--json")
    answer = json.loads(call("optimize", file, *options).stdout)
    from_a_to_b = [route for route in answer["routing"] if (route["source"], route["target"]) == ("a", "b")]
    assert len(from_a_to_b) == 2
    for route in from_a_to_b:
        assert [path["nodes"] for path in route["paths"]] == [["a", "b"]]  # all hops are 0.5 ms


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--optimizer", "exact", "--objective", "sla"), "'exact' searches for no SLA goals"),
        (("--optimizer", "exact", "--single-path", "--max-changes", "1"), "does not bound changes of single paths"),
        (("--objective", "max-utilisation", "--max-delay", "video=3"), "there is no class 'video'"),
        (("--objective", "max-utilisation", "--max-delay", "voice=x"), "give CLASS=MILLISECONDS"),
        (("--objective", "max-utilisation", "--max-delay", "voice=0.1"), "have no path that is fast enough"),
        (("--objective", "sla", "--realisable"), "do not go with this search"),
    ],
)
def test_what_the_exact_search_cannot_do_is_refused(file: Path, options: tuple[str, ...], expected: str) -> None:
    result = call("optimize", file, *options)
    assert isinstance(result.exception, InputError)
    assert expected in str(result.exception)


def test_optimize_changes_queue_weights_only_when_asked(tmp_path: Path, shared_link_scenario: Scenario) -> None:
    file, plan_file = tmp_path / "shared.json", tmp_path / "plan.json"
    question = replace(shared_link_scenario, sla=GOALS)
    write_scenario(question, file)
    common = ("optimize", file, "--time-limit", "1", "--json", "--predictor", "analytic")
    paths_only = call(*common)
    assert paths_only.exit_code == 1
    assert not {"nodes", "changed_nodes"} & json.loads(paths_only.stdout).keys()
    result = call(*common, "--queue-weights", "--out", plan_file)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["sla"]["violated_before"] > answer["sla"]["violated_after"] == 0
    assert answer["changed_demands"] == 0
    assert answer["changed_nodes"] == len(answer["nodes"]) > 0
    plan = json.loads(plan_file.read_text())
    assert plan["nodes"] == answer["nodes"]
    # the answer's nodes stand in a scenario as they are
    data = scenario_to_json(question)
    told = {node["id"]: node for node in answer["nodes"]}
    data["topology"]["nodes"] = [told.get(node["id"], node) for node in data["topology"]["nodes"]]
    better = scenario_from_json(data)
    assert better.topology == topology_with_plan(question.topology, plan_from_json(plan))
    prediction = AnalyticPredictor().predict(better)
    table = goal_table(better.traffic, class_goals(better.sla))
    assert not violated_demands(experienced_values(prediction, table), table).any()


@pytest.mark.parametrize("options", [("--objective", "max-utilisation"), ("--optimizer", "rl")])
def test_weights_are_no_decision_of_searches_that_cannot_use_them(file: Path, options: tuple[str, ...]) -> None:
    error = call("optimize", file, "--queue-weights", *options).exception
    assert isinstance(error, InputError)
    assert str(error).startswith("--queue-weights: weights ")


def test_without_a_running_optimizer_it_says_so() -> None:
    result = call("status", "--api", "http://127.0.0.1:9")
    assert isinstance(result.exception, UnavailableError)
    assert "start it with `routewright run --config FILE`" in str(result.exception)


def test_history_fits_a_terminal_and_cuts_no_reason_short(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    state = {"violation": 3.2, "max_utilisation": 1.12}
    reason = "voice Urbana-Champaign->Salt-Lake-City: delay 146 ms of 40 ms for 5.1 s and no better way was found"
    decision = {
        **{"id": 1234, "time_s": 1.8e9, "trigger": "sla_violation", "status": "rolled_back", "reason": reason},
        **{"changed_demands": 12, "changed_nodes": 14, "predicted": {"before": state, "after": state}},
    }
    commands._show_history([decision])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert "…" not in shown
    column = "".join(line.split("│")[-2] for line in shown.splitlines() if line.startswith("│"))
    assert column.replace(" ", "") == reason.replace(" ", "")
    commands._show_history([])
    assert capsys.readouterr().out == "no decisions yet\n"


def test_status_says_when_no_switch_has_come(capsys) -> None:
    state = {"nodes": 0, "links": 0, "links_down": [], "max_utilisation": 0.0, "routing_version": 0}
    goal = {"delay_s": 0.03, "jitter_s": None, "loss_ratio": None}
    nobody = dict.fromkeys(goal)
    voice = {"class": "voice", "sla": goal, "worst": nobody, "demands": 0, "violated_demands": 0, "met": True}
    up = {"up": True, "problem": None}
    data = {"mode": "advise", "state": "observing", "controller": up, "predictor": up, "network": state}
    commands._show_status({**data, "awaiting_approval": None, "sla": {"classes": [voice], "demands": []}})
    shown = capsys.readouterr().out
    assert "no switch has connected yet" in shown
    assert "yes" not in shown  # a promise to nobody is not kept


@contextmanager
def served(controller: Any, settings: OptimizerSettings) -> Iterator[str]:
    """Controller and optimizer in a thread of their own, real sockets and all."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    stop, loops = asyncio.Event(), []

    async def both() -> None:
        loops.append(asyncio.get_running_loop())
        history = History(Path(settings.state_directory))
        client = ControllerClient(settings.controller)
        async with controller.serving():
            await serve(settings, client, history, listener, AnalyticPredictor(), stop)
        history.close()

    thread = threading.Thread(target=asyncio.run, args=(both(),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def test_status_approve_history_and_rollback_against_a_running_optimizer(
    controller: Any, settings: OptimizerSettings, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    advised = replace(settings, mode="advise", api_token="secret")
    with served(controller, advised) as api:
        number = None
        deadline = time.monotonic() + 20
        while number is None and time.monotonic() < deadline:
            result = call("status", "--api", api, "--json")
            if result.exception is None or isinstance(result.exception, SystemExit):
                number = json.loads(result.stdout)["awaiting_approval"]
            time.sleep(0.05)
        assert number is not None
        people = call("status", "--api", api)
        assert people.exit_code == 1  # an SLA is violated
        assert f"plan {number} awaits approval" in people.stdout
        assert isinstance(call("approve", str(number), "--api", api).exception, InputError)
        done = call("approve", str(number), "--api", api, "--token-file", token)
        assert done.exit_code == 0, done.exception
        statuses: list[str] = []
        while "kept" not in statuses and time.monotonic() < deadline + 20:
            listed = json.loads(call("history", "--api", api, "--json").stdout)["decisions"]
            statuses = [entry["status"] for entry in listed]
            time.sleep(0.05)
        assert "kept" in statuses
        assert "kept" in call("history", "--api", api).stdout
        assert "transaction_flipped" in call("history", str(number), "--api", api).stdout
        assert call("status", "--api", api, "--json").exit_code == 0
        back = call("rollback", "--api", api, "--token-file", token)
        assert back.exit_code == 0, back.exception
    assert os.path.exists(Path(settings.state_directory) / "history.sqlite")
