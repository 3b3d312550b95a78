"""Proximal policy optimisation (Schulman et al., arXiv 1707.06347) with generalised advantages (arXiv 1506.02438).

Knows nothing of networks: an actor-critic gives scores for lists of inputs, every input with its own set of actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from optimizer.rl.policy import Scores, log_probabilities
from topology_sync.values import BoolArray, FloatArray

Input = TypeVar("Input")
InputOf = TypeVar("InputOf", contravariant=True)


@dataclass(frozen=True)
class PpoSettings:
    """``discount`` and ``trace`` are gamma and lambda of the advantages; the rest is per update."""

    discount: float = 0.98
    trace: float = 0.95
    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.003
    learning_rate: float = 3e-3
    epochs: int = 2
    minibatch: int = 64
    gradient_limit: float = 0.5
    largest_divergence: float = 0.05  # an epoch that moved the policy further than this is the update's last


class ActorCritic(Protocol[InputOf]):
    """Scores the actions of inputs, and the inputs."""

    def __call__(self, inputs: Sequence[InputOf]) -> Scores: ...


@dataclass(frozen=True)
class Experience(Generic[Input]):
    """Steps in any order: what was seen, which action was taken (by its place among the input's) and how it went."""

    inputs: Sequence[Input]
    action: Tensor
    log_probability: Tensor
    advantage: Tensor
    returns: Tensor


class Losses(NamedTuple):
    """Means over an update; ``divergence`` estimates how far the policy moved, ``clipped`` how often it was held."""

    policy: float
    value: float
    entropy: float
    divergence: float
    clipped: float


def advantages(
    reward: FloatArray, value: FloatArray, alive: BoolArray, discount: float, trace: float
) -> tuple[FloatArray, FloatArray]:
    """Generalised advantages and returns, [steps, episodes] both.

    ``reward`` [steps, episodes]; ``value`` [steps + 1, episodes] with what is expected after the last step;
    ``alive`` [steps + 1, episodes] says where an episode still runs, and nothing comes after its end.
    """
    advantage = np.zeros_like(reward)
    ahead = np.zeros(reward.shape[1])
    for step in range(len(reward) - 1, -1, -1):
        going_on = alive[step + 1]
        surprise = reward[step] + discount * value[step + 1] * going_on - value[step]
        ahead = surprise + discount * trace * ahead * going_on
        advantage[step] = np.where(alive[step], ahead, 0.0)
        ahead = advantage[step]
    return advantage, advantage + value[:-1]


def sample(scores: Scores, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One action per input, drawn by probability (Gumbel's trick), and its log-probability; [inputs] both."""
    logarithm = log_probabilities(scores)
    uniform = torch.rand(len(logarithm), generator=generator, dtype=torch.float64).clamp_min(1e-300)
    chosen = best_of(logarithm.double() - torch.log(-torch.log(uniform)), scores)
    return chosen, logarithm.index_select(0, chosen + first_of(scores))


def best_of(preference: Tensor, scores: Scores) -> Tensor:
    """Place of the most preferred action among its input's, [inputs]; the first of equals.  No input is without."""
    count = len(scores.value)
    top = torch.full((count,), -torch.inf, dtype=preference.dtype).scatter_reduce(
        0, scores.move_input, preference, "amax"
    )
    place = torch.arange(len(preference))
    place = torch.where(preference >= top.index_select(0, scores.move_input), place, len(preference))
    first = torch.full((count,), len(preference)).scatter_reduce(0, scores.move_input, place, "amin")
    return first - first_of(scores)


def first_of(scores: Scores) -> Tensor:
    """Where each input's actions begin, [inputs]."""
    sizes = torch.bincount(scores.move_input, minlength=len(scores.value))
    return torch.cumsum(sizes, 0) - sizes


def update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    experience: Experience[Input],
    settings: PpoSettings,
    generator: torch.Generator,
) -> Losses:
    """Some epochs of clipped policy gradients over the experience."""
    advantage = experience.advantage
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    told: list[Losses] = []
    for _ in range(settings.epochs):
        order = torch.randperm(len(experience.inputs), generator=generator)
        done = len(told)
        for chosen in torch.split(order, settings.minibatch):
            told.append(_step(model, optimizer, experience, advantage, chosen, settings))
        if np.mean([losses.divergence for losses in told[done:]]) > settings.largest_divergence:
            break
    return Losses(*(float(np.mean(column)) for column in zip(*told, strict=True)))


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    experience: Experience[Input],
    advantage: Tensor,
    chosen: Tensor,
    settings: PpoSettings,
) -> Losses:
    scores: Scores = model([experience.inputs[index] for index in chosen.tolist()])
    logarithm = log_probabilities(scores)
    mine = logarithm.index_select(0, first_of(scores) + experience.action[chosen])
    ratio_log = mine - experience.log_probability[chosen]
    ratio = ratio_log.exp()
    gain = advantage[chosen]
    held = ratio.clamp(1 - settings.clip, 1 + settings.clip)
    policy_loss = -torch.minimum(ratio * gain, held * gain).mean()
    value_loss = (scores.value - experience.returns[chosen]).square().mean()
    entropy = -(logarithm.exp() * logarithm).sum() / len(chosen)
    loss = policy_loss + settings.value_weight * value_loss - settings.entropy_weight * entropy
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_limit)
    optimizer.step()
    with torch.no_grad():
        divergence = (ratio - 1 - ratio_log).mean()
        clipped = ((ratio - 1).abs() > settings.clip).double().mean()
    return Losses(policy_loss.item(), value_loss.item(), entropy.item(), divergence.item(), clipped.item())
