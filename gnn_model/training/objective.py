"""What is made small: relative errors in the logarithm, and absolute ones of the loss ratio.

|log prediction - log label| is symmetric in over- and underestimation and does not let a few tiny delays rule, unlike
the percentage error itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gnn_model.routenet.batch import GraphBatch
from gnn_model.routenet.readout import NORMAL_90, NORMAL_99, PathPrediction
from gnn_model.training.config import TrainingConfig
from gnn_model.training.labelled import TARGETS, LabelledGraph

WAIT_FLOOR = 0.05  # queue waits below this part of a service time count little: there the label is noise
DEVIATION_FLOOR = 1e-3
LEAST_SPREAD = 0.01  # of the mean delay: jitter and deviation below are the chance of single packets


@dataclass(frozen=True)
class Targets:
    """Labels of a batch: per demand [demands] and per queue [queues], NaN where unknown."""

    delay: Tensor
    deviation: Tensor
    p90: Tensor
    p99: Tensor
    jitter: Tensor
    loss: Tensor
    queue_wait: Tensor


def targets(graphs: Sequence[LabelledGraph]) -> Targets:
    """Labels of graphs side by side, as :func:`gnn_model.routenet.batch.collate` lays them out."""
    return Targets(*(torch.from_numpy(np.concatenate([getattr(graph, name) for graph in graphs])) for name in TARGETS))


@dataclass(frozen=True)
class DemandPrediction:
    """The paths of each demand put together, [demands]; ``single``: demands with one path only, which have
    quantiles.
    """

    delay: Tensor
    deviation: Tensor
    p90: Tensor
    p99: Tensor
    jitter: Tensor
    loss: Tensor
    single: Tensor


def of_demands(predicted: PathPrediction, batch: GraphBatch) -> DemandPrediction:
    """Mix the paths of each demand by the packets that take them."""

    def mixed(values: Tensor) -> Tensor:
        return values.new_zeros(batch.demand_count).index_add(0, batch.path_demand, batch.path_weight * values)

    delay = mixed(predicted.mean)
    square = mixed(predicted.deviation**2 + (predicted.mean - delay.index_select(0, batch.path_demand)) ** 2)
    single = torch.bincount(batch.path_demand, minlength=batch.demand_count) == 1
    return DemandPrediction(
        delay,
        torch.sqrt(square + 1e-12),
        mixed(predicted.quantile(NORMAL_90)),
        mixed(predicted.quantile(NORMAL_99)),
        mixed(predicted.jitter),
        mixed(predicted.loss),
        single,
    )


def objective(
    predicted: PathPrediction, batch: GraphBatch, labels: Targets, config: TrainingConfig
) -> dict[str, Tensor]:
    """The parts of the objective, and their weighted sum as ``total``; a part without labels is missing."""
    demand = of_demands(predicted, batch)
    parts: dict[str, Tensor] = {}

    def add(name: str, error: Tensor, known: Tensor) -> None:
        if bool(known.any()):
            parts[name] = torch.where(known, error, torch.zeros_like(error)).sum() / known.sum()

    def relative(value: Tensor, label: Tensor, floor: float) -> Tensor:
        shown = torch.where(torch.isnan(label), torch.ones_like(label), label)
        return (torch.log(value + floor) - torch.log(shown + floor)).abs()

    add("delay", relative(demand.delay, labels.delay, 0.0), labels.delay > 0)
    least = LEAST_SPREAD * labels.delay  # NaN where that is not known
    spread = (labels.deviation >= 0) & ~(labels.deviation < least)
    add("deviation", relative(demand.deviation, labels.deviation, DEVIATION_FLOOR), spread)
    add("p90", relative(demand.p90.clamp_min(1e-6), labels.p90, 0.0), (labels.p90 > 0) & demand.single)
    add("p99", relative(demand.p99.clamp_min(1e-6), labels.p99, 0.0), (labels.p99 > 0) & demand.single)
    moving = (labels.jitter >= 0) & ~(labels.jitter < least) & demand.single
    add("jitter", relative(demand.jitter, labels.jitter, DEVIATION_FLOOR), moving)
    lost = torch.where(torch.isnan(labels.loss), torch.zeros_like(labels.loss), labels.loss)
    add("loss", (demand.loss - lost).abs(), ~torch.isnan(labels.loss))
    add("queue", relative(predicted.queue_wait, labels.queue_wait, WAIT_FLOOR), labels.queue_wait >= 0)
    weights = {
        "delay": 1.0,
        "deviation": config.weight_deviation,
        "p90": config.weight_p90,
        "p99": config.weight_p99,
        "jitter": config.weight_jitter,
        "loss": config.weight_loss,
        "queue": config.weight_queue,
    }
    parts["total"] = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
    return parts
