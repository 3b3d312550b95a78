"""Single paths of least maximum utilisation: a balanced start, then two repair searches that share the best routing.

Anytime and seeded; the searches run in threads of their own (the kernels hold no lock), so two cores do twice the work
and the order in which they find things may differ between runs.
"""

from __future__ import annotations

import heapq
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from optimizer.exact.balanced_start import balance
from optimizer.exact.flow_problem import FlowProblem, LinkArray
from optimizer.exact.repair_kernel import repair
from optimizer.exact.single_paths import SinglePaths
from topology_sync.values import IntArray

GOALS = (0.0, 0.3, 0.6, 0.9)  # where between the bound and the best value so far a search aims, in turn
THREAD_NAME = "search of single paths"
SEARCHES = 2
SLICE_S = 0.005
SLICES_PER_GOAL = 6
GOALS_BEFORE_RETURN = 6  # a search that found nothing better for so many goals starts from elsewhere
FRESH_TIME_SHARE = 0.1
SLOTS_BYTES = 600e6
TOLERANCE = 1e-6


def widest_path_bound(problem: FlowProblem, known: float) -> float:
    """No single-path routing is better than the largest rate over the width of its demand's widest path.

    Sources whose demands cannot give a bound above ``known`` are passed over, ``known`` is returned if all are.
    """
    bound = known
    large = problem.rate > known * float(problem.capacity.min())
    for source in np.unique(problem.source[large]).tolist():
        demands = slice(problem.source_pointer[source], problem.source_pointer[source + 1])
        width = _widths(problem, source)
        bound = max(bound, float(np.max(problem.rate[demands] / width[problem.target[demands]])))
    return bound


def _widths(problem: FlowProblem, source: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    width = np.zeros(problem.node_count)
    width[source] = np.inf
    heap = [(-np.inf, source)]
    while heap:
        negative, node = heapq.heappop(heap)
        if -negative < width[node]:
            continue
        for link in problem.out_link[problem.out_pointer[node] : problem.out_pointer[node + 1]].tolist():
            end, through = int(problem.head[link]), min(-negative, float(problem.capacity[link]))
            if through > width[end]:
                width[end] = through
                heapq.heappush(heap, (-through, end))
    return width


@dataclass(eq=False)
class _Best:
    """The best routing that any search has found; ``given_up`` ends all of them."""

    value: float
    slots: LinkArray
    length: IntArray
    lock: threading.Lock = field(default_factory=threading.Lock)
    given_up: bool = False


def improve_single_paths(
    problem: FlowProblem,
    paths: SinglePaths,
    bound: float,
    deadline: float,
    seed: int,
    shortest: SinglePaths | None = None,
) -> SinglePaths:
    """The best routing found until ``deadline`` (time.monotonic); ends early at ``bound``; no worse than ``paths``.

    Further balanced starts begin at ``shortest`` (at ``paths`` without).
    """
    start = shortest or paths
    best = _best_of(problem, paths)
    if best is None:
        return _rebalance(problem, paths, bound, deadline, seed)

    def searching(number: int) -> None:
        _search(problem, start, best, bound, deadline, seed * SEARCHES + number, number > 0)

    names = {number: f"{THREAD_NAME} {number}" for number in range(1, SEARCHES)}
    others = [threading.Thread(target=searching, args=(number,), name=name) for number, name in names.items()]
    try:
        for other in others:
            other.start()
        searching(0)
    except BaseException:
        best.given_up = True  # Ctrl-C reaches this thread alone, and the program ends only with the others
        raise
    finally:
        for other in others:
            if other.ident is not None:  # it has been started
                other.join()
    pointer = np.concatenate([[0], np.cumsum(best.length)])
    links = best.slots[np.arange(best.slots.shape[1])[None, :] < best.length[:, None]]
    return SinglePaths.from_paths(problem, pointer, links)


def _best_of(problem: FlowProblem, paths: SinglePaths) -> _Best | None:
    """The start as slots; None where these would take too much memory."""
    longest = int(paths.length.max(initial=1))
    width = min(problem.node_count, 2 * longest + 16)
    if 8.0 * SEARCHES * problem.demand_count * width > SLOTS_BYTES:
        width = longest
        if 8.0 * SEARCHES * problem.demand_count * width > SLOTS_BYTES:
            return None
    slots = np.zeros((problem.demand_count, width), dtype=np.int32)
    slots[np.arange(width)[None, :] < paths.length[:, None]] = paths.flat()[1]
    return _Best(paths.max_utilisation(problem), slots, paths.length.copy())


def _rebalance(problem: FlowProblem, paths: SinglePaths, bound: float, deadline: float, seed: int) -> SinglePaths:
    """For problems too large for the search: more sweeps."""
    random = np.random.default_rng(seed)
    best = paths
    while time.monotonic() < deadline and best.max_utilisation(problem) > bound * (1.0 + TOLERANCE):
        trial = best.copy()
        balance(problem, trial, random, 8, deadline, first_eta=300.0, last_eta=20000.0)
        if trial.max_utilisation(problem) < best.max_utilisation(problem):
            best = trial
    return best


def _search(
    problem: FlowProblem, start: SinglePaths, best: _Best, bound: float, deadline: float, seed: int, fresh: bool
) -> None:
    """One search: from the best so far or, where these are cheap, from balanced starts of its own."""
    began = time.monotonic()
    random = np.random.default_rng([seed, 7919])
    with best.lock:
        slots, length, value = best.slots.copy(), best.length.copy(), best.value
    found_slots, found_length = slots.copy(), length.copy()
    load = _load(problem, slots, length)
    state = np.array([seed * 7919 + 12345], dtype=np.int64)
    tabu = np.zeros(problem.demand_count, dtype=np.int64)
    weight = np.ones(problem.link_count)
    clock, steps, turn, idle = 0, 4, seed, GOALS_BEFORE_RETURN if fresh else 0
    while time.monotonic() < deadline and value > bound * (1.0 + TOLERANCE) and not best.given_up:
        turn += 1
        weight[:] = 1.0
        if idle >= GOALS_BEFORE_RETURN:
            idle = 0
            fresh = not fresh
            if not fresh or not _start_afresh(problem, start, random, began, deadline, slots, length):
                with best.lock:
                    slots[:], length[:] = best.slots, best.length
            load = _load(problem, slots, length)
        idle += 1
        for _ in range(SLICES_PER_GOAL):
            goal = bound + GOALS[turn % len(GOALS)] * (value - bound)
            began_slice, clock_before = time.monotonic(), clock
            reached, clock = repair(
                steps,
                goal,
                value,
                state,
                problem.out_pointer,
                problem.out_link,
                problem.head,
                problem.tail,
                problem.capacity,
                problem.source,
                problem.target,
                problem.rate,
                problem.delay_s,
                problem.delay_limit_s,
                load,
                weight,
                tabu,
                clock,
                slots,
                length,
                found_slots,
                found_length,
            )
            took = time.monotonic() - began_slice
            # of the steps done, not of those asked for: a goal reached at once says nothing of what more would take
            steps = max(1, min(2 * steps, int((clock - clock_before) * SLICE_S / max(took, 1e-6))))
            with best.lock:
                if reached < best.value:
                    best.value, best.slots, best.length = reached, found_slots.copy(), found_length.copy()
                    idle = 0
                value = best.value
            if time.monotonic() > deadline or value <= bound * (1.0 + TOLERANCE) or best.given_up:
                break


def _start_afresh(
    problem: FlowProblem,
    start: SinglePaths,
    random: np.random.Generator,
    began: float,
    deadline: float,
    slots: LinkArray,
    length: IntArray,
) -> bool:
    """Fill ``slots`` by another balanced start; False where that would take too long or its paths are too long."""
    now = time.monotonic()
    paths = start.copy()
    balance(problem, paths, random, deadline=now + FRESH_TIME_SHARE * (deadline - began))
    if int(paths.length.max(initial=0)) > slots.shape[1]:
        return False
    slots[np.arange(slots.shape[1])[None, :] < paths.length[:, None]] = paths.flat()[1]
    length[:] = paths.length
    return True


def _load(problem: FlowProblem, slots: LinkArray, length: IntArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    used = np.arange(slots.shape[1])[None, :] < length[:, None]
    return np.bincount(slots[used], weights=np.repeat(problem.rate, length), minlength=problem.link_count).astype(
        np.float64
    )
