"""Drawing a whole scenario from a recipe and a seed: the same seed gives the same scenario."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from gnn_model.dataset.recipe import MIXED, DatasetRecipe
from gnn_model.dataset.routing_draw import draw_routing
from gnn_model.dataset.topologies import draw_topology
from gnn_model.dataset.traffic_draw import CLASS_NAMES, PACKET_BITS, draw_arrivals, draw_traffic, log_uniform
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import DISCIPLINES, Discipline, Scheduler, Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import FloatArray, float_array, int_array

CAPACITY_STEPS = (1.0, 2.5, 4.0, 10.0)
USUAL_WEIGHTS = ((60.0, 30.0, 10.0), (50.0, 40.0, 10.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Drawn:
    """A scenario and how it was drawn, for tables and for judging by kind."""

    scenario: Scenario
    topology_source: str
    arrivals: str
    sizes: str
    scheduler: str
    routing: str
    load: float


def draw(recipe: DatasetRecipe, seed: int, name: str) -> Drawn:
    """Draw one scenario.  Raises ScenarioError where a topology cannot be read or does not connect its nodes."""
    random = np.random.default_rng(seed)
    origin, bare = draw_topology(recipe, random)
    traffic, arrivals_name, sizes_name = draw_traffic(bare, recipe, random)
    routing_name = str(random.choice(list(recipe.routings)))
    routing = draw_routing(routing_name, bare, traffic, random)
    scheduler_name = str(random.choice(list(recipe.schedulers)))
    topology = dataclasses.replace(
        bare, schedulers=_schedulers(scheduler_name, bare.node_count, len(traffic.class_names), random)
    )
    topology = _with_queues(_with_capacities(topology, traffic, routing, recipe, random), recipe, random)
    load = float(random.uniform(*recipe.load))
    traffic = traffic.with_rates(traffic.rate_bps * load / routing.max_utilisation(traffic, topology))
    traffic = dataclasses.replace(traffic, arrivals=draw_arrivals(arrivals_name, traffic.packets_per_s, recipe, random))
    if random.random() < recipe.propagation:
        longest = log_uniform(random, (0.3, 30.0)) * PACKET_BITS / topology.capacity_bps
        topology = dataclasses.replace(
            topology, delay_s=float_array(longest * random.uniform(0.0, 1.0, topology.link_count))
        )
    scenario = Scenario(name, topology, traffic, routing)
    return Drawn(scenario, origin, arrivals_name, sizes_name, scheduler_name, routing_name, load)


def _schedulers(name: str, nodes: int, classes: int, random: np.random.Generator) -> tuple[Scheduler, ...]:
    """One discipline for all nodes or one each; weights of all nodes alike or drawn anew."""
    alike = bool(random.random() < 0.5)
    usual = _weights(classes, random)
    result = []
    for _ in range(nodes):
        discipline: Discipline = (
            next(item for item in DISCIPLINES if item == name)
            if name != MIXED
            else DISCIPLINES[int(random.integers(len(DISCIPLINES)))]
        )
        weights = usual if alike else _weights(classes, random)
        queues = tuple((CLASS_NAMES[number], number) for number in range(classes))
        result.append(
            Scheduler()
            if discipline == "fifo"
            else Scheduler(discipline, weights if discipline in ("wfq", "drr") else (), queues)
        )
    return tuple(result)


def _weights(classes: int, random: np.random.Generator) -> tuple[float, ...]:
    if random.random() < 0.4:
        return USUAL_WEIGHTS[int(random.integers(len(USUAL_WEIGHTS)))][:classes]
    parts = np.maximum(np.round(100 * random.dirichlet(np.full(classes, 2.0))), 3.0)
    return tuple(float(part) for part in parts)


def _with_capacities(
    topology: Topology, traffic: TrafficMatrix, routing: Routing, recipe: DatasetRecipe, random: np.random.Generator
) -> Topology:
    kind = str(random.choice(list(recipe.capacities)))
    if kind == "given":
        return topology
    base = float(np.median(topology.capacity_bps))
    steps = np.array(CAPACITY_STEPS)
    if kind == "random":
        factor = steps[random.integers(0, len(steps), topology.link_count)]
        return dataclasses.replace(topology, capacity_bps=float_array(base * factor))
    # Sized for what they carry, in steps and with some slack: many links are then loaded alike.
    load = routing.link_load_bps(traffic, topology.link_count)
    wanted = load / max(float(np.median(load[load > 0])), 1e-300) * random.uniform(0.8, 2.0, topology.link_count)
    grid: FloatArray = 2.0 ** np.arange(-3, 6)
    factor = grid[np.clip(np.searchsorted(grid, wanted), 0, len(grid) - 1)]
    return dataclasses.replace(topology, capacity_bps=float_array(base * factor))


def _with_queues(topology: Topology, recipe: DatasetRecipe, random: np.random.Generator) -> Topology:
    """Room of the queues: alike in half of the samples, else drawn per link."""
    links = topology.link_count
    low, high = np.log(recipe.queue_packets)
    room = np.full(links, random.uniform(low, high)) if random.random() < 0.5 else random.uniform(low, high, links)
    return dataclasses.replace(topology, queue_packets=int_array(np.round(np.exp(room))))
