"""The command's frame: exit codes, one line on stderr, no traceback, quick help.  Runs the real command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from deploy import cli
from topology_sync.errors import InputError, TransactionError, UnavailableError

EXAMPLE = Path(__file__).parents[2] / "deploy/configs/example.yaml"


def routewright(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom deploy.cli import run\nassert run(['--help']) == 0\n"
        "heavy = {'torch', 'pydantic', 'ryu', 'fastapi', 'yaml', 'scipy', 'topohub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "check-config" in done.stdout
    assert time.perf_counter() - started < 5  # 0.2 s on an idle machine


def test_a_good_configuration_is_accepted() -> None:
    done = routewright("check-config", str(EXAMPLE))
    assert (done.returncode, done.stderr) == (0, "")
    assert "good" in done.stdout
    done = routewright("check-config", str(EXAMPLE), "--json")
    assert json.loads(done.stdout)["classes"][0]["sla"]["delay_ms"] == 30
    assert json.loads(routewright("check-config", "--schema").stdout)["properties"]["version"]["const"] == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "routewright: Missing command; see routewright --help"),
        (["chek-config"], "routewright: No such command 'chek-config'"),
        (["check-config"], "routewright: Invalid value: name a configuration file"),
        (["check-config", "a", "b"], "routewright: Got unexpected extra argument"),
        (["check-config", "--jason"], "routewright: No such option: --jason"),
        (["history", "--limit", "x"], "routewright: Invalid value for '--limit': it should be a valid integer; see"),
        (["history", "--limit", "0"], "routewright: Invalid value for '--limit': it should be greater than or equal"),
        (["predict", "x", "--predictor", "y"], "routewright: Invalid value for '--predictor': 'y' is not one of 'gnn'"),
        (
            ["check-config", "/nonexistent/\x1b[2J.yaml"],
            "routewright: '/nonexistent/\\x1b[2J.yaml': there is no such file",
        ),
    ],
)
def test_bad_command_lines_are_one_line_and_exit_2(arguments: list[str], expected: str) -> None:
    done = routewright(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(expected)
    assert len(done.stderr.splitlines()) == 1


def test_a_bad_configuration_is_one_line_and_exits_2(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text("version: 1\nclasses:\n - {name: a, sla: {delay: 3}}\n")
    done = routewright("check-config", str(path))
    assert done.returncode == 2
    assert done.stderr == f"routewright: {path}: classes[0].sla.delay: unknown key; did you mean delay_ms?\n"


def test_an_empty_configuration_is_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "routewright.yaml"
    path.write_text("")
    done = routewright("check-config", str(path))
    line = f"routewright: {path}: the whole: is empty; give keys and values, version: 1 first\n"
    assert (done.returncode, done.stderr) == (2, line)


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (InputError("x", "is 1", "give 2"), 2, "routewright: x: is 1; give 2\n"),
        (UnavailableError("the switch\nis away"), 1, "routewright: the switch is away\n"),
        (
            PermissionError(13, "Permission denied", "/x"),
            2,
            "routewright: /x: Permission denied; name a path that can be used\n",
        ),
        (TransactionError("undone \x1b"), 1, "routewright: undone \\x1b\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(7), 7, ""),
    ],
)
def test_what_a_command_raises_decides_the_exit_code(monkeypatch, capsys, raised, code: int, line: str) -> None:
    def command() -> None:
        raise raised

    app = typer.Typer()
    app.callback()(lambda: None)
    app.command("go")(command)
    monkeypatch.setattr(cli, "application", lambda: app)
    assert cli.run(["go"]) == code
    assert capsys.readouterr().err == line


def test_an_integer_result_is_the_exit_code_and_a_bug_keeps_its_traceback(monkeypatch) -> None:
    app = typer.Typer()
    app.command("fail")(lambda: 1)
    app.command("bug")(lambda: 1 // 0)
    monkeypatch.setattr(cli, "application", lambda: app)
    assert cli.run(["fail"]) == 1
    with pytest.raises(ZeroDivisionError):
        cli.run(["bug"])


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "check-config", "--schema"],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "check-config", "--schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    line = "routewright: output: No space left on device; make room or write elsewhere\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_ctrl_c_exits_130_without_traceback() -> None:
    code = (
        # what a shell starts in the background ignores SIGINT
        "import signal, sys, time, typer\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from deploy import cli\napp = typer.Typer()\napp.callback()(lambda: None)\n"
        "def wait():\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "app.command('wait')(wait)\ncli.application = lambda: app\nsys.argv = ['routewright', 'wait']\ncli.main()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (130, "")


def test_a_room_that_is_there_but_broken_is_not_skipped(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "broken_room").mkdir()
    (tmp_path / "broken_room/__init__.py").write_text("")
    (tmp_path / "broken_room/commands.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "COMMAND_MODULES", ("absent_room.commands", "broken_room.absent", "broken_room.commands"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        cli.application()
