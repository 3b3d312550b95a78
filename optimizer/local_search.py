"""Anytime local search over single-path moves: keep the promises, then empty the fullest link, then change little.

Moves are screened by link loads and a rough queue model (``screening``); the better ones are estimated by the
predictor's incremental judge where it has one (``move_judging``); the few best are predicted in full, and only that
verdict counts.  Where queue weights may change, steps of theirs are tried wherever paths do not help, at first or on
the way (``weighing``): on paths that break everything weights would only choose whom to starve.  The result is
never worse than the start in the predictor's eyes, believed or allowed for its error (``GoalTable.uncertainty``).  Same
seed and enough time: same result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from gnn_model.predictor import Prediction, Predictor
from optimizer.candidates import CandidatePaths
from optimizer.displaced import cut_off, demands_over
from optimizer.goals import CERTAIN, GoalTable, Score, predicted_violation
from optimizer.lowering import lower_maximum
from optimizer.mending import mend, mend_again, mend_roughly
from optimizer.search_limits import SearchLimits
from optimizer.search_opening import open_balanced, repair
from optimizer.search_state import SMALLEST_GAIN, SearchState, Standing
from optimizer.taking_back import take_back
from optimizer.weighing import Weighing
from optimizer.weight_steps import Schedulers, changed_nodes, weight_changes
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario

__all__ = ["SearchLimits", "SearchResult", "improved", "search"]

OPENED_WELL = 0.5  # an opening that leaves less of the violation shows that paths are what is wrong
WHOLE_GOAL = 1.0  # of violation: one missed for certain
PRUNE_TIME_SHARE = 0.15
LOWERING_TIME_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class SearchResult:
    """A routing, the schedulers of all nodes, and what is predicted for them and for the start.

    ``changed`` holds every demand whose paths differ from the start, ``repaired`` those of them that had to move (not
    counted against ``max_changes``), ``unroutable`` those that no usable path can carry.  In ``before`` demands over
    dead links have loss 1 and infinite delay.  ``schedulers`` [nodes] are the scenario's but for ``changed_nodes``.
    """

    routing: Routing
    schedulers: Schedulers
    changed: tuple[int, ...]
    changed_nodes: tuple[int, ...]
    repaired: tuple[int, ...]
    unroutable: tuple[int, ...]
    start_score: Score
    score: Score
    before: Prediction
    after: Prediction
    seconds: float
    moves_screened: int
    moves_estimated: int
    routings_judged: int


Search = Callable[[Scenario, GoalTable, Predictor, CandidatePaths, SearchLimits], SearchResult]
"""How a search is asked: ``search`` below, or with proposals of a policy (``rl.proposer``)."""


def search(
    scenario: Scenario, table: GoalTable, predictor: Predictor, candidates: CandidatePaths, limits: SearchLimits
) -> SearchResult:
    """Look for a better routing of ``scenario`` by the goals of ``table`` within ``limits``."""
    state = SearchState(scenario, table, predictor, candidates, limits)
    weighing = Weighing(state)
    dead = set(demands_over(state.start, ~candidates.usable.up))
    unroutable = repair(state)
    repaired = state.changes.repaired
    stranded = unroutable & dead
    if stranded:
        state.drop_traffic(stranded)
    start_prediction = state.judging.predict([state.start])[0]
    before = cut_off(start_prediction, dead)
    prediction = state.judging.predict([state.routing])[0] if repaired else start_prediction
    start_score = Score(predicted_violation(before, table), state.max_utilisation(state.start), 0)
    state.take(state.routing, prediction)
    _improve(state, weighing, may_open=not stranded)
    routing, schedulers, after = state.routing, state.schedulers, cut_off(state.prediction, stranded)
    score = Score(
        predicted_violation(after, table),
        state.max_utilisation(routing),
        len(state.changes.discretionary()),
        weight_changes(state.start_schedulers, schedulers),
    )
    may_stay = not repaired and not limits.single_path
    if may_stay and not improved(state.table, before, start_score, after, score):
        routing, schedulers, after, score = state.start, state.start_schedulers, before, start_score
    return SearchResult(
        routing=routing,
        schedulers=schedulers,
        changed=routing.changed_demands(state.start),
        changed_nodes=changed_nodes(state.start_schedulers, schedulers),
        repaired=tuple(sorted(repaired)),
        unroutable=tuple(sorted(unroutable)),
        start_score=start_score,
        score=score,
        before=before,
        after=after,
        seconds=time.monotonic() - state.began,
        moves_screened=state.source.screened,
        moves_estimated=state.judging.estimated,
        routings_judged=state.judging.judged,
    )


def _improve(state: SearchState, weighing: Weighing, may_open: bool) -> None:
    """Promises first, then the maximum, then fewer changes, each within its part of the time."""
    limits = state.limits
    deadline = state.began + limits.time_s * (1.0 - PRUNE_TIME_SHARE)
    if limits.max_changes is not None:
        weighing.weigh(deadline)  # one change for the whole network, before all are spent on paths
    present = state.violation
    ran = _run_and_open(state, limits.from_balanced and may_open, deadline)
    if state.violation > OPENED_WELL * present:
        weighing.weigh(deadline)  # where other paths help little at once, weights may be what is wrong
    mend(state, weighing, deadline)
    if ran.violation < state.violation - WHOLE_GOAL:
        state.stand_on(ran)
    mend_again(state, weighing, state.began + limits.time_s * (1.0 - PRUNE_TIME_SHARE - LOWERING_TIME_SHARE))
    lower_maximum(state, deadline)
    take_back(state)
    if limits.max_changes is not None and state.violation > 0:
        mend(state, weighing, deadline)  # changes taken back may now be spent better
    weighing.take_back()


def _run_and_open(state: SearchState, opens: bool, deadline: float) -> Standing:
    """Runs of moves; where they leave anything, the opening and runs from there, wherever less is broken.

    Where runs do not know the queues, they only may finish the work: else the search goes on as if there had been
    none, and where they led to is returned to be compared with what comes of it.
    """
    began = state.standing
    mend_roughly(state, deadline)
    ran = state.standing
    if not state.worth_mending:
        return ran
    if opens or not state.rough.know_queues:
        state.stand_on(began)
    if opens:
        open_balanced(state)
    if state.rough.know_queues:
        if opens:
            mend_roughly(state, deadline)
        if ran.violation < state.violation:
            state.stand_on(ran)
    return ran


def improved(table: GoalTable, before: Prediction, start_score: Score, after: Prediction, score: Score) -> bool:
    """Whether the answer is better than the start, and breaks no more promises if predictions are believed."""
    believed = replace(table, uncertainty=CERTAIN)
    return score.better_than(start_score) and predicted_violation(after, believed) <= predicted_violation(
        before, believed
    ) * (1 + SMALLEST_GAIN)
