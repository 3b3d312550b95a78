"""The supervisor restarts what dies, gives up on what cannot run, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.process_control import start_child, stop_child, wait_until
from deploy.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_before_restart
from topology_sync.errors import UnavailableError

SUPERVISE = """
import sys
from deploy.supervisor import Service, Supervisor
services = [Service(name, (sys.executable, "-u", "-c", code)) for name, code in zip(sys.argv[1::2], sys.argv[2::2])]
sys.exit(Supervisor(services).run())
"""
STEADY = "import time, os; print('here', os.getpid()); time.sleep(60)"
POLITE = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0)));"
    " print('here', __import__('os').getpid()); time.sleep(60)"
)


def supervise(output: Path, *services: str) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen([sys.executable, "-c", SUPERVISE, *services], stdout=file, stderr=subprocess.STDOUT)


def process_ids(output: Path, name: str) -> list[int]:
    lines = output.read_text().splitlines()
    return [int(line.split()[-1]) for line in lines if line.startswith(f"[{name}] here")]


def is_alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_service_is_started_again_and_a_signal_stops_all_in_opposite_order(tmp_path: Path) -> None:
    output = tmp_path / "output"
    supervisor = supervise(output, "one", POLITE, "two", POLITE)
    wait_until(lambda: bool(process_ids(output, "one") and process_ids(output, "two")), 10, "services did not start")
    first = process_ids(output, "one")[0]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(process_ids(output, "one")) == 2, 10, "the killed service did not come back")
    supervisor.terminate()
    assert supervisor.wait(10) == 0
    text = output.read_text()
    assert "one was killed by signal 9; starting again" in text
    assert text.index("[two] bye") < text.index("two stopped") < text.index("[one] bye")
    assert not any(is_alive(process_id) for name in ("one", "two") for process_id in process_ids(output, name))


def test_services_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    supervisor = supervise(output, "one", STEADY)
    wait_until(lambda: bool(process_ids(output, "one")), 10, "the service did not start")
    service = process_ids(output, "one")[0]
    supervisor.kill()
    supervisor.wait(10)
    wait_until(lambda: not is_alive(service), 5, "the service outlived its supervisor")


def test_bad_input_of_a_service_ends_the_whole_with_status_2(tmp_path: Path) -> None:
    output = tmp_path / "output"
    supervisor = supervise(output, "one", STEADY, "two", "import sys; print('no good'); sys.exit(2)")
    assert supervisor.wait(10) == 2
    assert "[two] no good" in output.read_text()
    assert not is_alive(process_ids(output, "one")[0])


def test_pauses_grow_but_not_without_bound() -> None:
    pauses = [pause_before_restart(deaths) for deaths in range(1, 12)]
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_child_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    log = tmp_path / "log"
    child = start_child([sys.executable, "-c", code], log=log)
    wait_until(lambda: log.read_text() == "on\n", 10, "the child did not start")
    began = time.monotonic()
    assert stop_child(child, grace_s=0.2) == -signal.SIGKILL
    assert time.monotonic() - began < 5


def test_what_cannot_be_started_is_said_in_one_line() -> None:
    with pytest.raises(UnavailableError, match="cannot start /does/not/exist: No such file"):
        start_child(["/does/not/exist"])
    with pytest.raises(UnavailableError, match=r"nothing happened after 0\.05 s"):
        wait_until(lambda: False, 0.05, "nothing happened")
