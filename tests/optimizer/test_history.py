"""The history survives what a machine can do to it."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from optimizer.history import FILE_NAME, Decision, History
from topology_sync.errors import UnavailableError


def decision(number: int, status: str = "kept") -> Decision:
    return Decision(number, 100.0 + number, "sla", status, "because", {"changed_demands": 2}, {"plan": {"routes": []}})


def test_what_is_saved_is_read_back_newest_first(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in (1, 2, 3):
        history.save(decision(number), {"number": number})
    assert [entry.id for entry in history.latest(2)] == [3, 2]
    assert history.get(2) == decision(2)
    assert history.get(9) is None
    assert history.state_of(2) == {"number": 2}
    assert history.last_id() == 3
    history.close()


def test_saving_again_updates_and_keeps_the_state(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.save(decision(1, "applying"), {"as": "it was"})
    assert [entry.id for entry in history.open_decisions()] == [1]
    assert history.last_good() is None
    history.save(decision(1, "kept"))
    assert history.open_decisions() == []
    assert history.last_good() == decision(1)
    assert history.state_of(1) == {"as": "it was"}
    history.close()


def test_it_survives_kill_minus_nine(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom optimizer.history import Decision, History\n"
        "history = History(Path(sys.argv[1]))\n"
        "for number in range(1, 1000):\n"
        "    history.save(Decision(number, 1.0, 'sla', 'kept', ''), {'state': number})\n"
        "    print(number, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        said = 0
        for line in process.stdout:
            said = int(line)
            if said >= 20:
                process.send_signal(signal.SIGKILL)
                break
    history = History(tmp_path)
    assert history.last_id() >= said
    assert history.state_of(said) == {"state": said}
    history.close()


@pytest.mark.parametrize("damage", [b"this is no database, it is text that somebody put here" * 100, None])
def test_an_unreadable_file_is_set_aside_and_said_so(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / FILE_NAME
    if damage is not None:
        path.write_bytes(damage)
    else:
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version=99")
        other.close()
    with caplog.at_level(logging.ERROR):
        history = History(tmp_path)
    assert "set aside" in caplog.text
    assert len(list(tmp_path.glob(f"{FILE_NAME}.unreadable-*"))) == 1
    history.save(decision(1))
    assert history.last_id() == 1
    history.close()


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be opened") as caught:
        History(tmp_path / "file" / "state")
    assert "\n" not in str(caught.value)


def test_memory_lasts(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.recall("mode") is None
    history.remember("mode", "auto")
    history.remember("mode", "paused")
    history.close()
    again = History(tmp_path)
    assert again.recall("mode") == "paused"
    again.close()
