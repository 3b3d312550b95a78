"""Predictions for links on which a packet's own transmission time is not part of its delay.

Emulated links (Linux HTB) send a packet at the start of its service time: packets queue behind each other as on a real
link, but the last packet's own ``bits / capacity`` passes after it has been delivered, at every hop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gnn_model.predictor import Prediction, Predictor, problem_of
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array


@dataclass(frozen=True)
class WithoutTransmission:
    """A predictor whose delays lack ``sum(packet bits / capacity)`` over the path (by share where split)."""

    predictor: Predictor

    @property
    def name(self) -> str:
        """Name of the predictor behind."""
        return self.predictor.name

    @property
    def problem(self) -> str | None:
        """That of the predictor behind."""
        return problem_of(self.predictor)

    def predict(self, scenario: Scenario) -> Prediction:
        """Predict one scenario as it stands."""
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Predict the same scenario under each candidate routing."""
        predictions = self.predictor.predict_batch(scenario, candidates)
        return [
            _shortened(prediction, _transmission_s(scenario, routing))
            for prediction, routing in zip(predictions, candidates, strict=True)
        ]


def _transmission_s(scenario: Scenario, routing: Routing) -> FloatArray:
    """Mean transmission time summed over the links of each demand's paths, [demands] in seconds."""
    flat = routing.flat
    per_bit = np.bincount(
        flat.path_demand[flat.hop_path],
        weights=flat.share[flat.hop_path] / scenario.topology.capacity_bps[flat.hop_link],
        minlength=scenario.traffic.demand_count,
    )
    result: FloatArray = per_bit * scenario.traffic.packet_bits_mean
    return result


def _shortened(prediction: Prediction, by_s: FloatArray) -> Prediction:
    return replace(
        prediction,
        delay_s=float_array(np.maximum(prediction.delay_s - by_s, 0.0)),
        delay_p99_s=float_array(np.maximum(prediction.delay_p99_s - by_s, 0.0)),
    )
