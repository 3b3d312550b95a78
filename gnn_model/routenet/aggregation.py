"""Aggregation: the messages that meet in a queue, and the queues that meet at a link."""

from __future__ import annotations

from torch import Tensor, nn

from gnn_model.routenet.batch import GraphBatch


class LoadWeightedAggregation(nn.Module):
    """Mean of the messages in a queue, weighted by each path's part of the queue's packets.

    A mean keeps its scale however many flows meet, which a sum does not: the load itself is an input of the queue.
    """

    def forward(self, messages: Tensor, batch: GraphBatch) -> Tensor:
        """[hops, width] -> [queues, width]."""
        total = messages.new_zeros(len(batch.queue_features), messages.shape[1])
        return total.index_add(0, batch.hop_queue, messages * batch.hop_weight[:, None])


class PortAggregation(nn.Module):
    """Sum of the states of the queues that share a link's server: at most a handful."""

    def forward(self, queue_state: Tensor, batch: GraphBatch) -> Tensor:
        """[queues, width] -> [links, width]."""
        total = queue_state.new_zeros(len(batch.link_features), queue_state.shape[1])
        return total.index_add(0, batch.queue_link, queue_state)
