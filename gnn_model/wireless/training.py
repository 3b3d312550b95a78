"""Self-supervised training: the sum rate itself is what is learned, no solver is asked."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gnn_model.wireless.channel import Channels, Setting, generate
from gnn_model.wireless.wcgcn import ModelSettings, PowerModel
from gnn_model.wireless.wmmse import Interference
from topology_sync.errors import InputError

WARMUP_STEPS = 50
GRADIENT_LIMIT = 1.0
SHARE_OF_ALL_OUTPUTS = 0.1
RAREST_WEIGHT = 0.05


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    ``steps`` batches of ``layouts`` fresh layouts of ``links`` links, Adam with a cosine from ``learning_rate`` to
    zero, left early after ``stop_at`` steps where that is not 0.  ``sharpness`` (per bit/s/Hz) says how much more a
    layout's best output learns than the others.  ``weighted_share`` of the layouts have random link weights.
    ``distances_only``: the model sees the gains of the distances, and is trained for the rates in the channels that
    shadowing and fading make of them.
    """

    links: int = 50
    layouts: int = 64
    steps: int = 8000
    stop_at: int = 0
    learning_rate: float = 3e-3
    sharpness: float = 5.0
    weighted_share: float = 0.0
    distances_only: bool = False
    seed: int = 1
    setting: Setting = field(default_factory=Setting)


@dataclass(frozen=True)
class Progress:
    """What a training says about itself: mean sum rate in bit/s/Hz of the last steps, alone and refined."""

    step: int
    steps: int
    wcgcn: float
    hybrid: float
    seconds: float


def train(
    shape: ModelSettings,
    settings: TrainingSettings,
    checkpoint: Path | None = None,
    report: Callable[[Progress], None] | None = None,
    report_every: int = 50,
    kind: Callable[[ModelSettings], PowerModel] = PowerModel,
) -> PowerModel:
    """Train a model from nothing, or from ``checkpoint`` on (written at every report; the same result either way)."""
    torch.manual_seed(settings.seed)
    model = kind(shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    told = json.dumps({"shape": asdict(shape), "training": asdict(replace(settings, stop_at=0))}, sort_keys=True)
    last = min(settings.stop_at or settings.steps, settings.steps)
    first = 0
    if checkpoint is not None and checkpoint.exists():
        first = _restore(checkpoint, model, optimizer, told)
    started = time.perf_counter()
    sums = torch.zeros(2)
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings.steps)
        rates = _train_step(model, optimizer, settings, step)
        sums += rates
        if (step + 1) % report_every == 0 or step + 1 == last:
            done = (step % report_every) + 1
            if checkpoint is not None:
                _save(checkpoint, model, optimizer, step + 1, told)
            if report is not None:
                alone, refined = (sums / done).tolist()
                report(Progress(step + 1, settings.steps, alone, refined, time.perf_counter() - started))
            sums.zero_()
    return model.eval()


def _train_step(model: PowerModel, optimizer: torch.optim.Optimizer, settings: TrainingSettings, step: int) -> Tensor:
    # every step has its own seed, so that a resumed training sees the same layouts
    random = np.random.default_rng((settings.seed, step))
    drawn = generate(settings.setting, settings.links, settings.layouts, random)
    weights = _weights(settings, random)
    seen, true = _seen_and_true(drawn, settings.distances_only)
    alone, refined = model(seen, weights)
    judge = Interference.of(true, weights)
    losses, rates = zip(*(_loss(judge, powers, settings.sharpness) for powers in (alone, refined)), strict=True)
    optimizer.zero_grad()
    loss = (losses[0] + losses[1]) / settings.links
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_LIMIT)
    optimizer.step()
    return torch.stack(rates)


def _loss(judge: Interference[Tensor], powers: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    """The loss, and the mean sum rate of every layout's best output."""
    rates = judge.sum_rate(powers)
    share = (rates.detach() * sharpness).softmax(dim=-1)
    share = (1.0 - SHARE_OF_ALL_OUTPUTS) * share + SHARE_OF_ALL_OUTPUTS / rates.shape[-1]
    return -(share * rates).sum(-1).mean(), rates.detach().amax(-1).mean()


def _weights(settings: TrainingSettings, random: np.random.Generator) -> Tensor | None:
    """Random link weights for a share of the layouts, 1 for the others; None where there are none."""
    if settings.weighted_share == 0.0:
        return None
    weights = random.uniform(RAREST_WEIGHT, 1.0, (settings.layouts, settings.links))
    weights[random.uniform(size=settings.layouts) >= settings.weighted_share] = 1.0
    return torch.tensor(weights, dtype=torch.float32)


def _seen_and_true(drawn: Channels, distances_only: bool) -> tuple[Tensor, Tensor]:
    true = torch.tensor(drawn.gains, dtype=torch.float32)
    return (torch.tensor(drawn.median_gains, dtype=torch.float32) if distances_only else true), true


def _schedule(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP_STEPS) * (0.5 * (1.0 + math.cos(math.pi * step / steps)) + 0.01)


def _save(path: Path, model: PowerModel, optimizer: torch.optim.Optimizer, step: int, told: str) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    save_file({**tensors, "step": torch.tensor(step)}, draft, {"settings": told})
    draft.replace(path)


def _restore(path: Path, model: PowerModel, optimizer: torch.optim.Optimizer, told: str) -> int:
    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get("settings")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as problem:
        raise InputError(str(path), f"is a damaged checkpoint ({problem})", "remove it to start anew") from None
    if found != told:
        raise InputError(str(path), "is of a training with other settings", "remove it, or choose another name")
    step = int(tensors.pop("step"))
    model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, entry = name.split(".")
            state.setdefault(int(index), {})[entry] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return step
