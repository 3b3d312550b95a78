"""Runs of moves on the compiled rough model: its figures are the screen's, and every run lowers the rough score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from optimizer.candidates import UsableLinks
from optimizer.goals import predicted_violation
from optimizer.rl.training_scenarios import SizeRange, draw_question
from optimizer.rough_runs import RoughRuns
from optimizer.screening import LoadScreen, Move
from topology_sync.routing import Routing
from topology_sync.topology import Discipline, Scheduler

PREDICTOR = AnalyticPredictor()
QUESTION = draw_question((4, 2), PREDICTOR, SizeRange((7, 9), (15, 25)))


def screen_of(uncertainty: tuple[float, float, float], promised_every: int) -> LoadScreen:
    table = QUESTION.table.with_uncertainty(uncertainty)
    promised = np.arange(len(table.weight)) % promised_every == 0
    screen = LoadScreen(QUESTION.scenario, replace(table, weight=np.where(promised, table.weight, 0.0)))
    screen.calibrate(PREDICTOR.predict(QUESTION.scenario))
    return screen


def rough_violation(screen: LoadScreen) -> float:
    """Of where the screen stands: a demand moved to where it is changes nothing."""
    stays = Move(0, QUESTION.scenario.routing.paths[0])
    row = screen.share[0]
    assert np.array_equal(screen.row(stays.paths), row)
    return float(screen.violation_after([stays], screen.utilisation_after([stays]))[0])


@settings(max_examples=20, deadline=None)
@given(
    uncertainty=st.sampled_from([(0.0, 0.0, 0.0), (0.09, 0.08, 0.43)]),
    promised_every=st.sampled_from([1, 3]),
    reach=st.integers(1, 20),
    data=st.data(),
)
def test_a_run_foresees_what_the_screen_says_of_its_end(
    uncertainty: tuple[float, float, float], promised_every: int, reach: int, data: st.DataObject
) -> None:
    screen = screen_of(uncertainty, promised_every)
    count = len(screen.table.weight)
    movable = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=np.bool_)
    movable[0] = False  # so that rough_violation may ask about it
    runs = RoughRuns(screen, UsableLinks.all_of(QUESTION.scenario.topology))
    before = rough_violation(screen)
    runs.reach = 0
    assert runs.moves(movable, lambda: True) == []
    assert runs.foreseen == pytest.approx(before, rel=1e-9, abs=1e-9)
    runs.reach = reach
    moves = runs.moves(movable, lambda: True)
    assert len({move.demand for move in moves}) == len(moves) <= reach
    assert all(movable[move.demand] for move in moves)
    for move in moves:
        screen.apply(move)
        after = rough_violation(screen)
        assert after < before
        before = after
    assert runs.foreseen == pytest.approx(before, rel=1e-6, abs=1e-9)


def test_runs_keep_off_links_and_through_traffic_that_may_not_be() -> None:
    screen = screen_of((0.09, 0.08, 0.43), 1)
    topology, traffic = QUESTION.scenario.topology, QUESTION.scenario.traffic
    moved = 0
    for link in range(topology.link_count):
        allowed = np.ones(topology.link_count, dtype=np.bool_)
        allowed[link] = False
        closed = int(topology.link_target[link])
        runs = RoughRuns(screen, UsableLinks(allowed, allowed, frozenset({closed})))
        for demand, paths in runs.moves(np.ones(traffic.demand_count, dtype=np.bool_), lambda: True):
            moved += 1
            links, share = paths[0].links, paths[0].share
            assert share == 1.0
            assert link not in links
            passed = {int(topology.link_target[hop]) for hop in links[:-1]}
            assert closed not in passed
            QUESTION.scenario.routing.with_changes({demand: paths}).check(topology, traffic)
    assert moved


def test_a_run_lessens_what_a_predictor_says_is_violated() -> None:
    screen = screen_of((0.0, 0.0, 0.0), 1)
    runs = RoughRuns(screen, UsableLinks.all_of(QUESTION.scenario.topology))
    moves = runs.moves(np.ones(len(screen.table.weight), dtype=np.bool_), lambda: True)
    routing: Routing = QUESTION.scenario.routing.with_changes({move.demand: move.paths for move in moves})
    before, after = PREDICTOR.predict_batch(QUESTION.scenario, [QUESTION.scenario.routing, routing])
    assert predicted_violation(after, screen.table) < 0.7 * predicted_violation(before, screen.table)


def test_no_run_without_time_or_without_anything_violated() -> None:
    screen = screen_of((0.0, 0.0, 0.0), 1)
    everything = UsableLinks.all_of(QUESTION.scenario.topology)
    movable = np.ones(len(screen.table.weight), dtype=np.bool_)
    assert RoughRuns(screen, everything).moves(movable, lambda: False) == []
    relaxed = LoadScreen(QUESTION.scenario, replace(screen.table, limit=np.full_like(screen.table.limit, np.inf)))
    assert RoughRuns(relaxed, everything).moves(movable, lambda: True) == []


@pytest.mark.parametrize(("discipline", "weights", "known"), [("strict", (), True), ("wfq", (3.0, 1.0), False)])
def test_weighted_queues_are_not_known_to_the_rough_model(
    discipline: Discipline, weights: tuple[float, ...], known: bool
) -> None:
    scheduler = Scheduler(discipline, weights, tuple((name, 1) for name in QUESTION.scenario.traffic.class_names[:1]))
    topology = QUESTION.scenario.topology.with_schedulers({0: scheduler})
    screen = LoadScreen(replace(QUESTION.scenario, topology=topology), QUESTION.table)
    assert RoughRuns(screen, UsableLinks.all_of(topology)).know_queues is known
