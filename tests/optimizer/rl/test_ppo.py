"""PPO learns what can be learned, and its advantages are those of the article."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from optimizer.rl.policy import Scores, log_probabilities
from optimizer.rl.ppo import Experience, PpoSettings, advantages, best_of, first_of, sample, update

CELLS = 6
STEPS = 8


class TableModel(nn.Module):
    """Scores of left and right in every cell of a corridor, and of a third action in even cells."""

    def __init__(self) -> None:
        super().__init__()
        self.preference = nn.Parameter(torch.zeros(CELLS, 3))
        self.worth = nn.Parameter(torch.zeros(CELLS))

    def forward(self, inputs: Sequence[int]) -> Scores:
        cells = [(cell, action) for cell in inputs for action in range(actions_of(cell))]
        owner = [number for number, cell in enumerate(inputs) for _ in range(actions_of(cell))]
        logit = torch.stack([self.preference[cell, action] for cell, action in cells])
        return Scores(logit, torch.tensor(owner), self.worth[list(inputs)])


def actions_of(cell: int) -> int:
    return 3 if cell % 2 == 0 else 2


def walk(model: TableModel, episodes: int, generator: torch.Generator) -> tuple[Experience[int], float]:
    """Action 1 goes right, the others left; only the last cell pays."""
    place = np.zeros(episodes, dtype=int)
    reward, value = np.zeros((STEPS, episodes)), np.zeros((STEPS + 1, episodes))
    inputs: list[int] = []
    action, logarithm = [], []
    for step in range(STEPS):
        with torch.inference_mode():
            scores = model(place.tolist())
            chosen, chance = sample(scores, generator)
        inputs += place.tolist()
        action.append(chosen)
        logarithm.append(chance)
        value[step] = scores.value.numpy()
        place = np.clip(place + np.where(chosen.numpy() == 1, 1, -1), 0, CELLS - 1)
        reward[step] = place == CELLS - 1
    alive = np.ones((STEPS + 1, episodes), dtype=bool)
    alive[STEPS] = False
    gain, returns = advantages(reward, value, alive, 0.98, 0.95)
    experience = Experience(
        inputs,
        torch.cat(action),
        torch.cat(logarithm),
        torch.tensor(gain.ravel(), dtype=torch.float32),
        torch.tensor(returns.ravel(), dtype=torch.float32),
    )
    return experience, float(reward.sum(axis=0).mean())


def test_it_learns_to_walk_down_a_corridor() -> None:
    model = TableModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    settings = PpoSettings(epochs=3, minibatch=64, largest_divergence=1.0)
    generator = torch.Generator().manual_seed(3)
    paid = []
    for _ in range(25):
        experience, reward = walk(model, 16, generator)
        update(model, optimizer, experience, settings, generator)
        paid.append(reward)
    assert np.mean(paid[:2]) < 0.6
    assert np.mean(paid[-3:]) > 3.3  # 4 is the most: five steps to get there, three to stay


def test_advantages_without_discount_are_what_came_less_what_was_expected() -> None:
    random = np.random.default_rng(1)
    reward, value = random.normal(size=(5, 3)), random.normal(size=(6, 3))
    alive = np.ones((6, 3), dtype=bool)
    alive[5] = False
    gain, returns = advantages(reward, value, alive, 1.0, 1.0)
    to_come = reward[::-1].cumsum(axis=0)[::-1]
    np.testing.assert_allclose(gain, to_come - value[:5])
    np.testing.assert_allclose(returns, to_come)
    one_step, _ = advantages(reward, value, alive, 0.9, 0.0)
    np.testing.assert_allclose(one_step[:4], reward[:4] + 0.9 * value[1:5] - value[:4])


def test_nothing_comes_after_an_episodes_end() -> None:
    reward = np.ones((4, 1))
    alive = np.array([[True], [True], [False], [False], [False]])
    gain, _ = advantages(reward, np.zeros((5, 1)), alive, 1.0, 1.0)
    assert gain[:, 0].tolist() == [2, 1, 0, 0]


def test_actions_are_drawn_as_often_as_they_should() -> None:
    logit = torch.tensor([0.0, 1.0, 2.0, 0.5, 0.5]).repeat(4000)
    owner = torch.arange(8000).repeat_interleave(torch.tensor([3, 2]).repeat(4000))
    scores = Scores(logit, owner, torch.zeros(8000))
    action, logarithm = sample(scores, torch.Generator().manual_seed(1))
    share = np.bincount(action[::2].numpy(), minlength=3) / 4000
    expected = torch.softmax(torch.tensor([0.0, 1.0, 2.0]), 0).numpy()
    np.testing.assert_allclose(share, expected, atol=0.03)
    torch.testing.assert_close(logarithm, log_probabilities(scores)[first_of(scores) + action])
    assert best_of(scores.logit, scores)[:4].tolist() == [2, 0, 2, 0]  # the first of equals
