"""Training of the router network: first errors in the logarithm are made small, then percentage errors, as judged."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gnn_model.real_routers.graphs import RouterGraph
from gnn_model.real_routers.model import RouterNet, collate
from gnn_model.training import checkpoint
from topology_sync.errors import ConfigurationError

Report = Callable[[int, int, float], None]
"""Called with step, all steps and the running mean absolute error of the logarithm."""


@dataclass(frozen=True)
class RouterTraining:
    """What decides the result.  ``percentage_from``: part of the steps after which percentage errors take over.

    ``averaging``: decay of the running mean of the weights, which is what is kept.
    """

    width: int = 32
    rounds: int = 2
    epochs: int = 10
    hops_per_batch: int = 6_000
    learning_rate: float = 3e-3
    final_learning_rate: float = 3e-5
    warm_up: float = 0.03
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    averaging: float = 0.998
    percentage_from: float = 0.6
    seed: int = 1
    checkpoint_s: float = 60.0


def train_router_net(
    graphs: Sequence[RouterGraph],
    config: RouterTraining,
    path: Path | None = None,
    report: Report | None = None,
    stop_after_step: int | None = None,
) -> RouterNet:
    """Train and return the network with averaged weights; with ``path`` it goes on where it was interrupted.

    Raises ConfigurationError where ``path`` belongs to another configuration or other data.
    """
    torch.manual_seed(config.seed)
    model = RouterNet(config.width, config.rounds)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    epochs = [_batches(graphs, config, epoch) for epoch in range(config.epochs)]
    order = [members for epoch in epochs for members in epoch]
    about = {"config": dataclasses.asdict(config), "graphs": len(graphs)}
    done = 0
    if path is not None and path.exists():
        before = checkpoint.restore(path, model, average, optimizer)
        if {key: before.get(key) for key in about} != about:
            raise ConfigurationError(str(path), "belongs to another configuration or other data", "give another folder")
        done = int(before["step"])
    saved, mean = time.monotonic(), math.nan
    last = len(order) if stop_after_step is None else min(stop_after_step, len(order))
    for step in range(done + 1, last + 1):
        part = step / len(order)
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(part, config)
        value = _step(model, optimizer, [graphs[index] for index in order[step - 1]], part, config)
        mean = value if math.isnan(mean) else 0.98 * mean + 0.02 * value
        decay = min(config.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                average[name].lerp_(tensor, 1 - decay)
        if report is not None:
            report(step, len(order), mean)
        if path is not None and (step == last or time.monotonic() - saved > config.checkpoint_s):
            checkpoint.save(path, model, average, optimizer, {**about, "step": step})
            saved = time.monotonic()
    model.load_state_dict(average)
    return model.eval()


def errors_of(model: RouterNet, graphs: Sequence[RouterGraph]) -> Tensor:
    """Relative errors of the delays that are known, all flows of all graphs in one row."""
    found = []
    with torch.inference_mode():
        for graph in graphs:
            batch = collate([graph])
            known = batch.delay > 0
            found.append((model(batch)[known] / batch.delay[known] - 1).abs())
    return torch.cat(found)


def _step(
    model: RouterNet, optimizer: torch.optim.Optimizer, chosen: list[RouterGraph], part: float, config: RouterTraining
) -> float:
    batch = collate(chosen)
    known = batch.delay > 0
    ratio = model(batch)[known] / batch.delay[known]
    logarithm = ratio.log().abs().mean()
    percentage = min(max((part - config.percentage_from) / 0.1, 0.0), 1.0)
    # A few predictions far too high would rule the percentage error: beyond 3 times they count by their logarithm.
    bounded = torch.where(ratio < 3, (ratio - 1).abs(), 2 + (ratio / 3).log())
    loss = (1 - percentage) * logarithm + percentage * bounded.mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    if bool(torch.isfinite(norm)):
        optimizer.step()
    return float(logarithm.detach())


def _batches(graphs: Sequence[RouterGraph], config: RouterTraining, epoch: int) -> list[list[int]]:
    order = list(range(len(graphs)))
    random.Random(f"{config.seed}/{epoch}").shuffle(order)
    result: list[list[int]] = []
    hops = config.hops_per_batch
    for index in order:
        size = len(graphs[index].hop_link)
        if hops + size > config.hops_per_batch:
            result.append([])
            hops = 0
        result[-1].append(index)
        hops += size
    return result


def _learning_rate(part: float, config: RouterTraining) -> float:
    if part < config.warm_up:
        return config.learning_rate * part / config.warm_up
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * (1 + math.cos(math.pi * part)) / 2
