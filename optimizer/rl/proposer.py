"""The policy as a proposer inside the search: it proposes, the predictor judges, the local search finishes.

The local search begins, from the routing that is exact about utilisation where it may.  While goals are missed,
episodes of the policy and runs of the local search take turns: the policy moves several demands in a row, through worse
routings too, and the search descends from the best that came of it, or where nothing better came of it, from the best
place some moves away.  Where changes are limited every other turn begins at the start again, since the changes spent
are what the best routing is stuck with.  Once everything is kept the local search has the rest of the time, and what
need not have changed is put back.  Same outward behaviour as ``local_search.search``: never worse than the start in the
predictor's eyes, and only its verdict counts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from gnn_model.predictor import Prediction, Predictor
from optimizer.candidates import CandidatePaths
from optimizer.goals import GoalTable, Score, predicted_violation
from optimizer.local_search import Search, SearchLimits, SearchResult, improved, search
from optimizer.rl.environment import Policy, run_episodes
from optimizer.rl.features import MOVE_FEATURES, PolicyInput
from optimizer.rl.model_file import load_policy
from optimizer.rl.policy import Scores
from optimizer.rl.rerouting import Task
from optimizer.taking_back import UNNEEDED_TOLERANCE
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import float_array

STEPS = 16
PUT_BACK_PART = 0.1
LARGEST_TORCH_SEED = 2**31


@dataclass(frozen=True)
class TurnSettings:
    """How policy and local search share the time.

    A first greedy episode, later up to ``episodes`` side by side, as many as ``STEPS`` moves leave time for; a turn of
    the policy ends after ``policy_part`` of the time, one of the search after ``search_part``; where any number of
    demands may change the first one, which begins at the balanced routing, only after ``opening_part``.  ``finish``
    False leaves the local search out: what the policy reaches alone.
    """

    episodes: int = 6
    policy_part: float = 0.3
    search_part: float = 0.15
    opening_part: float = 0.5
    finish: bool = True


@dataclass(frozen=True)
class UniformPolicy:
    """Every move is as good as any other: what a proposer that learned nothing would do."""

    def __call__(self, inputs: Sequence[PolicyInput]) -> Scores:
        """Equal scores."""
        return _fixed_scores(inputs, 0.0)


@dataclass(frozen=True)
class RankPolicy:
    """Prefers moves by their rank in the rough queue model alone: the policy before it has learned anything."""

    weight: float = 2.0

    def __call__(self, inputs: Sequence[PolicyInput]) -> Scores:
        """Scores that fall with the logarithm of the rank."""
        return _fixed_scores(inputs, self.weight)


def shipped_policy_search() -> Search:
    """``policy_search`` with the policy that comes with Routewright, loaded.  Raises PolicyFileError."""
    policy, _ = load_policy()

    def run(
        scenario: Scenario, table: GoalTable, predictor: Predictor, candidates: CandidatePaths, limits: SearchLimits
    ) -> SearchResult:
        return policy_search(scenario, table, predictor, candidates, limits, policy)

    return run


def policy_search(
    scenario: Scenario,
    table: GoalTable,
    predictor: Predictor,
    candidates: CandidatePaths,
    limits: SearchLimits,
    policy: Policy,
    turns: TurnSettings | None = None,
) -> SearchResult:
    """Look for a better routing of ``scenario`` by the goals of ``table`` within ``limits``, as ``search`` does."""
    return _PolicySearch(scenario, table, predictor, candidates, limits, policy, turns or TurnSettings()).run()


@dataclass(eq=False)
class _PolicySearch:
    scenario: Scenario
    table: GoalTable
    predictor: Predictor
    candidates: CandidatePaths
    limits: SearchLimits
    policy: Policy
    turns: TurnSettings
    screened: int = 0
    judged: int = 0
    turn: int = 0
    seconds_per_step: float = 0.0
    task: Task = field(init=False)
    routing: Routing = field(init=False)
    score: Score = field(init=False)

    def run(self) -> SearchResult:
        began = time.monotonic()
        self.deadline = began + self.limits.time_s
        opening = self._search(self.scenario.routing, self.limits.max_changes, 0.0, False)
        self.task = self._task(opening)
        self.routing, self.score = opening.routing, replace_changes(opening.score, 0)
        self._take_turns()
        if self.turns.finish:
            self._descend(self.routing, self.deadline - time.monotonic() - PUT_BACK_PART * self.limits.time_s)
            self._put_back(opening)
        return self._result(opening, began)

    @property
    def _has_time(self) -> bool:
        return time.monotonic() < self.deadline and not self.limits.stopped

    def _take_turns(self) -> None:
        generator = torch.Generator().manual_seed(self.limits.seed % LARGEST_TORCH_SEED)
        turn_s = self.turns.search_part * self.limits.time_s
        if self.turns.finish:
            balanced = self.limits.from_balanced
            part = self.turns.opening_part if balanced and self.limits.max_changes is None else self.turns.search_part
            self._descend(self.routing, part * self.limits.time_s, balanced)
        while self.score.violation > 0 and self._has_time:
            before = self.score
            far = self._propose(generator)
            gained = self.score.better_than(before)
            if self.turns.finish:
                self._descend(self.routing if gained or far is None else far, turn_s)
            elif not gained and self.turn > self.turns.episodes:
                return
            self.turn += 1

    def _propose(self, generator: torch.Generator) -> Routing | None:
        """Let the policy act from the best routing so far, or where changes are limited from the start every other
        time, and keep the best that comes of it; returns the best some way off.
        """
        anew = self.limits.max_changes is not None and self.turn % 2 == 0
        begin = self.task.scenario.routing if anew else self.routing
        part_s = self.turns.policy_part * self.limits.time_s
        deadline = min(self.deadline, time.monotonic() + part_s)
        count, greedy = 1, 1
        if self.turn:
            fitting = part_s / max(STEPS * self.seconds_per_step, 1e-9)
            count, greedy = int(np.clip(fitting, 1, self.turns.episodes)), 0
        run = run_episodes(
            self.task,
            self.predictor,
            self.policy,
            begin,
            count,
            STEPS,
            generator,
            greedy,
            deadline,
            self.limits.stop,
        )
        self.seconds_per_step = run.seconds_per_step
        self.judged += len(run.inputs) + 1
        self.screened += sum(len(item.moves) for item in run.inputs)
        for score, routing in zip(run.best, run.best_routing, strict=True):
            if score.better_than(self.score):
                self.routing, self.score = routing, score
        return run.far[int(np.argmin(run.far_cost))]

    def _descend(self, start: Routing, time_s: float, balanced: bool = False) -> None:
        """Local search from a routing; what is better than the best so far is kept."""
        time_s = min(time_s, self.deadline - time.monotonic())
        if time_s <= 0 or not self._has_time:
            return
        left = self.limits.max_changes
        if left is not None:
            left = max(left - len(start.changed_demands(self.task.scenario.routing)), 0)
        result = self._search(start, left, time_s, balanced)
        changed = len(result.routing.changed_demands(self.task.scenario.routing))
        score = replace_changes(result.score, changed)
        if score.better_than(self.score):
            self.routing, self.score = result.routing, score

    def _search(self, routing: Routing, max_changes: int | None, time_s: float, balanced: bool) -> SearchResult:
        seed = self.limits.seed + self.turn
        limits = replace(self.limits, time_s=time_s, max_changes=max_changes, seed=seed, from_balanced=balanced)
        result = search(self.scenario.with_routing(routing), self.table, self.predictor, self.candidates, limits)
        self.screened += result.moves_screened
        self.judged += result.routings_judged
        return result

    def _task(self, opening: SearchResult) -> Task:
        """What the policy may change: repairs are made, and what has no way at all is left out."""
        traffic, table = self.scenario.traffic, self.table
        if opening.unroutable:
            rate, weight = traffic.rate_bps.copy(), table.weight.copy()
            rate[list(opening.unroutable)] = 0.0
            weight[list(opening.unroutable)] = 0.0
            traffic, table = traffic.with_rates(float_array(rate)), replace(table, weight=weight)
        movable = traffic.rate_bps > 0
        movable[[demand for demand in self.limits.frozen if demand not in opening.repaired]] = False
        scenario = replace(self.scenario, traffic=traffic, routing=opening.routing)
        return Task(scenario, table, self.candidates, movable, self.limits.max_changes)

    def _put_back(self, opening: SearchResult) -> None:
        """Undo changes one by one that neither keep a promise nor lower the maximum noticeably."""
        start, scenario = self.task.scenario.routing, self.task.scenario
        limit = self.score.max_utilisation * (1 + UNNEEDED_TOLERANCE)
        pending = [demand for demand in self.routing.changed_demands(start) if demand not in opening.repaired]
        while pending and self._has_time:
            chosen, pending = pending[:8], pending[8:]
            routings = [self.routing.with_changes({demand: start.paths[demand]}) for demand in chosen]
            for demand, routing, prediction in zip(chosen, routings, self._predict(routings), strict=True):
                # what was harmless alone may not be so together: only the first of a batch is sure
                harmless = (
                    routing.max_utilisation(scenario.traffic, scenario.topology) <= limit
                    and predicted_violation(prediction, self.task.table) <= self.score.violation
                )
                if harmless:
                    self.routing = routing
                    pending = [other for other in chosen if other > demand] + pending
                    break

    def _result(self, opening: SearchResult, began: float) -> SearchResult:
        start = self.scenario.routing
        after = self._predict([self.routing])[0] if not opening.unroutable else self._after_with_unroutable()
        score = Score(
            predicted_violation(after, self.table),
            self.routing.max_utilisation(self.task.scenario.traffic, self.scenario.topology),
            len([demand for demand in self.routing.changed_demands(start) if demand not in opening.repaired]),
        )
        routing = self.routing
        may_stay = not opening.repaired and not self.limits.single_path
        if may_stay and not improved(self.table, opening.before, opening.start_score, after, score):
            routing, after, score = start, opening.before, opening.start_score
        return replace(
            opening,
            routing=routing,
            changed=routing.changed_demands(start),
            score=score,
            after=after,
            seconds=time.monotonic() - began,
            moves_screened=self.screened,
            routings_judged=self.judged,
        )

    def _after_with_unroutable(self) -> Prediction:
        """The prediction as the search tells it, demands without any way cut off."""
        return self._search(self.routing, self.limits.max_changes, 0.0, False).after

    def _predict(self, routings: Sequence[Routing]) -> list[Prediction]:
        self.judged += len(routings)
        return self.predictor.predict_batch(self.task.scenario, routings)


def replace_changes(score: Score, changed: int) -> Score:
    """The same score with another number of changed demands."""
    return Score(score.violation, score.max_utilisation, changed)


def _fixed_scores(inputs: Sequence[PolicyInput], weight: float) -> Scores:
    rank = np.concatenate([item.moves[:, MOVE_FEATURES.index("log_rank")] for item in inputs])
    owner = np.repeat(np.arange(len(inputs)), [len(item.moves) for item in inputs])
    return Scores(torch.from_numpy(-weight * rank), torch.from_numpy(owner), torch.zeros(len(inputs)))
