"""A suite of SLA problems, made from seeds: 12 to 100 nodes, three classes, loads too high for shortest paths.

Links are dimensioned for a traffic matrix over shortest paths; then the traffic is another one.  In all problems a
routing that avoids full links is drawn first and simulated packet by packet.  ``known``: the goals are what its worst
demand of each class showed, with a margin, and a simulation with other packets must keep them: a solution exists.
``open``: they are what 95 % of its demands stayed below, with the same margin; whether all can be met is not known.
Shortest paths miss goals in both.  Every number follows from the entry's seed, and goals are rounded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gnn_model.dataset.topologies import random_topology
from gnn_model.packet_simulator.simulator import PacketSimulator
from gnn_model.predictor import Prediction
from optimizer.goals import class_goals, experienced_values, goal_table, violated_demands
from topology_sync.errors import ScenarioError
from topology_sync.paths import fewest_hops_routing, shortest_path
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.scenario_json import scenario_to_json
from topology_sync.sources import load_scenario
from topology_sync.topology import DISCIPLINES, Scheduler, Topology
from topology_sync.traffic import Arrivals, PacketSize, TrafficMatrix
from topology_sync.values import BoolArray, float_array, int_array

Kind = Literal["known", "open"]
CLASSES = ("voice", "video", "data")
SHARES = (0.2, 0.3, 0.5)
WEIGHTS = (50.0, 30.0, 20.0)
CAPACITY_BPS = 1e7
PACKET_BITS = 8000.0
MOST_PAIRS = 160
PASSES = 3
STEEPNESS = 8.0
MARGIN = 1.15
LEAST_LOSS_GOAL = 0.002
OPEN_QUANTILE = 0.95
LEAST_VIOLATED = 0.04  # part of the demands that shortest paths must leave without what is promised
ATTEMPTS = 20
CAPACITY_STEPS = (1.0, 2.5, 5.0, 10.0)
SIMULATED_HOPS = 8_000_000
JUDGING_SEED = 1_000_003


@dataclass(frozen=True)
class Entry:
    """One problem of the suite.  ``source`` is topohub:... or ``family:nodes`` of a random network."""

    name: str
    kind: Kind
    source: str
    discipline: str
    arrivals: str
    sizes: str
    seed: int
    test: bool


@dataclass(frozen=True, eq=False)
class Problem:
    """A finished problem: its scenario (routed by fewest hops), and the solution where one is known."""

    entry: Entry
    scenario: Scenario
    solution: Routing | None


SOURCES = (
    *("topohub:sndlib/abilene", "topohub:sndlib/polska", "topohub:sndlib/nobel-us", "topohub:sndlib/nobel-germany"),
    *("topohub:sndlib/geant", "topohub:sndlib/france", "topohub:sndlib/india35", "topohub:sndlib/germany50"),
    *("gabriel:20", "gabriel:40", "gabriel:70", "gabriel:100", "waxman:30", "waxman:60", "powerlaw:50", "ring:24"),
)
ENTRIES = 40


def entries() -> tuple[Entry, ...]:
    """All problems: kinds and halves alternate, so every network, discipline and traffic is in several of them."""
    arrivals, sizes = ("poisson", "onoff"), ("exponential", "constant", "bimodal")
    result = []
    for number in range(ENTRIES):
        kind: Kind = "known" if number % 2 == 0 else "open"
        source = SOURCES[(number // 2 * 5 + number % 2 * 3) % len(SOURCES)]
        short = source.rpartition("/")[2].replace(":", "")
        discipline = DISCIPLINES[(number // 4) % len(DISCIPLINES)]
        result.append(
            Entry(
                name=f"{number:02d}-{short}-{discipline}-{kind}",
                kind=kind,
                source=source,
                discipline=discipline,
                arrivals=arrivals[(number // 3) % 2],
                sizes=sizes[number % 3],
                seed=7_000 + number,
                test=number % 4 >= 2,
            )
        )
    return tuple(result)


def build(entry: Entry) -> Problem:
    """Make one problem; attempts whose shortest paths keep too many promises are thrown away.

    Raises ScenarioError where no attempt of a few fits.
    """
    for attempt in range(ATTEMPTS):
        random = np.random.default_rng([entry.seed, attempt])
        problem = _attempt(entry, random)
        if problem is not None:
            return problem
    raise ScenarioError(entry.name, "cannot be made: shortest paths keep their promises", "choose another seed")


def scenario_text(scenario: Scenario) -> str:
    """The file of a problem, the same bytes for the same problem."""
    return json.dumps(scenario_to_json(scenario), indent=1) + "\n"


def checksum(text: str) -> str:
    """SHA-256 of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_row(problem: Problem, text: str) -> dict[str, Any]:
    """What the manifest says of a problem."""
    scenario = problem.scenario
    return {
        **dataclasses.asdict(problem.entry),
        "nodes": scenario.topology.node_count,
        "demands": scenario.traffic.demand_count,
        "sha256": checksum(text),
    }


def simulated(scenario: Scenario, seed: int, max_hops: int = SIMULATED_HOPS) -> Prediction:
    """What every demand experiences, packet by packet."""
    return PacketSimulator(relative_error=0.005, seed=seed, max_hops=max_hops).simulate(scenario).prediction


def violated(scenario: Scenario, experienced: Prediction) -> BoolArray:
    """Demands that miss a goal of the scenario, [demands]."""
    table = goal_table(scenario.traffic, class_goals(scenario.sla))
    return violated_demands(experienced_values(experienced, table), table)


def spread_routing(topology: Topology, traffic: TrafficMatrix, random: np.random.Generator) -> Routing:
    """A single-path routing that keeps away from full links.

    Demands are moved one by one in random order, each to the path of least sum of exp(STEEPNESS * utilisation), a few
    times over (exponential penalties: Young, SODA 1995; Awerbuch, Azar and Plotkin, FOCS 1993).
    """
    start = fewest_hops_routing(topology, traffic)
    paths = [list(way[0].links) for way in start.paths]
    load = start.link_load_bps(traffic, topology.link_count)
    for _ in range(PASSES):
        scale = max(float(np.max(load / topology.capacity_bps)), 1e-12)
        for demand in random.permutation(traffic.demand_count):
            rate = traffic.rate_bps[demand]
            load[paths[demand]] -= rate
            weight = np.exp(STEEPNESS * (load + rate) / topology.capacity_bps / scale)
            found = shortest_path(topology, int(traffic.source[demand]), int(traffic.target[demand]), weight)
            paths[demand] = list(found or paths[demand])
            load[paths[demand]] += rate
    return Routing(tuple((PathShare(tuple(path)),) for path in paths))


def _attempt(entry: Entry, random: np.random.Generator) -> Problem | None:
    bare = _topology(entry, random)
    topology = _dimensioned(bare, _traffic(entry, bare, random), random)
    traffic = _traffic(entry, topology, random)
    hops = fewest_hops_routing(topology, traffic)
    good = spread_routing(topology, traffic, random)
    shortest_load, good_load = (routing.max_utilisation(traffic, topology) for routing in (hops, good))
    if not 1.2 <= shortest_load / good_load <= 2.5:
        return None
    # The good routing has room; shortest paths do not.
    wanted = random.uniform(0.7, 0.85) if entry.kind == "known" else random.uniform(0.75, 0.95)
    traffic = traffic.with_rates(float_array(np.round(traffic.rate_bps * wanted / good_load, 3)))
    traffic = dataclasses.replace(traffic, arrivals=_arrivals(entry, traffic))
    scenario = Scenario(entry.name, topology, traffic, hops)
    seed = int(random.integers(2**31))
    solution = good if entry.kind == "known" else None
    seen = simulated(scenario.with_routing(good), seed)
    scenario = dataclasses.replace(scenario, sla=_goals(entry.kind, scenario, seen))
    missed = violated(scenario, simulated(scenario, seed + 1))
    if missed.mean() < LEAST_VIOLATED:
        return None
    if solution is not None:
        again = scenario.with_routing(solution)
        if violated(again, simulated(again, JUDGING_SEED)).any():
            return None
    return Problem(entry, scenario, solution)


def _topology(entry: Entry, random: np.random.Generator) -> Topology:
    family, colon, size = entry.source.partition(":")
    if entry.source.startswith("topohub:"):
        bare = load_scenario(f"{entry.source}?demands=none").topology
    elif colon and size.isdecimal():
        bare = random_topology(family, int(size), random)
    else:
        raise ScenarioError(entry.source, "is no source of the suite", "give topohub:GROUP/NAME or family:nodes")
    queues = tuple((name, number) for number, name in enumerate(CLASSES))
    scheduler = Scheduler()
    if entry.discipline != "fifo":
        discipline = next(name for name in DISCIPLINES if name == entry.discipline)
        scheduler = Scheduler(discipline, WEIGHTS if discipline in ("wfq", "drr") else (), queues)
    return dataclasses.replace(
        bare,
        delay_s=float_array(np.zeros(bare.link_count)),
        queue_packets=int_array(np.full(bare.link_count, 32)),
        schedulers=(scheduler,) * bare.node_count,
    )


def _dimensioned(topology: Topology, traffic: TrafficMatrix, random: np.random.Generator) -> Topology:
    """Capacities in steps, the same in both directions, for ``traffic`` over shortest paths and some slack."""
    load = fewest_hops_routing(topology, traffic).link_load_bps(traffic, topology.link_count)
    ends = [
        tuple(sorted(pair)) for pair in zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True)
    ]
    largest: dict[tuple[int, ...], float] = {}
    for pair, value in zip(ends, load, strict=True):
        largest[pair] = max(largest.get(pair, 0.0), float(value))
    middle = float(np.median(list(largest.values())))
    chosen: dict[tuple[int, ...], float] = {}
    for pair in sorted(largest):
        wanted = largest[pair] / middle * random.uniform(0.7, 1.4)
        chosen[pair] = next((step for step in CAPACITY_STEPS if step >= wanted), CAPACITY_STEPS[-1])
    return dataclasses.replace(topology, capacity_bps=float_array([CAPACITY_BPS * chosen[pair] for pair in ends]))


def _traffic(entry: Entry, topology: Topology, random: np.random.Generator) -> TrafficMatrix:
    """Three classes for each of up to MOST_PAIRS pairs; rates of the pairs as of a mild gravity model."""
    nodes = topology.node_count
    pairs = np.array([(a, b) for a in range(nodes) for b in range(nodes) if a != b])
    chosen = pairs[np.sort(random.choice(len(pairs), min(MOST_PAIRS, len(pairs)), replace=False))]
    mass = random.uniform(0.3, 1.5, nodes)
    rate = np.outer(mass[chosen[:, 0]] * mass[chosen[:, 1]], SHARES) * random.uniform(0.7, 1.3, (len(chosen), 3))
    count = rate.size
    size = next(
        model for model in (PacketSize(), PacketSize("constant"), PacketSize("bimodal")) if model.model == entry.sizes
    )
    return TrafficMatrix(
        class_names=CLASSES,
        source=int_array(np.repeat(chosen[:, 0], 3)),
        target=int_array(np.repeat(chosen[:, 1], 3)),
        traffic_class=int_array(np.tile(np.arange(3), len(chosen))),
        rate_bps=float_array(rate.reshape(-1) * CAPACITY_BPS / nodes),
        packet_bits_mean=float_array(np.full(count, PACKET_BITS)),
        packet_size=(size,) * count,
    )


def _arrivals(entry: Entry, traffic: TrafficMatrix) -> tuple[Arrivals, ...]:
    """Poisson, or on and off for as long as 10 packets take on average."""
    if entry.arrivals == "poisson":
        return (Arrivals(),) * traffic.demand_count
    return tuple(
        Arrivals("onoff", float(f"{10 / rate:.3g}"), float(f"{10 / rate:.3g}")) for rate in traffic.packets_per_s
    )


def _goals(kind: Kind, scenario: Scenario, seen: Prediction) -> tuple[SlaGoal, ...]:
    """Per class: 99th percentile of delay for all, jitter for voice, loss for all."""
    goals = []
    for number, name in enumerate(CLASSES):
        mine = scenario.traffic.traffic_class == number

        def limit(values: Any, which: BoolArray = mine) -> float:
            known = values[which][np.isfinite(values[which])]
            value = MARGIN * (known.max() if kind == "known" else np.quantile(known, OPEN_QUANTILE))
            return float(f"{value:.3g}")

        loss = max(limit(seen.loss_ratio), LEAST_LOSS_GOAL)
        jitter = limit(seen.jitter_s) if name == "voice" else None
        goals.append(SlaGoal(name, delay_s=limit(seen.delay_p99_s), percentile=99.0, jitter_s=jitter, loss_ratio=loss))
    return tuple(goals)


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Violated demands and problems solved, for all rows of a judgement and by half and kind."""
    groups = {
        "all": rows,
        "test": [row for row in rows if row["test"]],
        "known": [row for row in rows if row["kind"] == "known"],
        "known, test": [row for row in rows if row["kind"] == "known" and row["test"]],
    }
    return {
        name: {
            "problems": len(chosen),
            "demands": sum(row["demands"] for row in chosen),
            "violated": sum(row["violated"] for row in chosen),
            "solved": sum(row["violated"] == 0 for row in chosen),
        }
        for name, chosen in groups.items()
    }
