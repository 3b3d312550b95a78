"""The rough figures of many moves at once are those of each move carried out alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from optimizer.rl.training_scenarios import SizeRange, draw_question
from optimizer.screening import LoadScreen, Move
from topology_sync.paths import shortest_path
from topology_sync.routing import PathShare

PREDICTOR = AnalyticPredictor()
QUESTION = draw_question((4, 2), PREDICTOR, SizeRange((7, 9), (15, 25)))


def random_move(random: np.random.Generator) -> Move:
    """A demand to one or two ways by random weights."""
    topology, traffic = QUESTION.scenario.topology, QUESTION.scenario.traffic
    demand = int(random.integers(traffic.demand_count))
    ends = int(traffic.source[demand]), int(traffic.target[demand])
    ways = {shortest_path(topology, *ends, random.random(topology.link_count).tolist()) or () for _ in range(2)}
    return Move(demand, tuple(PathShare(way, 1.0 / len(ways)) for way in sorted(ways)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 9))
def test_many_moves_at_once_are_each_alone(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    moves = [random_move(random) for _ in range(count)]
    table = QUESTION.table
    if seed % 2:  # some demands without promises, which are not scored themselves
        table = replace(table, weight=np.where(np.arange(len(table.weight)) % 3, table.weight, 0.0))
    screen = LoadScreen(QUESTION.scenario, table)
    screen.calibrate(PREDICTOR.predict(QUESTION.scenario))
    after = screen.utilisation_after(moves)
    violation = screen.violation_after(moves, after)
    for index, move in enumerate(moves):
        alone = LoadScreen(QUESTION.scenario, table)
        alone.calibrate(PREDICTOR.predict(QUESTION.scenario))
        np.testing.assert_allclose(alone.rows([move])[0], alone.row(move.paths))
        alone.apply(move)
        np.testing.assert_allclose(after[index], alone.utilisation(), rtol=1e-9, atol=1e-12)
        # the same move again changes nothing any more, so its rough score is that of where it led
        told = alone.violation_after([move], alone.utilisation_after([move]))[0]
        assert violation[index] == pytest.approx(told, rel=1e-6, abs=1e-9)
