"""Several graphs side by side as tensors, with the hops sorted for a step along all paths at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnn_model.graph_tensors import GraphTensors
from topology_sync.values import IntArray


@dataclass(frozen=True)
class GraphBatch:
    """The disjoint union of graphs.

    Paths are sorted by length, longest first; hops are kept position by position: at position k the first ``active[k]``
    paths have a hop, so a step of all paths is a prefix slice (no mask).  ``hop_path`` and ``hop_queue`` [hops].
    Times are in units of each graph's ``unit_s``; ``order`` [paths] is each row's place in the concatenated graphs,
    ``path_demand`` its demand, numbered through all graphs.
    """

    active: tuple[int, ...]
    demand_count: int
    order: Tensor
    path_demand: Tensor
    path_weight: Tensor
    path_features: Tensor
    path_fixed: Tensor
    path_deviation: Tensor
    path_jitter: Tensor
    path_own_deviation: Tensor
    path_own_skew: Tensor
    path_atoms: Tensor
    path_atom_chance: Tensor
    path_spacing: Tensor
    path_half_jitter: Tensor
    path_continuous: Tensor
    hop_path: Tensor
    hop_queue: Tensor
    hop_features: Tensor
    hop_weight: Tensor
    hop_limit: Tensor
    hop_longest: Tensor
    queue_features: Tensor
    queue_wait: Tensor
    queue_deviation: Tensor
    queue_skew: Tensor
    queue_loss: Tensor
    queue_log_idle: Tensor
    queue_link: Tensor
    link_features: Tensor

    @property
    def path_count(self) -> int:
        """Number of paths of all graphs."""
        return len(self.path_features)

    def to(self, device: torch.device) -> GraphBatch:
        """The same on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in self.__dict__.items()
        }
        return GraphBatch(**moved)


def collate(graphs: Sequence[GraphTensors]) -> GraphBatch:
    """Put graphs side by side."""
    lengths = np.concatenate([np.diff(graph.hop_pointer) for graph in graphs])
    order = np.argsort(-lengths, kind="stable")
    queue_offset = np.cumsum([0, *(len(graph.queue_wait) for graph in graphs)])
    link_offset = np.cumsum([0, *(len(graph.link_features) for graph in graphs)])
    pointer = np.concatenate([[0], np.cumsum(lengths)])
    longest = int(lengths.max(initial=0))
    active = tuple(int(np.count_nonzero(lengths > position)) for position in range(longest))
    hop = np.concatenate([np.zeros(0, np.int64), *(pointer[order[:n]] + k for k, n in enumerate(active))])
    hop_path = np.concatenate([np.zeros(0, np.int64), *(np.arange(count) for count in active)])
    hop_queue = np.concatenate(
        [graph.hop_queue + offset for graph, offset in zip(graphs, queue_offset[:-1], strict=True)]
    )
    queue_link = np.concatenate(
        [graph.queue_link + offset for graph, offset in zip(graphs, link_offset[:-1], strict=True)]
    )

    demand_offset = np.cumsum([0, *(graph.demand_count for graph in graphs)])
    path_demand = np.concatenate(
        [graph.path_demand + offset for graph, offset in zip(graphs, demand_offset[:-1], strict=True)]
    )

    def joined(name: str, rows: IntArray | None = None) -> Tensor:
        values = np.concatenate([getattr(graph, name) for graph in graphs])
        return torch.from_numpy(values if rows is None else values[rows])

    return GraphBatch(
        active=active,
        demand_count=int(demand_offset[-1]),
        path_demand=torch.from_numpy(path_demand[order]),
        path_weight=joined("path_weight", order),
        order=torch.from_numpy(order),
        path_features=joined("path_features", order),
        path_fixed=joined("path_fixed", order),
        path_deviation=joined("path_deviation", order),
        path_jitter=joined("path_jitter", order),
        path_own_deviation=joined("path_own_deviation", order),
        path_own_skew=joined("path_own_skew", order),
        path_atoms=joined("path_atoms", order),
        path_atom_chance=joined("path_atom_chance", order),
        path_spacing=joined("path_spacing", order),
        path_half_jitter=joined("path_half_jitter", order),
        path_continuous=joined("path_continuous", order),
        hop_path=torch.from_numpy(hop_path),
        hop_queue=torch.from_numpy(hop_queue[hop]),
        hop_features=joined("hop_features", hop),
        hop_weight=joined("hop_weight", hop),
        hop_limit=joined("hop_limit", hop),
        hop_longest=joined("hop_longest", hop),
        queue_features=joined("queue_features"),
        queue_wait=joined("queue_wait"),
        queue_deviation=joined("queue_deviation"),
        queue_skew=joined("queue_skew"),
        queue_loss=joined("queue_loss"),
        queue_log_idle=joined("queue_log_idle"),
        queue_link=torch.from_numpy(queue_link),
        link_features=joined("link_features"),
    )


def side_by_side(graph: GraphTensors) -> GraphBatch:
    """One graph as tensors in its own order, for what does not step along the paths (``active`` is empty)."""
    tensor = torch.from_numpy
    names = [name for name in GraphBatch.__dataclass_fields__ if hasattr(graph, name) and name != "demand_count"]
    lengths = np.diff(graph.hop_pointer)
    return GraphBatch(
        active=(),
        demand_count=graph.demand_count,
        order=torch.arange(graph.path_count),
        hop_path=tensor(np.repeat(np.arange(graph.path_count), lengths)),
        **{name: tensor(getattr(graph, name)) for name in names},
    )
