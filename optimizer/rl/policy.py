"""The policy: a graph network over links, nodes and demands that scores moves (actor) and the situation (critic).

Per round every demand reads the links on its way and every link reads its demands, weighted by their part of its load,
and its two nodes, which read their links.  A move's score is a small network of its demand and of the links of its new
path.  Only sums, means and maxima over sets: relabelling nodes, links, demands or moves relabels the scores.  To the
learned score the rank that the rough queue model gives the move is added, so that training starts from the order that
the local search goes by (residual policy learning, Silver et al., arXiv 1812.06298); and a weighted sum of what
is told of the move and its demand, which learns from few episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from optimizer.rl.features import DEMAND_FEATURES, GLOBAL_FEATURES, LINK_FEATURES, MOVE_FEATURES, PolicyInput

RANK = MOVE_FEATURES.index("log_rank")
SEVERITY = DEMAND_FEATURES.index("severity_share")
FIRST_RANK_WEIGHT = 2.0
SMALL_START = 0.01


@dataclass(frozen=True)
class PolicyConfig:
    """Size of the network."""

    width: int = 24
    rounds: int = 1


class PolicyBatch(NamedTuple):
    """Several inputs as one graph of separate parts; ``*_input`` says which part a link, demand or move is of."""

    links: Tensor
    demands: Tensor
    moves: Tensor
    whole: Tensor
    link_source: Tensor
    link_target: Tensor
    node_count: int
    hop_demand: Tensor
    hop_link: Tensor
    hop_load: Tensor
    move_demand: Tensor
    move_hop: Tensor
    move_hop_link: Tensor
    link_input: Tensor
    demand_input: Tensor
    move_input: Tensor


class Scores(NamedTuple):
    """``logit`` [moves of all inputs], ``move_input`` which input each is of, ``value`` [inputs]."""

    logit: Tensor
    move_input: Tensor
    value: Tensor


def collate(inputs: Sequence[PolicyInput]) -> PolicyBatch:
    """Join inputs into one batch."""
    links, demands, moves, nodes = (
        np.cumsum([0, *sizes])
        for sizes in (
            [len(item.links) for item in inputs],
            [len(item.demands) for item in inputs],
            [len(item.moves) for item in inputs],
            [item.node_count for item in inputs],
        )
    )

    def joined(name: str, shift: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None = None) -> Tensor:
        parts = [getattr(item, name) for item in inputs]
        if shift is not None:
            parts = [part + offset for part, offset in zip(parts, shift[:-1], strict=True)]
        return torch.from_numpy(np.concatenate(parts))

    def owner(bounds: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Tensor:
        return torch.from_numpy(np.repeat(np.arange(len(inputs)), np.diff(bounds)))

    return PolicyBatch(
        links=joined("links"),
        demands=joined("demands"),
        moves=joined("moves"),
        whole=torch.from_numpy(np.stack([item.whole for item in inputs])),
        link_source=joined("link_source", nodes),
        link_target=joined("link_target", nodes),
        node_count=int(nodes[-1]),
        hop_demand=joined("hop_demand", demands),
        hop_link=joined("hop_link", links),
        hop_load=joined("hop_load"),
        move_demand=joined("move_demand", demands),
        move_hop=joined("move_hop", moves),
        move_hop_link=joined("move_hop_link", links),
        link_input=owner(links),
        demand_input=owner(demands),
        move_input=owner(moves),
    )


class PathPolicy(nn.Module):
    """Scores of moves and value of the situation, see the module's description."""

    def __init__(self, config: PolicyConfig | None = None) -> None:
        super().__init__()
        self.config = config or PolicyConfig()
        width = self.config.width
        self.link_encoder = _two_layers(len(LINK_FEATURES), width, width)
        self.demand_encoder = _two_layers(len(DEMAND_FEATURES), width, width)
        self.demand_updates = nn.ModuleList(_two_layers(3 * width, width, width) for _ in range(self.config.rounds))
        self.node_encoders = nn.ModuleList(_two_layers(2 * width, width, width) for _ in range(self.config.rounds))
        self.link_updates = nn.ModuleList(_two_layers(4 * width, width, width) for _ in range(self.config.rounds))
        self.move_score = _two_layers(3 * width + len(MOVE_FEATURES), 2 * width, 1)
        self.move_direct = nn.Linear(len(DEMAND_FEATURES) + len(MOVE_FEATURES), 1, bias=False)
        nn.init.zeros_(self.move_direct.weight)
        self.rank_weight = nn.Parameter(torch.tensor(FIRST_RANK_WEIGHT))
        self.critic = _two_layers(3 * width + len(GLOBAL_FEATURES), 2 * width, 1)
        for head in (self.move_score, self.critic):
            last = head[-1]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=SMALL_START)
            nn.init.zeros_(last.bias)

    def forward(self, inputs: Sequence[PolicyInput]) -> Scores:
        """Score the moves of several inputs at once; no input sees another."""
        batch = collate(inputs)
        link, demand = self._states(batch)
        on_way = link.index_select(0, batch.move_hop_link)
        count = len(batch.moves)
        features = torch.cat(
            [
                demand.index_select(0, batch.move_demand),
                _mean(on_way, batch.move_hop, count),
                _largest(on_way, batch.move_hop, count),
                batch.moves,
            ],
            dim=1,
        )
        told = torch.cat([batch.demands.index_select(0, batch.move_demand), batch.moves], dim=1)
        logit = (self.move_score(features) + self.move_direct(told))[:, 0] - self.rank_weight * batch.moves[:, RANK]
        return Scores(logit, batch.move_input, self._value(batch, link, demand))

    def _states(self, batch: PolicyBatch) -> tuple[Tensor, Tensor]:
        link = self.link_encoder(batch.links)
        demand = self.demand_encoder(batch.demands)
        for update_demand, encode_node, update_link in zip(
            self.demand_updates, self.node_encoders, self.link_updates, strict=True
        ):
            on_way = link.index_select(0, batch.hop_link)
            count = len(demand)
            read = [_mean(on_way, batch.hop_demand, count), _largest(on_way, batch.hop_demand, count)]
            demand = demand + update_demand(torch.cat([demand, *read], dim=1))
            told = demand.index_select(0, batch.hop_demand) * batch.hop_load[:, None]
            carried = torch.zeros_like(link).index_add(0, batch.hop_link, told)
            node = encode_node(
                torch.cat([_mean(link, end, batch.node_count) for end in (batch.link_source, batch.link_target)], dim=1)
            )
            ends = [node.index_select(0, end) for end in (batch.link_source, batch.link_target)]
            link = link + update_link(torch.cat([link, carried, *ends], dim=1))
        return link, demand

    def _value(self, batch: PolicyBatch, link: Tensor, demand: Tensor) -> Tensor:
        count = len(batch.whole)
        missing = torch.zeros(count, demand.shape[1]).index_add(
            0, batch.demand_input, demand * batch.demands[:, SEVERITY, None]
        )
        pooled = [_mean(link, batch.link_input, count), _largest(link, batch.link_input, count), missing, batch.whole]
        value: Tensor = self.critic(torch.cat(pooled, dim=1))[:, 0]
        return value


def log_probabilities(scores: Scores) -> Tensor:
    """Logarithm of each move's probability among those of its input, [moves of all inputs]."""
    count = len(scores.value)
    largest = torch.full((count,), -torch.inf).scatter_reduce(0, scores.move_input, scores.logit.detach(), "amax")
    shifted = scores.logit - largest.index_select(0, scores.move_input)
    total = torch.zeros(count).index_add(0, scores.move_input, shifted.exp())
    return shifted - total.log().index_select(0, scores.move_input)


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def _mean(values: Tensor, group: Tensor, count: int) -> Tensor:
    total = values.new_zeros(count, values.shape[1]).index_add(0, group, values)
    size = values.new_zeros(count).index_add(0, group, values.new_ones(len(group)))
    return total / size.clamp_min(1.0)[:, None]


def _largest(values: Tensor, group: Tensor, count: int) -> Tensor:
    index = group[:, None].expand_as(values)
    return values.new_zeros(count, values.shape[1]).scatter_reduce(0, index, values, "amax", include_self=False)
