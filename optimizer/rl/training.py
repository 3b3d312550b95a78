"""Training of the policy: random questions, episodes, updates; resumable, and the same whether interrupted or not.

Every iteration draws everything random from (seed, iteration), so nothing but weights, the state of Adam and the curve
has to be kept.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnn_model.predictor import Predictor
from gnn_model.training import checkpoint
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.rl.environment import Episodes, greedy_descent, run_episodes, within_changes
from optimizer.rl.policy import PathPolicy, PolicyConfig
from optimizer.rl.ppo import Experience, PpoSettings, advantages, update
from optimizer.rl.rerouting import Task, begin_at
from optimizer.rl.training_scenarios import Question, SizeRange, draw_question
from topology_sync.errors import ConfigurationError
from topology_sync.routing import Routing
from topology_sync.values import BoolArray, FloatArray

TRAINING, VALIDATION = 1, 2  # second part of the seeds of questions, so that none is in both
EASY_KEPT = 0.05  # of the questions that plain descent answers within its changes
DESCENT_STEPS = 16
STUCK_START = 0.3  # of the others begin where plain descent got stuck
CHANGES_PART = (0.4, 0.8)  # of the changes that plain descent makes: what a question allows
LEAST_CHANGES = 4  # with two or three the best choice is the obvious one
SHORTFALL_WEIGHT = 0.5  # the search keeps the best of several episodes, so falling short costs less than gaining


@dataclass(frozen=True)
class RlTrainingConfig:
    """How a policy is trained.

    Per iteration ``questions`` out of a pool of ``pool``, each in ``episodes`` copies of up to ``steps`` moves.
    """

    iterations: int = 80
    questions: int = 4
    episodes: int = 8
    steps: int = 14
    pool: int = 48
    seed: int = 1
    validate_every: int = 40
    validation_questions: int = 16
    least_changes: int = LEAST_CHANGES
    sizes: SizeRange = field(default_factory=SizeRange)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    ppo: PpoSettings = field(default_factory=PpoSettings)


Row = dict[str, float]


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """The policy and the learning curve: one row per iteration."""

    policy: PathPolicy
    curve: list[Row]


def train(
    config: RlTrainingConfig,
    predictor: Predictor,
    folder: Path | None = None,
    report: Callable[[Row], None] | None = None,
    stop_at: int | None = None,
    save_every: int = 5,
) -> TrainedPolicy:
    """Train from nothing, or go on from the checkpoint in ``folder``.  Raises ConfigurationError for a foreign one.

    ``stop_at``: leave after so many of the iterations; the next call goes on.
    """
    torch.manual_seed(config.seed)
    policy = PathPolicy(config.policy)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.ppo.learning_rate)
    path = None if folder is None else folder / "checkpoint.safetensors"
    curve = [] if path is None or not path.exists() else _resume(path, policy, optimizer, config)
    pool = _Pool(config, predictor, (config.seed, TRAINING))
    judge = _Validation(config, predictor)
    end = config.iterations if stop_at is None else min(stop_at, config.iterations)
    for iteration in range(len(curve), end):
        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = config.ppo.learning_rate * (1.0 - 0.9 * iteration / config.iterations)
        row = _iterate(policy, optimizer, config, predictor, pool, iteration)
        row["seconds"] = time.monotonic() - began
        last = iteration + 1 == end
        if iteration % config.validate_every == 0 or last:
            row |= judge(policy)
        curve.append(row)
        if path is not None and ((iteration + 1) % save_every == 0 or last):
            about = {"config": config_told(config), "curve": curve}
            checkpoint.save(path, policy, {}, optimizer, about)
            _write_curve(path.with_name("curve.jsonl"), curve)
        if report is not None:
            report(row)
    return TrainedPolicy(policy.eval(), curve)


def _iterate(
    policy: PathPolicy,
    optimizer: torch.optim.Optimizer,
    config: RlTrainingConfig,
    predictor: Predictor,
    pool: _Pool,
    iteration: int,
) -> Row:
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + iteration)
    runs: list[Episodes] = []
    random = np.random.default_rng((config.seed, TRAINING, iteration))
    for number in random.choice(config.pool, min(config.questions, config.pool), replace=False).tolist():
        task, start = pool.get(number)
        runs.append(run_episodes(task, predictor, policy, start, config.episodes, config.steps, generator))
    losses = update(policy, optimizer, _experience(runs, config.ppo), config.ppo, generator)
    gained = [run.reward.sum(axis=0) for run in runs]
    left = [[best.violation / run.first.violation for best in run.best] for run in runs if run.first.violation > 0]
    return {
        "iteration": float(iteration),
        "reward": float(np.mean(gained)),
        "violation_left": float(np.mean(left)) if left else 0.0,
        **{f"loss_{name}": value for name, value in losses._asdict().items()},
    }


class _Pool:
    """Questions worth learning from and where their episodes begin, drawn when first asked for.

    Each depends on the seed and its number alone, so a resumed training meets the same ones.
    """

    def __init__(self, config: RlTrainingConfig, predictor: Predictor, seed: tuple[int, ...]) -> None:
        self._config = config
        self._predictor = predictor
        self._seed = seed
        self._known: dict[int, tuple[Task, Routing]] = {}

    def get(self, number: int) -> tuple[Task, Routing]:
        """The question of that number."""
        if number not in self._known:
            self._known[number] = self._draw((*self._seed, number))
        return self._known[number]

    def _draw(self, seed: tuple[int, ...]) -> tuple[Task, Routing]:
        random = np.random.default_rng(seed)
        for attempt in itertools.count():
            question = draw_question((*seed, attempt), self._predictor, self._config.sizes)
            if not question.solvable:
                continue
            part = random.uniform(*CHANGES_PART)
            task = within_changes(task_of(question), self._predictor, part, DESCENT_STEPS)
            if (task.max_changes or 0) < self._config.least_changes:
                continue
            reached = greedy_descent(task, self._predictor, DESCENT_STEPS)
            solved = begin_at(task, [reached], self._predictor)[0].score.violation <= 0
            keep, stuck = random.random() < EASY_KEPT, random.random() < STUCK_START
            if not solved or keep:
                return task, reached if stuck and not solved else question.scenario.routing
        raise AssertionError("counting never ends")


def _experience(runs: list[Episodes], settings: PpoSettings) -> Experience[Any]:
    gain, returns = [], []
    for run in runs:
        advantage, target = advantages(run.reward, run.value, run.alive, settings.discount, settings.trace)
        advantage = centred(advantage, run.alive[:-1])
        gain += [advantage[place] for place in run.place]
        returns += [target[place] for place in run.place]
    return Experience(
        inputs=[item for run in runs for item in run.inputs],
        action=torch.tensor([action for run in runs for action in run.action], dtype=torch.int64),
        log_probability=torch.tensor([value for run in runs for value in run.log_probability]),
        advantage=torch.tensor(gain, dtype=torch.float32),
        returns=torch.tensor(returns, dtype=torch.float32),
    )


def centred(advantage: FloatArray, alive: BoolArray) -> FloatArray:
    """Advantages less their mean over the copies of the question that still run at the same step, [steps, episodes].

    Questions differ far more than moves do, and the critic learns slowly what each can be worth.  What falls short of
    the mean counts SHORTFALL_WEIGHT.
    """
    running = np.maximum(alive.sum(axis=1, keepdims=True), 1)
    mean = np.where(alive, advantage, 0.0).sum(axis=1, keepdims=True) / running
    apart = np.where(alive, advantage - mean, 0.0)
    result: FloatArray = np.where(apart < 0, SHORTFALL_WEIGHT * apart, apart)
    return result


class _Validation:
    """Questions that training never draws: how good the best of the episodes is."""

    def __init__(self, config: RlTrainingConfig, predictor: Predictor) -> None:
        self._config = config
        self._predictor = predictor
        self._pool = _Pool(config, predictor, (config.seed, VALIDATION))

    def __call__(self, policy: PathPolicy) -> Row:
        """What is left of the violation (best and mean of the episodes), and how many questions are answered."""
        config = self._config
        left, mean_left = [], []
        for number in range(config.validation_questions):
            generator = torch.Generator().manual_seed(number)
            task, start = self._pool.get(number)
            run = run_episodes(task, self._predictor, policy, start, config.episodes, config.steps, generator)
            ratios = [score.violation / run.first.violation for score in run.best]
            left.append(min(ratios))
            mean_left.append(float(np.mean(ratios)))
        return {
            "validation_left": float(np.mean(left)),
            "validation_mean_left": float(np.mean(mean_left)),
            "validation_answered": float(np.mean([ratio <= 0 for ratio in left])),
        }


def task_of(question: Question) -> Task:
    """The task of a question in which everything may be used."""
    topology = question.scenario.topology
    return Task.of(question.scenario, question.table, CandidatePaths(topology, UsableLinks.all_of(topology)))


def config_told(config: RlTrainingConfig) -> dict[str, Any]:
    """The configuration as JSON."""
    told: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return told


def _resume(path: Path, policy: PathPolicy, optimizer: torch.optim.Optimizer, config: RlTrainingConfig) -> list[Row]:
    about = checkpoint.restore(path, policy, {}, optimizer)
    if about.get("config") != config_told(config):
        raise ConfigurationError(str(path), "is of a training with other settings", "give another --out folder")
    curve: list[Row] = about["curve"]
    return curve


def _write_curve(path: Path, curve: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in curve))
