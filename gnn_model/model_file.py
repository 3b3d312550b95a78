"""A trained model on disk: safetensors with the weights, and beside it a JSON card that says what they are.

The card holds the size of the network, the names of its inputs in order, checksums of the weights and of what the
analytic fixed point says about a small known network (weights correct *that* formula and no other), and for people:
data, command, seed, figures and range of validity.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from gnn_model.graph_tensors import HOP_FEATURES, LINK_FEATURES, PATH_FEATURES, QUEUE_FEATURES, graph_tensors
from gnn_model.routenet.model import ModelConfig, RouteNet
from topology_sync.errors import InputError
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import DISCIPLINES, Link, Scheduler, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix

FORMAT = "routewright-model/1"
SHIPPED = Path(__file__).parent / "weights" / "routenet.safetensors"
LARGEST_FILE_BYTES = 50_000_000
PROBE_TOLERANCE = 1e-3


class ModelFileError(InputError):
    """A file of weights that is not there, damaged, or not for this version."""


def input_names() -> dict[str, list[str]]:
    """The network's inputs in order."""
    return {
        "path": list(PATH_FEATURES),
        "hop": list(HOP_FEATURES),
        "queue": list(QUEUE_FEATURES),
        "link": list(LINK_FEATURES),
    }


def save_model(path: Path, model: RouteNet, about: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and its card (.json); ``about`` is for people and may hold any JSON."""
    data = save_tensors({name: value.contiguous() for name, value in model.state_dict().items()}, {"format": FORMAT})
    card = {
        "format": FORMAT,
        "model": dataclasses.asdict(model.config),
        "inputs": input_names(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "probe": _probe(),
        **about,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, data)
    rewrite_card(path, card)


def rewrite_card(path: Path, card: dict[str, Any]) -> None:
    """Write the card of the weights at ``path`` anew; it must still be theirs."""
    _replace(path.with_suffix(".json"), json.dumps(card, indent=1).encode() + b"\n")


def _replace(target: Path, content: bytes) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, target)


def load_model(path: Path) -> tuple[RouteNet, dict[str, Any]]:
    """The model and its card.  Raises ModelFileError: one line with what is wrong and what to do."""
    place = str(path)
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ModelFileError(
                place, "is too large for weights of this model", "give a file made by `routewright train`"
            )
        data = path.read_bytes()
        card = json.loads(path.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            place, f"cannot be read with its card ({error})", "train with `routewright train`"
        ) from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ModelFileError(place, "has a card of another kind", f"give one of format {FORMAT}")
    if hashlib.sha256(data).hexdigest() != card.get("sha256"):
        raise ModelFileError(place, "is damaged: its checksum is not that of its card", "fetch or train it again")
    if card.get("inputs") != input_names():
        raise ModelFileError(place, "was trained on other inputs than this version has", "train it again")
    probe = np.array(card.get("probe", []), dtype=np.float64)
    expected = np.array(_probe())
    if probe.shape != expected.shape or (np.abs(probe - expected) > PROBE_TOLERANCE * (1 + np.abs(expected))).any():
        raise ModelFileError(place, "was trained on another version of the analytic formulas", "train it again")
    try:
        model = RouteNet(ModelConfig(**card["model"]))
        model.load_state_dict(load_tensors(data))
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        text = " ".join(str(error).split())[:160]
        raise ModelFileError(place, f"does not fit this version's network ({text})", "train it again") from None
    return model.eval(), card


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
