"""Training: it learns from the rates alone, and an interruption does not change what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gnn_model.wireless.training import Progress, TrainingSettings, train
from gnn_model.wireless.wcgcn import ModelSettings, PowerModel
from topology_sync.errors import InputError

SMALL = ModelSettings(width=8, message_width=8, rounds=2, neighbours=6, outputs=2, refinements=2)


class InterruptionError(Exception):
    pass


def parameters(model: PowerModel) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_an_interrupted_training_ends_at_the_same_weights(tmp_path: Path) -> None:
    settings = TrainingSettings(links=8, layouts=4, steps=9, weighted_share=0.5)
    checkpoint = tmp_path / "deeper" / "model.checkpoint"

    def interrupt(progress: Progress) -> None:
        if progress.step == 4:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        train(SMALL, settings, checkpoint, interrupt, report_every=2)
    resumed = train(SMALL, settings, checkpoint, report_every=2)
    torch.testing.assert_close(parameters(resumed), parameters(train(SMALL, settings)), rtol=0.0, atol=0.0)


def test_a_training_left_early_can_be_gone_on_with(tmp_path: Path) -> None:
    settings = TrainingSettings(links=6, layouts=2, steps=6)
    heard: list[int] = []
    checkpoint = tmp_path / "model.checkpoint"
    early = replace(settings, stop_at=4)
    train(SMALL, early, checkpoint, lambda progress: heard.append(progress.step), report_every=3)
    resumed = train(SMALL, settings, checkpoint, lambda progress: heard.append(progress.step), report_every=3)
    assert heard == [3, 4, 6]
    torch.testing.assert_close(parameters(resumed), parameters(train(SMALL, settings)), rtol=0.0, atol=0.0)


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.checkpoint"
    train(SMALL, TrainingSettings(links=5, layouts=2, steps=2), checkpoint)
    with pytest.raises(InputError, match="other settings"):
        train(SMALL, TrainingSettings(links=5, layouts=2, steps=3), checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:40])
    with pytest.raises(InputError, match="damaged checkpoint"):
        train(SMALL, TrainingSettings(links=5, layouts=2, steps=2), checkpoint)


@pytest.mark.parametrize("distances_only", [False, True])
def test_the_sum_rate_rises(distances_only: bool) -> None:
    settings = TrainingSettings(links=12, layouts=32, steps=80, distances_only=distances_only, learning_rate=1e-2)
    heard: list[Progress] = []
    train(SMALL, settings, report=heard.append, report_every=20)
    assert [progress.step for progress in heard] == [20, 40, 60, 80]
    assert heard[-1].wcgcn > 1.03 * heard[0].wcgcn
