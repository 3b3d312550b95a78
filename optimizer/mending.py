"""Mending promises: descent on the violation score, and while promises stay broken, descent from elsewhere again.

Moves take demands off the links that hurt; estimated together, the best alone and several at once predicted in full.
"""

from __future__ import annotations

import numpy as np

from optimizer.goals import predicted_violation
from optimizer.promise_prices import PromisePrices
from optimizer.rough_runs import LONGEST
from optimizer.screening import Move
from optimizer.search_state import ESTIMATED_PER_STEP, GREEDY_DEPTH, SMALLEST_GAIN, SearchState
from optimizer.weighing import Weighing
from topology_sync.routing import PathShare, Routing
from topology_sync.values import FloatArray

JUDGED_PER_STEP = 6
CONFIRMED_PER_STEP = 2
SHORTER = 4  # times: so much less of a run is tried where the predictor does not confirm it all
TRUSTED = 0.7  # of what a run foresaw has come: no need to see whether fewer of its moves are better
TOGETHER = (2, 4, 8)  # so many moves at once are predicted too
PRICED = 0.5  # of the demands that are laid anew take the path of least price
UNSETTLED = 4  # demands that are laid anew, at most
ACCEPTED_LOSS = 1.02  # of the least violation: from no worse than this the search goes on


def mend(state: SearchState, weighing: Weighing, deadline: float) -> None:
    """Best-improvement descent on the violation score; where single moves fail, a few steps deep."""
    rest, pause = 0, 1  # steps until the next run, which is put off longer each time that runs bring nothing
    while state.worth_mending and state.judging.has_time(deadline):
        if rest <= 0 and state.rough.know_queues:
            if _follow_rough(state, deadline):
                pause = 1
                continue
            rest, pause = pause, 2 * pause
        rest -= 1
        moves = state.source.off(state.links_that_hurt(), state.routing, deadline)
        if moves and (_judge_single(state, moves, deadline) or _judge_sequence(state, deadline)):
            continue
        if not weighing.mend(deadline):
            return


def mend_roughly(state: SearchState, deadline: float) -> None:
    """Only as far as the rough figures lead: in the time of a few predictions, whatever the queues."""
    while state.worth_mending and state.judging.has_time(deadline) and _follow_rough(state, deadline):
        continue


def _follow_rough(state: SearchState, deadline: float) -> bool:
    """Many moves by the rough figures, as many of them as the predictor finds best; False where it confirms none."""
    if state.limits.max_changes is not None:
        return False
    movable = np.ones(state.scenario.traffic.demand_count, dtype=np.bool_)
    movable[[demand for demand in state.limits.frozen if not state.may_move(demand)]] = False
    rough = state.rough
    moves = rough.moves(movable, lambda: state.judging.has_time(deadline))
    enough = state.violation - TRUSTED * (state.violation - rough.foreseen)
    best, least, count = None, state.violation * (1 - state.least_gain), len(moves)
    while count and state.judging.has_time(deadline):
        routing = state.routing.with_changes({move.demand: move.paths for move in moves[:count]})
        prediction = state.judging.predict([routing])[0]
        violation = predicted_violation(prediction, state.table)
        if violation < least:
            best, least = (routing, prediction), violation
            rough.reach = min(2 * count, LONGEST)
        elif best is not None:
            break
        else:
            rough.reach = max(count // SHORTER, 1)
        if violation <= enough:
            break
        count //= SHORTER
    if best is None:
        return False
    state.restore(best[0])
    state.take(*best)
    return True


def mend_again(state: SearchState, weighing: Weighing, deadline: float) -> None:
    """While promises stay broken: lay some demands anew, mend, keep what is better (iterated local search)."""
    if state.limits.max_changes is not None:
        return
    best = state.standing
    while state.worth_mending and state.judging.has_time(deadline):
        _unsettle(state)
        state.take(state.routing, state.judging.predict([state.routing])[0])
        mend(state, weighing, deadline)
        if state.violation < best.violation * (1 - SMALLEST_GAIN):
            best = state.standing
        elif state.violation > best.violation * ACCEPTED_LOSS:
            state.stand_on(best)
    state.stand_on(best)


def _unsettle(state: SearchState) -> None:
    """Lay a few demands that cross a link that hurts anew: where promises cost least, or anywhere else."""
    links = state.links_that_hurt()
    if not links:
        return
    prices = PromisePrices.of(state.screen, state.prediction)
    link = links[int(state.random.integers(len(links)))]
    crossing = np.nonzero(state.screen.share[:, link] * state.scenario.traffic.rate_bps > 0)[0]
    crossing = crossing[[state.may_move(int(demand)) for demand in crossing]]
    for demand in state.random.permutation(crossing)[: int(state.random.integers(2, UNSETTLED + 1))].tolist():
        cheapest = state.source.path_by_price(demand, prices)
        others = [path for path in state.source.options(demand) if link not in path]
        if cheapest is not None and state.random.random() < PRICED:
            state.move(Move(demand, (PathShare(cheapest),)))
        elif others:
            state.move(Move(demand, (PathShare(others[int(state.random.integers(len(others)))]),)))


def _judge_single(state: SearchState, moves: list[Move], deadline: float) -> bool:
    """The best of these moves, alone or with others of the better ones, if it lessens what is violated."""
    likely = state.source.by_load(moves)[: state.judging.affordable(ESTIMATED_PER_STEP, deadline)]
    estimates = state.judging.violations(state.routing, likely)
    if estimates is not None:
        if _take_by(state, likely, estimates, deadline):
            return True
        if not state.judging.has_time(deadline):
            return False
        closer = state.judging.closer_violations(state.routing, likely, estimates)
        return closer is not None and _take_by(state, likely, closer, deadline)
    moves = state.source.ranked(moves)
    for first in range(0, min(len(moves), 4 * JUDGED_PER_STEP), JUDGED_PER_STEP):
        chosen = moves[first : first + JUDGED_PER_STEP]
        routings = [state.routing.with_changes({move.demand: move.paths}) for move in chosen]
        if state.take_best(routings, deadline):
            return True
        if not state.judging.has_time(deadline):
            return False
    return False


def _take_by(state: SearchState, moves: list[Move], estimates: FloatArray, deadline: float) -> bool:
    """Take the best of these moves by such estimates, alone or several, if a prediction in full confirms it."""
    order = np.argsort(np.round(estimates, 9), kind="stable").tolist()
    better = [moves[index] for index in order if estimates[index] < state.violation]
    alone = [moves[index] for index in order[:CONFIRMED_PER_STEP]]
    routings = [state.routing.with_changes({move.demand: move.paths}) for move in alone]
    return state.take_best([*_together(state, better), *routings], deadline)


def _together(state: SearchState, moves: list[Move]) -> list[Routing]:
    """Moves of different demands carried out one after the other: the routing after 2, 4, 8, ... of them."""
    limit = state.limits.max_changes
    room = len(moves) if limit is None else limit - state.change_count
    routing, moved, prefixes = state.routing, dict[int, tuple[PathShare, ...]](), list[Routing]()
    for move in moves:
        is_new = move.demand not in state.changes.moved and move.demand not in state.changes.repaired
        if move.demand in moved or (is_new and room <= 0):
            continue
        room -= is_new
        moved[move.demand] = move.paths
        if len(moved) in TOGETHER:
            prefixes.append(routing.with_changes(moved))
        if len(moved) >= max(TOGETHER):
            break
    return prefixes


def _judge_sequence(state: SearchState, deadline: float) -> bool:
    """Follow the rough figures a few moves deep; the predictor judges every prefix; go back if none is better."""
    kept = state.routing
    prefixes: list[Routing] = []
    for _ in range(GREEDY_DEPTH):
        moves = state.source.ranked(state.source.off(state.links_that_hurt(), state.routing, deadline))
        if not moves or not state.judging.has_time(deadline):
            break
        state.move(moves[0])
        prefixes.append(state.routing)
    state.restore(kept)
    return bool(prefixes) and state.take_best(prefixes, deadline)
