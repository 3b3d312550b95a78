"""Least maximum utilisation by re-routing at most so many demands of the present routing.

The relaxation charges every demand for the part of it that is moved; its optimum (column generation with a price of
change) is a lower bound of every routing with that many changes.  A dive then frees half of the remaining changes for
the demands that the relaxation moves most, solves again, and so on: each programme is warm from the one before.  Where
the first relaxation moves no more demands than allowed it is the optimum itself.  Otherwise a small mixed-integer
programme over all columns found has a try at a better choice.
"""

from __future__ import annotations

import time

from optimizer.exact.change_programme import choose_movers
from optimizer.exact.column_generation import TOLERANCE, ColumnGeneration, Split

DIVE_TOLERANCE = 1e-4
PROGRAMME_TIME_SHARE = 0.5


def few_changes(generation: ColumnGeneration, deadline: float) -> tuple[Split, float]:
    """What to move, at most ``generation.change_limit`` demands, and the proven lower bound.

    When time runs out the changes that are left are spent at once.
    """
    limit = generation.change_limit
    assert limit is not None
    if limit == 0:
        return {}, generation.value
    generation.run(deadline, TOLERANCE)
    bound = generation.bound
    if len(generation.moved()) <= limit:
        return generation.moved(), bound
    _dive(generation, limit, deadline)
    found, value = generation.moved(), generation.value
    left_s = PROGRAMME_TIME_SHARE * (deadline - time.monotonic())
    movers = choose_movers(generation, limit, value * (1.0 - DIVE_TOLERANCE), left_s)
    if movers:
        generation.free(movers, 0)
        generation.solve_again()
        generation.run(deadline, DIVE_TOLERANCE)
        if generation.value < value:
            found = generation.moved()
    return found, bound


def _dive(generation: ColumnGeneration, limit: int, deadline: float) -> None:
    chosen: set[int] = set()
    while True:
        moved = {
            demand: sum(share for _, share in paths)
            for demand, paths in generation.moved().items()
            if demand not in chosen
        }
        left = limit - len(chosen)
        if len(moved) <= left:
            return
        order = sorted(moved, key=lambda demand: (-moved[demand], -generation.problem.rate[demand], demand))
        late = time.monotonic() > deadline
        chosen.update(order[: left if late else (left + 1) // 2])
        generation.free(chosen, limit - len(chosen))
        generation.solve_again()  # whatever the time, so that no more demands move than are paid for
        generation.run(deadline, DIVE_TOLERANCE)
