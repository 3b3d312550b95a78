"""Predictions on the wire: packed arrays of doubles, so what arrives is bit for bit what was computed."""

from __future__ import annotations

from dataclasses import fields

from gnn_model.predictor import Prediction
from gnn_model.service.v1 import predictor_pb2 as pb
from topology_sync.errors import UnavailableError
from topology_sync.scenario import Scenario
from topology_sync.values import float_array

FIELDS = tuple(field.name for field in fields(Prediction))


def prediction_message(prediction: Prediction) -> pb.Prediction:
    """The message of a prediction."""
    return pb.Prediction(**{name: getattr(prediction, name).tolist() for name in FIELDS})


def read_prediction(message: pb.Prediction, scenario: Scenario) -> Prediction:
    """The prediction in a message.  Raises UnavailableError where its sizes are not those of the scenario."""
    demands, links = scenario.traffic.demand_count, scenario.topology.link_count
    for name in FIELDS:
        expected = links if name.startswith("link_") else demands
        found = len(getattr(message, name))
        if found != expected:
            raise UnavailableError(
                f"the predictor's answer does not fit the question: {name} has {found} entries, not {expected}"
            )
    return Prediction(**{name: float_array(getattr(message, name)) for name in FIELDS})
