"""Small networks that the tests of predictors share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from topology_sync.paths import fewest_hops_paths
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Scheduler, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix

PACKET_BITS = 1000.0
CAPACITY_BPS = 1e6


def _one_link(
    loads: Sequence[float],
    queue_packets: int = 32,
    size: PacketSize | None = None,
    scheduler: Scheduler | None = None,
    arrivals: Arrivals | None = None,
    delay_s: float = 0.0,
) -> Scenario:
    """One link of 1 Mbit/s and one demand of 1000-bit packets per load, of classes c0, c1, ..."""
    topology = Topology.from_links(
        ["a", "b"], [Link("a", "b", CAPACITY_BPS, delay_s, queue_packets)], [scheduler or Scheduler(), Scheduler()]
    )
    demands = [
        Demand("a", "b", load * CAPACITY_BPS, f"c{number}", PACKET_BITS, size or PacketSize(), arrivals or Arrivals())
        for number, load in enumerate(loads)
    ]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    return Scenario("one link", topology, traffic, Routing(((PathShare((0,)),),) * len(loads)))


@pytest.fixture(scope="session")
def one_link() -> Callable[..., Scenario]:
    """Builder of a scenario with one link: ``one_link([load of class 0, load of class 1, ...], ...)``."""
    return _one_link


def _random_scenario(seed: int, peak: float | None = None, constant_delay: bool = True) -> Scenario:
    """Any valid scenario: parallel links, all disciplines, splits, idle demands, tiny queues, overload up to 50."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 8))
    names = [f"n{node}" for node in range(nodes)]
    queues = int(rng.integers(1, 4))
    schedulers = [
        Scheduler(
            str(rng.choice(["fifo", "strict", "wfq", "drr"])),  # type: ignore[arg-type]
            tuple(float(weight) for weight in rng.uniform(0.1, 10, queues)),
            tuple((f"c{number}", int(rng.integers(queues))) for number in range(3)),
        )
        for _ in names
    ]
    ring = [(names[node], names[(node + step) % nodes]) for node in range(nodes) for step in (1, -1)]
    extra = [tuple(rng.choice(names, 2, replace=False)) for _ in range(int(rng.integers(0, 6)))]
    links = [
        Link(
            str(source),
            str(target),
            float(10 ** rng.uniform(4, 10)),
            float(rng.choice([0.0, 0.003])) if constant_delay else 0.0,
            int(rng.choice([0, 1, 5, 32, 1000, 10**6])),
        )
        for source, target in [*ring, *extra]
    ]
    topology = Topology.from_links(names, links, schedulers)
    sizes = [
        PacketSize(),
        PacketSize("constant"),
        PacketSize("bimodal"),
        PacketSize("discrete", (1.0, 20.0), (0.9, 0.1)),
    ]
    models = ["poisson", "cbr", "onoff", "autocorrelated", "modulated"]
    demands = []
    for source in names:
        for target in names:
            for number in range(3):
                if source != target and rng.random() < 0.5:
                    demands.append(
                        Demand(
                            source,
                            target,
                            float(rng.choice([0.0, 10 ** rng.uniform(2, 9)])),
                            f"c{number}",
                            float(10 ** rng.uniform(1, 5)),
                            sizes[int(rng.integers(len(sizes)))],
                            Arrivals(
                                models[int(rng.integers(5))], *(float(time) for time in 10 ** rng.uniform(-3, 2, 2))
                            ),  # type: ignore[arg-type]
                        )
                    )
    demands = demands or [Demand(names[0], names[1], 1e5, "c0")]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, ["c0", "c1", "c2"])
    pairs = list(zip(traffic.source.tolist(), traffic.target.tolist(), strict=True))
    routing = Routing(tuple(_split(topology, path, rng) for path in fewest_hops_paths(topology, pairs)))
    load = routing.max_utilisation(traffic, topology)
    if load > 0:
        wanted = peak if peak is not None else float(rng.choice([0.3, 0.9, 1.0, 1.3, 50.0]))
        traffic = traffic.with_rates(traffic.rate_bps * (wanted / load))
    return Scenario(f"random {seed}", topology, traffic, routing)


def _split(topology: Topology, path: tuple[int, ...] | None, rng: np.random.Generator) -> tuple[PathShare, ...]:
    """The path, or half of the time two of them that differ in one parallel link."""
    assert path is not None
    for position, link in enumerate(path):
        ends = (int(topology.link_source[link]), int(topology.link_target[link]))
        others = [other for other in topology.links_between[ends] if other != link]
        if others and rng.random() < 0.5:
            share = float(rng.uniform(0.1, 0.9))
            detour = (*path[:position], others[0], *path[position + 1 :])
            return PathShare(path, share), PathShare(detour, 1 - share)
    return (PathShare(path),)


@pytest.fixture(scope="session")
def random_scenario() -> Callable[..., Scenario]:
    """Builder of an arbitrary valid scenario from a seed: ``random_scenario(seed, peak=None, constant_delay=True)``."""
    return _random_scenario
