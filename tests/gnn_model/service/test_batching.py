"""The queue: order, fairness, bounds, deadlines, and one bad question that spoils nobody else's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from gnn_model.service.batching import BatchWorker, DeadlinePassedError, QueueFullError
from tests.gnn_model.service.serving import TIMEOUT_S, wait_for


class Doubler:
    """Doubles numbers, behind a door, and notes its batches; 13 is too much for it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.door = threading.Event()
        self.door.set()

    def __call__(self, units: Sequence[int]) -> list[int]:
        self.batches.append(list(units))
        assert self.door.wait(TIMEOUT_S)
        if 13 in units:
            raise ValueError("13 is too much")
        return [2 * unit for unit in units]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


@pytest.fixture
def worker(doubler: Doubler) -> Iterator[BatchWorker[int, int]]:
    made: BatchWorker[int, int] = BatchWorker(doubler, capacity=40, batch=6)
    yield made
    doubler.door.set()
    made.close()


def later(seconds: float = TIMEOUT_S) -> float:
    return time.monotonic() + seconds


def ask(worker: BatchWorker[int, int], units: Sequence[int], deadline_s: float | None = None):  # type: ignore[no-untyped-def]
    return worker.submit(units, [1] * len(units), later() if deadline_s is None else deadline_s)


def test_answers_come_in_the_order_of_the_questions(worker: BatchWorker[int, int]) -> None:
    futures = [ask(worker, list(range(start, start + 10))) for start in range(3)]
    for start, future in enumerate(futures):
        assert future.result(TIMEOUT_S) == [2 * unit for unit in range(start, start + 10)]
    assert worker.waiting == 0


def test_callers_share_batches_and_small_questions_pass_large_ones(
    worker: BatchWorker[int, int], doubler: Doubler
) -> None:
    doubler.door.clear()
    first = ask(worker, [0])
    wait_for(lambda: bool(doubler.batches), "the first batch")
    large, small = ask(worker, list(range(100, 120))), ask(worker, [7])
    doubler.door.set()
    assert small.result(TIMEOUT_S) == [14]
    assert large.result(TIMEOUT_S) == [2 * unit for unit in range(100, 120)]
    assert first.result(TIMEOUT_S) == [0]
    assert doubler.batches[1] == [100, 101, 102, 7]
    assert all(len(batch) <= 6 for batch in doubler.batches)


def test_a_unit_larger_than_a_batch_is_computed_alone(worker: BatchWorker[int, int]) -> None:
    assert worker.submit([5, 6], [30, 30], later()).result(TIMEOUT_S) == [10, 12]


def test_a_full_queue_says_when_to_come_again(worker: BatchWorker[int, int], doubler: Doubler) -> None:
    doubler.door.clear()
    ask(worker, [1] * 39)
    ask(worker, [2])
    with pytest.raises(QueueFullError) as caught:
        ask(worker, [3])
    assert 0 < caught.value.retry_after_s <= 5
    doubler.door.set()
    wait_for(lambda: worker.waiting == 0, "the queue is empty")
    assert ask(worker, [1] * 100).result(TIMEOUT_S) == [2] * 100  # beyond the capacity, but nothing else waits


def test_work_whose_deadline_passed_is_never_computed(worker: BatchWorker[int, int], doubler: Doubler) -> None:
    doubler.door.clear()
    ask(worker, [0])
    wait_for(lambda: bool(doubler.batches), "the first batch")
    late = ask(worker, [1, 2], later(0.01))
    gone = ask(worker, [3, 4])
    good = ask(worker, [5])
    assert gone.cancel()
    time.sleep(0.02)
    doubler.door.set()
    assert good.result(TIMEOUT_S) == [10]
    with pytest.raises(DeadlinePassedError):
        late.result(TIMEOUT_S)
    assert not {1, 2, 3, 4} & {unit for batch in doubler.batches for unit in batch}
    wait_for(lambda: worker.waiting == 0, "nothing waits")


def test_a_question_that_fails_fails_alone(worker: BatchWorker[int, int], doubler: Doubler) -> None:
    doubler.door.clear()
    ask(worker, [0])
    wait_for(lambda: bool(doubler.batches), "the first batch")
    before, bad, after = ask(worker, [1]), ask(worker, [13]), ask(worker, [2])
    doubler.door.set()
    assert before.result(TIMEOUT_S) == [2]
    assert after.result(TIMEOUT_S) == [4]
    with pytest.raises(ValueError, match="13 is too much"):
        bad.result(TIMEOUT_S)
    assert ask(worker, [8]).result(TIMEOUT_S) == [16]


def test_what_is_in_the_queue_when_it_closes_is_still_computed(doubler: Doubler) -> None:
    worker: BatchWorker[int, int] = BatchWorker(doubler, 100, 6)
    futures = [ask(worker, [unit] * 5) for unit in range(5)]
    worker.close()
    assert [future.result(0) for future in futures] == [[2 * unit] * 5 for unit in range(5)]
    with pytest.raises(QueueFullError):
        ask(worker, [1])


def test_too_few_results_are_an_error_of_every_caller() -> None:
    worker: BatchWorker[int, int] = BatchWorker(lambda units: units[:-1], 100, 100)
    with pytest.raises(RuntimeError, match="0 results for 1 questions"):
        ask(worker, [1]).result(TIMEOUT_S)
    worker.close()
