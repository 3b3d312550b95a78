"""Episodes: what they report is what happened, and every proposal is a path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gnn_model.analytic import AnalyticPredictor
from optimizer.goals import Score, predicted_violation
from optimizer.rl.environment import cost, greedy_descent, run_episodes, within_changes
from optimizer.rl.features import MOVE_FEATURES, policy_input
from optimizer.rl.proposer import RankPolicy, UniformPolicy
from optimizer.rl.rerouting import Task, advance, begin, begin_at
from optimizer.rl.training import task_of
from optimizer.rl.training_scenarios import Question, SizeRange, draw_question


def test_the_same_seed_draws_the_same_question(predictor: AnalyticPredictor) -> None:
    sizes = SizeRange((6, 8), (10, 12))
    one, two, other = (draw_question(seed, predictor, sizes) for seed in ((1, 2), (1, 2), (1, 3)))
    assert one.scenario == two.scenario
    assert one.classes == two.classes
    assert one.scenario != other.scenario


def test_questions_are_missed_by_shortest_paths(small_questions: list[Question], predictor: AnalyticPredictor) -> None:
    for question in small_questions:
        question.scenario.routing.check(question.scenario.topology, question.scenario.traffic)
        assert predicted_violation(predictor.predict(question.scenario), question.table) > 0
    assert any(question.solvable for question in small_questions)


def test_every_move_is_a_new_path_between_the_ends(
    small_questions: list[Question], predictor: AnalyticPredictor
) -> None:
    for question in small_questions:
        rerouting = begin(task_of(question), predictor)[0]
        for step in range(5):
            moves = rerouting.moves()
            assert len(moves) == len({(move.demand, move.paths) for move in moves}) > 0
            for move in moves:
                assert move.paths != rerouting.routing.paths[move.demand]
                rerouting.routing_after(move).check(question.scenario.topology, question.scenario.traffic)
            advance([rerouting], [moves[step % len(moves)]], predictor)


def test_a_rerouting_knows_its_own_score(small_questions: list[Question], predictor: AnalyticPredictor) -> None:
    question = small_questions[0]
    scenario = question.scenario
    reroutings = begin(task_of(question), predictor, 3)
    for step in range(4):
        moves = [rerouting.moves()[step + number] for number, rerouting in enumerate(reroutings)]
        advance(reroutings, moves, predictor)
    for rerouting in reroutings:
        prediction = predictor.predict(scenario.with_routing(rerouting.routing))
        expected = Score(
            predicted_violation(prediction, question.table),
            rerouting.routing.max_utilisation(scenario.traffic, scenario.topology),
            len(rerouting.routing.changed_demands(scenario.routing)),
        )
        assert tuple(rerouting.score) == pytest.approx(tuple(expected), rel=1e-6)
        assert rerouting.severity.sum() == pytest.approx(rerouting.score.violation)


def test_only_demands_that_may_move_do(small_questions: list[Question], predictor: AnalyticPredictor) -> None:
    task = task_of(small_questions[1])
    asked = {move.demand for move in begin(task, predictor)[0].moves()}
    kept = sorted(asked)[0]
    movable = task.movable.copy()
    movable[kept] = False
    limited = Task(task.scenario, task.table, task.candidates, movable, max_changes=2)
    rerouting = begin(limited, predictor)[0]
    for _ in range(8):
        moves = rerouting.moves()
        assert kept not in {move.demand for move in moves}
        if not moves:
            break
        advance([rerouting], [moves[-1]], predictor)
    assert 0 < len(rerouting.changed) <= 2


def test_limited_changes_can_be_taken_back(small_questions: list[Question], predictor: AnalyticPredictor) -> None:
    task = replace(task_of(small_questions[1]), max_changes=2)
    start = task.scenario.routing.paths
    rerouting = begin(task, predictor)[0]
    while len(rerouting.changed) < 2:
        new = [move for move in rerouting.moves() if move.demand not in rerouting.changed]
        advance([rerouting], new[-1:], predictor)
    moves = rerouting.moves()
    back = {move.demand for move in moves if move.paths == start[move.demand]}
    assert back == set(rerouting.changed) == {move.demand for move in moves}
    told = policy_input(rerouting, moves, ()).moves[:, MOVE_FEATURES.index("changes_left")]
    assert (told == 0).all()
    advance([rerouting], [next(move for move in moves if move.paths == start[move.demand])], predictor)
    assert len(rerouting.changed) == 1
    assert {move.demand for move in rerouting.moves()} - rerouting.changed


def test_fewer_changes_are_allowed_than_descent_makes(
    small_questions: list[Question], predictor: AnalyticPredictor
) -> None:
    for question in small_questions:
        task = task_of(question)
        made = len(greedy_descent(task, predictor, 16).changed_demands(task.scenario.routing))
        limited = within_changes(task, predictor, 0.5, 16)
        assert limited.max_changes == max(round(0.5 * made), 2)
        reached = greedy_descent(limited, predictor, 16)
        assert len(reached.changed_demands(task.scenario.routing)) <= (limited.max_changes or 0)


def test_rewards_add_up_to_what_was_gained(small_questions: list[Question], predictor: AnalyticPredictor) -> None:
    for question in small_questions[:3]:
        task = task_of(question)
        run = run_episodes(
            task, predictor, UniformPolicy(), task.scenario.routing, 3, 6, torch.Generator().manual_seed(1)
        )
        for number in range(3):
            gained = cost(run.first, run.first) - cost(run.best[number], run.first)
            assert run.reward[:, number].sum() == pytest.approx(gained)
            found = begin_at(task, [run.best_routing[number]], predictor)[0].score
            assert tuple(found) == pytest.approx(tuple(run.best[number]))
        assert run.reward.min() >= 0
        acted = np.zeros_like(run.reward, dtype=bool)
        acted[tuple(np.array(run.place).T)] = True
        assert (acted == run.alive[:-1]).all()


def test_an_episode_ends_when_all_is_kept(small_questions: list[Question], predictor: AnalyticPredictor) -> None:
    solved = 0
    for question in small_questions:
        task = task_of(question)
        run = run_episodes(
            task, predictor, RankPolicy(), task.scenario.routing, 2, 12, torch.Generator().manual_seed(1)
        )
        for number in np.nonzero([score.violation <= 0 for score in run.best])[0]:
            solved += 1
            last = int(np.nonzero(run.alive[:, number])[0][-1])
            assert (run.reward[last + 1 :, number] == 0).all()
            assert run.reward[last, number] > 0
    assert solved > 0


def test_the_same_seed_acts_the_same(small_questions: list[Question], predictor: AnalyticPredictor) -> None:
    task = task_of(small_questions[2])
    runs = [
        run_episodes(task, predictor, UniformPolicy(), task.scenario.routing, 2, 5, torch.Generator().manual_seed(seed))
        for seed in (4, 4, 5)
    ]
    assert runs[0].action == runs[1].action != runs[2].action


def test_plain_descent_never_ends_worse(small_questions: list[Question], predictor: AnalyticPredictor) -> None:
    better = 0
    for question in small_questions:
        task = task_of(question)
        start, reached = begin_at(task, [task.scenario.routing, greedy_descent(task, predictor, 6)], predictor)
        assert not start.score.better_than(reached.score)
        better += reached.score.better_than(start.score)
    assert better >= 4
