"""Powers for one layout, by the hybrid, WCGCN alone or WMMSE, and what they are worth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from gnn_model.wireless.layout import Layout
from gnn_model.wireless.minimum_rates import with_minimum_rates
from gnn_model.wireless.model_file import TrainedModel, shipped_model
from gnn_model.wireless.rates import link_rates, sum_rate
from gnn_model.wireless.wmmse import Interference, wmmse_from
from topology_sync.values import ArrayValue, FloatArray

WMMSE_ITERATIONS = 100
SILENT = 1e-10
"""Powers below -100 dB are those of links that were meant to be silent."""


class Method(StrEnum):
    """Who recommends."""

    HYBRID = "hybrid"
    WCGCN = "wcgcn"
    WMMSE = "wmmse"


@dataclass(frozen=True, eq=False)
class Recommendation(ArrayValue):
    """Powers [links] relative to the full power, and the rates [links] in bit/s/Hz they give.

    ``violation`` [links]: by how much a link misses its minimum rate; ``possible``: can all minima be kept at all.
    With distances only, the rates are those of channels without shadowing and fading.
    """

    powers: FloatArray
    rates: FloatArray
    violation: FloatArray
    possible: bool
    method: Method
    seconds: float


def recommend(
    layout: Layout, method: Method = Method.HYBRID, model: TrainedModel | None = None, at_once: bool = False
) -> Recommendation:
    """Powers for ``layout``; without ``model`` the shipped one that fits what is known of the channels.

    ``at_once`` skips the warming up that makes ``seconds`` the time of a recommendation in running operation.
    """
    if model is None and method is not Method.WMMSE:
        model = shipped_model("distances" if layout.distances_only else "channels")
    if not at_once:
        _powers(layout, method, model)
    started = time.perf_counter()
    powers, violation, possible = _powers(layout, method, model)
    seconds = time.perf_counter() - started
    rates = link_rates(layout.gains, powers)
    return Recommendation(powers, rates, violation, possible, method, seconds)


def _powers(layout: Layout, method: Method, model: TrainedModel | None) -> tuple[FloatArray, FloatArray, bool]:
    if layout.minimum_rates.any():
        found = with_minimum_rates(
            layout.gains,
            layout.weights,
            layout.minimum_rates,
            lambda weights: propose(layout.gains, weights, method, model),
        )
        return found.powers, found.violation, found.possible
    proposals = propose(layout.gains, layout.weights, method, model)
    worth = sum_rate(layout.gains[None], proposals, layout.weights[None])
    return proposals[worth.argmax()], np.zeros(len(layout.links)), True


def propose(gains: FloatArray, weights: FloatArray, method: Method, model: TrainedModel | None) -> FloatArray:
    """Proposed powers [proposals, links] for ``gains`` [links, links] and ``weights`` [links] of any scale."""
    relative = np.asarray(weights / max(float(weights.max()), 1e-300))
    if method is Method.WMMSE or model is None:
        channels = Interference.of(gains[None], relative[None])
        start = np.ones((1, 1, len(gains)))
        powers = wmmse_from(channels, start, WMMSE_ITERATIONS)[0] ** 2
        return np.where(powers < SILENT, 0.0, powers)
    with torch.inference_mode():
        seen = torch.tensor(gains[None], dtype=torch.float32)
        unequal = bool((relative != 1.0).any())
        told = torch.tensor(relative[None], dtype=torch.float32) if unequal else None
        alone, refined = model.model(seen, told)
    chosen = alone if method is Method.WCGCN else refined
    powers = chosen[0].double().numpy().clip(0.0, 1.0)
    return np.where(powers < SILENT, 0.0, powers)


def recommendation_to_json(layout: Layout, found: Recommendation) -> dict[str, Any]:
    """What ``routewright wireless recommend --json`` prints."""
    links = []
    for index, name in enumerate(layout.links):
        power = float(found.powers[index])
        links.append(
            {
                "id": name,
                "power_ratio": power,
                "power_dbm": layout.power_dbm + 10.0 * float(np.log10(power)) if power > 0.0 else None,
                "rate_bit_s_hz": float(found.rates[index]),
                "weight": float(layout.weights[index]),
                "min_rate_bit_s_hz": float(layout.minimum_rates[index]),
                "violation_bit_s_hz": float(found.violation[index]),
            }
        )
    full = sum_rate(layout.gains, np.ones(len(layout.links)))
    return {
        "name": layout.name,
        "method": found.method.value,
        "knowledge": "distances" if layout.distances_only else ("gains" if layout.measured.all() else "partial"),
        "links": links,
        "sum_rate_bit_s_hz": float(found.rates.sum()),
        "weighted_sum_rate_bit_s_hz": float((found.rates * layout.weights).sum()),
        "full_power_sum_rate_bit_s_hz": float(full),
        "min_rates_possible": found.possible,
        "violation_bit_s_hz": float(found.violation.sum()),
        "seconds": found.seconds,
    }
