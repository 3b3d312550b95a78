"""Training: resumed is the same as uninterrupted, and it refuses what is not its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gnn_model.analytic import AnalyticPredictor
from optimizer.rl.policy import PolicyConfig
from optimizer.rl.training import RlTrainingConfig, centred, train
from optimizer.rl.training_scenarios import SizeRange
from topology_sync.errors import ConfigurationError

TINY = RlTrainingConfig(
    iterations=4,
    questions=2,
    episodes=2,
    steps=3,
    pool=3,
    validate_every=2,
    validation_questions=1,
    least_changes=2,
    sizes=SizeRange((6, 7), (8, 12)),
    policy=PolicyConfig(width=8, rounds=1),
)


def test_resumed_training_ends_like_uninterrupted(tmp_path: Path, predictor: AnalyticPredictor) -> None:
    whole = train(TINY, predictor)
    train(TINY, predictor, tmp_path, stop_at=3)
    torch.rand(7)  # whatever happened in between
    resumed = train(TINY, predictor, tmp_path)
    for name, value in whole.policy.state_dict().items():
        assert torch.equal(value, resumed.policy.state_dict()[name]), name
    assert len(resumed.curve) == 4
    for mine, theirs in zip(whole.curve, resumed.curve, strict=True):
        assert {**mine, "seconds": 0} == {key: theirs[key] for key in mine} | {"seconds": 0}
    assert len((tmp_path / "curve.jsonl").read_text().splitlines()) == 4


def test_training_changes_the_policy_and_validates(predictor: AnalyticPredictor) -> None:
    torch.manual_seed(TINY.seed)
    trained = train(replace(TINY, iterations=2), predictor)
    other = train(replace(TINY, iterations=2, seed=2), predictor)
    assert not torch.equal(trained.policy.rank_weight, other.policy.rank_weight)
    assert [("validation_left" in row) for row in trained.curve] == [True, True]
    assert all(0 <= row["validation_left"] <= 1 for row in trained.curve)


def test_advantages_are_centred_over_copies_and_shortfalls_count_half() -> None:
    advantage = np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 9.0]])
    alive = np.array([[True, True, True], [True, True, False]])
    told = centred(advantage, alive)
    np.testing.assert_allclose(told, [[-1.0, 0.0, 2.0], [-0.5, 1.0, 0.0]])
    assert not centred(advantage, np.zeros_like(alive)).any()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, predictor: AnalyticPredictor) -> None:
    train(TINY, predictor, tmp_path, stop_at=1)
    with pytest.raises(ConfigurationError, match="other settings"):
        train(replace(TINY, steps=4), predictor, tmp_path)
