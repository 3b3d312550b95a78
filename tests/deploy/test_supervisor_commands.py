"""The commands that start processes hand on the operator's file and refuse a bad one before anything runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.settings import ControllerSettings
from deploy.configuration import read_configuration
from deploy.supervisor import Service
from deploy.supervisor_commands import run, write_private

GOOD = "version: 1\nsouthbound: {listen: '127.0.0.1:16653'}\napi: {listen: '127.0.0.1:18080'}\nstate_directory: state\n"


def routewright(*arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )


@pytest.mark.parametrize("command", ["run", "controller", "optimizer", "predictor"])
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, command: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("version: 1\nmoed: auto\n")
    finished = routewright(command, "--config", str(file))
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "moed" in finished.stderr


def test_a_predictor_of_its_own_needs_an_address(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text("version: 1\n")
    finished = routewright("predictor", "--config", str(file))
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "predictor.address: is null" in finished.stderr


def test_run_starts_a_predictor_only_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def note(services: Sequence[Service]) -> Any:
        started.append([service.name for service in services])
        return SimpleNamespace(run=lambda: 0)

    monkeypatch.setattr("deploy.supervisor.Supervisor", note)
    file = tmp_path / "good.yaml"
    for section in ("{}", "{address: '127.0.0.1:50051'}", "{address: '127.0.0.1:50051', start: true}"):
        file.write_text(f"{GOOD}predictor: {section}\n")
        assert run(file) == 0
    assert started == [["controller", "optimizer"]] * 2 + [["predictor", "controller", "optimizer"]]


def test_settings_are_for_their_owner_only_and_read_back_the_same(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    settings = read_configuration(file).controller_settings()
    written = write_private(tmp_path / "deep" / "settings.json", settings.to_json())
    assert written.stat().st_mode & 0o777 == 0o600
    assert ControllerSettings.read(written) == settings
    assert [path.name for path in written.parent.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--scenario", "earthquake"), "hotspot"),
        (("--duration", "3"), "45"),
        (("--topology", "topohub:no/such"), "no/such"),
    ],
)
def test_a_testbed_that_cannot_be_is_refused_in_one_line(arguments: tuple[str, ...], expected: str) -> None:
    finished = routewright("testbed", "run", *arguments)
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert expected in finished.stderr
