"""A routing under change: what the predictor says of it, and the moves that the policy may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gnn_model.predictor import Prediction, Predictor
from optimizer.candidates import CandidatePaths
from optimizer.goals import GoalTable, Score, experienced_values, predicted_severity
from optimizer.screening import LoadScreen, Move
from topology_sync.paths import shortest_path
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, FloatArray, IntArray

HOT_LINKS = 6
DEMANDS_CONSIDERED = 24
PATHS_PER_DEMAND = 3
WAYS_BY_LOAD = 3  # so many of the demands also get the way that present load favours, which has to be searched
SERVICE_WEIGHT = 1e-3
LOSS_WEIGHT = 10.0


class Options(NamedTuple):
    """The candidate paths of a demand; ``link`` has the links of all of them in a row, ``length`` how many each has."""

    paths: tuple[PathShare, ...]
    link: IntArray
    length: IntArray


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked: how to route ``scenario`` (its routing is the start) by the goals of ``table``.

    ``movable`` [demands] are those that may leave their paths; ``max_changes`` None means any number of them.
    """

    scenario: Scenario
    table: GoalTable
    candidates: CandidatePaths
    movable: BoolArray
    max_changes: int | None = None
    _known: dict[tuple[int, int], Options] = field(default_factory=dict)

    @classmethod
    def of(cls, scenario: Scenario, table: GoalTable, candidates: CandidatePaths) -> Task:
        """A task in which every demand with traffic may move."""
        return cls(scenario, table, candidates, np.asarray(scenario.traffic.rate_bps > 0, dtype=np.bool_))

    def options(self, demand: int) -> Options:
        """The candidate paths of a demand; there is at least one, or it could not move."""
        ends = int(self.scenario.traffic.source[demand]), int(self.scenario.traffic.target[demand])
        if ends not in self._known:
            paths = self.candidates.between(*ends)
            self._known[ends] = Options(
                tuple(PathShare(path) for path in paths),
                np.array([link for path in paths for link in path], dtype=np.int64),
                np.array([len(path) for path in paths], dtype=np.int64),
            )
        return self._known[ends]


@dataclass(eq=False)
class Rerouting:
    """One routing on its way from the task's start: its loads, its prediction and its score.

    ``severity`` [demands] is what each demand adds to the violation, ``values`` [3, demands] as in ``GoalTable``.  Per
    link ``utilisation``, ``time_s`` and ``loss`` are the rough queue model's, and ``hurt`` is how much each of the few
    worst adds to what is missed, or how full the fullest are where everything is kept.
    """

    task: Task
    routing: Routing
    prediction: Prediction
    screen: LoadScreen = field(init=False)
    changed: frozenset[int] = field(init=False)
    score: Score = field(init=False)
    values: FloatArray = field(init=False)
    severity: FloatArray = field(init=False)
    utilisation: FloatArray = field(init=False)
    time_s: FloatArray = field(init=False)
    loss: FloatArray = field(init=False)
    hurt: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        scenario = self.task.scenario
        self.screen = LoadScreen(scenario.with_routing(self.routing), self.task.table)
        self.changed = frozenset(self.routing.changed_demands(scenario.routing))
        self._judge(self.prediction)

    def routing_after(self, move: Move) -> Routing:
        """The routing that a move makes of this one."""
        return self.routing.with_changes({move.demand: move.paths})

    def apply(self, move: Move, routing: Routing, prediction: Prediction) -> None:
        """Carry out a move, given the routing it makes and what is predicted for that."""
        self.screen.apply(move)
        self.routing = routing
        if move.paths == self.task.scenario.routing.paths[move.demand]:
            self.changed -= {move.demand}
        else:
            self.changed |= {move.demand}
        self._judge(prediction)

    def moves(self) -> list[Move]:
        """Demands over the links that hurt, each to a few of its other paths, those that hurt most first."""
        demands = self._demands_over(self.hurt)
        if not demands:
            return []
        weight = self.screen.load_weights(demands)
        options = [self.task.options(demand) for demand in demands]
        sizes = [len(option.length) for option in options]
        length = np.concatenate([option.length for option in options])
        links = np.concatenate([option.link for option in options])
        row = np.repeat(np.repeat(np.arange(len(demands)), sizes), length)
        costs = np.add.reduceat(weight[row, links], np.cumsum(length) - length).tolist()
        found: list[Move] = []
        first = 0
        for position, (demand, option, size) in enumerate(zip(demands, options, sizes, strict=True)):
            row_of = weight[position] if position < WAYS_BY_LOAD else None
            found += self._chosen(demand, option, costs[first : first + size], row_of)
            first += size
        return found + self._ways_back({move.demand for move in found})

    def _ways_back(self, considered: set[int]) -> list[Move]:
        """Where changes are limited: every other changed demand back to its first paths, for the change it frees."""
        if self.task.max_changes is None:
            return []
        start = self.task.scenario.routing.paths
        others = sorted(demand for demand in self.changed - considered if self.task.movable[demand])
        return [Move(demand, start[demand]) for demand in others]

    def _hurt(self) -> FloatArray:
        if self.score.violation <= 0:
            fullest = self.utilisation.max(initial=0.0)
            return np.where(self.utilisation >= fullest * (1 - 1e-9), self.utilisation, 0.0)
        part = self.time_s * self.task.scenario.topology.capacity_bps * SERVICE_WEIGHT / self.packet_bits
        hurt: FloatArray = (self.severity @ self.screen.share) * (part + self.loss * LOSS_WEIGHT)
        if len(hurt) > HOT_LINKS:
            hurt[np.argsort(-hurt, kind="stable")[HOT_LINKS:]] = 0.0
        return hurt

    @property
    def packet_bits(self) -> float:
        """Mean size of a packet in bits."""
        traffic = self.task.scenario.traffic
        return float(traffic.rate_bps.sum()) / max(float(traffic.packets_per_s.sum()), 1e-12)

    def _demands_over(self, hurt: FloatArray) -> list[int]:
        scenario = self.task.scenario
        part = (self.screen.share @ (hurt / scenario.topology.capacity_bps)) * scenario.traffic.rate_bps
        movable = self.task.movable & (part > 0)
        limit = self.task.max_changes
        if limit is not None and len(self.changed) >= limit:
            free = np.zeros_like(movable)
            free[list(self.changed)] = True
            movable &= free
        order = np.argsort(-np.where(movable, part, -1.0), kind="stable")[: min(DEMANDS_CONSIDERED, int(movable.sum()))]
        return [int(demand) for demand in order]

    def _chosen(self, demand: int, option: Options, cost: list[float], weight: FloatArray | None) -> list[Move]:
        """The cheapest paths, the way back to the start, and where ``weight`` is given the cheapest of all ways."""
        present = self.routing.paths[demand]
        there = present[0].links if len(present) == 1 else None
        ranked = sorted(range(len(cost)), key=lambda index: (cost[index], index))
        chosen = [share for index in ranked if (share := option.paths[index]).links != there][:PATHS_PER_DEMAND]
        start = self.task.scenario.routing.paths[demand]
        if len(start) == 1 and start[0].links != there and start[0] not in chosen and demand in self.changed:
            chosen.append(start[0])
        if weight is not None:
            topology, traffic = self.task.scenario.topology, self.task.scenario.traffic
            source, target = int(traffic.source[demand]), int(traffic.target[demand])
            usable = self.task.candidates.usable.for_ends(topology, source, target)
            path = shortest_path(topology, source, target, weight.tolist(), usable)
            if path is not None and path != there and PathShare(path) not in chosen:
                chosen.append(PathShare(path))
        return [Move(demand, (share,)) for share in chosen]

    def _judge(self, prediction: Prediction) -> None:
        table = self.task.table
        self.prediction = prediction
        self.values = experienced_values(prediction, table)
        self.severity = predicted_severity(self.values, table)
        self.utilisation = self.screen.utilisation()
        self.score = Score(float(self.severity.sum()), float(self.utilisation.max(initial=0.0)), len(self.changed))
        self.time_s, self.loss = self.screen.waiting(self.utilisation)
        self.hurt = self._hurt()
        self.screen.calibrate(prediction)


def begin(task: Task, predictor: Predictor, count: int = 1) -> list[Rerouting]:
    """``count`` re-routings that stand at the task's start."""
    return begin_at(task, [task.scenario.routing] * count, predictor)


def begin_at(task: Task, routings: Sequence[Routing], predictor: Predictor) -> list[Rerouting]:
    """One re-routing at each of these routings."""
    distinct = list({id(routing): routing for routing in routings}.values())
    predictions = predictor.predict_batch(task.scenario, distinct)
    known = {id(routing): prediction for routing, prediction in zip(distinct, predictions, strict=True)}
    return [Rerouting(task, routing, known[id(routing)]) for routing in routings]


def advance(reroutings: Sequence[Rerouting], moves: Sequence[Move], predictor: Predictor) -> None:
    """Carry out one move in each re-routing of a task, judged together."""
    if not reroutings:
        return
    routings = [rerouting.routing_after(move) for rerouting, move in zip(reroutings, moves, strict=True)]
    predictions = predictor.predict_batch(reroutings[0].task.scenario, routings)
    for rerouting, move, routing, prediction in zip(reroutings, moves, routings, predictions, strict=True):
        rerouting.apply(move, routing, prediction)
