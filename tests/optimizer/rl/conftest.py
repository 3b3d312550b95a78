"""Small questions to re-route."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gnn_model.analytic import AnalyticPredictor
from optimizer.rl.training import task_of
from optimizer.rl.training_scenarios import Question, SizeRange, draw_question

SMALL = SizeRange(nodes=(7, 9), demands=(15, 25))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def predictor() -> AnalyticPredictor:
    """Who judges."""
    return AnalyticPredictor()


@pytest.fixture(scope="session")
def small_questions(predictor: AnalyticPredictor) -> list[Question]:
    """A few questions that shortest paths do not answer."""
    return [draw_question((9, seed), predictor, SMALL) for seed in range(6)]


__all__ = ["SMALL", "task_of"]
