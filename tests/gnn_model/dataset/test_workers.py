"""Results and errors of worker processes arrive; a worker that is killed is an error, not a wait without end."""

from __future__ import annotations

import copy
import os
import signal

import pytest

from gnn_model.dataset.workers import on_processes
from topology_sync.errors import InputError, ScenarioError, UnavailableError


def square(task: int) -> int:
    return task**2


def refuse(task: int) -> int:
    raise ScenarioError("net.graphml", f"is wrong at {task}", "mend it")


def die(task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.parametrize("processes", [1, 2])
def test_every_task_has_its_result(processes: int) -> None:
    assert sorted(on_processes(square, range(4), processes)) == [0, 1, 4, 9]
    assert list(on_processes(square, [], processes)) == []


def test_an_error_of_a_worker_arrives_as_it_was_raised() -> None:
    with pytest.raises(ScenarioError, match=r"^net\.graphml: is wrong at [78]; mend it$") as caught:
        list(on_processes(refuse, [7, 8], 2))
    assert (caught.value.place, caught.value.remedy) == ("net.graphml", "mend it")


@pytest.mark.parametrize("kind", [InputError, ScenarioError])
def test_input_errors_can_be_copied_and_so_handed_over(kind: type[InputError]) -> None:
    error = kind("here", "is wrong").within("file")
    again = copy.copy(error)
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(UnavailableError, match="give the same command again"):
        list(on_processes(die, [1, 2], 2))
