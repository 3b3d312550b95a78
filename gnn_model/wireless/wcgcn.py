"""WCGCN: a few rounds of message passing between interfering links, and their powers; alone, or refined by WMMSE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from gnn_model.wireless.features import EDGE_FEATURES, NODE_FEATURES, LinkGraph, link_graph
from gnn_model.wireless.interference_conv import InterferenceConv, sparse_form
from gnn_model.wireless.wmmse import Interference, wmmse_ratio

SMALLEST_AMPLITUDE = 1e-4


@dataclass(frozen=True)
class ModelSettings:
    """Shape of the model; stands in the model card.

    ``outputs`` proposals are made for a layout and the best is kept.  ``refinements`` unrolled WMMSE steps follow (0:
    WCGCN alone).
    """

    width: int = 32
    message_width: int = 32
    rounds: int = 4
    neighbours: int = 16
    outputs: int = 8
    refinements: int = 6


class PowerModel(nn.Module):
    """Powers of links from their channels: WCGCN, and ``refinements`` differentiable WMMSE steps from its output.

    A refinement moves every amplitude by the factor of WMMSE to a power that is learned per step and output, which
    lets links that should be silent fall silent in a few steps where WMMSE takes hundreds.  The last is plain WMMSE.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.embedding = nn.Linear(NODE_FEATURES, settings.width)
        self.convolutions = nn.ModuleList(
            InterferenceConv(settings.width, settings.message_width, EDGE_FEATURES) for _ in range(settings.rounds)
        )
        self.head = nn.Linear(settings.width, settings.outputs)
        self.step_lengths = nn.Parameter(torch.full((settings.refinements, settings.outputs, 1), 1.5))

    def proposals(self, gains: Tensor, weights: Tensor | None = None) -> Tensor:
        """Amplitudes proposed by WCGCN [layouts, outputs, links]; ``gains`` [layouts, links, links] over the noise."""
        graph = self.graph(gains, weights)
        states = self.embedding(graph.nodes)
        for convolution in self._rounds():
            states = convolution.forward_regular(states, graph.neighbours, graph.edges)
        return at_full_scale(self.head(states).sigmoid().transpose(-1, -2).clamp(min=SMALLEST_AMPLITUDE))

    def proposals_of_sizes(self, layouts: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Amplitudes [outputs, links] for each of ``layouts`` [links, links] of any sizes, as one sparse graph."""
        graphs = []
        for index, gains in enumerate(layouts):
            graph = self.graph(gains[None], None if weights is None else weights[index][None])
            edge_index, edges = sparse_form(graph.neighbours[0], graph.edges[0])
            graphs.append(Data(x=graph.nodes[0], edge_index=edge_index, edge_attr=edges))
        batch = Batch.from_data_list(graphs)
        states = self.embedding(batch.x)
        for convolution in self._rounds():
            states = convolution(states, batch.edge_index, batch.edge_attr)
        amplitudes = self.head(states).sigmoid().clamp(min=SMALLEST_AMPLITUDE)
        parts = amplitudes.split([len(gains) for gains in layouts])
        return [at_full_scale(part.transpose(0, 1)) for part in parts]

    def graph(self, gains: Tensor, weights: Tensor | None = None) -> LinkGraph:
        """What the model sees of the layouts."""
        return link_graph(gains, self.settings.neighbours, weights)

    def _rounds(self) -> list[InterferenceConv]:
        return [module for module in self.convolutions if isinstance(module, InterferenceConv)]

    def refined(self, channels: Interference[Tensor], amplitudes: Tensor) -> Tensor:
        """Amplitudes after the unrolled steps [layouts, outputs, links]."""
        for length in self.step_lengths:
            ratio = wmmse_ratio(channels, amplitudes)
            amplitudes = (amplitudes * ratio.pow(length)).clamp(SMALLEST_AMPLITUDE**2, 1.0)
        return amplitudes

    def forward(self, gains: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Powers [layouts, outputs, links] of WCGCN alone, and after the refinements."""
        proposed = self.proposals(gains, weights)
        refined = self.refined(Interference.of(gains, weights), proposed)
        return proposed**2, refined**2


def at_full_scale(amplitudes: Tensor) -> Tensor:
    """Scale so that one link sends at full power: every SINR rises, as the noise stays what it is."""
    return amplitudes / amplitudes.amax(dim=-1, keepdim=True)
