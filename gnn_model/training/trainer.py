"""The training loop: deterministic from its seed, interruptible and resumable at any step.

One process trains one replica.  Under ``torchrun`` every process takes its part of each epoch's batches and gradients
are averaged; nothing else differs.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gnn_model.routenet.batch import collate
from gnn_model.routenet.model import RouteNet
from gnn_model.training import checkpoint
from gnn_model.training.config import TrainingConfig
from gnn_model.training.labelled import LabelledGraph
from gnn_model.training.objective import objective, targets
from topology_sync.errors import ConfigurationError

Report = Callable[[int, int, dict[str, float]], None]
"""Called with step, all steps and the running means of the objective's parts."""


def train(
    graphs: Sequence[LabelledGraph],
    config: TrainingConfig,
    checkpoint_path: Path | None = None,
    report: Report | None = None,
    device: torch.device | None = None,
    stop_after_step: int | None = None,
) -> RouteNet:
    """Train a model on labelled graphs and return it with averaged weights.

    With ``checkpoint_path`` the run is saved every ``checkpoint_s`` and goes on from there when called again with the
    same data and configuration; ``stop_after_step`` ends it early (as an interruption would, but at a known place).
    """
    device = device or torch.device("cpu")
    rank, world = _distributed()
    torch.manual_seed(config.seed)
    model = RouteNet(config.model).to(device)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    per_epoch = [len(batches(graphs, config, epoch)) for epoch in range(config.epochs)]
    steps = sum(per_epoch)
    about = {"config": dataclasses.asdict(config), "graphs": len(graphs)}
    done = 0
    if checkpoint_path is not None and checkpoint_path.exists():
        before = checkpoint.restore(checkpoint_path, model, average, optimizer)
        if {key: before.get(key) for key in about} != about:
            raise ConfigurationError(
                str(checkpoint_path), "belongs to another configuration or other data", "give another --out folder"
            )
        done = int(before["step"])
    means: dict[str, float] = {}
    step, saved = 0, time.monotonic()
    for epoch in range(config.epochs):
        if step + per_epoch[epoch] <= done:
            step += per_epoch[epoch]
            continue
        for members in batches(graphs, config, epoch):
            step += 1
            if step <= done:
                continue
            chosen = [graphs[index] for index in members[rank::world] or members[:1]]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, config)
            parts = _step(model, optimizer, chosen, config, device, world)
            decay = min(config.averaging, (1 + step) / (10 + step))
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    average[name].lerp_(value, 1 - decay)
            for name, value in parts.items():
                means[name] = value if name not in means else 0.98 * means[name] + 0.02 * value
            if report is not None and rank == 0:
                report(step, steps, means)
            stop = stop_after_step is not None and step >= stop_after_step
            if checkpoint_path is not None and rank == 0 and (stop or time.monotonic() - saved > config.checkpoint_s):
                checkpoint.save(checkpoint_path, model, average, optimizer, {**about, "step": step})
                saved = time.monotonic()
            if stop:
                model.load_state_dict(average)
                return model.eval()
    if checkpoint_path is not None and rank == 0 and step > done:
        checkpoint.save(checkpoint_path, model, average, optimizer, {**about, "step": step})
    model.load_state_dict(average)
    return model.eval()


def batches(graphs: Sequence[LabelledGraph], config: TrainingConfig, epoch: int) -> list[list[int]]:
    """Which graphs go together in each step of an epoch: shuffled by seed and epoch, filled up to ``hops_per_batch``.

    Of a topology with more than ``per_topology`` graphs as many are drawn, others in every epoch.
    """
    order = list(range(len(graphs)))
    random.Random(f"{config.seed}/{epoch}").shuffle(order)
    taken: dict[str, int] = {}
    kept = []
    for index in order:
        key = graphs[index].topology_key
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= config.per_topology:
            kept.append(index)
    result: list[list[int]] = []
    hops = config.hops_per_batch
    for index in kept:
        size = len(graphs[index].graph.hop_queue)
        if not result or hops + size > config.hops_per_batch:
            result.append([])
            hops = 0
        result[-1].append(index)
        hops += size
    return result


def learning_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a half cosine down to the final rate."""
    warm = max(int(steps * config.warm_up), 1)
    if step <= warm:
        return config.learning_rate * step / warm
    part = (step - warm) / max(steps - warm, 1)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * (1 + math.cos(math.pi * part)) / 2


def _step(
    model: RouteNet,
    optimizer: torch.optim.Optimizer,
    chosen: Sequence[LabelledGraph],
    config: TrainingConfig,
    device: torch.device,
    world: int,
) -> dict[str, float]:
    batch = collate([labelled.graph for labelled in chosen])
    labels = targets(chosen)
    if device.type != "cpu":
        batch = batch.to(device)
        labels = dataclasses.replace(labels, **{name: value.to(device) for name, value in vars(labels).items()})
    parts = objective(model(batch), batch, labels, config)
    optimizer.zero_grad(set_to_none=True)
    parts["total"].backward()  # type: ignore[no-untyped-call]
    if world > 1:
        _average_gradients(model, world)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    if bool(torch.isfinite(norm)):
        optimizer.step()
    return {name: float(value.detach()) for name, value in parts.items()}


def _distributed() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _average_gradients(model: RouteNet, world: int) -> None:
    for parameter in model.parameters():
        gradient: Tensor = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        torch.distributed.all_reduce(gradient)
        parameter.grad = gradient / world
