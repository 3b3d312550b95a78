"""Is a model worse where its envelope says that it was not trained?  Errors inside and outside on labelled data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnn_model.accuracy import FIGURES
from gnn_model.dataset.manifest import read_manifest
from gnn_model.dataset.reader import find_datasets, iterate_dataset
from gnn_model.evaluation import LEAST_JITTER, LabelledScenario
from gnn_model.predictor import Predictor
from gnn_model.validity import Envelope
from topology_sync.errors import ScenarioError
from topology_sync.values import BoolArray, FloatArray

SIDES = ("inside", "outside")


def judge_envelope(roots: Sequence[Path], predictor: Predictor, envelope: Envelope) -> dict[str, Any]:
    """``{"samples", "samples_outside", "flows", "flows_outside", "inside": {...}, "outside": {...}}`` of all data sets
    below ``roots``; figures as :func:`gnn_model.evaluation.evaluate` gives them, None without a flow.

    Raises ScenarioError where there is no data set.
    """
    folders = [folder for root in roots for folder in find_datasets(root) if read_manifest(folder).shards]
    if not folders:
        raise ScenarioError(str(roots[0]), "holds no data set", "make one with `routewright dataset generate`")
    errors: dict[str, list[FloatArray]] = {name: [] for name in FIGURES}
    outside: list[BoolArray] = []
    called: list[bool] = []
    for labelled in _samples(folders):
        verdict = envelope.judge(labelled.scenario)
        called.append(not verdict.inside)
        marked = np.zeros(labelled.scenario.traffic.demand_count, dtype=np.bool_)
        marked[list(verdict.demands)] = True
        outside.append(marked)
        for name, values in _errors(labelled, predictor).items():
            errors[name].append(values)
    marks = np.concatenate(outside)
    pooled = {name: np.concatenate(values) for name, values in errors.items()}
    return {
        "samples": len(called),
        "samples_outside": sum(called),
        "flows": len(marks),
        "flows_outside": int(marks.sum()),
        **{
            side: {name: _mean(values[marks == (side == "outside")]) for name, values in pooled.items()}
            for side in SIDES
        },
    }


def _samples(folders: Iterable[Path]) -> Iterable[LabelledScenario]:
    return (LabelledScenario.of_simulated(sample) for folder in folders for sample in iterate_dataset(folder))


def _errors(labelled: LabelledScenario, predictor: Predictor) -> dict[str, FloatArray]:
    """Per demand: relative errors in per cent, absolute ones of the loss ratio; NaN where no label is known."""
    predicted = predictor.predict(labelled.scenario)
    found = {}
    for name, field in (("delay_mape", "delay_s"), ("p99_mape", "delay_p99_s"), ("jitter_mape", "jitter_s")):
        label = getattr(labelled, field)
        known = label > (LEAST_JITTER * labelled.delay_s if name == "jitter_mape" else 0.0)
        found[name] = 100 * np.abs(getattr(predicted, field) / np.where(known, label, np.nan) - 1)
    return found | {"loss_mae": np.abs(predicted.loss_ratio - labelled.loss_ratio)}


def _mean(values: FloatArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def envelope_table(answer: dict[str, Any]) -> str:
    """The answer as text."""
    heads = ("delay %", "p99 %", "jitter %", "loss points")
    lines = [f"{'':8} {'flows':>8}" + "".join(f"  {head:>11}" for head in heads)]
    flows = {"inside": answer["flows"] - answer["flows_outside"], "outside": answer["flows_outside"]}
    for side in SIDES:
        figures = answer[side]
        cells = [
            None if figures[name] is None else figures[name] * (100 if name == "loss_mae" else 1) for name in FIGURES
        ]
        texts = "".join(f"  {'-' if cell is None else f'{cell:.2f}':>11}" for cell in cells)
        lines.append(f"{side:8} {flows[side]:8}{texts}")
    lines.append(
        f"{answer['flows_outside'] / max(answer['flows'], 1):.2%} of the flows are called outside, and "
        f"{answer['samples_outside']} of {answer['samples']} networks"
    )
    return "\n".join(lines)
