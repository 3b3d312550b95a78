"""A trained model on disk: weights and their card (:mod:`gnn_model.weights_file`).

The card also holds the size of the network and a probe of what the analytic fixed point says about a small known
network (weights correct *that* formula and no other), and for people: data, command, seed, figures and range of
validity.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from gnn_model.graph_tensors import HOP_FEATURES, LINK_FEATURES, PATH_FEATURES, QUEUE_FEATURES, graph_tensors
from gnn_model.routenet.model import ModelConfig, RouteNet
from gnn_model.weights_file import WeightsKind
from topology_sync.errors import InputError
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import DISCIPLINES, Link, Scheduler, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix

SHIPPED = Path(__file__).parent / "weights" / "routenet.safetensors"
PROBE_TOLERANCE = 1e-3


class ModelFileError(InputError):
    """A file of weights that is not there, damaged, or not for this version."""


KIND = WeightsKind(
    "routewright-model/1",
    {
        "path": list(PATH_FEATURES),
        "hop": list(HOP_FEATURES),
        "queue": list(QUEUE_FEATURES),
        "link": list(LINK_FEATURES),
    },
    largest_bytes=50_000_000,
    remedy="train it with `routewright train`",
    error=ModelFileError,
)


def save_model(path: Path, model: RouteNet, about: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and its card (.json); ``about`` is for people and may hold any JSON."""
    KIND.save(path, model, {"model": dataclasses.asdict(model.config), "probe": _probe()}, about)


def load_model(path: Path) -> tuple[RouteNet, dict[str, Any]]:
    """The model and its card.  Raises ModelFileError: one line with what is wrong and what to do."""
    card, data = KIND.read(path)
    if not _is_probe(card.get("probe")):
        raise ModelFileError(str(path), "was trained on another version of the analytic formulas", KIND.remedy)
    return KIND.fill(path, lambda: RouteNet(ModelConfig(**card["model"])), data), card


def _is_probe(told: Any) -> bool:
    """Is this what this version's formulas say about the small network?"""
    expected = np.array(_probe())
    try:
        probe = np.array(told, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    within = PROBE_TOLERANCE * (1 + np.abs(expected))
    return probe.shape == expected.shape and bool((np.abs(probe - expected) <= within).all())


def _probe() -> list[float]:
    """Inputs of a small network with every scheduler and arrival model, rounded."""
    classes = (("a", 0), ("b", 1), ("c", 2))
    schedulers = [Scheduler(name, (60.0, 30.0, 10.0), classes) for name in DISCIPLINES]
    names = ("n0", "n1", "n2", "n3")
    links = [Link(names[node], names[(node + 1) % 4], 1e6, 0.0, 16) for node in range(4)]
    topology = Topology.from_links(names, links, schedulers)
    models = ("poisson", "cbr", "onoff", "autocorrelated", "modulated", "poisson")
    sizes = (PacketSize(), PacketSize("constant"), PacketSize("bimodal"))
    demands, paths = [], []
    for number in range(12):
        source, hops = number % 4, 1 + number % 3
        arrivals = Arrivals(models[number % 6], on_s=0.5, off_s=0.5)  # type: ignore[arg-type]
        demands.append(
            Demand(
                names[source],
                names[(source + hops) % 4],
                1.1e5 + 1e4 * number,
                "abc"[(number // 4) % 3],
                1000.0,
                sizes[number % 3],
                arrivals,
            )
        )
        paths.append((PathShare(tuple((source + hop) % 4 for hop in range(hops))),))
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, "abc")
    graph = graph_tensors(Scenario("probe", topology, traffic, Routing(tuple(paths))))
    values = [graph.queue_features.mean(axis=0), graph.path_features.mean(axis=0), [graph.queue_wait.mean()]]
    return [round(float(value), 5) for value in np.concatenate(values)]
