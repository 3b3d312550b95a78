"""How a search begins: demands off links that carry nothing any more, then at a better routing if one is known."""

from __future__ import annotations

from optimizer.balanced_opening import balanced_opening
from optimizer.displaced import displaced_demands
from optimizer.screening import Move
from optimizer.search_state import SearchState
from topology_sync.routing import PathShare

OPENING_TIME_SHARE = 0.2


def repair(state: SearchState) -> set[int]:
    """Move demands off closed links, the largest first; returns those without any way."""
    traffic = state.scenario.traffic
    must_move = list(displaced_demands(state.scenario, state.candidates.usable))
    if state.limits.single_path:
        must_move += [demand for demand, paths in enumerate(state.start.paths) if len(paths) > 1]
    unroutable: set[int] = set()
    for demand in sorted(set(must_move), key=lambda demand: (-traffic.rate_bps[demand], demand)):
        path = state.source.path_by_load(demand)
        if path is None:
            unroutable.add(demand)
        else:
            state.move(Move(demand, (PathShare(path),)))
            state.changes.repaired.add(demand)
    return unroutable


def open_balanced(state: SearchState) -> None:
    """Stand on a routing of least maximum utilisation where it breaks less than the present one."""
    limits = state.limits
    if limits.frozen:
        return
    opening = balanced_opening(
        state.scenario.with_routing(state.routing),
        state.candidates.usable,
        OPENING_TIME_SHARE * limits.time_s,
        limits.seed,
        limits.single_path or not limits.new_splits,
        None if limits.max_changes is None else limits.max_changes - state.change_count,
    )
    state.source.offer(opening.columns)
    state.take_best(list(opening.routings))
