"""The network: encoders, some rounds of message, aggregation and update, and the readout."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from gnn_model.graph_tensors import HOP_FEATURES, LINK_FEATURES, PATH_FEATURES, QUEUE_FEATURES
from gnn_model.routenet.aggregation import LoadWeightedAggregation, PortAggregation
from gnn_model.routenet.batch import GraphBatch
from gnn_model.routenet.message import PathMessage
from gnn_model.routenet.readout import PathPrediction, Readout
from gnn_model.routenet.update import LinkUpdate, QueueUpdate


@dataclass(frozen=True)
class ModelConfig:
    """Size of the network; the numbers of features are part of it, so that weights of another layout are refused."""

    width: int = 32
    rounds: int = 2
    path_features: int = len(PATH_FEATURES)
    hop_features: int = len(HOP_FEATURES)
    queue_features: int = len(QUEUE_FEATURES)
    link_features: int = len(LINK_FEATURES)


class RouteNet(nn.Module):
    """Delay, deviation, skew, jitter and loss of every path of a batch of graphs.

    Per round: every path reads its queues hop by hop (message); every queue collects what the paths tell it and every
    link what its queues are (aggregation); links and queues change their state (update).  Then the readout.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        width = self.config.width
        self.path_encoder = _encoder(self.config.path_features, width)
        self.queue_encoder = _encoder(self.config.queue_features, width)
        self.link_encoder = _encoder(self.config.link_features, width)
        self.message = PathMessage(width, self.config.hop_features)
        self.aggregation = LoadWeightedAggregation()
        self.port_aggregation = PortAggregation()
        self.link_update = LinkUpdate(width)
        self.queue_update = QueueUpdate(width)
        self.readout = Readout(width)

    def forward(self, batch: GraphBatch) -> PathPrediction:
        """Predict all paths of a batch."""
        path_state = self.path_encoder(batch.path_features)
        queue_state = self.queue_encoder(batch.queue_features)
        link_state = self.link_encoder(batch.link_features)
        for round_number in range(self.config.rounds):
            path_state, messages = self.message(path_state, queue_state, batch)
            if round_number + 1 < self.config.rounds:
                link_state = self.link_update(link_state, self.port_aggregation(queue_state, batch))
                queue_state = self.queue_update(
                    queue_state,
                    self.aggregation(messages, batch),
                    link_state.index_select(0, batch.queue_link),
                )
        result: PathPrediction = self.readout(path_state, messages, queue_state, batch)
        return result


def _encoder(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.Tanh())
