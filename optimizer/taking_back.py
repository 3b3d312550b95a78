"""Taking changes back that the answer does not need, so that a plan changes little."""

from __future__ import annotations

import numpy as np

from optimizer.goals import predicted_violation
from optimizer.screening import Move
from optimizer.search_state import ESTIMATED_PER_STEP, SMALLEST_GAIN, SearchState

LIKELY_HARMLESS = 0.01  # a change is tried to be taken back where the estimated violation grows by no more than this
UNNEEDED_TOLERANCE = 0.01  # a change that lowers the maximum utilisation by less than this in all is taken back


def take_back(state: SearchState) -> None:
    """Undo changes that neither keep a promise nor lower the maximum noticeably, as many at once as do no harm."""
    limit = state.max_utilisation(state.routing) * (1 + UNNEEDED_TOLERANCE)
    allowed = state.allowed_violation
    judged = len(state.screen.judged) > 0
    pending = state.changes.discretionary()
    while pending and state.judging.has_time(state.deadline):
        moves = [Move(demand, state.start.paths[demand]) for demand in pending]
        fullest = state.screen.utilisation_after(moves).max(axis=1, initial=0.0)
        order = [int(index) for index in np.argsort(fullest, kind="stable") if fullest[index] <= limit]
        if not order:
            return
        if not judged:
            state.move(moves[order[0]])
            pending = [demand for demand in pending if demand != moves[order[0]].demand]
            continue
        order = order[: state.judging.affordable(ESTIMATED_PER_STEP, state.deadline)]
        estimates = state.judging.violations(state.routing, [moves[index] for index in order])
        if estimates is not None:
            likely = allowed + max(SMALLEST_GAIN, LIKELY_HARMLESS * allowed)
            hopeless = {moves[index].demand for index, found in zip(order, estimates, strict=True) if found > likely}
            pending = [demand for demand in pending if demand not in hopeless]
            by_estimate = np.argsort(np.round(estimates, 6), kind="stable").tolist()
            order = [order[index] for index in by_estimate if estimates[index] <= likely]
            if not order:
                continue
        tried = _back_together(state, [moves[index] for index in order], limit, allowed)
        pending = [demand for demand in pending if demand not in tried]


def _back_together(state: SearchState, moves: list[Move], limit: float, allowed: float) -> set[int]:
    """Carry out the longest run of these moves that does no harm; the demands that need not be looked at again."""
    fullest = state.screen.utilisation_after_all(moves).max(axis=1, initial=0.0)
    most = int(np.argmax(fullest > limit)) if (fullest > limit).any() else len(moves)
    sizes = [size for size in (2**power for power in range(20)) if size < most] + [max(most, 1)]
    sizes = sizes[: max(state.judging.affordable_predictions(state.deadline), 1)]
    runs = [
        (moves[:size], state.routing.with_changes({move.demand: move.paths for move in moves[:size]})) for size in sizes
    ]
    predictions = state.judging.predict([routing for _, routing in runs])
    for (taken, routing), prediction in zip(reversed(runs), reversed(predictions), strict=True):
        if predicted_violation(prediction, state.table) <= allowed + SMALLEST_GAIN:
            state.restore(routing)
            state.take(routing, prediction)
            return {move.demand for move in taken}
    return {move.demand for move in moves[:1]}
