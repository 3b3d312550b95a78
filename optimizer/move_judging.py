"""How moves would score by the predictor: exactly, one prediction each, or many at once by an incremental judge.

An incremental judge gives estimates.  They order moves; whatever the search takes has been predicted in full.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gnn_model.configurations import Configuration, predict_configurations
from gnn_model.predictor import IncrementalPredictor, MoveEffects, Prediction, Predictor, RoutingJudge
from optimizer.goals import GoalTable, delay_at_percentile, experienced_values, predicted_severity
from optimizer.screening import Move
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler
from topology_sync.values import FloatArray

MOST_PREDICTIONS = 1_000
CLOSELY_ONE_IN = 8  # estimated moves: the best of them are judged closely


@dataclass(eq=False)
class MoveJudging:
    """Judges moves of one scenario; holds a routing for as long as moves start from it.

    Once ``stop`` is set there is no time for anything any more.
    """

    scenario: Scenario
    table: GoalTable
    predictor: Predictor
    stop: threading.Event | None = None
    judged: int = 0
    estimated: int = 0
    _judge: RoutingJudge | None = field(default=None, init=False)
    _may_judge: bool = field(default=True, init=False)
    _held: FloatArray = field(init=False)
    _prediction_s: float = field(default=0.0, init=False)  # what one took, by the last ones
    _estimate_s: float = field(default=0.0, init=False)
    _holding_s: float = field(default=0.0, init=False)

    def has_time(self, deadline: float) -> bool:
        """Whether a step that ends with one prediction would be over by ``deadline`` (of the monotonic clock)."""
        return not self._stopped and time.monotonic() + self._prediction_s < deadline

    @property
    def _stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def affordable_predictions(self, deadline: float) -> int:
        """How many predictions in full there is time for."""
        if self._stopped:
            return 0
        return int(min(max(deadline - time.monotonic(), 0.0) / max(self._prediction_s, 1e-9), MOST_PREDICTIONS))

    def affordable(self, most: int, deadline: float) -> int:
        """How many estimates, at most ``most``, there is time for before a prediction in full confirms the best."""
        left_s = 0.0 if self._stopped else deadline - time.monotonic() - self._holding_s - self._prediction_s
        return int(min(max(left_s / max(self._estimate_s, 1e-9), 0), most))

    def predict(self, routings: Sequence[Routing]) -> list[Prediction]:
        """Full predictions."""
        self.judged += len(routings)
        began = time.monotonic()
        predictions = self.predictor.predict_batch(self.scenario, routings)
        if self.judged > len(routings):  # the first may have loaded kernels
            self._prediction_s = (time.monotonic() - began) / max(len(routings), 1)
            if self._estimate_s == 0.0:  # until they have been timed
                self._holding_s, self._estimate_s = 2.0 * self._prediction_s, self._prediction_s / 20.0
        return predictions

    def predict_schedulers(self, routing: Routing, choices: Sequence[tuple[Scheduler, ...]]) -> list[Prediction]:
        """Full predictions of one routing under other schedulers [nodes]."""
        if not choices:
            return []
        self.judged += len(choices)
        began = time.monotonic()
        configurations = [Configuration(routing, schedulers) for schedulers in choices]
        predictions = predict_configurations(self.predictor, self.scenario, configurations)
        self._prediction_s = (time.monotonic() - began) / len(choices)
        return predictions

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
        began = time.monotonic()
        result = self._estimated(judge.judge([{move.demand: move.paths} for move in moves]))
        self._estimate_s = (time.monotonic() - began) / max(len(moves), 1)
        return result

    def closer_violations(self, routing: Routing, moves: Sequence[Move], estimates: FloatArray) -> FloatArray | None:
        """The same with a close look at the best of them, which then go first; None where that says nothing new."""
        judge = self._holding(routing)
        likely = np.argsort(np.round(estimates, 9), kind="stable")[: len(moves) // CLOSELY_ONE_IN]
        if judge is None or not len(likely):
            return None
        closer = judge.judge_closely([{moves[index].demand: moves[index].paths} for index in likely.tolist()])
        if closer is None:
            return None
        self.estimated += len(likely)
        result = estimates.copy()
        result[likely] = self._estimated(closer)
        # The best estimates are mostly too good; others shall not overtake them for not having been looked at.
        rest = np.setdiff1d(np.arange(len(moves)), likely)
        result[rest] = np.maximum(result[rest], result[likely].max())
        return result

    def _estimated(self, effects: MoveEffects) -> FloatArray:
        """About the violation score after each move, [moves]."""
        count = len(effects.pointer) - 1
        change = self._contribution(effects) - self._held[effects.demand]
        of_move = np.repeat(np.arange(count), np.diff(effects.pointer))
        result: FloatArray = self._held.sum() + np.bincount(of_move, weights=change, minlength=count)
        return result

    def _holding(self, routing: Routing) -> RoutingJudge | None:
        if not self._may_judge or not isinstance(self.predictor, IncrementalPredictor):
            return None
        if self._judge is None or self._judge.routing is not routing:
            began = time.monotonic()
            self._judge = self.predictor.judge_of(self.scenario.with_routing(routing))
            self._holding_s = time.monotonic() - began
            if self._judge is None:
                self._may_judge = False
                return None
            self.judged += 1
            values = experienced_values(self._judge.prediction, self.table)
            self._held = predicted_severity(values, self.table)
        return self._judge

    def _contribution(self, effects: MoveEffects) -> FloatArray:
        """What each demand adds to the score after its move, [effects]."""
        table = self.table.of_demands(effects.demand)
        delay = delay_at_percentile(effects.delay_s, effects.delay_p99_s, table.percentile)
        return predicted_severity(np.stack([delay, effects.jitter_s, effects.loss_ratio]), table)
