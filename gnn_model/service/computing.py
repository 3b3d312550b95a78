"""What stands behind the server: a predictor that is asked about many scenarios at once, and its name for callers."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gnn_model.configurations import Configuration, predict_configurations
from gnn_model.predictor import Prediction, Predictor
from gnn_model.service.candidates_wire import Question
from gnn_model.service.v1 import predictor_pb2 as pb
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario


@runtime_checkable
class ManyPredictor(Protocol):
    """A predictor that puts candidates of several scenarios into common batches."""

    def predict_many(self, questions: Sequence[tuple[Scenario, Sequence[Routing]]]) -> list[list[Prediction]]:
        """One list of predictions per scenario."""
        ...


def predict_questions(predictor: Predictor, questions: Sequence[Question]) -> list[Prediction]:
    """Predict questions of any scenarios, each scenario's together; answers in the order of the questions."""
    groups: dict[int, list[int]] = {}
    rescheduled: dict[int, list[int]] = {}
    for position, question in enumerate(questions):
        of_kind = groups if question.schedulers is None else rescheduled
        of_kind.setdefault(id(question.known), []).append(position)
    asked = [
        (questions[positions[0]].known.scenario, [questions[position].routing for position in positions])
        for positions in groups.values()
    ]
    if isinstance(predictor, ManyPredictor):
        found = predictor.predict_many(asked)
    else:
        found = [predictor.predict_batch(scenario, routings) for scenario, routings in asked]
    placed = {
        position: prediction
        for positions, predictions in zip(groups.values(), found, strict=True)
        for position, prediction in zip(positions, predictions, strict=True)
    }
    for positions in rescheduled.values():
        scenario = questions[positions[0]].known.scenario
        configurations = [
            Configuration(questions[position].routing, questions[position].schedulers or scenario.topology.schedulers)
            for position in positions
        ]
        placed.update(zip(positions, predict_configurations(predictor, scenario, configurations), strict=True))
    return [placed[position] for position in range(len(questions))]


def model_message(predictor: Predictor) -> pb.Model:
    """Which model answers."""
    card = getattr(predictor, "card", {})
    return pb.Model(name=predictor.name, version=installed_version(), card_id=str(card.get("sha256", "")))


def installed_version() -> str:
    """Version of Routewright, empty where it runs from a bare directory."""
    try:
        return importlib.metadata.version("routewright")
    except importlib.metadata.PackageNotFoundError:
        return ""
