"""One round of WCGCN: a message from every interfering neighbour, the largest of each kind, and an update."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing


class InterferenceConv(MessagePassing):  # type: ignore[misc]
    r"""The interference graph convolution of "Graph Neural Networks for Scalable Radio Resource Management"
    <https://arxiv.org/abs/2007.07632>, with a residual update:

    .. math::
        m_{ij} = \mathrm{MLP}_1(x_i, x_j, e_{ij}), \quad
        x_i' = x_i + \mathrm{MLP}_2\left(x_i, \max_{j \in N(i)} m_{ij}\right)

    Both directions of the interference stand in :math:`e_{ij}`: what i suffers from j, and what it causes to j.

    Shapes: states [links, width]; ``edge_index`` [2, edges] (row 0 sends: j, row 1 receives: i); edges [edges,
    edge_features].  ``forward_regular`` takes batches in which every link has the same number of neighbours.
    """

    def __init__(self, width: int, message_width: int, edge_features: int) -> None:
        super().__init__(aggr="max")
        self.of_sender = nn.Linear(width, message_width, bias=False)
        self.of_receiver = nn.Linear(width, message_width)
        self.of_edge = nn.Linear(edge_features, message_width, bias=False)
        self.to_message = nn.Linear(message_width, message_width)
        self.update_in = nn.Linear(width + message_width, 2 * width)
        self.update_out = nn.Linear(2 * width, width)

    def forward(self, states: Tensor, edge_index: Tensor, edges: Tensor) -> Tensor:
        """New states [links, width] of graphs of any shape."""
        strongest = self.propagate(
            edge_index, sender=self.of_sender(states), receiver=self.of_receiver(states), edges=edges
        )
        return self._updated(states, strongest)

    def message(self, sender_j: Tensor, receiver_i: Tensor, edges: Tensor) -> Tensor:
        """Messages [edges, message_width]; none is negative, so that no neighbour at all counts as silence."""
        hidden = (sender_j + receiver_i + self.of_edge(edges)).relu()
        return self.to_message(hidden).relu()  # type: ignore[no-any-return]

    def forward_regular(self, states: Tensor, neighbours: Tensor, edges: Tensor) -> Tensor:
        """The same for ``states`` [layouts, links, width], ``neighbours`` [layouts, links, k], ``edges`` [.., k, 2]."""
        layouts, links, count = neighbours.shape
        if count == 0:
            return self._updated(states, states.new_zeros(layouts, links, self.to_message.out_features))
        sender = self.of_sender(states).flatten(0, 1)
        offset = links * torch.arange(layouts, device=states.device)[:, None, None]
        sender_j = sender.index_select(0, (neighbours + offset).flatten()).unflatten(0, (layouts, links, count))
        messages = self.message(sender_j, self.of_receiver(states)[:, :, None, :], edges)
        return self._updated(states, messages.amax(dim=2))

    def _updated(self, states: Tensor, strongest: Tensor) -> Tensor:
        hidden = self.update_in(torch.cat((states, strongest), dim=-1)).relu()
        return states + self.update_out(hidden)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.update_out.out_features}, {self.to_message.out_features})"


def sparse_form(neighbours: Tensor, edges: Tensor) -> tuple[Tensor, Any]:
    """``edge_index`` [2, edges] and edge features [edges, 2] of one layout's ``neighbours`` [links, k]."""
    links, count = neighbours.shape
    receiver = torch.arange(links, device=neighbours.device).repeat_interleave(count)
    return torch.stack((neighbours.flatten(), receiver)), edges.flatten(0, 1)
