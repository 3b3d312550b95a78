"""Anytime local search over single-path moves: keep the promises, then empty the fullest link, then change little.

Moves are screened by link loads and a rough queue model (``screening``); the better ones are estimated by the
predictor's incremental judge where it has one (``move_judging``); the few best are predicted in full, and only that
verdict counts.  Where queue weights may change, steps of theirs are tried wherever paths do not help, at first or on
the way (``weight_steps``): on paths that break everything weights would only choose whom to starve.  The result is
never worse than the start in the predictor's eyes, believed or allowed for its error (``GoalTable.uncertainty``).  Same
seed and enough time: same result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnn_model.configurations import rescheduled
from gnn_model.predictor import Prediction, Predictor
from optimizer.balanced_opening import balanced_opening
from optimizer.candidates import CandidatePaths
from optimizer.displaced import cut_off, demands_over, displaced_demands
from optimizer.goals import CERTAIN, GoalTable, Score, experienced_values, predicted_severity, predicted_violation
from optimizer.move_generation import SCREENED_PER_STEP, MoveSource
from optimizer.move_judging import MoveJudging
from optimizer.promise_prices import PromisePrices
from optimizer.screening import LoadScreen, Move, soft_maximum
from optimizer.weight_steps import ClassNeeds, Schedulers, WeightSteps, changed_nodes, put_back, weight_changes
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import float_array

JUDGED_PER_STEP = 6
ESTIMATED_PER_STEP = 256  # moves that an incremental judge looks at, of which the best few are predicted in full
CONFIRMED_PER_STEP = 2
TOGETHER = (2, 4, 8)  # so many moves at once are predicted too
LIKELY_HARMLESS = 0.01  # a change is tried to be taken back where the estimated violation grows by no more than this
INDIFFERENT = 0.01  # an expected violation that grows by less is worth a lower maximum or fewer changes
HOT_LINKS = 6
WORTH_ANOTHER = 0.1  # of the violation: a step of the weights that brought so much is followed by another
WEIGHT_TRIES = 2  # steps of the weights, each smaller, where no move of paths helps
OPENED_WELL = 0.5  # an opening that leaves less of the violation shows that paths are what is wrong
GREEDY_DEPTH = 8
PRICED = 0.5  # of the demands that are laid anew take the path of least price
UNSETTLED = 4  # demands that are laid anew, at most
ACCEPTED_LOSS = 1.02  # of the least violation: from no worse than this the search goes on
UNNEEDED_TOLERANCE = 0.01  # a change that lowers the maximum utilisation by less than this in all is taken back
PRUNE_TIME_SHARE = 0.15
LOWERING_TIME_SHARE = 0.1
OPENING_TIME_SHARE = 0.2
SMALLEST_GAIN = 1e-6
FEW_MOVED = 100  # demands; of more, loads are summed up anew
UNCERTAIN_GAIN = 2e-3  # of an expected violation: smaller steps are not worth their time


@dataclass(frozen=True)
class SearchLimits:
    """``max_changes`` None means any number; ``frozen`` demands keep their paths unless those are broken.

    ``from_balanced``: where promises are broken and any demand may move, begin at the routing that is exact about
    utilisation if that breaks less (``balanced_opening``; load its kernels before a clock starts).  When ``stop`` is
    set the search ends with the best plan so far.  ``queue_weights``: those of weighted nodes may change too, but for
    ``frozen_nodes``; they count as ``weight_steps.weight_changes`` says.  ``new_splits``: whether demands may be split
    that are not yet, which only the opening does.
    """

    time_s: float = 1.0
    max_changes: int | None = None
    frozen: frozenset[int] = frozenset()
    single_path: bool = False
    seed: int = 1
    from_balanced: bool = False
    new_splits: bool = True
    stop: threading.Event | None = None
    queue_weights: bool = False
    frozen_nodes: frozenset[int] = frozenset()


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


def search(
    scenario: Scenario, table: GoalTable, predictor: Predictor, candidates: CandidatePaths, limits: SearchLimits
) -> SearchResult:
    """Look for a better routing of ``scenario`` by the goals of ``table`` within ``limits``."""
    return _Search(scenario, table, predictor, candidates, limits).run()


@dataclass(frozen=True, eq=False)
class _Standing:
    routing: Routing
    schedulers: Schedulers
    prediction: Prediction
    violation: float


@dataclass(eq=False)
class _Search:
    scenario: Scenario
    table: GoalTable
    predictor: Predictor
    candidates: CandidatePaths
    limits: SearchLimits
    start: Routing = field(init=False)
    routing: Routing = field(init=False)
    repaired: set[int] = field(default_factory=set)
    violation: float = 0.0

    def run(self) -> SearchResult:
        began = time.monotonic()
        self.deadline = began + self.limits.time_s
        self.random = np.random.default_rng(self.limits.seed)
        self.start = self.routing = self.scenario.routing
        self.changed: set[int] = set()
        full_table = self.table
        self.capacity = self.scenario.topology.capacity_bps
        usable = self.candidates.usable
        dead = set(demands_over(self.start, ~usable.up))
        self.screen = LoadScreen(self.scenario, self.table)
        self.source = MoveSource(self.scenario, self.screen, self.candidates, self.random, self._may_move)
        self.judging = MoveJudging(self.scenario, self.table, self.predictor, self.limits.stop)
        self.start_schedulers = self.schedulers
        self.weights = WeightSteps(self.scenario, self.limits.frozen_nodes) if self.limits.queue_weights else None
        self.repaired, unroutable = self._repair()
        stranded = unroutable & dead
        if stranded:
            self._drop_traffic(stranded)
        start_prediction = self.judging.predict([self.start])[0]
        before = cut_off(start_prediction, dead)
        prediction = self.judging.predict([self.routing])[0] if self.repaired else start_prediction
        start_score = Score(predicted_violation(before, full_table), self._max_utilisation(self.start), 0)
        self._take(self.routing, prediction)
        search_deadline = began + self.limits.time_s * (1.0 - PRUNE_TIME_SHARE)
        if self.limits.max_changes is not None:
            self._weigh(search_deadline)  # one change for the whole network, before all are spent on paths
        present = self.violation
        if self.limits.from_balanced and self.violation > 0 and not stranded:
            self._open_balanced()
        if self.violation > OPENED_WELL * present:
            self._weigh(search_deadline)  # where other paths help little at once, weights may be what is wrong
        self._mend(search_deadline)
        self._mend_again(began + self.limits.time_s * (1.0 - PRUNE_TIME_SHARE - LOWERING_TIME_SHARE))
        self._lower_maximum(search_deadline)
        self._take_back()
        if self.limits.max_changes is not None and self.violation > 0:
            self._mend(search_deadline)  # changes taken back may now be spent better
        self._take_back_weights()
        after = cut_off(self.prediction, stranded)
        score = Score(
            predicted_violation(after, full_table),
            self._max_utilisation(self.routing),
            len(self._discretionary()),
            weight_changes(self.start_schedulers, self.schedulers),
        )
        if not self.repaired and not self.limits.single_path and not self._improved(before, start_score, after, score):
            self._schedule(self.start_schedulers)
            self.routing, after, score = self.start, before, start_score
        return SearchResult(
            routing=self.routing,
            schedulers=self.schedulers,
            changed=self.routing.changed_demands(self.start),
            changed_nodes=changed_nodes(self.start_schedulers, self.schedulers),
            repaired=tuple(sorted(self.repaired)),
            unroutable=tuple(sorted(unroutable)),
            start_score=start_score,
            score=score,
            before=before,
            after=after,
            seconds=time.monotonic() - began,
            moves_screened=self.source.screened,
            moves_estimated=self.judging.estimated,
            routings_judged=self.judging.judged,
        )

    # what must move

    def _repair(self) -> tuple[set[int], set[int]]:
        """Move demands off closed links, the largest first; returns those moved and those without any way."""
        traffic = self.scenario.traffic
        must_move = list(displaced_demands(self.scenario, self.candidates.usable))
        if self.limits.single_path:
            must_move += [demand for demand, paths in enumerate(self.start.paths) if len(paths) > 1]
        moved: set[int] = set()
        unroutable: set[int] = set()
        for demand in sorted(set(must_move), key=lambda demand: (-traffic.rate_bps[demand], demand)):
            path = self.source.path_by_load(demand)
            if path is None:
                unroutable.add(demand)
            else:
                self._move(Move(demand, (PathShare(path),)))
                moved.add(demand)
        return moved, unroutable

    def _drop_traffic(self, stranded: set[int]) -> None:
        rate = self.scenario.traffic.rate_bps.copy()
        rate[list(stranded)] = 0.0
        self.scenario = replace(self.scenario, traffic=self.scenario.traffic.with_rates(float_array(rate)))
        self.table = replace(self.table, weight=np.where(rate > 0, self.table.weight, 0.0))
        self.screen = LoadScreen(self.scenario.with_routing(self.routing), self.table)
        self.source = MoveSource(self.scenario, self.screen, self.candidates, self.random, self._may_move)
        self.judging = MoveJudging(self.scenario, self.table, self.predictor, self.limits.stop)

    # SLA violations

    def _open_balanced(self) -> None:
        """Stand on a routing of least maximum utilisation where it breaks less than the present one."""
        if self.limits.frozen:
            return
        opening = balanced_opening(
            self.scenario.with_routing(self.routing),
            self.candidates.usable,
            OPENING_TIME_SHARE * self.limits.time_s,
            self.limits.seed,
            self.limits.single_path or not self.limits.new_splits,
            None if self.limits.max_changes is None else self.limits.max_changes - self._changes(),
        )
        self.source.offer(opening.columns)
        self._take_best(list(opening.routings))

    def _mend(self, deadline: float) -> None:
        """Best-improvement descent on the violation score; where single moves fail, a few steps deep."""
        while self._worth_mending() and self.judging.has_time(deadline):
            moves = self.source.off(self._links_that_hurt(), self.routing, deadline)
            if moves and (self._judge_single(moves, deadline) or self._judge_sequence(deadline)):
                continue
            if not self._mend_by_weights(deadline):
                return

    def _mend_again(self, deadline: float) -> None:
        """While promises stay broken: lay some demands anew, mend, keep what is better (iterated local search)."""
        if self.limits.max_changes is not None:
            return
        best = self.standing
        while self._worth_mending() and self.judging.has_time(deadline):
            self._unsettle()
            self._take(self.routing, self.judging.predict([self.routing])[0])
            self._mend(deadline)
            if self.violation < best.violation * (1 - SMALLEST_GAIN):
                best = self.standing
            elif self.violation > best.violation * ACCEPTED_LOSS:
                self._stand_on(best)
        self._stand_on(best)

    def _unsettle(self) -> None:
        """Lay a few demands that cross a link that hurts anew: where promises cost least, or anywhere else."""
        links = self._links_that_hurt()
        if not links:
            return
        self.source.prices = PromisePrices.of(self.screen, self.prediction)
        link = links[int(self.random.integers(len(links)))]
        crossing = np.nonzero(self.screen.share[:, link] * self.scenario.traffic.rate_bps > 0)[0]
        crossing = crossing[[self._may_move(int(demand)) for demand in crossing]]
        for demand in self.random.permutation(crossing)[: int(self.random.integers(2, UNSETTLED + 1))].tolist():
            cheapest = self.source.path_by_price(demand)
            others = [path for path in self.source.options(demand) if link not in path]
            if cheapest is not None and self.random.random() < PRICED:
                self._move(Move(demand, (PathShare(cheapest),)))
            elif others:
                self._move(Move(demand, (PathShare(others[int(self.random.integers(len(others)))]),)))

    def _links_that_hurt(self) -> list[int]:
        """Links that delay or drop most of what misses its goals."""
        time_s, loss = self.screen.waiting(self.screen.utilisation())
        service_s = 1.0 / self.capacity
        hurt = (self.severity @ self.screen.share) * (time_s / service_s * 1e-3 + loss * 10)
        order = np.argsort(-hurt, kind="stable")
        return [int(link) for link in order[:HOT_LINKS] if hurt[link] > 0]

    def _judge_single(self, moves: list[Move], deadline: float) -> bool:
        likely = self.source.by_load(moves)[: self.judging.affordable(ESTIMATED_PER_STEP, deadline)]
        estimates = self.judging.violations(self.routing, likely)
        if estimates is not None:
            order = np.argsort(np.round(estimates, 9), kind="stable").tolist()
            better = [likely[index] for index in order if estimates[index] < self.violation]
            alone = [likely[index] for index in order[:CONFIRMED_PER_STEP]]
            routings = [self.routing.with_changes({move.demand: move.paths}) for move in alone]
            return self._take_best([*self._together(better), *routings], deadline)
        moves = self.source.ranked(moves)
        for first in range(0, min(len(moves), 4 * JUDGED_PER_STEP), JUDGED_PER_STEP):
            chosen = moves[first : first + JUDGED_PER_STEP]
            routings = [self.routing.with_changes({move.demand: move.paths}) for move in chosen]
            if self._take_best(routings, deadline):
                return True
            if not self.judging.has_time(deadline):
                return False
        return False

    def _together(self, moves: list[Move]) -> list[Routing]:
        """Moves of different demands carried out one after the other: the routing after 2, 4, 8, ... of them."""
        limit = self.limits.max_changes
        room = len(moves) if limit is None else limit - self._changes()
        routing, moved, prefixes = self.routing, dict[int, tuple[PathShare, ...]](), list[Routing]()
        for move in moves:
            is_new = move.demand not in self.changed and move.demand not in self.repaired
            if move.demand in moved or (is_new and room <= 0):
                continue
            room -= is_new
            moved[move.demand] = move.paths
            if len(moved) in TOGETHER:
                prefixes.append(routing.with_changes(moved))
            if len(moved) >= max(TOGETHER):
                break
        return prefixes

    def _judge_sequence(self, deadline: float) -> bool:
        """Follow the rough figures a few moves deep; the predictor judges every prefix; go back if none is better."""
        kept = self.routing
        prefixes: list[Routing] = []
        for _ in range(GREEDY_DEPTH):
            moves = self.source.ranked(self.source.off(self._links_that_hurt(), self.routing, deadline))
            if not moves or not self.judging.has_time(deadline):
                break
            self._move(moves[0])
            prefixes.append(self.routing)
        self._restore(kept)
        return bool(prefixes) and self._take_best(prefixes, deadline)

    def _take_best(self, routings: list[Routing], deadline: float = np.inf) -> bool:
        """Stand on the best of these, those first in the list that there is time for, if it breaks less."""
        routings = routings[: self.judging.affordable_predictions(deadline)]
        if not routings:
            return False
        predictions = self.judging.predict(routings)
        scores = [
            (predicted_violation(prediction, self.table), self._max_utilisation(routing))
            for routing, prediction in zip(routings, predictions, strict=True)
        ]
        best = min(range(len(routings)), key=scores.__getitem__)
        if scores[best][0] >= self.violation * (1 - self._least_gain()):
            return False
        self._restore(routings[best])
        self._take(routings[best], predictions[best])
        return True

    # queue weights

    @property
    def schedulers(self) -> Schedulers:
        """Those that the search stands on, [nodes]."""
        return self.scenario.topology.schedulers

    def _weigh(self, deadline: float) -> None:
        """Steps of the weights, one after the other as long as each lessens the violation much."""
        while self._worth_mending() and self.judging.has_time(deadline):
            before = self.violation
            if not self._step_weights(deadline) or self.violation > before * (1 - WORTH_ANOTHER):
                return

    def _mend_by_weights(self, deadline: float) -> bool:
        """A step of the weights, or a smaller one if that does not lessen what is violated."""
        return any(
            self._worth_mending() and self.judging.has_time(deadline) and self._step_weights(deadline)
            for _ in range(WEIGHT_TRIES)
        )

    def _step_weights(self, deadline: float) -> bool:
        """The best step of the weights if it lessens what is violated; the next is larger then, else smaller."""
        if self.weights is None or not self.weights.nodes:
            return False
        needs = ClassNeeds.of(self.severity, self.prediction, self.table, self.scenario.traffic)
        link_source = self.scenario.topology.link_source
        hot_nodes = list(dict.fromkeys(int(link_source[link]) for link in self._links_that_hurt()))
        most = np.inf if self.limits.max_changes is None else self.limits.max_changes
        proposals = self.weights.proposals(self.schedulers, needs, hot_nodes)
        proposals = [proposal for proposal in proposals if self._changes(proposal) <= most]
        proposals = proposals[: self.judging.affordable_predictions(deadline)]
        better = self._take_best_schedulers(proposals, self.violation * (1 - self._least_gain()))
        self.weights.adapt(better)
        return better

    def _take_best_schedulers(self, proposals: Sequence[Schedulers], below: float) -> bool:
        """Stand on the schedulers that violate least, if that is less than ``below``."""
        predictions = self.judging.predict_schedulers(self.routing, proposals)
        violations = [predicted_violation(prediction, self.table) for prediction in predictions]
        best = min(range(len(proposals)), key=violations.__getitem__, default=None)
        if best is None or violations[best] >= below:
            return False
        self._schedule(proposals[best])
        self._take(self.routing, predictions[best])
        return True

    def _take_back_weights(self) -> None:
        """Undo changes of weights that keep no promise: all at once, or node by node."""
        allowed = self._allowed() + SMALLEST_GAIN
        while any(
            self.judging.has_time(self.deadline) and self._take_best_schedulers([schedulers], allowed)
            for schedulers in put_back(self.start_schedulers, self.schedulers)
        ):
            continue

    def _schedule(self, schedulers: Schedulers) -> None:
        if schedulers != self.schedulers:
            self.scenario = rescheduled(self.scenario, schedulers)
            self.judging.reschedule(self.scenario)

    def _changes(self, schedulers: Schedulers | None = None) -> int:
        """Changes that count, with these schedulers or those that the search stands on."""
        chosen = self.schedulers if schedulers is None else schedulers
        return len(self.changed - self.repaired) + weight_changes(self.start_schedulers, chosen)

    # maximum utilisation

    def _lower_maximum(self, deadline: float) -> None:
        """Greedy descent in short runs whose prefixes the predictor judges; then shaken and repeated for a while."""
        allowed = self._allowed()
        self._descend(deadline, allowed)
        free = self.limits.max_changes is None and not self.limits.frozen
        quiet = 0
        while free and quiet < 200 and self.judging.has_time(deadline):
            kept, kept_value = self.standing, self._soft(self.routing)
            self._shake()
            self._descend(deadline, None)
            accepted = self._soft(self.routing) < kept_value * (1 - SMALLEST_GAIN)
            if accepted and len(self.screen.judged):
                prediction = self.judging.predict([self.routing])[0]
                accepted = predicted_violation(prediction, self.table) <= allowed
                if accepted:
                    self._take(self.routing, prediction)
            if not accepted:
                self._restore(kept.routing)
            quiet = 0 if accepted else quiet + 1

    def _descend(self, deadline: float, allowed: float | None) -> None:
        """``allowed`` is the largest violation that a routing may be predicted to have; None predicts nothing."""
        check = allowed is not None and len(self.screen.judged) > 0
        while self.judging.has_time(deadline):
            kept = self.routing
            steps: list[tuple[Move, Routing]] = []
            while len(steps) < (GREEDY_DEPTH if check else SCREENED_PER_STEP) and self.judging.has_time(deadline):
                move = self._best_relief()
                if move is None:
                    break
                self._move(move)
                steps.append((move, self.routing))
            if check:
                self._restore(kept)
                steps = steps[: self.judging.affordable_predictions(deadline)]
            if not steps:
                return
            if not check:
                continue
            predictions = self.judging.predict([routing for _, routing in steps])
            harmful = [predicted_violation(prediction, self.table) > (allowed or 0.0) for prediction in predictions]
            harmless = harmful.index(True) if any(harmful) else len(steps)
            if harmless < len(steps):
                move = steps[harmless][0]
                self.source.tabu.update((move.demand, path.links) for path in move.paths)
            if harmless:
                self._restore(steps[harmless - 1][1])
                self._take(steps[harmless - 1][1], predictions[harmless - 1])

    def _least_gain(self) -> float:
        """By what part of the violation a step must lower it."""
        return UNCERTAIN_GAIN if any(self.table.uncertainty) else SMALLEST_GAIN

    def _worth_mending(self) -> bool:
        return self.violation > (INDIFFERENT if any(self.table.uncertainty) else 0.0)

    def _allowed(self) -> float:
        """How much violation routings may have that are better otherwise."""
        return self.violation + (INDIFFERENT if any(self.table.uncertainty) else SMALLEST_GAIN * self.violation)

    def _best_relief(self) -> Move | None:
        """The move off one of the fullest links that lowers the soft maximum most, None where none does."""
        utilisation = self.screen.utilisation()
        fullest = float(utilisation.max(initial=0.0))
        hot = np.nonzero((utilisation >= fullest * (1 - 1e-9)) & (utilisation > 0))[0]
        moves = self.source.off([int(link) for link in hot[:2]], self.routing, self.deadline)
        if not moves:
            return None
        after = self.screen.utilisation_after(moves)
        value = soft_maximum(after)
        best = int(np.argmin(value))
        return moves[best] if value[best] < soft_maximum(utilisation) * (1 - SMALLEST_GAIN) else None

    def _shake(self) -> None:
        """Lift a few demands off full links and lay them anew in random order."""
        active = np.nonzero(self.scenario.traffic.rate_bps > 0)[0]
        if not len(active):
            return
        utilisation = self.screen.utilisation()
        fullest = int(
            np.argmax(utilisation + 0.02 * utilisation.max(initial=0.0) * self.random.random(len(utilisation)))
        )
        crossing = np.nonzero(self.screen.share[:, fullest] * self.scenario.traffic.rate_bps > 0)[0]
        chosen = self.random.permutation(crossing)[:3]
        others = self.random.choice(active, size=min(len(active), 3), replace=False)
        for demand in self.random.permutation(np.unique(np.concatenate([chosen, others]).astype(int))):
            options = self.candidates.between(*self.source.ends(int(demand)))
            path = self.source.path_by_load(int(demand))
            if path is not None and (self.random.random() < 0.6 or not options):
                self._move(Move(int(demand), (PathShare(path),)))
            elif options:
                self._move(Move(int(demand), (PathShare(options[int(self.random.integers(len(options)))]),)))

    # few changes

    def _take_back(self) -> None:
        """Undo changes that neither keep a promise nor lower the maximum noticeably, as many at once as do no harm."""
        limit = max(self._max_utilisation(self.routing) * (1 + UNNEEDED_TOLERANCE), 0.0)
        allowed = self._allowed()
        judged = len(self.screen.judged) > 0
        pending = self._discretionary()
        while pending and self.judging.has_time(self.deadline):
            moves = [Move(demand, self.start.paths[demand]) for demand in pending]
            fullest = self.screen.utilisation_after(moves).max(axis=1, initial=0.0)
            order = [int(index) for index in np.argsort(fullest, kind="stable") if fullest[index] <= limit]
            if not order:
                return
            if not judged:
                self._move(moves[order[0]])
                pending = [demand for demand in pending if demand != moves[order[0]].demand]
                continue
            order = order[: self.judging.affordable(ESTIMATED_PER_STEP, self.deadline)]
            estimates = self.judging.violations(self.routing, [moves[index] for index in order])
            if estimates is not None:
                likely = allowed + max(SMALLEST_GAIN, LIKELY_HARMLESS * allowed)
                hopeless = {
                    moves[index].demand for index, found in zip(order, estimates, strict=True) if found > likely
                }
                pending = [demand for demand in pending if demand not in hopeless]
                by_estimate = np.argsort(np.round(estimates, 6), kind="stable").tolist()
                order = [order[index] for index in by_estimate if estimates[index] <= likely]
                if not order:
                    continue
            tried = self._back_together([moves[index] for index in order], limit, allowed)
            pending = [demand for demand in pending if demand not in tried]

    def _back_together(self, moves: list[Move], limit: float, allowed: float) -> set[int]:
        """Carry out the longest run of these moves that does no harm; the demands that need not be looked at again."""
        fullest = self.screen.utilisation_after_all(moves).max(axis=1, initial=0.0)
        most = int(np.argmax(fullest > limit)) if (fullest > limit).any() else len(moves)
        sizes = [size for size in (2**power for power in range(20)) if size < most] + [max(most, 1)]
        sizes = sizes[: max(self.judging.affordable_predictions(self.deadline), 1)]
        runs = [
            (moves[:size], self.routing.with_changes({move.demand: move.paths for move in moves[:size]}))
            for size in sizes
        ]
        predictions = self.judging.predict([routing for _, routing in runs])
        for (taken, routing), prediction in zip(reversed(runs), reversed(predictions), strict=True):
            if predicted_violation(prediction, self.table) <= allowed + SMALLEST_GAIN:
                self._restore(routing)
                self._take(routing, prediction)
                return {move.demand for move in taken}
        return {move.demand for move in moves[:1]}

    def _improved(self, before: Prediction, start_score: Score, after: Prediction, score: Score) -> bool:
        """Whether the answer is better than the start, and breaks no more promises if predictions are believed."""
        believed = replace(self.table, uncertainty=CERTAIN)
        return score.better_than(start_score) and predicted_violation(after, believed) <= predicted_violation(
            before, believed
        ) * (1 + SMALLEST_GAIN)

    # what may move

    def _may_move(self, demand: int) -> bool:
        if demand in self.repaired:
            return True
        if demand in self.limits.frozen:
            return False
        limit = self.limits.max_changes
        if limit is None:
            return True
        return demand in self.changed or self._changes() < limit

    def _discretionary(self) -> list[int]:
        return sorted(self.changed - self.repaired)

    # state of the search

    def _apply(self, move: Move) -> None:
        self.screen.apply(move)
        if move.paths == self.start.paths[move.demand]:
            self.changed.discard(move.demand)
        else:
            self.changed.add(move.demand)

    def _move(self, move: Move) -> None:
        self._apply(move)
        self.routing = self.routing.with_changes({move.demand: move.paths})

    def _restore(self, routing: Routing) -> None:
        pairs = zip(self.routing.paths, routing.paths, strict=True)
        moved = [demand for demand, (mine, theirs) in enumerate(pairs) if mine is not theirs]
        if len(moved) <= FEW_MOVED:
            for demand in moved:
                self._apply(Move(demand, routing.paths[demand]))
        else:
            self.screen.reset(routing)
            self.changed -= set(moved)
            self.changed |= {demand for demand in moved if routing.paths[demand] != self.start.paths[demand]}
        self.routing = routing

    def _take(self, routing: Routing, prediction: Prediction) -> None:
        """Note what the predictor says of the routing that the search now stands on."""
        self.routing, self.prediction = routing, prediction
        self.severity = predicted_severity(experienced_values(prediction, self.table), self.table)
        self.violation = float(self.severity.sum())
        self.screen.calibrate(prediction)

    @property
    def standing(self) -> _Standing:
        """The routing that was predicted last, and what was predicted."""
        return _Standing(self.routing, self.schedulers, self.prediction, self.violation)

    def _stand_on(self, standing: _Standing) -> None:
        self._restore(standing.routing)
        self._schedule(standing.schedulers)
        self._take(standing.routing, standing.prediction)

    def _max_utilisation(self, routing: Routing) -> float:
        return routing.max_utilisation(self.scenario.traffic, self.scenario.topology)

    def _soft(self, routing: Routing) -> float:
        load = routing.link_load_bps(self.scenario.traffic, self.scenario.topology.link_count)
        return float(soft_maximum(load / self.capacity))
