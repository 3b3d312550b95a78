"""Anytime local search over single-path moves: keep the promises, then empty the fullest link, then change little.

Moves are screened by link loads and a rough queue model (``screening``); the better ones are estimated by the
predictor's incremental judge where it has one (``move_judging``); the few best are predicted in full, and only that
verdict counts.  Where no path move helps and queue weights may change, a step of the weights is tried
(``weight_steps``).  The result is never worse than the start in the predictor's eyes.  Same seed and enough time: same
result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnn_model.configurations import rescheduled
from gnn_model.predictor import Prediction, Predictor
from optimizer.balanced_opening import balanced_openings
from optimizer.candidates import CandidatePaths
from optimizer.displaced import cut_off, demands_over, displaced_demands
from optimizer.goals import GoalTable, Score, excess_ratios, experienced_values, predicted_violation
from optimizer.move_generation import SCREENED_PER_STEP, MoveSource
from optimizer.move_judging import MoveJudging
from optimizer.screening import LoadScreen, Move, soft_maximum
from optimizer.weight_steps import ClassNeeds, Schedulers, WeightSteps, changed_nodes, weight_changes
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array

JUDGED_PER_STEP = 6
ESTIMATED_PER_STEP = 256  # moves that an incremental judge looks at, of which the best few are predicted in full
CONFIRMED_PER_STEP = 3
LIKELY_HARMLESS = 0.01  # a change is tried to be taken back where the estimated violation grows by no more than this
HOT_LINKS = 6
WEIGHTS_EVERY = 5  # steps of the paths between two of the weights
GREEDY_DEPTH = 8
UNNEEDED_TOLERANCE = 0.01  # a change that lowers the maximum utilisation by less than this in all is taken back
PRUNE_TIME_SHARE = 0.25
OPENING_TIME_SHARE = 0.2
SMALLEST_GAIN = 1e-6


@dataclass(frozen=True)
class SearchLimits:
    """``max_changes`` None means any number; ``frozen`` demands keep their paths unless those are broken.

    ``queue_weights``: weights of weighted nodes may change too, those of ``frozen_nodes`` not; they count as
    ``weight_steps.weight_changes`` says.

    ``from_balanced``: where promises are broken and any demand may move, begin at the routing that is exact about
    utilisation if that breaks less (``balanced_opening``; load its kernels before a clock starts).
    """

    time_s: float = 1.0
    max_changes: int | None = None
    frozen: frozenset[int] = frozenset()
    single_path: bool = False
    seed: int = 1
    from_balanced: bool = False
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
        self.judging = MoveJudging(self.scenario, self.table, self.predictor)
        self.start_schedulers = self.scenario.topology.schedulers
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
        if self.limits.from_balanced and self.violation > 0 and not stranded:
            self._open_balanced()
        self._mend(search_deadline)
        self._lower_maximum(search_deadline)
        self._take_back()
        if self.limits.max_changes is not None and self.violation > 0:
            self._mend(search_deadline)  # changes taken back may now be spent better
        self._take_back_weights()
        after = cut_off(self.judging.predict([self.routing])[0], stranded)
        score = Score(
            predicted_violation(after, full_table),
            self._max_utilisation(self.routing),
            len(self._discretionary()),
            self._weight_changes(),
        )
        if not self.repaired and not self.limits.single_path and not score.better_than(start_score):
            self._schedule(self.start_schedulers)
            self.routing, after, score = self.start, before, start_score
        return SearchResult(
            routing=self.routing,
            schedulers=self._schedulers,
            changed=self.routing.changed_demands(self.start),
            changed_nodes=changed_nodes(self.start_schedulers, self._schedulers),
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
        self.table = GoalTable(self.table.limit, self.table.percentile, np.where(rate > 0, self.table.weight, 0.0))
        self.screen = LoadScreen(self.scenario.with_routing(self.routing), self.table)
        self.source = MoveSource(self.scenario, self.screen, self.candidates, self.random, self._may_move)
        self.judging = MoveJudging(self.scenario, self.table, self.predictor)

    # SLA violations

    def _open_balanced(self) -> None:
        """Stand on a routing of least maximum utilisation where it breaks less than the present one."""
        if self.limits.max_changes is not None or self.limits.frozen:
            return
        time_s = OPENING_TIME_SHARE * self.limits.time_s
        openings = balanced_openings(
            self.scenario.with_routing(self.routing),
            self.candidates.usable,
            time_s,
            self.limits.seed,
            self.limits.single_path,
        )
        if openings:
            self._take_best(openings)

    def _mend(self, deadline: float) -> None:
        """Best-improvement descent on the violation score; where single moves fail, a few steps deep."""
        steps = 0
        while self.violation > 0 and time.monotonic() < deadline:
            if steps % WEIGHTS_EVERY == 0:
                self._step_weights()
            steps += 1
            moves = self.source.off(self._links_that_hurt(), self.routing)
            if moves and (self._judge_single(moves, deadline) or self._judge_sequence(deadline)):
                continue
            if not self._mend_by_weights(deadline):
                return

    def _links_that_hurt(self) -> list[int]:
        """Links that delay or drop most of what misses its goals."""
        excess = self.excess[self.screen.judged] * self.table.weight[self.screen.judged]
        time_s, loss = self.screen.waiting(self.screen.utilisation())
        service_s = 1.0 / self.capacity
        hurt = (excess @ self.screen.share[self.screen.judged]) * (time_s / service_s * 1e-3 + loss * 10)
        order = np.argsort(-hurt, kind="stable")
        return [int(link) for link in order[:HOT_LINKS] if hurt[link] > 0]

    def _judge_single(self, moves: list[Move], deadline: float) -> bool:
        likely = self.source.by_load(moves)[:ESTIMATED_PER_STEP]
        estimates = self.judging.violations(self.routing, likely)
        if estimates is not None:
            order = np.argsort(np.round(estimates, 9), kind="stable").tolist()
            better = [likely[index] for index in order if estimates[index] < self.violation]
            alone = [likely[index] for index in order[:CONFIRMED_PER_STEP]]
            routings = [self.routing.with_changes({move.demand: move.paths}) for move in alone]
            return self._take_best([*routings, *self._together(better)])
        moves = self.source.ranked(moves)
        for first in range(0, min(len(moves), 4 * JUDGED_PER_STEP), JUDGED_PER_STEP):
            chosen = moves[first : first + JUDGED_PER_STEP]
            routings = [self.routing.with_changes({move.demand: move.paths}) for move in chosen]
            if self._take_best(routings):
                return True
            if time.monotonic() > deadline:
                return False
        return False

    def _together(self, moves: list[Move]) -> list[Routing]:
        """Moves of different demands carried out one after the other: the routing after each but the first."""
        limit = self.limits.max_changes
        room = len(moves) if limit is None else limit - len(self.changed - self.repaired) - self._weight_changes()
        routing, moved, prefixes = self.routing, set[int](), list[Routing]()
        for move in moves:
            is_new = move.demand not in self.changed and move.demand not in self.repaired
            if move.demand in moved or (is_new and room <= 0):
                continue
            room -= is_new
            moved.add(move.demand)
            routing = routing.with_changes({move.demand: move.paths})
            prefixes.append(routing)
            if len(prefixes) > GREEDY_DEPTH:
                break
        return prefixes[1:]

    def _judge_sequence(self, deadline: float) -> bool:
        """Follow the rough figures a few moves deep; the predictor judges every prefix; go back if none is better."""
        kept = self.routing
        prefixes: list[Routing] = []
        for _ in range(GREEDY_DEPTH):
            moves = self.source.ranked(self.source.off(self._links_that_hurt(), self.routing))
            if not moves or time.monotonic() > deadline:
                break
            self._move(moves[0])
            prefixes.append(self.routing)
        self._restore(kept)
        return bool(prefixes) and self._take_best(prefixes)

    def _take_best(self, routings: list[Routing]) -> bool:
        predictions = self.judging.predict(routings)
        scores = [
            (predicted_violation(prediction, self.table), self._max_utilisation(routing))
            for routing, prediction in zip(routings, predictions, strict=True)
        ]
        best = min(range(len(routings)), key=scores.__getitem__)
        if scores[best][0] >= self.violation * (1 - SMALLEST_GAIN):
            return False
        self._restore(routings[best])
        self._take(routings[best], predictions[best])
        return True

    # queue weights

    @property
    def _schedulers(self) -> Schedulers:
        return self.scenario.topology.schedulers

    def _mend_by_weights(self, deadline: float) -> bool:
        """A step of the weights, smaller ones until one lessens what is violated."""
        while self.violation > 0 and time.monotonic() < deadline:
            if self._step_weights():
                return True
            if self.weights is None or self.weights.begins_anew:
                return False
        return False

    def _step_weights(self) -> bool:
        """The best step of the weights if it lessens what is violated; the next is larger then, else smaller."""
        steps = self.weights
        if steps is None or not steps.nodes:
            return False
        needs = ClassNeeds.of(self.prediction, self.table, self.scenario.traffic)
        link_source = self.scenario.topology.link_source
        hot_nodes = list(dict.fromkeys(int(link_source[link]) for link in self._links_that_hurt()))
        proposals = [
            proposal for proposal in steps.proposals(self._schedulers, needs, hot_nodes) if self._may_schedule(proposal)
        ]
        better = bool(proposals) and self._take_best_schedulers(proposals, self.violation * (1 - SMALLEST_GAIN))
        steps.adapt(better)
        return better

    def _take_best_schedulers(self, proposals: Sequence[Schedulers], below: float) -> bool:
        """Take the schedulers that violate least, if that is less than ``below``."""
        predictions = self.judging.predict_schedulers(self.routing, proposals)
        violations = [predicted_violation(prediction, self.table) for prediction in predictions]
        best = min(range(len(proposals)), key=violations.__getitem__)
        if violations[best] >= below:
            return False
        self._schedule(proposals[best])
        self._take(self.routing, predictions[best])
        return True

    def _take_back_weights(self) -> None:
        """Undo changes of weights that keep no promise: all at once, then node by node."""
        if not self._weight_changes():
            return
        harmless = self.violation + SMALLEST_GAIN
        if self._take_best_schedulers([self.start_schedulers], harmless):
            return
        for node in changed_nodes(self.start_schedulers, self._schedulers):
            if time.monotonic() > self.deadline:
                return
            put_back = list(self._schedulers)
            put_back[node] = self.start_schedulers[node]
            if weight_changes(self.start_schedulers, tuple(put_back)) < self._weight_changes():
                self._take_best_schedulers([tuple(put_back)], harmless)

    def _schedule(self, schedulers: Schedulers) -> None:
        if schedulers != self._schedulers:
            self.scenario = rescheduled(self.scenario, schedulers)
            self.judging.reschedule(self.scenario)

    def _weight_changes(self) -> int:
        return weight_changes(self.start_schedulers, self._schedulers)

    def _may_schedule(self, schedulers: Schedulers) -> bool:
        limit = self.limits.max_changes
        changes = weight_changes(self.start_schedulers, schedulers)
        return limit is None or changes + len(self.changed - self.repaired) <= limit

    # maximum utilisation

    def _lower_maximum(self, deadline: float) -> None:
        """Greedy descent in short runs whose prefixes the predictor judges; then shaken and repeated for a while."""
        self._descend(deadline)
        free = self.limits.max_changes is None and not self.limits.frozen
        quiet = 0
        while free and quiet < 200 and time.monotonic() < deadline:
            kept, kept_value = self.routing, self._soft(self.routing)
            kept_violation = self.violation
            self._shake()
            self._descend(deadline, check=False)
            accepted = self._soft(self.routing) < kept_value * (1 - SMALLEST_GAIN)
            if accepted and len(self.screen.judged):
                prediction = self.judging.predict([self.routing])[0]
                accepted = predicted_violation(prediction, self.table) <= kept_violation
                if accepted:
                    self._take(self.routing, prediction)
            if not accepted:
                self._restore(kept)
            quiet = 0 if accepted else quiet + 1

    def _descend(self, deadline: float, check: bool = True) -> None:
        check = check and len(self.screen.judged) > 0
        while time.monotonic() < deadline:
            kept = self.routing
            steps: list[tuple[Move, Routing]] = []
            while len(steps) < (GREEDY_DEPTH if check else SCREENED_PER_STEP) and time.monotonic() < deadline:
                move = self._best_relief()
                if move is None:
                    break
                self._move(move)
                steps.append((move, self.routing))
            if not steps:
                return
            if not check:
                continue
            predictions = self.judging.predict([routing for _, routing in steps])
            harmless = [predicted_violation(prediction, self.table) <= self.violation for prediction in predictions]
            if all(harmless):
                self._take(steps[-1][1], predictions[-1])
                continue
            first_bad = harmless.index(False)
            move = steps[first_bad][0]
            self.source.tabu.update((move.demand, path.links) for path in move.paths)
            self._restore(steps[first_bad - 1][1] if first_bad else kept)
            if first_bad:
                self._take(steps[first_bad - 1][1], predictions[first_bad - 1])

    def _best_relief(self) -> Move | None:
        """The move off one of the fullest links that lowers the soft maximum most, None where none does."""
        utilisation = self.screen.utilisation()
        fullest = float(utilisation.max(initial=0.0))
        hot = np.nonzero((utilisation >= fullest * (1 - 1e-9)) & (utilisation > 0))[0]
        moves = self.source.off([int(link) for link in hot[:2]], self.routing)
        if not moves:
            return None
        after = self.screen.utilisation_after(moves)
        value = soft_maximum(after)
        best = int(np.argmin(value))
        return moves[best] if value[best] < soft_maximum(utilisation) * (1 - SMALLEST_GAIN) else None

    def _shake(self) -> None:
        """Lift a few demands off full links and lay them anew in random order."""
        utilisation = self.screen.utilisation()
        fullest = int(
            np.argmax(utilisation + 0.02 * utilisation.max(initial=0.0) * self.random.random(len(utilisation)))
        )
        crossing = np.nonzero(self.screen.share[:, fullest] * self.scenario.traffic.rate_bps > 0)[0]
        active = np.nonzero(self.scenario.traffic.rate_bps > 0)[0]
        if not len(active):
            return
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
        """Undo changes that neither keep a promise nor lower the maximum noticeably."""
        limit = max(self._max_utilisation(self.routing) * (1 + UNNEEDED_TOLERANCE), 0.0)
        judged = len(self.screen.judged) > 0
        pending = self._discretionary()
        while pending and time.monotonic() < self.deadline:
            moves = [Move(demand, self.start.paths[demand]) for demand in pending]
            fullest = self.screen.utilisation_after(moves).max(axis=1, initial=0.0)
            order = [int(index) for index in np.argsort(fullest, kind="stable") if fullest[index] <= limit]
            if not order:
                return
            if not judged:
                self._move(moves[order[0]])
                pending = [demand for demand in pending if demand != moves[order[0]].demand]
                continue
            estimates = self.judging.violations(self.routing, [moves[index] for index in order])
            if estimates is not None:
                likely = self.violation + max(SMALLEST_GAIN, LIKELY_HARMLESS * self.violation)
                order = [index for index, estimate in zip(order, estimates, strict=True) if estimate <= likely]
                pending = [moves[index].demand for index in order]
                if not order:
                    return
            chosen = order[: 2 * JUDGED_PER_STEP if estimates is None else CONFIRMED_PER_STEP]
            routings = [self.routing.with_changes({moves[index].demand: moves[index].paths}) for index in chosen]
            predictions = self.judging.predict(routings)
            harmless = [
                position
                for position, prediction in enumerate(predictions)
                if predicted_violation(prediction, self.table) <= self.violation + SMALLEST_GAIN
            ]
            if harmless:
                taken = harmless[0]
                self._restore(routings[taken])
                self._take(routings[taken], predictions[taken])
                needed = {moves[chosen[position]].demand for position in range(taken)}
                pending = [d for d in pending if d not in needed and d != moves[chosen[taken]].demand]
            else:
                tried = {moves[index].demand for index in chosen}
                pending = [demand for demand in pending if demand not in tried]

    # what may move

    def _may_move(self, demand: int) -> bool:
        if demand in self.repaired:
            return True
        if demand in self.limits.frozen:
            return False
        limit = self.limits.max_changes
        if limit is None:
            return True
        return demand in self.changed or len(self.changed - self.repaired) + self._weight_changes() < limit

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
        for demand, (mine, theirs) in enumerate(zip(self.routing.paths, routing.paths, strict=True)):
            if mine is not theirs:
                self._apply(Move(demand, theirs))
        self.routing = routing

    def _take(self, routing: Routing, prediction: Prediction) -> None:
        """Note what the predictor says of the routing that the search now stands on."""
        self.routing = routing
        self.prediction = prediction
        self.violation = predicted_violation(prediction, self.table)
        self.screen.calibrate(prediction)
        self.excess = _total_excess(prediction, self.table)

    def _max_utilisation(self, routing: Routing) -> float:
        return routing.max_utilisation(self.scenario.traffic, self.scenario.topology)

    def _soft(self, routing: Routing) -> float:
        load = routing.link_load_bps(self.scenario.traffic, self.scenario.topology.link_count)
        return float(soft_maximum(load / self.capacity))


def _total_excess(prediction: Prediction, table: GoalTable) -> FloatArray:
    excess = excess_ratios(experienced_values(prediction, table), table)
    result: FloatArray = np.where(excess > 0, 1 + np.log1p(excess), 0.0).sum(axis=0)
    return result
