"""Lowering the maximum utilisation as far as promises allow: greedy descent off the fullest links, shaken, repeated."""

from __future__ import annotations

import numpy as np

from optimizer.goals import predicted_violation
from optimizer.move_generation import SCREENED_PER_STEP
from optimizer.screening import Move, soft_maximum
from optimizer.search_state import GREEDY_DEPTH, SMALLEST_GAIN, SearchState
from topology_sync.routing import PathShare, Routing


def lower_maximum(state: SearchState, deadline: float) -> None:
    """Greedy descent in short runs whose prefixes the predictor judges; then shaken and repeated for a while."""
    allowed = state.allowed_violation
    _descend(state, deadline, allowed)
    free = state.limits.max_changes is None and not state.limits.frozen
    quiet = 0
    while free and quiet < 200 and state.judging.has_time(deadline):
        kept, kept_value = state.standing, _soft_maximum(state, state.routing)
        _shake(state)
        _descend(state, deadline, None)
        accepted = _soft_maximum(state, state.routing) < kept_value * (1 - SMALLEST_GAIN)
        if accepted and len(state.screen.judged):
            prediction = state.judging.predict([state.routing])[0]
            accepted = predicted_violation(prediction, state.table) <= allowed
            if accepted:
                state.take(state.routing, prediction)
        if not accepted:
            state.restore(kept.routing)
        quiet = 0 if accepted else quiet + 1


def _descend(state: SearchState, deadline: float, allowed: float | None) -> None:
    """``allowed`` is the largest violation that a routing may be predicted to have; None predicts nothing."""
    check = allowed is not None and len(state.screen.judged) > 0
    while state.judging.has_time(deadline):
        kept = state.routing
        steps: list[tuple[Move, Routing]] = []
        while len(steps) < (GREEDY_DEPTH if check else SCREENED_PER_STEP) and state.judging.has_time(deadline):
            move = _best_relief(state)
            if move is None:
                break
            state.move(move)
            steps.append((move, state.routing))
        if check:
            state.restore(kept)
            steps = steps[: state.judging.affordable_predictions(deadline)]
        if not steps:
            return
        if not check:
            continue
        predictions = state.judging.predict([routing for _, routing in steps])
        harmful = [predicted_violation(prediction, state.table) > (allowed or 0.0) for prediction in predictions]
        harmless = harmful.index(True) if any(harmful) else len(steps)
        if harmless < len(steps):
            move = steps[harmless][0]
            state.source.tabu.update((move.demand, path.links) for path in move.paths)
        if harmless:
            state.restore(steps[harmless - 1][1])
            state.take(steps[harmless - 1][1], predictions[harmless - 1])


def _best_relief(state: SearchState) -> Move | None:
    """The move off one of the fullest links that lowers the soft maximum most, None where none does."""
    utilisation = state.screen.utilisation()
    fullest = float(utilisation.max(initial=0.0))
    hot = np.nonzero((utilisation >= fullest * (1 - 1e-9)) & (utilisation > 0))[0]
    moves = state.source.off([int(link) for link in hot[:2]], state.routing, state.deadline)
    if not moves:
        return None
    after = state.screen.utilisation_after(moves)
    value = soft_maximum(after)
    best = int(np.argmin(value))
    return moves[best] if value[best] < soft_maximum(utilisation) * (1 - SMALLEST_GAIN) else None


def _shake(state: SearchState) -> None:
    """Lift a few demands off full links and lay them anew in random order."""
    active = np.nonzero(state.scenario.traffic.rate_bps > 0)[0]
    if not len(active):
        return
    utilisation = state.screen.utilisation()
    fullest = int(np.argmax(utilisation + 0.02 * utilisation.max(initial=0.0) * state.random.random(len(utilisation))))
    crossing = np.nonzero(state.screen.share[:, fullest] * state.scenario.traffic.rate_bps > 0)[0]
    chosen = state.random.permutation(crossing)[:3]
    others = state.random.choice(active, size=min(len(active), 3), replace=False)
    for demand in state.random.permutation(np.unique(np.concatenate([chosen, others]).astype(int))):
        options = state.candidates.between(*state.source.ends(int(demand)))
        path = state.source.path_by_load(int(demand))
        if path is not None and (state.random.random() < 0.6 or not options):
            state.move(Move(int(demand), (PathShare(path),)))
        elif options:
            state.move(Move(int(demand), (PathShare(options[int(state.random.integers(len(options)))]),)))


def _soft_maximum(state: SearchState, routing: Routing) -> float:
    load = routing.link_load_bps(state.scenario.traffic, state.scenario.topology.link_count)
    return float(soft_maximum(load / state.scenario.topology.capacity_bps))
