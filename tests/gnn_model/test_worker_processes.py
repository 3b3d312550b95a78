"""Worker processes: results arrive, and nothing is waited for or left behind when the caller gives up."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from gnn_model.worker_processes import worker_processes

factor = 1


def prepare(wanted: int) -> None:
    global factor
    factor = wanted


def times(number: int) -> int:
    return factor * number


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_work_is_done_by_prepared_processes() -> None:
    with worker_processes(2, prepare, (7,)) as pool:
        assert [future.result(30) for future in [pool.submit(times, number) for number in range(4)]] == [0, 7, 14, 21]


def given_up(workers: set[int]) -> None:
    with worker_processes(2) as pool:
        workers |= {future.result(30) for future in [pool.submit(sleep, 0.2) for _ in range(4)]}
        for _ in range(9):
            pool.submit(sleep, 300)
        raise KeyboardInterrupt


def test_nobody_waits_for_work_that_is_not_wanted_any_more() -> None:
    workers: set[int] = set()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        given_up(workers)
    assert time.monotonic() - began < 60  # of 300 s
    assert workers
    assert not any(alive(worker) for worker in workers)


def test_a_killed_process_ends_the_wait() -> None:
    with pytest.raises(BrokenProcessPool), worker_processes(2) as pool:
        pool.submit(die, 0).result(30)


def test_ctrl_c_at_a_terminal_ends_all_without_a_traceback(tmp_path: Path) -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from gnn_model.worker_processes import worker_processes\n"
        "from tests.gnn_model.test_worker_processes import sleep\n"
        "if __name__ == '__main__':\n  try:\n    with worker_processes(2) as pool:\n"
        "      print(pool.submit(sleep, 0.1).result(), flush=True)\n"
        "      [pool.submit(sleep, 300) for _ in range(9)][0].result()\n"
        "  except KeyboardInterrupt:\n    raise SystemExit(130)\n"
    )
    program = tmp_path / "program.py"
    program.write_text(code)
    child = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert child.stdout is not None
    worker = int(child.stdout.readline())
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (130, "")
    assert not alive(worker)
