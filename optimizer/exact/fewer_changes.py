"""Of two routings of the same maximum utilisation the one that changes less."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from optimizer.exact.flow_problem import FlowProblem
from topology_sync.routing import PathShare, Routing

SLACK = 1e-9


def with_fewer_changes(
    problem: FlowProblem,
    routing: Routing,
    present: Routing,
    value: float,
    permitted: Callable[[int, tuple[PathShare, ...]], bool],
) -> Routing:
    """``routing`` with demands put back on their ``present`` paths where ``value`` still holds, small demands first.

    Paths that are not ``permitted`` (to a position in ``problem``) are not put back, nor more splits than now.
    """
    limit = problem.capacity * value * (1.0 + SLACK)
    load = np.zeros(problem.link_count)
    for position, demand in enumerate(problem.original.tolist()):
        _add(load, routing.paths[demand], float(problem.rate[position]))
    changes = {}
    for position in np.argsort(problem.rate, kind="stable").tolist():
        demand = int(problem.original[position])
        before, now = present.paths[demand], routing.paths[demand]
        if before == now or len(before) > len(now):
            continue
        if not permitted(position, before):
            continue
        rate = float(problem.rate[position])
        _add(load, now, -rate)
        _add(load, before, rate)
        if all(load[link] <= limit[link] for path in before for link in path.links):
            changes[demand] = before
        else:
            _add(load, before, -rate)
            _add(load, now, rate)
    return routing.with_changes(changes) if changes else routing


def _add(load: np.ndarray[tuple[int], np.dtype[np.float64]], paths: tuple[PathShare, ...], rate: float) -> None:
    for path in paths:
        for link in path.links:
            load[link] += rate * path.share
