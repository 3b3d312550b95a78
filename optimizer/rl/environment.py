"""Episodes of re-routing for learning: several of one question side by side, judged together by the predictor.

The reward of a step is by how much the best score of the episode so far falls, weighted so that the violation comes
first and the maximum utilisation second, less a little for every demand that was changed: as in the search, where the
best routing on the way is kept, worse routings in between cost nothing.  An episode that began with missed goals ends
when all are kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from gnn_model.predictor import Predictor
from optimizer.goals import Score
from optimizer.rl.features import PolicyInput, global_features, policy_input
from optimizer.rl.policy import Scores
from optimizer.rl.ppo import best_of, sample
from optimizer.rl.rerouting import Rerouting, Task, advance, begin_at
from optimizer.screening import Move
from topology_sync.routing import Routing
from topology_sync.values import BoolArray, FloatArray

MAXIMUM_WEIGHT = 0.1
CHANGE_WEIGHT = 0.002
FAR_MOVES = 3
LEAST_CHANGES = 2
Policy = Callable[[Sequence[PolicyInput]], Scores]


@dataclass(frozen=True, eq=False)
class Episodes:
    """What happened in the episodes of one question.

    ``inputs`` and ``action``, ``log_probability`` are lists of steps, ``place`` [(step, episode)] says where each was;
    ``reward`` [steps, episodes], ``value`` and ``alive`` [steps + 1, episodes].  ``first`` is the score at the start,
    ``best`` the best of every episode and ``best_routing`` the routing that has it; ``far`` is the best routing
    at least FAR_MOVES moves away from the start, None where an episode did not get there, and ``far_cost`` its cost.
    ``seconds_per_step`` is of one episode.
    """

    inputs: list[PolicyInput]
    action: list[int]
    log_probability: list[float]
    place: list[tuple[int, int]]
    reward: FloatArray
    value: FloatArray
    alive: BoolArray
    first: Score
    best: list[Score]
    best_routing: list[Routing]
    far: list[Routing | None]
    far_cost: FloatArray
    seconds_per_step: float = 0.0


def cost(score: Score, first: Score) -> float:
    """A score as one number relative to the episode's start: what an episode lowers is its reward."""
    violation = score.violation / first.violation if first.violation > 0 else score.violation
    maximum = score.max_utilisation / max(first.max_utilisation, 1e-12)
    return violation + MAXIMUM_WEIGHT * maximum + CHANGE_WEIGHT * score.changed_demands


def run_episodes(
    task: Task,
    predictor: Predictor,
    policy: Policy,
    start: Routing,
    episodes: int,
    steps: int,
    generator: torch.Generator,
    greedy: int = 0,
    deadline: float = float("inf"),
    stop: threading.Event | None = None,
) -> Episodes:
    """Let the policy act ``steps`` times in each of ``episodes`` copies of a question, from ``start`` on.

    The first ``greedy`` episodes take what the policy thinks best, the others draw.  No step begins that would end
    after ``deadline`` (of the monotonic clock) if it took as long as the longest so far, and none once ``stop`` is set.
    """
    reroutings = begin_at(task, [start] * episodes, predictor)
    first = reroutings[0].score
    best = [first] * episodes
    best_routing = [start] * episodes
    best_cost = np.full(episodes, cost(first, first))
    reward = np.zeros((steps, episodes))
    value = np.zeros((steps + 1, episodes))
    alive = np.ones((steps + 1, episodes), dtype=np.bool_)
    far: list[Routing | None] = [None] * episodes
    far_cost = np.full(episodes, np.inf)
    told = Episodes([], [], [], [], reward, value, alive, first, best, best_routing, far, far_cost)
    longest_s = 0.0
    began = time.monotonic()
    for step in range(steps):
        step_began = time.monotonic()
        acting, options = _options(reroutings, alive[step])
        alive[step:, [number for number in range(episodes) if number not in acting]] = False
        if not acting or step_began + longest_s > deadline or (stop is not None and stop.is_set()):
            break
        part_left = 1.0 - step / steps
        inputs = [
            policy_input(reroutings[number], moves, _whole(reroutings[number], first, part_left))
            for number, moves in zip(acting, options, strict=True)
        ]
        with torch.inference_mode():
            scores = policy(inputs)
            action, logarithm = sample(scores, generator)
            if greedy:
                action = torch.where(torch.tensor(acting) < greedy, best_of(scores.logit, scores), action)
        chosen = [moves[place] for moves, place in zip(options, action.tolist(), strict=True)]
        advance([reroutings[number] for number in acting], chosen, predictor)
        value[step, acting] = scores.value.numpy()
        told.inputs.extend(inputs)
        told.action.extend(action.tolist())
        told.log_probability.extend(logarithm.tolist())
        told.place.extend((step, number) for number in acting)
        for number in acting:
            now = cost(reroutings[number].score, first)
            if step + 1 >= FAR_MOVES and now < far_cost[number]:
                far_cost[number], far[number] = now, reroutings[number].routing
            if now < best_cost[number]:
                reward[step, number] = best_cost[number] - now
                best_cost[number], best[number] = now, reroutings[number].score
                best_routing[number] = reroutings[number].routing
            if first.violation > 0 and reroutings[number].score.violation <= 0:
                alive[step + 1 :, number] = False
        longest_s = max(longest_s, time.monotonic() - step_began)
    alive[steps] = False  # an episode has so many steps and nothing after them
    return replace(told, seconds_per_step=(time.monotonic() - began) / max(len(told.inputs), 1))


def greedy_descent(task: Task, predictor: Predictor, steps: int) -> Routing:
    """The best routing met when always taking the move that the rough queue model ranks first: where search gets to."""
    rerouting = begin_at(task, [task.scenario.routing], predictor)[0]
    best, best_routing = rerouting.score, rerouting.routing
    for _ in range(steps):
        moves = rerouting.moves()
        if not moves or best.violation <= 0:
            break
        ranks = policy_input(rerouting, moves, ()).moves[:, 0]
        advance([rerouting], [moves[int(np.argmin(ranks))]], predictor)
        if rerouting.score.better_than(best):
            best, best_routing = rerouting.score, rerouting.routing
    return best_routing


def within_changes(task: Task, predictor: Predictor, part: float, steps: int) -> Task:
    """The same task with fewer changes than plain descent makes: ``part`` of them, and no fewer than LEAST_CHANGES."""
    made = greedy_descent(task, predictor, steps).changed_demands(task.scenario.routing)
    return replace(task, max_changes=max(round(part * len(made)), LEAST_CHANGES))


def _options(reroutings: Sequence[Rerouting], alive: BoolArray) -> tuple[list[int], list[list[Move]]]:
    """The episodes that can still act, and among which moves."""
    possible = [(number, rerouting.moves()) for number, rerouting in enumerate(reroutings) if alive[number]]
    possible = [(number, moves) for number, moves in possible if moves]
    return [number for number, _ in possible], [moves for _, moves in possible]


def _whole(rerouting: Rerouting, first: Score, part_left: float) -> list[float]:
    return global_features(rerouting, first.violation, first.max_utilisation, part_left)
