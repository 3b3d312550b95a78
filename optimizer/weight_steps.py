"""Which other queue weights are worth a look: few steps, network-wide ones first, then single nodes.

Who gains by weights is mostly plain: a class whose goals are missed should get more, the class with most to spare
should give.  A step multiplies the weights of some classes by a factor and scales all weights that are in use back to
their sum, so weights stay in the units that the scenario wrote them in.  Only weighted nodes (wfq, drr) are touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gnn_model.predictor import Prediction
from optimizer.goals import GoalTable, experienced_values
from topology_sync.scenario import Scenario
from topology_sync.topology import WEIGHTED, Scheduler
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import FloatArray

LARGEST_FACTOR = 2.6
FIRST_FACTOR = 1.6
SMALLEST_FACTOR = 1.08
FINENESS = 1000  # weights are whole multiples of this part of their sum
LEAST_PARTS = 10  # no step takes a queue below this many of them, nor below this part of its weight at the start
LEAST_OF_START = 0.25
MISSED_PART = 0.05  # of the violation score: a class that adds less is in no need
MOST_PROPOSALS = 14
NODES_ALONE = 5  # nodes that are tried alone in one step

Schedulers = tuple[Scheduler, ...]


@dataclass(frozen=True)
class ClassNeeds:
    """How classes fare: ``missed`` [classes] is what they add to the violation score, ``slack`` [classes] how far their
    worst demand is within its goals, relative to the goal (1 where nothing is promised, below 0 where missed).
    """

    missed: FloatArray
    slack: FloatArray

    @classmethod
    def of(cls, severity: FloatArray, prediction: Prediction, table: GoalTable, traffic: TrafficMatrix) -> ClassNeeds:
        """Read them off a prediction; ``severity`` [demands] as ``goals.predicted_severity`` has it."""
        values = experienced_values(prediction, table)
        classes = len(traffic.class_names)
        missed = np.zeros(classes)
        np.add.at(missed, traffic.traffic_class, severity)
        with np.errstate(invalid="ignore", divide="ignore"):
            left = np.where(np.isfinite(table.limit) & (table.limit > 0), 1 - values / table.limit, 1.0)
        left = np.where(table.weight > 0, np.nan_to_num(left, nan=1.0, neginf=-1e9).min(axis=0), 1.0)
        slack = np.ones(classes)
        np.minimum.at(slack, traffic.traffic_class, left)
        return cls(missed, slack)


@dataclass(eq=False)
class WeightSteps:
    """Proposes steps for one scenario; the factor shrinks where none helps and grows again where one does.

    ``exhausted``: steps down to the smallest have failed, one after the other.

    ``frozen`` nodes are left alone.  Nodes that may change: weighted, with links going out and at least two queues in
    use by classes with traffic.
    """

    scenario: Scenario
    frozen: frozenset[int] = frozenset()
    factor: float = FIRST_FACTOR
    exhausted: bool = False
    nodes: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        topology, traffic = self.scenario.topology, self.scenario.traffic
        self._start = topology.schedulers
        active = np.unique(traffic.traffic_class[traffic.rate_bps > 0]).tolist()
        self._classes = [(index, traffic.class_names[index]) for index in active]
        self.nodes = tuple(
            node
            for node, scheduler in enumerate(topology.schedulers)
            if scheduler.discipline in WEIGHTED
            and node not in self.frozen
            and topology.links_from[node]
            and len({scheduler.queue_of(name) for _, name in self._classes}) > 1
        )

    def proposals(self, schedulers: Schedulers, needs: ClassNeeds, hot_nodes: Sequence[int]) -> list[Schedulers]:
        """Schedulers that differ by one step from ``schedulers``, the likeliest first, each of them once.

        ``hot_nodes`` are tried alone, in their order.  Of weights that have left those at the start, the way back is
        tried too, half and whole.
        """
        enough = MISSED_PART * float(needs.missed.sum())
        missed = [index for index, _ in self._classes if needs.missed[index] > enough]
        if not missed or not self.nodes:
            return []
        found: dict[Schedulers, None] = {}
        for factors in self._directions(missed, needs):
            found[self._stepped(schedulers, self.nodes, factors)] = None
        if schedulers != self._start:  # what earlier routings asked for
            found[self._between(schedulers, self._start)] = None
            found[self._start] = None
        alone = [node for node in hot_nodes if node in self.nodes][:NODES_ALONE]
        for node in alone if len(self.nodes) > 1 else ():
            for factors in self._raised(missed):
                found[self._stepped(schedulers, (node,), factors)] = None
        found.pop(schedulers, None)
        return list(found)[:MOST_PROPOSALS]

    def adapt(self, helped: bool) -> None:
        """Larger steps after one that helped, else smaller ones; after the smallest failed, as at first."""
        factor = self.factor**2 if helped else self.factor**0.5
        self.exhausted = factor < SMALLEST_FACTOR
        self.factor = FIRST_FACTOR if self.exhausted else min(factor, LARGEST_FACTOR)

    def _raised(self, missed: Sequence[int]) -> list[dict[int, float]]:
        """Classes that miss goals get more: all of them, and where there are several, each alone."""
        steps = [dict.fromkeys(missed, self.factor)]
        return steps + [{index: self.factor} for index in missed if len(missed) > 1]

    def _directions(self, missed: Sequence[int], needs: ClassNeeds) -> list[dict[int, float]]:
        """Factors by class, the plainest first."""
        steps = self._raised(missed)
        steps.append(dict.fromkeys(missed, self.factor**2))
        others = sorted((index for index, _ in self._classes), key=lambda index: -needs.slack[index])
        steps += [{index: 1 / self.factor} for index in others]
        if len(missed) == len(self._classes):
            steps.append(dict.fromkeys([index for index in missed if index != others[0]], self.factor))
        return steps

    def _stepped(self, schedulers: Schedulers, nodes: Iterable[int], factors: Mapping[int, float]) -> Schedulers:
        changed = list(schedulers)
        for node in nodes:
            changed[node] = self._scaled(node, schedulers[node], factors)
        return tuple(changed)

    def _between(self, schedulers: Schedulers, start: Schedulers) -> Schedulers:
        """Half-way back, by factors."""
        changed = list(schedulers)
        for node in changed_nodes(start, schedulers):
            here, there = schedulers[node], start[node]
            factors = {
                index: (there.weights[here.queue_of(name)] / here.weights[here.queue_of(name)]) ** 0.5
                for index, name in self._classes
            }
            changed[node] = self._scaled(node, here, factors)
        return tuple(changed)

    def _scaled(self, node: int, scheduler: Scheduler, factors: Mapping[int, float]) -> Scheduler:
        used: dict[int, float] = {}
        for index, name in self._classes:
            queue = scheduler.queue_of(name)
            factor = factors.get(index, 1.0)
            before = used.get(queue, 1.0)
            used[queue] = max(before, factor) if max(before, factor) > 1 else min(before, factor)
        queues = sorted(used)
        present = np.array([scheduler.weights[queue] for queue in queues])
        start = np.array([self._start[node].weights[queue] for queue in queues])
        parts = _parts(present * [used[queue] for queue in queues], present, start)
        weights = list(scheduler.weights)
        for queue, part in zip(queues, parts, strict=True):
            weights[queue] = part * float(present.sum()) / FINENESS
        return replace(scheduler, weights=tuple(weights))


def _parts(wanted: FloatArray, present: FloatArray, start: FloatArray) -> list[int]:
    """``wanted`` in whole parts of FINENESS that add up to it; none below what no step goes below, or is at present."""
    floor = np.maximum(np.floor(start / start.sum() * FINENESS * LEAST_OF_START), LEAST_PARTS)
    least = np.minimum(np.maximum(np.floor(present / present.sum() * FINENESS), 1), floor)
    exact = np.maximum(wanted / wanted.sum() * FINENESS, least)
    above = exact - least
    exact = least + above * (FINENESS - least.sum()) / max(above.sum(), 1e-300)
    parts = np.floor(exact).astype(int)
    order = np.argsort(parts - exact, kind="stable")  # the largest remainders are rounded up
    parts[order[: FINENESS - int(parts.sum())]] += 1
    return [int(part) for part in parts]


def changed_nodes(before: Schedulers, after: Schedulers) -> tuple[int, ...]:
    """Nodes whose scheduler is another one."""
    return tuple(node for node, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])


def put_back(before: Schedulers, after: Schedulers) -> Iterator[Schedulers]:
    """``after`` with changes taken back: all, then those of one node where that makes it fewer changes."""
    changed = changed_nodes(before, after)
    if changed:
        yield before
    for node in changed if len(changed) > 1 else ():
        fewer = (*after[:node], before[node], *after[node + 1 :])
        if weight_changes(before, fewer) < weight_changes(before, after):
            yield fewer


def weight_changes(before: Schedulers, after: Schedulers) -> int:
    """As how many changes other weights count: nodes that get the same new weights as one, as often as that is so.

    The most frequent new weights count once, every node with others once each: a vector for the whole network is one
    change, exceptions from it are one each.
    """
    new = Counter(after[node].weights for node in changed_nodes(before, after))
    return 1 + new.total() - max(new.values()) if new else 0
