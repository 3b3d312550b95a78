"""A RouteNet for real routers: the wait at every hop is that of a simple queue times what the network reads there.

delay = own transmission times + sum over hops of link_wait * exp(o), with o from the flow's state after the hop.  The
pass along all flows at once is that of :mod:`gnn_model.routenet.path_scan`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gnn_model.real_routers.graphs import FLOW_FEATURES, HOP_FEATURES, LINK_FEATURES, RouterGraph
from gnn_model.routenet.path_scan import path_scan

CORRECTION_LIMIT = 12.0


@dataclass(frozen=True)
class RouterBatch:
    """Graphs side by side; flows sorted by length, longest first, ``order`` is their place in the concatenated graphs.

    Hops position by position: at position k the first ``active[k]`` flows have one.
    """

    active: tuple[int, ...]
    order: Tensor
    flow_features: Tensor
    flow_transmission: Tensor
    hop_flow: Tensor
    hop_link: Tensor
    hop_features: Tensor
    hop_weight: Tensor
    link_features: Tensor
    link_wait: Tensor
    delay: Tensor


def collate(graphs: Sequence[RouterGraph]) -> RouterBatch:
    """Put graphs side by side."""
    lengths = np.concatenate([np.diff(graph.hop_pointer) for graph in graphs])
    order = np.argsort(-lengths, kind="stable")
    start = np.concatenate([[0], np.cumsum(lengths)])
    active = tuple(int(np.count_nonzero(lengths > position)) for position in range(int(lengths.max(initial=0))))
    hop = np.concatenate([start[order[:count]] + position for position, count in enumerate(active)])
    offset = np.cumsum([0, *(len(graph.link_wait) for graph in graphs)])
    links = np.concatenate([graph.hop_link + first for graph, first in zip(graphs, offset[:-1], strict=True)])

    def joined(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(graph, name) for graph in graphs]))

    rows, hops = torch.from_numpy(order), torch.from_numpy(hop)
    return RouterBatch(
        active=active,
        order=rows,
        flow_features=joined("flow_features")[rows],
        flow_transmission=joined("flow_transmission")[rows],
        hop_flow=torch.from_numpy(np.concatenate([np.arange(count) for count in active])),
        hop_link=torch.from_numpy(links)[hops],
        hop_features=joined("hop_features")[hops],
        hop_weight=joined("hop_weight")[hops],
        link_features=joined("link_features"),
        link_wait=joined("link_wait"),
        delay=joined("delay")[rows],
    )


class RouterNet(nn.Module):
    """Mean delay of every flow in UNIT_S, [flows] in the batch's order; a fresh network is the simple queue."""

    def __init__(self, width: int = 32, rounds: int = 2) -> None:
        super().__init__()
        self.rounds = rounds
        self.flow_encoder = _encoder(len(FLOW_FEATURES), width)
        self.link_encoder = _encoder(len(LINK_FEATURES), width)
        self.link_projection = nn.Linear(width, 3 * width, bias=False)
        self.hop_projection = nn.Linear(len(HOP_FEATURES), 3 * width)
        self.recurrence = nn.Linear(width, 3 * width)
        self.update = nn.GRUCell(width, width)
        first, last = nn.Linear(2 * width, width), nn.Linear(width, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.readout = nn.Sequential(first, nn.SiLU(), last)

    def forward(self, batch: RouterBatch) -> Tensor:
        """Some rounds of message along the flows, aggregation (mean by packets) and update of links."""
        flows, links = self.flow_encoder(batch.flow_features), self.link_encoder(batch.link_features)
        hop_input = self.hop_projection(batch.hop_features)
        for number in range(self.rounds):
            flows, messages = path_scan(
                flows,
                self.link_projection(links),
                hop_input,
                self.recurrence.weight,
                self.recurrence.bias,
                batch.hop_link,
                batch.active,
            )
            if number + 1 < self.rounds:
                mean = torch.zeros_like(links).index_add(0, batch.hop_link, messages * batch.hop_weight[:, None])
                links = self.update(mean, links)
        correction = self.readout(torch.cat([messages, links.index_select(0, batch.hop_link)], dim=1))[:, 0]
        correction = CORRECTION_LIMIT * torch.tanh(correction / CORRECTION_LIMIT)
        wait = batch.link_wait.index_select(0, batch.hop_link) * torch.exp(correction)
        return batch.flow_transmission.index_add(0, batch.hop_flow, wait)


def _encoder(features: int, width: int) -> nn.Sequential:
    first = nn.Linear(features, width)
    nn.init.kaiming_uniform_(first.weight, a=math.sqrt(5))
    return nn.Sequential(first, nn.SiLU(), nn.Linear(width, width), nn.Tanh())
