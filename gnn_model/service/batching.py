"""The queue between many callers and one model: bounded, fair, mindful of deadlines, and computing in batches.

Every round takes some units of work from each waiting job until a batch is full, and a job that is not done then goes
to the back.  So small jobs pass large ones, a round is short, and what different callers ask for is computed together.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

Unit = TypeVar("Unit")
Result = TypeVar("Result")

LEAST_RETRY_S, MOST_RETRY_S = 0.02, 5.0
GUESSED_WEIGHT_PER_S = 300_000.0  # until the first batch is measured
SMOOTHING = 0.3


class QueueFullError(Exception):
    """Too much waits already; ``retry_after_s`` is when there should be room."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too much waits already; come again in {retry_after_s:.2g} s")
        self.retry_after_s = retry_after_s


class DeadlinePassedError(Exception):
    """The caller's time was up before the work was done."""


@dataclass(eq=False)
class _Job(Generic[Unit, Result]):
    units: Sequence[Unit]
    weights: Sequence[int]
    deadline_s: float
    future: Future[list[Result]] = field(default_factory=Future)
    results: list[Result] = field(default_factory=list)

    def weight_left(self) -> int:
        return sum(self.weights[len(self.results) :])

    def settle(self, error: Exception | None = None) -> None:
        """Tell the caller, unless it has gone."""
        if not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(self.results)
        else:
            self.future.set_exception(error)


class _Part(NamedTuple, Generic[Unit, Result]):
    """What of a job comes into a batch."""

    job: _Job[Unit, Result]
    units: Sequence[Unit]
    weight: int


class BatchWorker(Generic[Unit, Result]):
    """One thread that computes what callers submit.

    ``compute`` gets units of several callers and returns one result for each, in order.  ``capacity`` is the weight
    that may wait, ``batch`` the weight computed at once.  Deadlines are of ``time.monotonic``.
    """

    def __init__(
        self, compute: Callable[[Sequence[Unit]], Sequence[Result]], capacity: int, batch: int, name: str = "batches"
    ) -> None:
        self._compute = compute
        self._capacity = capacity
        self._batch = batch
        self._jobs: deque[_Job[Unit, Result]] = deque()
        self._waiting = 0  # weight of all units without a result, those being computed included
        self._weight_per_s = GUESSED_WEIGHT_PER_S
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, units: Sequence[Unit], weights: Sequence[int], deadline_s: float) -> Future[list[Result]]:
        """Queue the units of one caller; the future holds their results in order.  Cancel it to drop the work.

        Raises QueueFullError.  The future raises DeadlinePassedError when ``deadline_s`` came before the last unit was
        begun, else what ``compute`` raised for these units.
        """
        job: _Job[Unit, Result] = _Job(units, weights, deadline_s)
        weight = sum(weights)
        with self._changed:
            beyond = self._waiting + weight - self._capacity
            if self._closing or (self._waiting and beyond > 0):
                raise QueueFullError(min(max(beyond / self._weight_per_s, LEAST_RETRY_S), MOST_RETRY_S))
            self._waiting += weight
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    @property
    def waiting(self) -> int:
        """Weight that waits or is being computed."""
        return self._waiting

    def close(self, timeout_s: float = 5.0) -> None:
        """Take no more, compute what is in the queue, end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                self._drop_late(time.monotonic())
                parts = self._next_batch()
            if not parts:
                continue
            began_s = time.monotonic()
            outcomes = [(part, self._results_of(part, found)) for part, found in self._computed(parts)]
            self._finish(outcomes, time.monotonic() - began_s)

    def _drop_late(self, now_s: float) -> None:
        """Jobs whose caller has gone or whose time is up are not worth computing."""
        alive: deque[_Job[Unit, Result]] = deque()
        for job in self._jobs:
            if job.future.cancelled() or now_s >= job.deadline_s:
                self._waiting -= job.weight_left()
                job.settle(DeadlinePassedError("the deadline passed before the work was done"))
            else:
                alive.append(job)
        self._jobs = alive

    def _next_batch(self) -> list[_Part[Unit, Result]]:
        parts: list[_Part[Unit, Result]] = []
        budget = self._batch
        each = max(self._batch // max(len(self._jobs), 1), 1)
        for job in self._jobs:
            if budget <= 0:
                break
            first = end = len(job.results)
            weight = 0
            while end < len(job.units) and (end == first or weight + job.weights[end] <= min(each, budget)):
                weight += job.weights[end]
                end += 1
            parts.append(_Part(job, job.units[first:end], weight))
            budget -= weight
        return parts

    def _computed(
        self, parts: list[_Part[Unit, Result]]
    ) -> list[tuple[_Part[Unit, Result], Sequence[Result] | Exception]]:
        try:
            found = self._compute([unit for part in parts for unit in part.units])
        except Exception as error:
            if len(parts) == 1:
                return [(parts[0], error)]
            # one caller's question must not spoil the others'
            return [outcome for part in parts for outcome in self._computed([part])]
        outcomes: list[tuple[_Part[Unit, Result], Sequence[Result] | Exception]] = []
        at = 0
        for part in parts:
            outcomes.append((part, found[at : at + len(part.units)]))
            at += len(part.units)
        return outcomes

    @staticmethod
    def _results_of(part: _Part[Unit, Result], found: Sequence[Result] | Exception) -> Sequence[Result] | Exception:
        if isinstance(found, Exception) or len(found) == len(part.units):
            return found
        return RuntimeError(f"{len(found)} results for {len(part.units)} questions")

    def _finish(self, outcomes: list[tuple[_Part[Unit, Result], Sequence[Result] | Exception]], seconds: float) -> None:
        done: list[tuple[_Job[Unit, Result], Exception | None]] = []
        with self._changed:
            weight = sum(part.weight for part, _ in outcomes)
            self._weight_per_s += SMOOTHING * (weight / max(seconds, 1e-6) - self._weight_per_s)
            for part, found in outcomes:
                job = part.job
                self._jobs.remove(job)
                if isinstance(found, Exception):
                    self._waiting -= job.weight_left()
                    done.append((job, found))
                    continue
                self._waiting -= part.weight
                job.results += found
                if len(job.results) == len(job.units):
                    done.append((job, None))
                else:
                    self._jobs.append(job)
        for job, error in done:
            job.settle(error)
