"""Predictions for links on which a packet's own transmission time is not part of its delay.

Emulated links (Linux HTB) send a packet at the start of its service time: packets queue behind each other as on a real
link, but the last packet's own ``bits / capacity`` passes after it has been delivered, at every hop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gnn_model.configurations import Configuration, predict_configurations
from gnn_model.predictor import IncrementalPredictor, MoveEffects, Prediction, Predictor, RoutingJudge, problem_of
from gnn_model.validity import Envelope, envelope_of
from topology_sync.routing import PathShare, Routing
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

    @property
    def envelope(self) -> Envelope | None:
        """That of the predictor behind."""
        return envelope_of(self.predictor)

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

    def predict_configurations(self, scenario: Scenario, candidates: Sequence[Configuration]) -> list[Prediction]:
        """Predict the same traffic under candidates with other routings and schedulers."""
        predictions = predict_configurations(self.predictor, scenario, candidates)
        return [
            _shortened(prediction, _transmission_s(scenario, candidate.routing))
            for prediction, candidate in zip(predictions, candidates, strict=True)
        ]

    def judge_of(self, scenario: Scenario) -> RoutingJudge | None:
        """The judge of the predictor behind, delays shortened alike; None where it has none."""
        if not isinstance(self.predictor, IncrementalPredictor):
            return None
        judge = self.predictor.judge_of(scenario)
        return None if judge is None else _JudgeWithoutTransmission(judge, scenario)


class _JudgeWithoutTransmission:
    def __init__(self, judge: RoutingJudge, scenario: Scenario) -> None:
        self._judge = judge
        self._scenario = scenario
        self._by_s = _transmission_s(scenario, judge.routing)

    @property
    def routing(self) -> Routing:
        return self._judge.routing

    @property
    def prediction(self) -> Prediction:
        return _shortened(self._judge.prediction, self._by_s)

    def judge(self, moves: Sequence[Mapping[int, Sequence[PathShare]]]) -> MoveEffects:
        effects = self._judge.judge(moves)
        by_s = self._by_s[effects.demand]
        bit_time_s = 1 / self._scenario.topology.capacity_bps
        for move, first in zip(moves, effects.pointer.tolist(), strict=False):
            for row, (demand, paths) in enumerate(move.items(), start=first):  # demands that moved come first
                per_bit = sum(path.share * float(bit_time_s[list(path.links)].sum()) for path in paths)
                by_s[row] = per_bit * self._scenario.traffic.packet_bits_mean[demand]
        return replace(
            effects,
            delay_s=np.maximum(effects.delay_s - by_s, 0.0),
            delay_p99_s=np.maximum(effects.delay_p99_s - by_s, 0.0),
        )

    def accept(self, move: Mapping[int, Sequence[PathShare]]) -> Prediction:
        self._judge.accept(move)
        self._by_s = _transmission_s(self._scenario, self._judge.routing)
        return self.prediction


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
