"""On Ray shards are the files that processes make, a killed worker is replaced, and errors stay one line."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gnn_model.dataset.generate import generate
from gnn_model.dataset.manifest import read_manifest
from gnn_model.dataset.recipe import DatasetRecipe
from gnn_model.dataset.workers import RETRIES, on_ray
from topology_sync.errors import ScenarioError, UnavailableError

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # before Ray is read: it listens on loopback alone
ray = pytest.importorskip("ray", reason="Ray is not installed; routewright[ray] brings it")
pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def two_processors() -> Iterator[None]:
    """Ray with two processors, for all tests but those that let it be started for them."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="error")
    yield
    ray.shutdown()


def test_ray_is_started_for_the_run_and_reachable_from_here_alone() -> None:
    assert list(on_ray(lambda _: ray.util.get_node_ip_address(), [0], 1)) == ["127.0.0.1"]
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(UnavailableError, match="does not answer"):
            list(on_ray(str, [0]))


@pytest.mark.usefixtures("two_processors")
def test_an_interrupted_set_goes_on_and_is_the_one_of_processes(tiny: DatasetRecipe, tmp_path: Path) -> None:
    generate(tmp_path / "here", tiny, seed=5, samples=5, shard_samples=2)
    generate(tmp_path / "ray", tiny, seed=5, samples=4, shard_samples=2, backend="ray", processes=1)
    (tmp_path / "ray" / "part-00001.parquet").write_bytes(b"PAR1 torn")
    generate(tmp_path / "ray", tiny, seed=5, samples=5, shard_samples=2, backend="ray")
    assert read_manifest(tmp_path / "ray") == read_manifest(tmp_path / "here")
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "ray")]
    assert files[0] == files[1]


@pytest.mark.usefixtures("two_processors")
def test_another_worker_takes_the_task_of_a_killed_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def die_at_first(task: int) -> int:
        before = tmp_path / str(task)
        if task == 2 and not before.exists():
            before.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    assert sorted(on_ray(die_at_first, range(4))) == [0, 1, 2, 3]
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("two_processors")
def test_a_task_that_kills_every_worker_is_one_line(tmp_path: Path) -> None:
    def die(task: int) -> int:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
        return task

    with pytest.raises(UnavailableError, match="give the same command again"):
        list(on_ray(die, [0]))
    assert (tmp_path / "tries").read_text() == "x" * (1 + RETRIES)


@pytest.mark.usefixtures("two_processors")
def test_an_error_of_a_worker_arrives_as_it_was_raised() -> None:
    def refuse(task: int) -> int:
        raise ScenarioError("net.graphml", f"is wrong at {task}", "mend it")

    with pytest.raises(ScenarioError) as caught:
        list(on_ray(refuse, [1]))
    assert str(caught.value) == "net.graphml: is wrong at 1; mend it"


@pytest.mark.usefixtures("two_processors")
def test_workers_stand_where_we_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = on_ray(lambda _: os.getcwd(), [0])
    assert found == str(tmp_path)


@pytest.mark.usefixtures("two_processors")
def test_no_more_tasks_run_at_once_than_asked_for(tmp_path: Path) -> None:
    def alone(task: int) -> bool:
        with (tmp_path / "lock").open("x"):
            pass
        (tmp_path / "lock").unlink()
        return True

    assert all(on_ray(alone, range(8), 1))
