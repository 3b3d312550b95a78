"""The fully connected baseline: traffic matrix and routing of one fixed topology in, delay of every pair of nodes out.

This is what the literature had before graph networks (Mestres et al., "Understanding the modeling of computer network
delays using neural networks", Big-DAMA 2018; the baseline of Rusek et al., IEEE JSAC 2020).  It has an input for every
pair of nodes and for every (node, destination, next node), so it knows one topology and no other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gnn_model.model_file import ModelFileError
from gnn_model.predictor import Prediction
from topology_sync.errors import ScenarioError
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Topology
from topology_sync.values import FloatArray, IntArray, float_array

FORMAT = "routewright-fully-connected/1"
OUTPUTS = ("delay", "p99", "jitter", "loss")
LARGEST_NODES = 64  # inputs grow with the cube of the nodes
LARGEST_FILE_BYTES = 50_000_000
TYPICAL_LOAD = 0.05  # of a link, by one pair
TYPICAL_DELAY = 4.0  # transmission times


@dataclass(frozen=True)
class FixedTopology:
    """The topology that a network belongs to: node names and (source, target) of its links, by node id."""

    nodes: tuple[str, ...]
    links: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, topology: Topology) -> FixedTopology:
        """What is fixed of a topology."""
        ends = zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True)
        return cls(topology.node_names, tuple(sorted(ends)))

    def check(self, topology: Topology) -> None:
        """Raise ScenarioError unless it is this topology."""
        if FixedTopology.of(topology) != self:
            raise ScenarioError(
                "topology",
                f"is not the one of {len(self.nodes)} nodes that the fully connected network was trained on",
                "train one for it, or use the gnn, which knows no topology by heart",
            )


def unit_s(scenario: Scenario) -> float:
    """Time in which delays are told: transmission of a mean packet on a mean link."""
    return float(np.mean(scenario.traffic.packet_bits_mean) / np.mean(scenario.topology.capacity_bps))


def pair_of(scenario: Scenario, slots: int) -> IntArray:
    """Slot of every demand's pair of nodes, [demands].  Raises ScenarioError where a pair has two demands."""
    pair = scenario.traffic.source * slots + scenario.traffic.target
    if len(np.unique(pair)) < len(pair):
        raise ScenarioError("traffic", "has two demands of one pair of nodes", "give demands of one class only")
    return pair


def encode(scenario: Scenario, slots: int) -> npt.NDArray[np.float32]:
    """Inputs of a scenario with up to ``slots`` nodes, [slots^2 + slots^3].

    First the rate of every pair over the mean capacity, then for every (node, destination, next node) the part of what
    passes the node for that destination which goes on to the next node.
    """
    topology, traffic, flat = scenario.topology, scenario.traffic, scenario.routing.flat
    if topology.node_count > slots:
        raise ScenarioError("topology", f"has {topology.node_count} nodes, more than {slots}", "use a smaller one")
    matrix = np.zeros(slots * slots)
    matrix[pair_of(scenario, slots)] = traffic.rate_bps / np.mean(topology.capacity_bps) / TYPICAL_LOAD
    target = traffic.target[flat.path_demand][flat.hop_path]
    at = topology.link_source[flat.hop_link] * slots + target
    onwards = np.zeros((slots * slots, slots))
    np.add.at(onwards, (at, topology.link_target[flat.hop_link]), flat.share[flat.hop_path])
    passing = onwards.sum(axis=1, keepdims=True)
    onwards /= np.where(passing > 0, passing, 1.0)
    return np.concatenate([matrix, onwards.reshape(-1)]).astype(np.float32)


class FullyConnected(nn.Module):
    """Three layers; outputs [samples, slots^2, len(OUTPUTS)]: logarithms of times in units, and the loss ratio."""

    def __init__(self, slots: int, width: int = 256) -> None:
        super().__init__()
        self.slots, self.width = slots, width
        pairs = slots * slots
        self.layers = nn.Sequential(
            nn.Linear(pairs + pairs * slots, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, pairs * len(OUTPUTS)),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """[samples, slots^2 + slots^3] -> [samples, slots^2, len(OUTPUTS)]."""
        raw = self.layers(inputs).view(len(inputs), self.slots * self.slots, len(OUTPUTS))
        return torch.cat([raw[..., :3] + float(np.log(TYPICAL_DELAY)), torch.sigmoid(raw[..., 3:] - 4)], dim=-1)


class FullyConnectedPredictor:
    """The baseline behind the protocol of all predictors.

    Scenarios of another topology are refused.  ``any_topology`` feeds them all the same, nodes by their number: that is
    how it is shown that such a network does not carry over.
    """

    name = "fully-connected"

    def __init__(self, weights: Path, any_topology: bool = False) -> None:
        """Raises ModelFileError (one line) where the file is missing, damaged or of another kind."""
        self._model, self.topology = load_fully_connected(weights)
        self._any_topology = any_topology

    @classmethod
    def of_model(
        cls, model: FullyConnected, topology: FixedTopology, any_topology: bool = False
    ) -> FullyConnectedPredictor:
        """A predictor of a network in memory."""
        predictor = cls.__new__(cls)
        predictor._model, predictor.topology, predictor._any_topology = model.eval(), topology, any_topology
        return predictor

    def predict(self, scenario: Scenario) -> Prediction:
        """Predict one scenario.  Raises ScenarioError for another topology and for several demands of a pair."""
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Predict each candidate routing.

        The network knows nothing of links: their utilisation is the offered load, up to 1, their loss 0.
        """
        if not self._any_topology:
            self.topology.check(scenario.topology)
        slots, pair, unit = self._model.slots, pair_of(scenario, self._model.slots), unit_s(scenario)
        if not candidates:
            return []
        inputs = np.stack([encode(scenario.with_routing(candidate), slots) for candidate in candidates])
        with torch.inference_mode():
            outputs = self._model(torch.from_numpy(inputs)).double().numpy()[:, pair]
        return [
            _prediction(scenario, candidate, values, unit)
            for candidate, values in zip(candidates, outputs, strict=True)
        ]


def _prediction(scenario: Scenario, routing: Routing, values: FloatArray, unit: float) -> Prediction:
    topology = scenario.topology
    load = routing.link_load_bps(scenario.traffic, topology.link_count) / topology.capacity_bps
    delay = unit * np.exp(values[:, 0])
    return Prediction(
        delay_s=float_array(delay),
        delay_p99_s=float_array(np.maximum(unit * np.exp(values[:, 1]), delay)),
        jitter_s=float_array(unit * np.exp(values[:, 2])),
        loss_ratio=float_array(values[:, 3]),
        link_utilisation_ratio=float_array(np.minimum(load, 1.0)),
        link_loss_ratio=float_array(np.zeros(topology.link_count)),
    )


def save_fully_connected(path: Path, model: FullyConnected, topology: FixedTopology) -> None:
    """Write weights and the topology they belong to into one safetensors file."""
    about = {"nodes": topology.nodes, "links": topology.links, "slots": model.slots, "width": model.width}
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, {"format": FORMAT, "about": json.dumps(about)})


def load_fully_connected(path: Path) -> tuple[FullyConnected, FixedTopology]:
    """The network and its topology.  Raises ModelFileError."""
    place, remedy = str(path), "train with `routewright train --model fully-connected`"
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ModelFileError(place, "is too large for such a network", remedy)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelFileError(place, "is no fully connected network", remedy)
            about = json.loads(metadata["about"])
            if not 1 < int(about["slots"]) <= LARGEST_NODES:
                raise ModelFileError(place, "has a size that cannot be", remedy)
            model = FullyConnected(int(about["slots"]), int(about["width"]))
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        topology = FixedTopology(tuple(about["nodes"]), tuple((int(a), int(b)) for a, b in about["links"]))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(place, f"cannot be read ({' '.join(str(error).split())[:160]})", remedy) from None
    return model.eval(), topology
