"""How good predictions of labelled graphs are: errors pooled over all flows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from gnn_model.routenet.batch import collate
from gnn_model.routenet.model import RouteNet
from gnn_model.training.labelled import LabelledGraph
from gnn_model.training.objective import LEAST_SPREAD, of_demands


@dataclass
class Errors:
    """Relative errors of delay and deviation and absolute ones of loss, collected flow by flow."""

    delay: list[npt.NDArray[np.float64]] = field(default_factory=list)
    deviation: list[npt.NDArray[np.float64]] = field(default_factory=list)
    p90: list[npt.NDArray[np.float64]] = field(default_factory=list)
    p99: list[npt.NDArray[np.float64]] = field(default_factory=list)
    jitter: list[npt.NDArray[np.float64]] = field(default_factory=list)
    loss: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(self, labelled: LabelledGraph, predicted: dict[str, npt.NDArray[np.float64]]) -> None:
        """Compare predictions per demand, in the graph's units, with the labels.

        Unknown labels are left out, and jitter and deviation that are next to nothing beside the delay.
        """
        for name in ("delay", "deviation", "p90", "p99", "jitter"):
            label = np.asarray(getattr(labelled, name), dtype=np.float64)
            known = label > (LEAST_SPREAD * labelled.delay if name in ("deviation", "jitter") else 0.0)
            getattr(self, name).append(np.abs(predicted[name] - label)[known] / label[known])
        known = np.isfinite(labelled.loss)
        self.loss.append(np.abs(predicted["loss"] - labelled.loss)[known])

    def summary(self) -> dict[str, float | int | None]:
        """Means over all flows pooled (ratios, not per cent); None where no label was known."""

        def mean(parts: list[npt.NDArray[np.float64]]) -> float | None:
            pooled = np.concatenate(parts) if parts else np.zeros(0)
            return float(pooled.mean()) if len(pooled) else None

        delay = np.concatenate(self.delay) if self.delay else np.zeros(0)
        return {
            "samples": len(self.delay),
            "flows": len(delay),
            "delay_mape": mean(self.delay),
            "delay_median_ape": float(np.median(delay)) if len(delay) else None,
            "deviation_mape": mean(self.deviation),
            "p90_mape": mean(self.p90),
            "p99_mape": mean(self.p99),
            "jitter_mape": mean(self.jitter),
            "loss_mae": mean(self.loss),
        }


def predict_labelled(model: RouteNet, graphs: Sequence[LabelledGraph]) -> Iterable[dict[str, npt.NDArray[np.float64]]]:
    """Predictions per demand in each graph's units, graph by graph."""
    with torch.inference_mode():
        for labelled in graphs:
            batch = collate([labelled.graph])
            demand = of_demands(model(batch), batch)
            yield {
                name: getattr(demand, name).double().numpy()
                for name in ("delay", "deviation", "p90", "p99", "jitter", "loss")
            }


def judge(model: RouteNet, graphs: Sequence[LabelledGraph]) -> dict[str, dict[str, float | int | None]]:
    """Summary of errors per collection."""
    errors: dict[str, Errors] = {}
    for labelled, predicted in zip(graphs, predict_labelled(model, graphs), strict=True):
        errors.setdefault(labelled.collection, Errors()).add(labelled, predicted)
    return {name: found.summary() for name, found in sorted(errors.items())}
