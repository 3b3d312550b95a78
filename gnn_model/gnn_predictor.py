"""The learned predictor: RouteNet on the analytic fixed point, behind the protocol that all predictors share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gnn_model.analytic_delay import PathDelays
from gnn_model.graph_tensors import GraphTensors, tensors_of_solved
from gnn_model.model_file import SHIPPED, load_model
from gnn_model.predictor import Prediction
from gnn_model.routenet.batch import GraphBatch, collate
from gnn_model.routenet.model import RouteNet
from gnn_model.routenet.readout import PathPrediction
from gnn_model.solved_routing import RoutingSolver, SolvedRouting
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array

HOPS_AT_ONCE = 8_000  # hops of candidates run together: more fall out of the processor's cache


class GnnPredictor:
    """Loads its weights once; predicting changes nothing, so one instance may be used from any thread."""

    name = "gnn"

    def __init__(self, weights: Path = SHIPPED) -> None:
        """Raises ModelFileError (one line) where the weights are missing, damaged or not for this version."""
        self._model, self.card = load_model(weights)

    @classmethod
    def of_model(cls, model: RouteNet) -> GnnPredictor:
        """A predictor of a model in memory, without a card."""
        predictor = cls.__new__(cls)
        predictor._model, predictor.card = model.eval(), {}
        return predictor

    def predict(self, scenario: Scenario) -> Prediction:
        """Predict one scenario as it stands.  Demands with rate 0 get what a packet of theirs would see."""
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Predict each candidate routing; a prediction does not depend on the other candidates."""
        predictions: list[Prediction] = []
        waiting: list[tuple[SolvedRouting, GraphTensors]] = []
        hops = 0
        solver = RoutingSolver(scenario)
        for candidate in candidates:
            solved = solver.solve(candidate)
            graph = tensors_of_solved(scenario, solved)
            if waiting and hops + len(graph.hop_queue) > HOPS_AT_ONCE:
                predictions += self._run(scenario, waiting)
                waiting, hops = [], 0
            waiting.append((solved, graph))
            hops += len(graph.hop_queue)
        return predictions + (self._run(scenario, waiting) if waiting else [])

    def _run(self, scenario: Scenario, solved: list[tuple[SolvedRouting, GraphTensors]]) -> list[Prediction]:
        batch = collate([graph for _, graph in solved])
        with torch.inference_mode():
            predicted: PathPrediction = self._model(batch)
        columns = _in_order(batch, predicted)
        bounds = np.cumsum([0, *(graph.path_count for _, graph in solved)])
        return [
            _prediction(scenario, routing, graph, {name: values[start:end] for name, values in columns.items()})
            for (routing, graph), start, end in zip(solved, bounds[:-1], bounds[1:], strict=True)
        ]


def _in_order(batch: GraphBatch, predicted: PathPrediction) -> dict[str, FloatArray]:
    place = np.argsort(batch.order.numpy(), kind="stable")
    names = ("mean", "deviation", "skew", "tail", "jitter", "loss")
    return {name: getattr(predicted, name).double().numpy()[place] for name in names}


def _prediction(
    scenario: Scenario, solved: SolvedRouting, graph: GraphTensors, paths: dict[str, FloatArray]
) -> Prediction:
    layout, traffic = solved.layout, scenario.traffic
    survival = 1 - paths["loss"]
    delays = PathDelays(
        paths["mean"] * graph.unit_s,
        paths["deviation"] * graph.unit_s,
        paths["skew"],
        paths["jitter"] * graph.unit_s,
        survival,
    )
    demands = delays.demands(layout, traffic.demand_count)
    # Stretched, the same distribution has the 99th percentile that the network says.
    stretched = replace(delays, deviation_s=delays.deviation_s * paths["tail"]).demands(layout, traffic.demand_count)
    # Link values stay those of the fixed point: the network corrects what flows see.
    carried = (solved.state.offered * (1 - solved.state.loss)).sum(axis=-1)[0]
    arriving = solved.traffic.packets_per_s.sum(axis=-1)[0]
    lost = (solved.traffic.packets_per_s * solved.state.loss).sum(axis=-1)[0]
    some = arriving > 0
    return Prediction(
        delay_s=float_array(demands.mean_s[0]),
        delay_p99_s=float_array(np.maximum(stretched.p99_s[0], demands.mean_s[0])),
        jitter_s=float_array(demands.jitter_s[0]),
        loss_ratio=float_array(demands.loss_ratio[0]),
        link_utilisation_ratio=float_array(np.minimum(carried, 1.0)),
        link_loss_ratio=float_array(np.where(some, lost / np.where(some, arriving, 1.0), 0.0)),
    )
