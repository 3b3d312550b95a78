"""Processes that share out work, and that are gone at once when the one who asked gives up: Ctrl-C, an error."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def worker_processes(
    count: int, prepare: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of ``count`` processes, each of which calls ``prepare(*arguments)`` first; functions must be of a module.

    Leave futures uncancelled when the block ends early: its processes are ended, not waited for.  BrokenProcessPool is
    raised where one of them is killed.
    """
    # spawned: a forked process would inherit threads of torch and numba in an unknown state
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin, (prepare, arguments))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):  # public from Python 3.14 on, as terminate_workers
            process.terminate()
        pool.shutdown()  # only now: cancelled futures of a broken pool make its thread fail
        raise
    pool.shutdown()


def _begin(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; who asked for the work ends us
    if prepare is not None:
        prepare(*arguments)
