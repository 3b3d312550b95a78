"""Random questions to learn from and to be judged by: networks, traffic and goals that shortest paths miss.

Goals are what a load-aware reference routing would give every class, loosened or tightened a little, so that most
questions have an answer although the shortest paths are none.  Everything is seeded: same seed, same question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gnn_model.predictor import Predictor
from optimizer.goals import GoalTable, experienced_values, goal_table, predicted_violation
from optimizer.settings import ClassGoal
from topology_sync.paths import fewest_hops_routing, shortest_path
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.topology import Link, Scheduler, Topology
from topology_sync.traffic import Demand, PacketSize, TrafficMatrix
from topology_sync.values import FloatArray

CLASS_NAMES = ("voice", "video", "bulk")
CLASS_RATES = (0.2, 0.4, 0.4)  # part of the traffic that each class has
BASE_CAPACITY_BPS = 1e7
PACKET_BITS = 8000.0
REFERENCE_PASSES = 2
MOST_TRIES = 40
LOADS = (0.85, 1.6)  # maximum utilisation over shortest paths
SMALLEST_LOSS = 1e-3


@dataclass(frozen=True)
class SizeRange:
    """How large the random questions are, both ends included."""

    nodes: tuple[int, int] = (10, 24)
    demands: tuple[int, int] = (80, 200)


@dataclass(frozen=True, eq=False)
class Question:
    """A scenario and its goals by priority; ``solvable``: the reference routing keeps them all (by the predictor)."""

    scenario: Scenario
    classes: tuple[ClassGoal, ...]
    solvable: bool

    @property
    def table(self) -> GoalTable:
        """The goals per demand."""
        return goal_table(self.scenario.traffic, self.classes)


def draw_question(seed: tuple[int, ...], predictor: Predictor, sizes: SizeRange | None = None) -> Question:
    """A random network with a question that its shortest paths do not answer."""
    sizes = sizes or SizeRange()
    random = np.random.default_rng(seed)
    for _ in range(MOST_TRIES):
        topology = random_topology(int(random.integers(sizes.nodes[0], sizes.nodes[1] + 1)), random)
        question = question_on(topology, random, predictor, sizes.demands, "-".join(["random", *map(str, seed)]))
        if question is not None:
            return question
    raise RuntimeError(f"no question in {MOST_TRIES} tries for seed {seed}")


def question_on(
    topology: Topology,
    random: np.random.Generator,
    predictor: Predictor,
    demands: tuple[int, int],
    name: str,
    loads: tuple[float, float] = LOADS,
    slack: tuple[float, float] | None = None,
) -> Question | None:
    """Traffic and goals for a network; None where its shortest paths already keep them.

    ``loads``: maximum utilisation over shortest paths; ``slack``: by how much goals are wider than what the reference
    routing gives (None: in one of four questions they are narrower).
    """
    classes = CLASS_NAMES[: int(random.integers(2, 4))]
    if random.random() < 0.25:
        strict = Scheduler("strict", (), tuple((entry, queue) for queue, entry in enumerate(classes)))
        topology = replace(topology, schedulers=(strict,) * topology.node_count)
    traffic = _traffic(topology, classes, int(random.integers(demands[0], demands[1] + 1)), random)
    shortest = fewest_hops_routing(topology, traffic)
    load = float(random.uniform(*loads))
    traffic = traffic.with_rates(traffic.rate_bps * (load / shortest.max_utilisation(traffic, topology)))
    reference = load_aware_routing(topology, traffic, random)
    scenario = Scenario(name, topology, traffic, shortest)
    before, after = predictor.predict_batch(scenario, [shortest, reference])
    goals = _goals(scenario, experienced_values(after, _percentiles(traffic)), _slack(slack, random), random)
    scenario = replace(scenario, sla=tuple(goal.sla for goal in goals))
    table = goal_table(traffic, goals)
    if predicted_violation(before, table) <= 0:
        return None
    return Question(scenario, goals, predicted_violation(after, table) <= 0)


def random_topology(nodes: int, random: np.random.Generator) -> Topology:
    """A connected network without dead ends: places in the plane joined to near ones, or a ring with chords."""
    place = random.random((nodes, 2))
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
    pairs = _geometric_pairs(distance, random) if random.random() < 0.7 else _ring_pairs(nodes, random)
    mixed = random.random() < 0.5
    queue = int(random.choice([16, 32, 64]))
    propagation_s = float(random.choice([0.0, 0.002, 0.01]))
    names = [f"n{node}" for node in range(nodes)]
    links = []
    for a, b in sorted(pairs):
        capacity = BASE_CAPACITY_BPS * (float(random.choice([1.0, 2.5, 4.0])) if mixed else 1.0)
        delay = propagation_s * float(distance[a, b])
        links += [Link(names[x], names[y], capacity, delay, queue) for x, y in ((a, b), (b, a))]
    return Topology.from_links(names, links)


def load_aware_routing(topology: Topology, traffic: TrafficMatrix, random: np.random.Generator) -> Routing:
    """Every demand in random order onto the way that present load favours, a few times over."""
    load = np.zeros(topology.link_count)
    paths: list[tuple[int, ...]] = [()] * traffic.demand_count
    for _ in range(REFERENCE_PASSES):
        for demand in random.permutation(traffic.demand_count).tolist():
            rate = float(traffic.rate_bps[demand])
            load[list(paths[demand])] -= rate
            weight = 0.05 + ((load + rate) / topology.capacity_bps) ** 4
            path = shortest_path(topology, int(traffic.source[demand]), int(traffic.target[demand]), weight.tolist())
            assert path is not None, "the network is connected"
            paths[demand] = path
            load[list(path)] += rate
    return Routing(tuple((PathShare(path),) for path in paths))


def _geometric_pairs(distance: FloatArray, random: np.random.Generator) -> set[tuple[int, int]]:
    nodes = len(distance)
    near = int(random.integers(2, 4))
    pairs = {
        (min(node, int(other)), max(node, int(other)))
        for node in range(nodes)
        for other in np.argsort(distance[node])[1 : near + 1]
    }
    group = list(range(nodes))
    for a, b in sorted(pairs):
        _join(group, a, b)
    while len(set(group)) > 1:
        apart = [(distance[a, b], a, b) for a in range(nodes) for b in range(a + 1, nodes) if group[a] != group[b]]
        _, a, b = min(apart)
        pairs.add((a, b))
        _join(group, a, b)
    return pairs


def _join(group: list[int], a: int, b: int) -> None:
    mine, theirs = group[a], group[b]
    for node, label in enumerate(group):
        if label == theirs:
            group[node] = mine


def _ring_pairs(nodes: int, random: np.random.Generator) -> set[tuple[int, int]]:
    order = random.permutation(nodes).tolist()
    pairs = {(min(a, b), max(a, b)) for a, b in zip(order, order[1:] + order[:1], strict=True)}
    for _ in range(int(random.integers(nodes // 3, nodes + 1))):
        a, b = random.choice(nodes, size=2, replace=False).tolist()
        pairs.add((min(a, b), max(a, b)))
    return pairs


def _traffic(topology: Topology, classes: tuple[str, ...], count: int, random: np.random.Generator) -> TrafficMatrix:
    names = topology.node_names
    mass = random.lognormal(0.0, 0.7, len(names))
    size = PacketSize("exponential" if random.random() < 0.5 else "constant")
    possible = [(a, b, c) for a in range(len(names)) for b in range(len(names)) if a != b for c in range(len(classes))]
    chosen = random.permutation(len(possible))[: min(count, len(possible))]
    demands = []
    for number in sorted(chosen.tolist()):
        a, b, c = possible[number]
        rate = BASE_CAPACITY_BPS * 1e-2 * mass[a] * mass[b] * CLASS_RATES[c] * random.lognormal(0.0, 0.5)
        demands.append(Demand(names[a], names[b], float(rate), classes[c], PACKET_BITS, size))
    return TrafficMatrix.from_demands(demands, topology.node_index, classes)


def _percentiles(traffic: TrafficMatrix) -> GoalTable:
    """A table without goals whose delays are 99th percentiles."""
    count = traffic.demand_count
    return GoalTable(np.full((3, count), np.inf), np.full(count, 99.0), np.ones(count))


def _slack(given: tuple[float, float] | None, random: np.random.Generator) -> float:
    if given is not None:
        return float(random.uniform(*given))
    return float(random.uniform(1.0, 1.25) if random.random() < 0.75 else random.uniform(0.8, 1.0))


def _goals(scenario: Scenario, values: FloatArray, slack: float, random: np.random.Generator) -> tuple[ClassGoal, ...]:
    """Per class the worst that the reference gives its demands, times the slack."""
    goals = []
    for index, name in enumerate(scenario.traffic.class_names):
        mine = np.nonzero(scenario.traffic.traffic_class == index)[0]
        if not len(mine):
            continue
        delay, jitter, loss = (float(row[mine].max()) for row in values)
        sla = SlaGoal(
            name,
            delay_s=delay * slack if index < 2 or random.random() < 0.5 else None,
            percentile=99.0,
            jitter_s=jitter * slack if index == 0 and random.random() < 0.5 else None,
            loss_ratio=max(loss * slack, SMALLEST_LOSS * 10.0 ** (index / 2)),
        )
        goals.append(ClassGoal(name, index + 1, sla))
    return tuple(goals)
