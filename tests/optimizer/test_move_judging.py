"""Moves are estimated all at once, the best of them judged closely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gnn_model.analytic import AnalyticPredictor
from gnn_model.predictor import MoveEffects, Prediction
from optimizer.goals import GoalTable
from optimizer.move_judging import CLOSELY_ONE_IN, MoveJudging
from optimizer.screening import Move
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.sources import load_scenario

Asked = Sequence[Mapping[int, Sequence[PathShare]]]
MOVES = 3 * CLOSELY_ONE_IN


@dataclass
class HopefulJudge:
    """Estimates a delay of 1 s for its first move, 2 s for the next; a close look finds 100 s more."""

    routing: Routing
    prediction: Prediction
    looked_at: list[int] = field(default_factory=list)

    def judge(self, moves: Asked) -> MoveEffects:
        return self._effects([1.0 + next(iter(move)) for move in moves], moves)

    def judge_closely(self, moves: Asked) -> MoveEffects | None:
        self.looked_at += [next(iter(move)) for move in moves]
        return self._effects([101.0 + next(iter(move)) for move in moves], moves)

    def accept(self, move: Mapping[int, Sequence[PathShare]]) -> Prediction:
        raise AssertionError("nobody may")

    @staticmethod
    def _effects(delay_s: list[float], moves: Asked) -> MoveEffects:
        count, delay = len(moves), np.array(delay_s)
        demand = np.array([next(iter(move)) for move in moves])
        return MoveEffects(np.arange(count + 1), demand, delay, delay, np.zeros(count), np.zeros(count))


class HopefulPredictor(AnalyticPredictor):
    judge: HopefulJudge

    def judge_of(self, scenario: Scenario) -> HopefulJudge:  # type: ignore[override]
        self.judge = HopefulJudge(scenario.routing, self.predict(scenario))
        return self.judge


def test_what_was_not_looked_at_does_not_come_first() -> None:
    """The best estimates are those most in error: judged closely they look worse, and still go before the others."""
    scenario = load_scenario("topohub:sndlib/nobel-us?demands=uniform&max_utilisation=0.5")
    count = scenario.traffic.demand_count
    predictor = HopefulPredictor()
    table = GoalTable(np.full((3, count), 0.5), np.full(count, np.nan), np.ones(count))
    judging = MoveJudging(scenario, table, predictor)
    moves = [Move(demand, scenario.routing.paths[demand]) for demand in range(MOVES)]
    estimates = judging.violations(scenario.routing, moves)
    assert estimates is not None
    assert estimates[0] == estimates.min()
    found = judging.closer_violations(scenario.routing, moves, estimates)
    assert found is not None
    assert sorted(predictor.judge.looked_at) == [0, 1, 2]
    order = np.argsort(np.round(found, 9), kind="stable").tolist()
    assert sorted(order[:3]) == [0, 1, 2]
    assert found[3:].min() >= found[:3].max()
