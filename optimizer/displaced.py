"""Demands that cannot stay where they are: over links that are down or under maintenance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from gnn_model.predictor import Prediction
from optimizer.candidates import UsableLinks
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, FloatArray, float_array


def demands_over(routing: Routing, closed: BoolArray) -> tuple[int, ...]:
    """Demands with a path over any of the links marked in ``closed`` [links]."""
    flat = routing.flat
    return tuple(int(demand) for demand in np.unique(flat.path_demand[flat.hop_path[closed[flat.hop_link]]]))


def displaced_demands(scenario: Scenario, usable: UsableLinks) -> tuple[int, ...]:
    """Demands that must move: over links that are down or under maintenance, or through nodes under maintenance."""
    topology, traffic = scenario.topology, scenario.traffic
    closed = ~usable.allowed
    for node in usable.end_only_nodes:
        closed = closed | (topology.link_source == node) | (topology.link_target == node)
    return tuple(
        demand
        for demand in demands_over(scenario.routing, closed)
        if not all(
            usable.for_ends(topology, int(traffic.source[demand]), int(traffic.target[demand]))[list(path.links)].all()
            for path in scenario.routing.paths[demand]
        )
    )


def cut_off(prediction: Prediction, demands: Iterable[int]) -> Prediction:
    """The same prediction with some demands delivering nothing: loss 1 and infinite delay."""
    index = list(demands)
    if not index:
        return prediction

    def marked(values: FloatArray, value: float) -> FloatArray:
        values = values.copy()
        values[index] = value
        return float_array(values)

    return replace(
        prediction,
        delay_s=marked(prediction.delay_s, np.inf),
        delay_p99_s=marked(prediction.delay_p99_s, np.inf),
        jitter_s=marked(prediction.jitter_s, np.nan),
        loss_ratio=marked(prediction.loss_ratio, 1.0),
    )
