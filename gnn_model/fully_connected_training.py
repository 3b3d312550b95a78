"""Training of the fully connected baseline on labelled scenarios of one topology."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gnn_model.evaluation import LabelledScenario
from gnn_model.fully_connected import LARGEST_NODES, FixedTopology, FullyConnected, encode, pair_of, unit_s
from gnn_model.training import checkpoint
from gnn_model.training.config import TrainingConfig
from gnn_model.training.trainer import learning_rate
from topology_sync.errors import ConfigurationError, ScenarioError

Report = Callable[[int, int, dict[str, float]], None]
"""Called with step, all steps and the running means of the objective's parts."""


@dataclass(frozen=True)
class FullyConnectedTraining:
    """What decides the result; the learning rate rises and falls as for the graph network.

    ``slots``: nodes that the network has room for (None: those of the topology).
    """

    width: int = 256
    slots: int | None = None
    epochs: int = 80
    batch: int = 32
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    weight_decay: float = 1e-3
    seed: int = 1
    checkpoint_s: float = 60.0


def train_fully_connected(
    samples: Sequence[LabelledScenario],
    config: FullyConnectedTraining,
    path: Path | None = None,
    report: Report | None = None,
    stop_after_step: int | None = None,
) -> tuple[FullyConnected, FixedTopology]:
    """Train on samples of one topology; with ``path`` the run goes on where it was interrupted.

    Raises ScenarioError where the samples have different topologies or too large a one.
    """
    if not samples:
        raise ScenarioError("data", "holds no samples", "give a data set of one topology")
    topology = FixedTopology.of(samples[0].scenario.topology)
    for sample in samples:
        topology.check(sample.scenario.topology)
    slots = config.slots or len(topology.nodes)
    if not len(topology.nodes) <= slots <= LARGEST_NODES:
        raise ScenarioError("slots", f"are {slots}", f"give {len(topology.nodes)} to {LARGEST_NODES} for this topology")
    inputs = torch.from_numpy(np.stack([encode(sample.scenario, slots) for sample in samples]))
    labels = torch.stack([_labels(sample, slots) for sample in samples])
    torch.manual_seed(config.seed)
    model = FullyConnected(slots, config.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = TrainingConfig(learning_rate=config.learning_rate, final_learning_rate=config.final_learning_rate)
    order = _batches(len(samples), config)
    about = {"config": dataclasses.asdict(config), "samples": len(samples)}
    done = 0
    if path is not None and path.exists():
        before = checkpoint.restore(path, model, {}, optimizer)
        if {key: before.get(key) for key in about} != about:
            raise ConfigurationError(str(path), "belongs to another configuration or other data", "give another folder")
        done = int(before["step"])
    last = len(order) if stop_after_step is None else min(stop_after_step, len(order))
    means: dict[str, float] = {}
    saved = time.monotonic()
    for step in range(done + 1, last + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(order), schedule)
        rows = order[step - 1]
        parts = _objective(model(inputs[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for name, value in parts.items():
            now = float(value.detach())
            means[name] = now if name not in means else 0.98 * means[name] + 0.02 * now
        if report is not None:
            report(step, len(order), means)
        if path is not None and (step == last or time.monotonic() - saved > config.checkpoint_s):
            checkpoint.save(path, model, {}, optimizer, {**about, "step": step})
            saved = time.monotonic()
    return model.eval(), topology


def _batches(samples: int, config: FullyConnectedTraining) -> list[Tensor]:
    """Samples of every step, shuffled anew in each epoch."""
    result = []
    for epoch in range(config.epochs):
        shuffled = torch.randperm(samples, generator=torch.Generator().manual_seed(config.seed * 100_003 + epoch))
        result += [shuffled[start : start + config.batch] for start in range(0, samples, config.batch)]
    return result


def _labels(sample: LabelledScenario, slots: int) -> Tensor:
    """Logarithms of times in units and the loss of every pair, [slots^2, 4]; NaN where unknown."""
    result = np.full((slots * slots, 4), np.nan, dtype=np.float32)
    pair, unit = pair_of(sample.scenario, slots), unit_s(sample.scenario)
    for column, values in enumerate((sample.delay_s, sample.delay_p99_s, sample.jitter_s)):
        known = values > 0
        result[pair[known], column] = np.log(values[known] / unit)
    result[pair, 3] = sample.loss_ratio
    return torch.from_numpy(result)


def _objective(outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    known = ~torch.isnan(labels)
    error = torch.where(known, outputs - torch.nan_to_num(labels), torch.zeros_like(outputs)).abs()
    mean = error.sum(dim=(0, 1)) / known.sum(dim=(0, 1)).clamp_min(1)
    return {"delay": mean[0], "p99": 0.3 * mean[1], "jitter": 0.3 * mean[2], "loss": 2 * mean[3]}
