"""Which predictor answers: the model in this process, loaded and warm, or servers elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gnn_model.predictor import IncrementalPredictor, Predictor
from topology_sync.errors import InputError, UnavailableError
from topology_sync.paths import k_shortest_paths
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario
from topology_sync.topology import DISCIPLINES, Link, Scheduler, Topology
from topology_sync.traffic import ARRIVAL_MODELS, SIZE_MODELS, Arrivals, Demand, PacketSize, TrafficMatrix

if TYPE_CHECKING:
    from gnn_model.service.tls import TlsFiles

KINDS = ("gnn", "analytic")
DEVICES = ("auto", "cpu", "cuda")


def open_predictor(
    kind: str = "gnn", addresses: Sequence[str] = (), tls: TlsFiles | None = None, weights: Path | None = None
) -> Predictor:
    """The predictor of this kind: embedded, or behind the servers at ``addresses`` ("host:port").

    Raises UnavailableError where a library is missing, InputError for what cannot be; servers that are away are no
    error here.
    """
    if not addresses:
        return load_predictor(kind, weights)
    if weights is not None:
        raise InputError("weights", "are those of the server where there is an address", "leave one out")
    try:
        from gnn_model.service.remote_predictor import RemotePredictor
    except ModuleNotFoundError as missing:
        if missing.name not in ("grpc", "grpc_health", "google"):
            raise
        raise UnavailableError(f"a predictor server needs {missing.name}; install routewright[model]") from None
    return RemotePredictor(addresses, kind, tls)


def load_predictor(
    kind: str = "gnn", weights: Path | None = None, device: str = "cpu", threads: int | None = None
) -> Predictor:
    """The predictor of this kind in this process, warmed up.

    ``device`` (auto, cpu, cuda) is for the learned one; ``threads`` None: as many as each takes by itself.  Raises
    UnavailableError where a library or the device is missing, ModelFileError for weights that do not fit.
    """
    if kind == "analytic":
        if weights is not None:
            raise InputError("weights", "are given, and the analytic predictor has none", "leave them out or take gnn")
        from gnn_model.analytic import AnalyticPredictor

        return warmed_up(AnalyticPredictor(threads))
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
    return warmed_up(GnnPredictor(weights or SHIPPED, threads, device=_chosen_device(device)))


def warmed_up(predictor: Predictor) -> Predictor:
    """The same after a few small questions: what is compiled or set up once is, before anybody waits for it."""
    scenario = _small_scenario()
    predictor.predict_batch(scenario, [scenario.routing] * 2)
    judge = predictor.judge_of(scenario) if isinstance(predictor, IncrementalPredictor) else None
    if judge is not None:
        topology = scenario.topology
        ends = int(scenario.traffic.source[0]), int(scenario.traffic.target[0])
        ways = k_shortest_paths(topology, *ends, 2, np.ones(topology.link_count))
        moves: list[Mapping[int, Sequence[PathShare]]] = [{0: (PathShare(way),)} for way in ways]
        judge.judge(moves)
        judge.accept(moves[-1])
    return predictor


def _chosen_device(device: str) -> str:
    import torch

    if device not in DEVICES:
        raise InputError("--device", f"is '{device}'", f"give one of {', '.join(DEVICES)}")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UnavailableError("there is no CUDA device that PyTorch can use here; take --device cpu")
    return "cuda" if device != "cpu" and available else "cpu"


def _small_scenario() -> Scenario:
    """Four nodes in a ring, both ways, a demand between any two of them; every discipline, source and kind of sizes."""
    from topology_sync.paths import fewest_hops_routing

    names = ("a", "b", "c", "d")
    pairs = (("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"))
    schedulers = [Scheduler(discipline, (2.0, 1.0), (("y", 1),)) for discipline in DISCIPLINES]
    topology = Topology.from_links(
        names, [Link(*ends, 1e7) for pair in pairs for ends in (pair, pair[::-1])], schedulers
    )
    ends = [(source, target) for source in names for target in names if source != target]
    kinds = zip(ends, cycle("xy"), cycle(SIZE_MODELS), cycle(ARRIVAL_MODELS), strict=False)
    demands = [
        Demand(
            *pair,
            1e6,
            name,
            packet_size=PacketSize(size, *(((1.0, 2.0), (0.5, 0.5)) if size == "discrete" else ())),
            arrivals=Arrivals(arrivals),
        )
        for pair, name, size, arrivals in kinds
    ]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    return Scenario("small", topology, traffic, fewest_hops_routing(topology, traffic))
