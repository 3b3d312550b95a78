"""Networks for measuring speed: every scheduler, arrival model and size at once, one demand for every pair of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.sources import load_scenario
from topology_sync.topology import DISCIPLINES, Scheduler
from topology_sync.traffic import ARRIVAL_MODELS, Arrivals, PacketSize, TrafficMatrix
from topology_sync.values import float_array, int_array

NETWORK_OF = {
    50: "sndlib/germany50",
    100: "gabriel/100/0",
    200: "gabriel/200/0",
    300: "gabriel/300/0",
}
"""Nodes -> topohub network (2,450 / 9,900 / 39,800 / 89,700 demands)."""

CLASSES = ("voice", "video", "data")
WEIGHTS = (60.0, 30.0, 10.0)
PACKET_BITS = 8000.0
BURST_PACKETS = 50


def mixed_scenario(nodes: int, max_utilisation: float = 0.9, seed: int = 1, plain: bool = False) -> Scenario:
    """``mixed_network`` of this size."""
    return mixed_network(NETWORK_OF[nodes], f"{nodes} nodes", max_utilisation, seed, plain)


def mixed_network(
    network: str, name: str, max_utilisation: float = 0.9, seed: int = 1, plain: bool = False
) -> Scenario:
    """All pairs of a topohub network over shortest paths; the fullest link is loaded to ``max_utilisation``.

    Every node draws its scheduler, every demand its class, arrivals and packet sizes.  ``plain``: FIFO, Poisson,
    exponential sizes.
    """
    source = f"topohub:{network}?demands=uniform&max_utilisation={max_utilisation}&packet_bits={PACKET_BITS}"
    base = load_scenario(source)
    topology, old = base.topology, base.traffic
    random = np.random.default_rng(seed)
    count = old.demand_count
    rate = old.rate_bps * random.lognormal(0.0, 0.5, count)
    load = base.routing.max_utilisation(old.with_rates(float_array(rate)), topology)
    rate *= max_utilisation / load
    queues = tuple((name, queue) for queue, name in enumerate(CLASSES))
    kinds = DISCIPLINES[:1] if plain else DISCIPLINES
    drawn = [kinds[kind] for kind in random.integers(len(kinds), size=topology.node_count)]
    schedulers = tuple(Scheduler(name, () if name == "fifo" else WEIGHTS, queues) for name in drawn)
    period_s = BURST_PACKETS * PACKET_BITS * count / float(rate.sum())
    models = [Arrivals(model, period_s, period_s) for model in (ARRIVAL_MODELS[:1] if plain else ARRIVAL_MODELS)]
    sizes = [PacketSize()] if plain else [PacketSize(), PacketSize("constant"), PacketSize("bimodal")]
    traffic = TrafficMatrix(
        class_names=CLASSES,
        source=old.source,
        target=old.target,
        traffic_class=int_array(random.integers(len(CLASSES), size=count)),
        rate_bps=float_array(rate),
        packet_bits_mean=float_array(PACKET_BITS * random.uniform(0.3, 1.5, count)),
        packet_size=tuple(sizes[kind] for kind in random.integers(len(sizes), size=count)),
        arrivals=tuple(models[kind] for kind in random.integers(len(models), size=count)),
    )
    return Scenario(name, replace(topology, schedulers=schedulers), traffic, base.routing)


def single_moves(scenario: Scenario, seed: int = 1) -> Iterator[tuple[int, tuple[PathShare, ...]]]:
    """Endless moves of one demand with traffic to another path: the shortest by randomly stretched links."""
    from topology_sync.paths import shortest_path

    random = np.random.default_rng(seed)
    topology, traffic = scenario.topology, scenario.traffic
    moving = np.flatnonzero(traffic.rate_bps > 0)
    while True:
        demand = int(random.choice(moving))
        weights = random.uniform(0.3, 1.7, topology.link_count).tolist()
        path = shortest_path(topology, int(traffic.source[demand]), int(traffic.target[demand]), weights)
        if path is not None and path != scenario.routing.paths[demand][0].links:
            yield demand, (PathShare(path),)


def candidates(scenario: Scenario, count: int, moves_each: int = 3, seed: int = 1) -> list[Routing]:
    """Routings that differ from the scenario's in a few demands."""
    moves = single_moves(scenario, seed)
    return [scenario.routing.with_changes(dict(next(moves) for _ in range(moves_each))) for _ in range(count)]
