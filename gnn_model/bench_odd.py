"""The battery of odd networks: predictors beside the packet simulator, and what the envelope says of each network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gnn_model.odd_networks import OddNetwork
from gnn_model.packet_simulator.simulator import PacketSimulator
from gnn_model.predictor import Prediction, Predictor
from gnn_model.validity import Envelope
from topology_sync.values import FloatArray

RELATIVE = {"delay": "delay_s", "p99": "delay_p99_s", "jitter": "jitter_s"}
LEAST_JITTER = 1e-3  # of the mean delay: below, there is none to speak of
FIGURES = (*RELATIVE, "loss")
OFF_PERCENT = 10.0  # a delay or 99th percentile further off than that is called wrong in the summary


def judge_odd(
    networks: Iterable[OddNetwork], predictors: Sequence[Predictor], envelope: Envelope | None, truth: PacketSimulator
) -> Iterator[dict[str, Any]]:
    """A row per network: ``kind``, ``name``, ``demands``, by predictor its errors, and the envelope's ``validity``.

    Errors are medians over the demands, with the sign of the prediction's: relative ones in per cent, loss in
    percentage points; None where nothing is known, as jitter where there is none.
    """
    for network in networks:
        simulated = truth.simulate(network.scenario)
        row: dict[str, Any] = {
            "kind": network.kind,
            "name": network.name,
            "demands": network.scenario.traffic.demand_count,
            "precise": simulated.reached,
        }
        for predictor in predictors:
            row[predictor.name] = errors(predictor.predict(network.scenario), simulated.prediction)
        row["validity"] = None if envelope is None else envelope.judge(network.scenario).to_json()
        yield row


def errors(predicted: Prediction, truth: Prediction) -> dict[str, float | None]:
    """Signed median errors: per cent of delay, 99th percentile and jitter, percentage points of loss."""
    found: dict[str, float | None] = {}
    for name, field in RELATIVE.items():
        true = getattr(truth, field)
        least = LEAST_JITTER * truth.delay_s if name == "jitter" else 0.0
        with np.errstate(invalid="ignore"):
            known = np.isfinite(true) & (true > least)
        found[name] = _median(100 * (getattr(predicted, field)[known] / true[known] - 1))
    known = np.isfinite(truth.loss_ratio)
    found["loss"] = _median(100 * (predicted.loss_ratio[known] - truth.loss_ratio[known]))
    return found


def _median(values: FloatArray) -> float | None:
    if not len(values):
        return None
    size = float(np.median(np.abs(values)))
    return -size if np.median(values) < 0 else size


def summary(rows: Sequence[dict[str, Any]], name: str = "gnn") -> dict[str, Any]:
    """Of networks inside and outside the envelope: how many, how many are wrong by more than OFF_PERCENT in delay or
    99th percentile, and the median of the larger of both errors.
    """
    answer: dict[str, Any] = {}
    for side, inside in (("inside", True), ("outside", False)):
        worst = [
            max(abs(row[name][figure] or 0.0) for figure in ("delay", "p99"))
            for row in rows
            if row["validity"] is not None and row["validity"]["inside"] is inside
        ]
        answer[side] = {
            "networks": len(worst),
            "wrong": sum(error > OFF_PERCENT for error in worst),
            "median_error": float(np.median(worst)) if worst else None,
        }
    return answer


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as text: gnn, and the analytic predictor in brackets."""
    width = max(len(row["name"]) for row in rows)
    heads = ("delay %", "p99 %", "jitter %", "loss points")
    lines = [f"{'':{width}}" + "".join(f"  {head:>17}" for head in heads) + "  envelope"]
    for row in rows:
        cells = "".join(f"  {_cell(row['gnn'][name]):>7} ({_cell(row['analytic'][name]):>7})" for name in FIGURES)
        validity = row["validity"]
        said = "?" if validity is None else "inside" if validity["inside"] else f"outside: {validity['reasons'][0]}"
        lines.append(f"{row['name']:{width}}{cells}  {said}")
    for side, found in summary(rows).items():
        if found["networks"]:
            lines.append(
                f"{side}: {found['networks']} networks, {found['wrong']} of them more than {OFF_PERCENT:g} % off in "
                f"delay or 99th percentile, median {found['median_error']:.1f} %"
            )
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}" if abs(value) < 1e4 else f"{value:+.0e}"
