"""The commands that start processes hand on the operator's file and refuse a bad one before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from controller.settings import ControllerSettings
from deploy.configuration import read_configuration
from deploy.supervisor_commands import write_private

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


def test_predictor_says_that_it_is_embedded(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text("version: 1\n")
    finished = routewright("predictor", "--config", str(file))
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert "inside the optimizer" in finished.stderr


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
