"""Update: new states of queues and links from what was aggregated."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinkUpdate(nn.Module):
    """The server's state from the states of its queues."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(width, width)

    def forward(self, link_state: Tensor, from_queues: Tensor) -> Tensor:
        """[links, width] x 2 -> [links, width]."""
        result: Tensor = self.cell(from_queues, link_state)
        return result


class QueueUpdate(nn.Module):
    """A queue's state from the paths in it and from the server that it shares."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2 * width, width)

    def forward(self, queue_state: Tensor, from_paths: Tensor, from_link: Tensor) -> Tensor:
        """[queues, width] x 3 -> [queues, width]."""
        result: Tensor = self.cell(torch.cat([from_paths, from_link], dim=1), queue_state)
        return result
