"""Message: what a path tells each queue that it passes, hop by hop."""

from __future__ import annotations

from torch import Tensor, nn

from gnn_model.routenet.batch import GraphBatch
from gnn_model.routenet.path_scan import path_scan


class PathMessage(nn.Module):
    """A gated recurrent unit reads the queues of a path in order of travel; its state after each hop is the message.

    Shapes: path states [paths, width], queue states [queues, width], hop features [hops, features] -> new path states
    [paths, width], messages [hops, width].
    """

    def __init__(self, width: int, hop_features: int) -> None:
        super().__init__()
        self.queue_projection = nn.Linear(width, 3 * width, bias=False)
        self.hop_projection = nn.Linear(hop_features, 3 * width)
        self.recurrence = nn.Linear(width, 3 * width)

    def forward(self, path_state: Tensor, queue_state: Tensor, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        return path_scan(
            path_state,
            self.queue_projection(queue_state),
            self.hop_projection(batch.hop_features),
            self.recurrence.weight,
            self.recurrence.bias,
            batch.hop_queue,
            batch.active,
        )
