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
from optimizer import commands
from optimizer.controller_client import ControllerClient
from optimizer.history import History
from optimizer.process import serve
from optimizer.settings import OptimizerSettings
from topology_sync.errors import InputError, UnavailableError
from topology_sync.plan_json import plan_from_json, routing_with_plan
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.scenario_json import scenario_from_json, scenario_to_json, write_scenario

GOALS = (SlaGoal("voice", 0.015, 99.0, None, 0.001), SlaGoal("bulk", None, None, None, 0.01))


def call(*arguments: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    commands.register(app)
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


def test_goals_that_cannot_be_met_exit_with_one(file: Path, tmp_path: Path, hotspot_scenario: Scenario) -> None:
    path = tmp_path / "hopeless.json"
    write_scenario(replace(hotspot_scenario, sla=(SlaGoal("voice", 1e-5),)), path)
    result = call("optimize", path, "--time-limit", "0.3", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["sla"]["violated_after"] > 0


@pytest.mark.parametrize("name", ["rl"])
def test_optimizers_that_are_not_here_are_refused(file: Path, name: str) -> None:
    result = call("optimize", file, "--optimizer", name)
    assert isinstance(result.exception, InputError)
    assert "\n" not in str(result.exception)


def test_without_a_running_optimizer_it_says_so() -> None:
    result = call("status", "--api", "http://127.0.0.1:9")
    assert isinstance(result.exception, UnavailableError)


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
