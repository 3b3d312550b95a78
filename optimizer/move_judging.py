"""How moves would score by the predictor: exactly, one prediction each, or many at once by an incremental judge.

An incremental judge gives estimates.  They order moves; whatever the search takes has been predicted in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gnn_model.configurations import Configuration, predict_configurations
from gnn_model.predictor import IncrementalPredictor, MoveEffects, Prediction, Predictor, RoutingJudge
from optimizer.goals import GoalTable, delay_at_percentile, excess_ratios, experienced_values, severity
from optimizer.screening import Move
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler
from topology_sync.values import FloatArray


@dataclass(eq=False)
class MoveJudging:
    """Judges moves of one scenario; holds a routing for as long as moves start from it."""

    scenario: Scenario
    table: GoalTable
    predictor: Predictor
    judged: int = 0
    estimated: int = 0
    _judge: RoutingJudge | None = field(default=None, init=False)
    _may_judge: bool = field(default=True, init=False)
    _held: FloatArray = field(init=False)

    def predict(self, routings: Sequence[Routing]) -> list[Prediction]:
        """Full predictions."""
        self.judged += len(routings)
        return self.predictor.predict_batch(self.scenario, routings)

    def predict_schedulers(self, routing: Routing, choices: Sequence[tuple[Scheduler, ...]]) -> list[Prediction]:
        """Full predictions of one routing under other schedulers [nodes]."""
        self.judged += len(choices)
        configurations = [Configuration(routing, schedulers) for schedulers in choices]
        return predict_configurations(self.predictor, self.scenario, configurations)

    def reschedule(self, scenario: Scenario) -> None:
        """Go on with the same scenario under other schedulers."""
        self.scenario = scenario
        self._judge = None

    def violations(self, routing: Routing, moves: Sequence[Move]) -> FloatArray | None:
        """About the violation score after each move alone, [moves]; None where the predictor only predicts in full."""
        judge = self._holding(routing)
        if judge is None:
            return None
        self.estimated += len(moves)
        effects = judge.judge([{move.demand: move.paths} for move in moves])
        change = self._contribution(effects) - self._held[effects.demand]
        of_move = np.repeat(np.arange(len(moves)), np.diff(effects.pointer))
        result: FloatArray = self._held.sum() + np.bincount(of_move, weights=change, minlength=len(moves))
        return result

    def _holding(self, routing: Routing) -> RoutingJudge | None:
        if not self._may_judge or not isinstance(self.predictor, IncrementalPredictor):
            return None
        if self._judge is None or self._judge.routing is not routing:
            self._judge = self.predictor.judge_of(self.scenario.with_routing(routing))
            if self._judge is None:
                self._may_judge = False
                return None
            self.judged += 1
            values = experienced_values(self._judge.prediction, self.table)
            self._held = severity(excess_ratios(values, self.table)).sum(axis=0) * self.table.weight
        return self._judge

    def _contribution(self, effects: MoveEffects) -> FloatArray:
        """What each demand adds to the score after its move, [effects]."""
        rows = effects.demand
        table = GoalTable(self.table.limit[:, rows], self.table.percentile[rows], self.table.weight[rows])
        delay = delay_at_percentile(effects.delay_s, effects.delay_p99_s, table.percentile)
        values = np.stack([delay, effects.jitter_s, effects.loss_ratio])
        result: FloatArray = severity(excess_ratios(values, table)).sum(axis=0) * table.weight
        return result
