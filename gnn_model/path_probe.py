"""What the network would say of demands on other paths, queues being as they are now.

A demand that moves takes none of the old path's corrections with it.  Its new path is laid out beside the present ones
and read by the network, whose queue states stay those of the routing held: one short scan per path instead of a
prediction.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from gnn_model.analytic_delay import PathDelays, path_statistics
from gnn_model.analytic_fixed_point import Shared
from gnn_model.analytic_layout import Layout
from gnn_model.graph_tensors import GraphTensors, tensors_of_solved
from gnn_model.move_layout import AddedPaths
from gnn_model.routenet.batch import GraphBatch, side_by_side
from gnn_model.routenet.engine import Engine, NetworkStates
from gnn_model.routenet.readout import PathPrediction
from gnn_model.solved_routing import SolvedRouting
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, IntArray


@dataclass(frozen=True)
class Probed:
    """The answer for added paths: the network's and the analytic predictor's, paths in order.

    ``layout`` numbers the paths' demands by ``entry``; ``hop_wait_s`` [hops] is the network's.
    """

    batch: GraphBatch
    graph: GraphTensors
    predicted: PathPrediction
    solved: SolvedRouting
    hop_wait_s: FloatArray


@dataclass(frozen=True)
class PathProbe:
    """A solved routing with the network's states, for paths to be tried on."""

    scenario: Scenario
    shared: Shared
    solved: SolvedRouting
    graph: GraphTensors
    engine: Engine
    states: NetworkStates

    def graph_of(self, added: AddedPaths, entry: IntArray) -> GraphTensors:
        """The paths alone, laid out for the network: good for what is known of paths, not of queues and hops."""
        return tensors_of_solved(self.scenario, self._alone(added, entry))

    def read(self, added: AddedPaths, entry: IntArray) -> Probed:
        """Lay the paths out and read them; ``entry`` [paths] says which paths belong together."""
        alone = self._alone(added, entry)
        graph = tensors_of_solved(self.scenario, self._with(alone))
        known = np.searchsorted(graph.queue_number, self.graph.queue_number)
        features = graph.queue_features.copy()
        features[known] = self.graph.queue_features  # what is added shall not change the queues
        first_path, first_hop = len(self.solved.layout.path_demand), len(self.solved.layout.flat_queue)
        graph = replace(_rows(graph, first_path, first_hop), queue_features=features)
        states = self.engine.along(graph, known, self.states)
        batch = side_by_side(graph)
        with torch.inference_mode():
            predicted = self.engine.combine(states, batch)
        wait_s = predicted.hop_wait.double().numpy() * graph.unit_s
        by_entry = replace(alone.layout, path_demand=entry)
        return Probed(batch, graph, predicted, replace(alone, layout=by_entry), wait_s)

    def _alone(self, added: AddedPaths, entry: IntArray) -> SolvedRouting:
        """The paths in queues as they are."""
        solved = self.solved
        layout = Layout(
            candidates=1,
            path_candidate=np.zeros(len(entry), np.int64),
            path_demand=added.demand,
            share=added.share,
            hop_pointer=added.pointer,
            flat_queue=added.queue,
            flat_link=added.link,
        )
        kept = np.log1p(-np.minimum(solved.state.loss.reshape(-1), 1 - 1e-12))[added.queue]
        path = np.repeat(np.arange(len(added.demand)), np.diff(added.pointer))
        ratio = solved.state.ratio
        paths = path_statistics(
            layout,
            waits=solved.waits,
            load=np.minimum(ratio, 1 / ratio),
            survival=np.exp(np.bincount(path, weights=kept, minlength=len(added.demand))),
            capacity_bps=self.scenario.topology.capacity_bps,
            propagation_s=self.scenario.topology.delay_s,
            flows=self.shared.flows,
            group=entry,
        )
        return replace(solved, layout=layout, paths=paths)

    def _with(self, alone: SolvedRouting) -> SolvedRouting:
        """The paths beside those of the routing held."""
        held, old, new = self.solved, self.solved.layout, alone.layout
        names = ("path_candidate", "path_demand", "share", "flat_queue", "flat_link")
        layout = Layout(
            candidates=1,
            hop_pointer=np.concatenate([old.hop_pointer, old.hop_pointer[-1] + new.hop_pointer[1:]]),
            **{name: np.concatenate([getattr(old, name), getattr(new, name)]) for name in names},
        )
        both = [
            np.concatenate([getattr(part.paths, field.name) for part in (held, alone)]) for field in fields(held.paths)
        ]
        return replace(held, layout=layout, paths=PathDelays(*both))


def _rows(graph: GraphTensors, first_path: int, first_hop: int) -> GraphTensors:
    """The paths and hops from these on; queues and links stay."""
    kept: dict[str, Any] = {}
    for field in fields(graph):
        value = getattr(graph, field.name)
        if field.name == "hop_pointer":
            kept[field.name] = value[first_path:] - first_hop
        elif field.name.startswith("path_") and isinstance(value, np.ndarray):
            kept[field.name] = np.ascontiguousarray(value[first_path:])
        elif field.name.startswith("hop_"):
            kept[field.name] = np.ascontiguousarray(value[first_hop:])
    return replace(graph, **kept)
