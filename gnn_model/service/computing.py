"""What stands behind the server: a predictor that is loaded and warm, asked many questions at once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from gnn_model.predictor import Prediction, Predictor
from gnn_model.service.candidates_wire import Question
from gnn_model.service.v1 import predictor_pb2 as pb
from topology_sync.errors import InputError, UnavailableError
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix

DEVICES = ("auto", "cpu", "cuda")
KINDS = ("gnn", "analytic")


@runtime_checkable
class ManyPredictor(Protocol):
    """A predictor that puts candidates of several scenarios into common batches."""

    def predict_many(self, questions: Sequence[tuple[Scenario, Sequence[Routing]]]) -> list[list[Prediction]]:
        """One list of predictions per scenario."""
        ...


def load_predictor(kind: str = "gnn", weights: Path | None = None, device: str = "cpu") -> Predictor:
    """The predictor of this name in this process, warmed up.

    Raises UnavailableError where a library or the device is missing, ModelFileError for weights that do not fit.
    """
    if kind == "analytic":
        if weights is not None:
            raise InputError("--weights", "the analytic predictor has none", "leave it out or take gnn")
        from gnn_model.analytic import AnalyticPredictor

        return warmed_up(AnalyticPredictor())
    if kind != "gnn":
        raise InputError("predictor", f"there is no '{kind}'", f"give one of {', '.join(KINDS)}")
    try:
        from gnn_model.gnn_predictor import GnnPredictor
        from gnn_model.model_file import SHIPPED
    except ModuleNotFoundError as missing:
        if missing.name not in ("torch", "safetensors", "numba", "llvmlite"):
            raise
        remedy = "install routewright[model] or take the analytic predictor"
        raise UnavailableError(f"the learned model needs {missing.name}; {remedy}") from None
    return warmed_up(GnnPredictor(weights or SHIPPED, chosen_device(device)))


def chosen_device(device: str) -> str:
    """``cuda`` or ``cpu`` for ``auto``.  Raises InputError, UnavailableError."""
    import torch

    if device not in DEVICES:
        raise InputError("--device", f"is '{device}'", f"give one of {', '.join(DEVICES)}")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UnavailableError("there is no CUDA device that PyTorch can use here; take --device cpu")
    return "cuda"


def warmed_up(predictor: Predictor) -> Predictor:
    """The same after a first small prediction: what is compiled or set up once is, before anybody waits for it."""
    predictor.predict(_small_scenario())
    return predictor


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


def predict_questions(predictor: Predictor, questions: Sequence[Question]) -> list[Prediction]:
    """Predict questions of any scenarios, each scenario's together; answers in the order of the questions."""
    groups: dict[int, list[int]] = {}
    for position, question in enumerate(questions):
        groups.setdefault(id(question.known), []).append(position)
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
    return [placed[position] for position in range(len(questions))]


def _small_scenario() -> Scenario:
    """Three nodes in a row, both ways, a demand between any two of them."""
    from topology_sync.paths import fewest_hops_routing

    names = ("a", "b", "c")
    pairs = (("a", "b"), ("b", "c"))
    topology = Topology.from_links(names, [Link(*ends, 1e7) for pair in pairs for ends in (pair, pair[::-1])])
    demands = [Demand(source, target, 1e6) for source in names for target in names if source != target]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    return Scenario("small", topology, traffic, fewest_hops_routing(topology, traffic))
