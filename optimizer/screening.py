"""Judges thousands of moves a second roughly, so that the predictor need only judge the few best.

Loads are exact.  Delay, jitter and loss come from an M/G/1/K queue per link taken alone: the blocking and the mean
number in system of M/M/1/K, waiting scaled by E[s^2]/(2 E[s]^2) as in Pollaczek-Khinchine.  The error against the real
predictor at the present routing is measured and added back, so only differences between routings matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gnn_model.predictor import Prediction
from optimizer.goals import GoalTable, experienced_values, predicted_severity
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, IntArray

NORM_POWER = 16.0
LARGEST_LOAD = 8.0
EMPTY_WEIGHT, MOST_OF_FULLEST, STEEPNESS = 0.02, 4.0, 6  # of weights by load, relative to the fullest link


class Move(NamedTuple):
    """One demand to other paths."""

    demand: int
    paths: tuple[PathShare, ...]


@dataclass(eq=False)
class LoadScreen:
    """Loads of the routing as it stands in the search and what moves would make of them.

    ``share`` [demands, links] is the part of each demand on each link, ``load_bps`` [links] the offered load.
    """

    scenario: Scenario
    table: GoalTable
    share: FloatArray = field(init=False)
    load_bps: FloatArray = field(init=False)
    judged: IntArray = field(init=False)  # demands that are promised something, the only ones worth scoring
    _offset: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        topology, traffic = self.scenario.topology, self.scenario.traffic
        self.share = np.zeros((traffic.demand_count, topology.link_count))
        self.load_bps = np.zeros(topology.link_count)
        promised = np.isfinite(self.table.limit).any(axis=0) & (self.table.weight > 0)
        self.judged = np.nonzero(promised)[0]
        self._offset = np.zeros((3, len(self.judged)))
        self._judged_table = self.table.of_demands(self.judged)
        rate = traffic.rate_bps
        total = max(float(rate.sum()), 1e-12)
        self._packet_bits = max(float(rate.sum()) / max(float(traffic.packets_per_s.sum()), 1e-12), 1.0)
        self._waiting_factor = 0.5 * float((rate * traffic.second_moment_ratio).sum()) / total
        self.reset(self.scenario.routing)

    def reset(self, routing: Routing) -> None:
        """Take another routing as the present one."""
        flat = routing.flat
        self.share[:] = 0.0
        np.add.at(self.share, (flat.path_demand[flat.hop_path], flat.hop_link), flat.share[flat.hop_path])
        self.load_bps = self.scenario.traffic.rate_bps @ self.share

    @property
    def packet_bits(self) -> float:
        """Mean size of the packets of all traffic."""
        return self._packet_bits

    @property
    def waiting_factor(self) -> float:
        """By what the wait is longer than with exponential packet sizes: E[s^2] / (2 E[s]^2)."""
        return self._waiting_factor

    @property
    def longest_s(self) -> FloatArray:
        """Time at a link whose queue is full, sent and arrived, [links]."""
        topology = self.scenario.topology
        result: FloatArray = (topology.queue_packets + 2.0) * self._packet_bits / topology.capacity_bps
        return result + topology.delay_s

    @property
    def offset(self) -> FloatArray:
        """What the predictor says beyond the rough figures at the routing last calibrated, [3, demands]."""
        result = np.zeros((3, len(self.share)))
        result[:, self.judged] = self._offset
        return result

    @property
    def judged_share(self) -> FloatArray:
        """``share`` of the demands that are promised something; not to be written to, since it may be no copy."""
        return self.share if len(self.judged) == len(self.share) else self.share[self.judged]

    def row(self, paths: Sequence[PathShare]) -> FloatArray:
        """Share on each link of a demand with these paths, [links]."""
        row = np.zeros(self.scenario.topology.link_count)
        for path in paths:
            row[list(path.links)] += path.share
        return row

    def rows(self, moves: Sequence[Move]) -> FloatArray:
        """``row`` of every move's paths, [moves, links]."""
        rows = np.zeros((len(moves), self.scenario.topology.link_count))
        owner = [index for index, move in enumerate(moves) for path in move.paths for _ in path.links]
        links = [link for move in moves for path in move.paths for link in path.links]
        np.add.at(rows, (owner, links), [path.share for move in moves for path in move.paths for _ in path.links])
        return rows

    def apply(self, move: Move) -> None:
        """Carry out a move."""
        row = self.row(move.paths)
        self.load_bps = self.load_bps + self.scenario.traffic.rate_bps[move.demand] * (row - self.share[move.demand])
        self.share[move.demand] = row

    def utilisation(self) -> FloatArray:
        """Offered load over capacity, [links]."""
        return self.load_bps / self.scenario.topology.capacity_bps

    def utilisation_after(self, moves: Sequence[Move]) -> FloatArray:
        """Offered load over capacity after each move alone, [moves, links]."""
        demands = [move.demand for move in moves]
        change = self.scenario.traffic.rate_bps[demands, None] * (self.rows(moves) - self.share[demands])
        return (self.load_bps + change) / self.scenario.topology.capacity_bps

    def utilisation_after_all(self, moves: Sequence[Move]) -> FloatArray:
        """The same after the first move, the first two, and so on, of different demands each, [moves, links]."""
        demands = [move.demand for move in moves]
        change = self.scenario.traffic.rate_bps[demands, None] * (self.rows(moves) - self.share[demands])
        return (self.load_bps + np.cumsum(change, axis=0)) / self.scenario.topology.capacity_bps

    def load_weights(self, demands: Sequence[int]) -> FloatArray:
        """What links cost each of these demands, [demands, links]: full ones far more than empty ones, its own load set
        aside.
        """
        rate = self.scenario.traffic.rate_bps[demands, None]
        after = self.load_bps + rate * (1 - self.share[demands])
        after = after / self.scenario.topology.capacity_bps
        scale = max(float(self.utilisation().max(initial=0.0)), 1e-9)
        weights: FloatArray = EMPTY_WEIGHT + np.minimum(after / scale, MOST_OF_FULLEST) ** STEEPNESS
        return weights

    def calibrate(self, prediction: Prediction) -> None:
        """Learn the error of the rough figures from the predictor's view of the present routing."""
        if len(self.judged):
            figures = tuple(figure[None] for figure in self._per_link(self.utilisation()))
            rough = _values(figures, self.judged_share.T)[0]
            exact = experienced_values(prediction, self.table)[:, self.judged]
            self._offset = np.nan_to_num(exact - rough, nan=0.0, posinf=0.0, neginf=0.0)

    def violation_after(self, moves: Sequence[Move], utilisation: FloatArray) -> FloatArray:
        """Rough violation score after each move alone, [moves]; ``utilisation`` as from ``utilisation_after``."""
        if not len(self.judged):
            return np.zeros(len(moves))
        figures = self._per_link_after(utilisation)
        values = _values(figures, self.judged_share.T)
        moved = np.array([move.demand for move in moves])
        position = np.minimum(np.searchsorted(self.judged, moved), len(self.judged) - 1)
        scored = np.nonzero(self.judged[position] == moved)[0]
        if len(scored):
            rows = self.rows([moves[index] for index in scored.tolist()])
            own = _rough(*((figure[scored] * rows).sum(axis=-1) for figure in figures))
            values[scored, :, position[scored]] = np.stack(own, axis=1)
        result: FloatArray = predicted_severity(values + self._offset, self._judged_table).sum(axis=-1)
        return result

    def waiting(self, utilisation: FloatArray, link: IntArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Mean time at each link (waiting and sending) in seconds and loss, both like ``utilisation``.

        ``link`` says which links these are where they are not all, [..., links].
        """
        topology = self.scenario.topology
        capacity_bps, size = topology.capacity_bps, topology.queue_packets + 1.0
        if link is not None:
            capacity_bps, size = capacity_bps[link], size[link]
        service_s = self._packet_bits / capacity_bps
        rho = np.clip(utilisation, 1e-9, LARGEST_LOAD)
        rho = np.where(np.abs(rho - 1.0) < 1e-6, 1.0 + 1e-6, rho)
        # rho^-n on the overloaded side keeps the powers finite
        with np.errstate(over="ignore", under="ignore", divide="ignore"):  # both sides of where are computed
            power = np.power(rho, size)
            finite = np.minimum(power, 1e250)
            loss = np.where(rho < 1, (1 - rho) * finite / (1 - rho * finite), (rho - 1) / (rho - 1 / finite))
            full = np.where(rho < 1, rho * finite / (1 - rho * finite), -1 / (1 - 1 / (rho * finite)))
        in_system = rho / (1 - rho) - (size + 1) * full
        sojourn = np.maximum(in_system, 0.0) * service_s / (rho * np.maximum(1 - loss, 1e-9))
        time = service_s + np.maximum(sojourn - service_s, 0.0) * self._waiting_factor
        return time, loss

    def _per_link(self, utilisation: FloatArray, link: IntArray | None = None) -> tuple[FloatArray, ...]:
        """Mean delay, its variance, longest delay and -ln(1 - loss), all like ``utilisation``; ``link`` as above."""
        topology = self.scenario.topology
        time, loss = self.waiting(utilisation, link)
        longest = self.longest_s
        return (
            time + (topology.delay_s if link is None else topology.delay_s[link]),
            time * time,
            longest if link is None else longest[link],
            -np.log1p(-np.minimum(loss, 1 - 1e-12)),
        )

    def _per_link_after(self, utilisation: FloatArray) -> tuple[FloatArray, ...]:
        """The same for each move, [moves, links]: a move changes few links, so only those are computed."""
        now = self.utilisation()
        move, link = np.nonzero(utilisation != now)
        changed = self._per_link(utilisation[move, link], link)
        figures = []
        for figure, part in zip(self._per_link(now), changed, strict=True):
            after = np.tile(figure, (len(utilisation), 1))
            after[move, link] = part
            figures.append(after)
        return tuple(figures)


def _values(figures: Sequence[FloatArray], share: FloatArray) -> FloatArray:
    """Rough delay at the percentile, jitter and loss, [moves, 3, demands]; figures [moves, links], ``share`` [links,
    demands].
    """
    return np.stack(_rough(*(figure @ share for figure in figures)), axis=1)


def _rough(delay: FloatArray, variance: FloatArray, longest: FloatArray, lost: FloatArray) -> tuple[FloatArray, ...]:
    spread = np.sqrt(variance)
    return np.minimum(delay + 3.0 * spread, longest), spread, 1.0 - np.exp(-lost)


def soft_maximum(utilisation: FloatArray) -> FloatArray:
    """A smooth stand-in for the largest utilisation, [...]: the NORM_POWER-norm over the last axis.

    It also falls when one of several equally full links empties, which the maximum itself does not.
    """
    scale = np.maximum(utilisation.max(axis=-1, initial=0.0), 1e-12)
    result: FloatArray = scale * ((utilisation / scale[..., None]) ** NORM_POWER).sum(axis=-1) ** (1 / NORM_POWER)
    return result
