"""Making shards side by side: in worker processes of this machine, or as tasks on Ray.

Either way a result is yielded as soon as it is there, in whatever order; an error of a worker arrives as it was raised.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from gnn_model.worker_processes import worker_processes
from topology_sync.errors import UnavailableError

Task = TypeVar("Task")
Result = TypeVar("Result")
Results = Generator[Result, None, None]

RETRIES = 3  # of a task whose worker on Ray ended
CONNECT_S = 5.0
LOCAL = "local"  # Ray's name for one of its own, started here and for this run only
ENDED = "ended without a word (killed, or out of memory); what is done is kept: give the same command again"


def on_processes(make: Callable[[Task], Result], tasks: Sequence[Task], processes: int) -> Results[Result]:
    """At most ``processes`` tasks at once; ``make`` must be a function of a module.

    Raises UnavailableError where a worker is killed.
    """
    if processes == 1 or len(tasks) < 2:
        yield from map(make, tasks)
        return
    try:
        with worker_processes(min(processes, len(tasks))) as pool:
            for done in as_completed([pool.submit(make, task) for task in tasks]):
                yield done.result()
    except BrokenProcessPool:
        raise UnavailableError(f"a worker process {ENDED}, with fewer --processes if memory is short") from None


def on_ray(make: Callable[[Task], Result], tasks: Sequence[Task], most: int | None = None) -> Results[Result]:
    """At most ``most`` tasks at once (None: as many as Ray has processors), on the cluster that RAY_ADDRESS names.

    Without RAY_ADDRESS Ray is started on this machine, reachable from it alone, and stopped at the end.  A task whose
    worker is killed is given to another one.  Raises UnavailableError without Ray, without its cluster, and where a
    task loses its worker ``RETRIES`` times more.
    """
    if not tasks:
        return
    ray = _ray()
    # Ray warns on stdout, which is for the answer.
    with contextlib.redirect_stdout(sys.stderr), _running(ray, most):
        remote = ray.remote(max_retries=RETRIES, name=getattr(make, "__name__", "task"))(_standing_here(make))
        waiting = list(reversed(tasks))
        running: list[Any] = []
        try:
            while waiting or running:
                while waiting and len(running) < (most or len(tasks)):
                    running.append(remote.remote(waiting.pop()))
                done, running = ray.wait(running, num_returns=1)
                yield _answer(ray, done[0])
        finally:
            for task in running:
                ray.cancel(task, force=True)


def _ray() -> Any:
    if "RAY_ADDRESS" not in os.environ:
        # Read with the module, and whatever its name says: without clusters Ray listens on loopback alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:
        raise UnavailableError(
            "--backend ray needs Ray; install routewright[ray], or use --backend processes"
        ) from None
    return ray


@contextlib.contextmanager
def _running(ray: Any, most: int | None) -> Iterator[None]:
    """Ray as it runs already in this process, or else started and stopped again."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", LOCAL)
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        options |= {"num_cpus": most, "include_dashboard": False}
    try:
        host, colon, port = address.rpartition(":")
        if colon and port.isdigit() and "/" not in host:
            # Ray itself would go on trying for minutes.
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        ray.init(**options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        text = " ".join(str(error).split())[:160]
        remedy = "see RAY_ADDRESS, and RAY_AUTH_MODE=token where it asks for a token"
        raise UnavailableError(f"Ray at {address} does not answer ({text}); {remedy}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _standing_here(make: Callable[[Task], Result]) -> Callable[[Task], Result]:
    """``make`` in our working directory: Ray's workers stand elsewhere, and files are named from where we stand."""
    here = Path.cwd()

    def there(task: Task) -> Result:
        with contextlib.chdir(here) if here.is_dir() else contextlib.nullcontext():
            return make(task)

    return there


def _answer(ray: Any, done: Any) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        # Ray's own error of that kind has the worker's whole traceback as its text.
        raise error.cause from None
    except ray.exceptions.RayError as error:
        name = type(error).__name__
        raise UnavailableError(f"a worker on Ray {ENDED} ({name}, after {RETRIES} more tries)") from None
