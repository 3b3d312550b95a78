"""What each part of the model brings: the same short training with one thing changed at a time.

``python -m gnn_model.wireless.ablation --out docs/wireless`` trains what is not in ``ablation.json`` yet.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnn_model.wireless.evaluation import EvaluationSettings, evaluate_size
from gnn_model.wireless.features import LinkGraph
from gnn_model.wireless.model_file import TrainedModel
from gnn_model.wireless.training import TrainingSettings, train
from gnn_model.wireless.wcgcn import ModelSettings, PowerModel

TRAINING = TrainingSettings(layouts=32, steps=400)
EVALUATIONS = ((50, 100), (400, 10))
SEED = 99
DECIBEL_SPAN = 20.0
DECIBEL_CENTRE = -30.0


class OneDirection(PowerModel):
    """The mistake in the authors' notebook: the feature of the reverse direction repeats the forward one."""

    def graph(self, gains: Tensor, weights: Tensor | None = None) -> LinkGraph:
        seen = super().graph(gains, weights)
        return replace(seen, edges=seen.edges[..., :1].expand_as(seen.edges))


class NoTotal(PowerModel):
    """Without the total interference at full power as a feature of the link."""

    def graph(self, gains: Tensor, weights: Tensor | None = None) -> LinkGraph:
        seen = super().graph(gains, weights)
        return replace(seen, nodes=torch.cat((seen.nodes[..., :2], torch.zeros_like(seen.nodes[..., 2:])), dim=-1))


class LinearGains(PowerModel):
    """Amplitude ratios as they are instead of decibels, limited to 10."""

    def graph(self, gains: Tensor, weights: Tensor | None = None) -> LinkGraph:
        seen = super().graph(gains, weights)
        ratio = 10.0 ** ((seen.edges * DECIBEL_SPAN + DECIBEL_CENTRE) / 20.0)
        return replace(seen, edges=ratio.clamp(max=10.0))


class PlainSteps(PowerModel):
    """Refinement by plain WMMSE, without learned step lengths."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.step_lengths.data.fill_(1.0)
        self.step_lengths.requires_grad_(False)


SHAPE = ModelSettings()
VARIANTS: dict[str, tuple[Callable[[ModelSettings], PowerModel], ModelSettings]] = {
    "as shipped": (PowerModel, SHAPE),
    "one direction of interference only": (OneDirection, SHAPE),
    "no total interference": (NoTotal, SHAPE),
    "amplitude ratios instead of decibels": (LinearGains, SHAPE),
    "1 output instead of 8": (PowerModel, replace(SHAPE, outputs=1)),
    "plain WMMSE steps": (PlainSteps, SHAPE),
    "2 rounds instead of 4": (PowerModel, replace(SHAPE, rounds=2)),
    "8 neighbours instead of 16": (PowerModel, replace(SHAPE, neighbours=8)),
}


def measure(path: Path) -> dict[str, Any]:
    """Train and evaluate the variants that ``path`` does not have."""
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name, (kind, shape) in VARIANTS.items():
        if name in done:
            continue
        trained = TrainedModel(name, train(shape, TRAINING, kind=kind), TRAINING)
        entry: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in trained.model.parameters())}
        for links, layouts in EVALUATIONS:
            rates = evaluate_size(EvaluationSettings(links, layouts, SEED, 0, timed=False), trained).rates
            entry[str(links)] = {method: rates[method] / rates["wmmse_100"] for method in ("wcgcn", "hybrid")}
        done[name] = entry
        path.write_text(json.dumps(done, indent=1) + "\n")
        print(name, entry)
    return done


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description="What each part of the model brings.")
    parser.add_argument("--out", type=Path, default=Path("docs/wireless"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    measure(options.out / "ablation.json")


if __name__ == "__main__":
    main()
