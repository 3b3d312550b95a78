"""The testbed's scale and its base traffic: capacities, classes with their promises, and demands between many pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deploy.testbed.emulated_network import paired_links
from topology_sync.paths import fewest_hops_routing
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix
from topology_sync.values import FloatArray, float_array

CAPACITY_BPS = 2e6  # a packet of 700 bytes takes 2.8 ms: twenty times what an emulated switch needs for it
QUEUE_PACKETS = 50
FORWARDING_DELAY_S = 0.00014  # per hop: what a switch itself takes at light load, `routewright bench emulator`
EMULATOR_SWITCH_HOPS_PER_S = 76_000.0  # carried without loss on 2 cores: `routewright bench emulator`
MAX_EMULATOR_LOAD = 0.30

_BASE_UTILISATION = 0.40
_MOST_BASE_DEMANDS = 100
_LEAST_PACKETS_PER_S = 6.0


@dataclass(frozen=True)
class TestbedClass:
    """A class as the configuration promises it, and what its base traffic looks like.

    ``rate_bps`` 0: what the calibration leaves; ``pairs`` 0: as many as the network has, up to a bound.  Packets of a
    demand have one size, drawn from ``packet_spread`` times ``packet_bits``: the distribution around the mean, which
    counters cannot tell, is then what the optimizer assumes by default.
    """

    name: str
    dscp: tuple[int, ...]
    priority: int
    goal: SlaGoal
    rate_bps: float
    packet_bits: float
    packet_size: PacketSize
    arrivals: Literal["poisson", "cbr"]
    pairs: int
    packet_spread: tuple[float, float] = (1.0, 1.0)

    __test__ = False  # for pytest, which would take the name for a test


CLASSES = (
    TestbedClass(
        name="voice",
        dscp=(46,),
        priority=1,
        goal=SlaGoal("voice", delay_s=0.040, percentile=99.0, jitter_s=0.010, loss_ratio=0.001),
        rate_bps=40e3,
        packet_bits=200 * 8.0,
        packet_size=PacketSize("constant"),
        arrivals="cbr",
        pairs=25,
    ),
    TestbedClass(
        name="video",
        dscp=(34,),
        priority=2,
        goal=SlaGoal("video", delay_s=0.060, percentile=99.0, jitter_s=0.015, loss_ratio=0.005),
        rate_bps=90e3,
        packet_bits=800 * 8.0,
        packet_size=PacketSize("constant"),
        arrivals="poisson",
        pairs=25,
        packet_spread=(0.9, 1.1),
    ),
    TestbedClass(
        name="default",
        dscp=(),
        priority=3,
        goal=SlaGoal("default", delay_s=0.100, percentile=99.0, jitter_s=None, loss_ratio=0.01),
        rate_bps=0.0,  # what the calibration leaves
        packet_bits=700 * 8.0,
        packet_size=PacketSize("constant"),
        arrivals="poisson",
        pairs=0,
        packet_spread=(0.75, 1.25),
    ),
)


def emulated_topology(topology: Topology) -> Topology:
    """The same network at the testbed's scale: its capacity per cable, queue and forwarding delay."""
    paired_links(topology)
    return Topology.from_links(
        topology.node_names,
        [
            Link(link.source, link.target, CAPACITY_BPS, FORWARDING_DELAY_S, QUEUE_PACKETS)
            for link in topology.links_of()
        ],
    )


def emulator_load_ratio(scenario: Scenario) -> float:
    """Packets per second times switches that each visits, over what the emulator can do."""
    flat = scenario.routing.flat
    switches = np.diff(flat.hop_pointer) + 1
    rate = scenario.traffic.packets_per_s[flat.path_demand] * flat.share
    return float(rate @ switches) / EMULATOR_SWITCH_HOPS_PER_S


def base_scenario(
    name: str, topology: Topology, shape: TrafficMatrix, random: np.random.Generator, share: float
) -> Scenario:
    """Voice, video and default between some pairs, default scaled so that the fullest link is as wanted.

    ``share`` of the usual number of demands: sparse networks cannot carry all of them.
    """
    pairs = [(one, two) for one in range(topology.node_count) for two in range(topology.node_count) if one != two]
    weight = _pair_weights(pairs, topology, shape, random)
    names = topology.node_names
    demands: list[Demand] = []
    for entry in CLASSES:
        wanted = max(1, round(share * (entry.pairs or _MOST_BASE_DEMANDS)))
        chosen = random.choice(len(pairs), min(wanted, len(pairs)), replace=False).tolist()
        for index in chosen:
            one, two = pairs[index]
            demands.append(
                Demand(
                    names[one],
                    names[two],
                    entry.rate_bps or float(weight[index]),
                    entry.name,
                    8.0 * round(entry.packet_bits * random.uniform(*entry.packet_spread) / 8),
                    entry.packet_size,
                    Arrivals(entry.arrivals),
                )
            )
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, [entry.name for entry in CLASSES])
    routing = fewest_hops_routing(topology, traffic)
    scaled = np.array([not entry.rate_bps for entry in CLASSES])[traffic.traffic_class]
    fixed = traffic.with_rates(np.where(scaled, 0.0, traffic.rate_bps))
    loads = [routing.link_load_bps(part, topology.link_count) for part in (fixed, traffic)]
    room = np.maximum(_BASE_UTILISATION * topology.capacity_bps - loads[0], 0.0)
    own = loads[1] - loads[0]
    factor = float(np.min(room[own > 0] / own[own > 0], initial=np.inf))
    least = np.array([_LEAST_PACKETS_PER_S * entry.packet_bits for entry in CLASSES])[traffic.traffic_class]
    rates = np.where(scaled, np.maximum(traffic.rate_bps * factor, least), traffic.rate_bps)
    return Scenario(name, topology, traffic.with_rates(rates), routing, tuple(entry.goal for entry in CLASSES))


def _pair_weights(
    pairs: Sequence[tuple[int, int]], topology: Topology, shape: TrafficMatrix, random: np.random.Generator
) -> FloatArray:
    """Relative rates: the source's own demands flattened to a factor of 4 around their median, shaken by the seed."""
    given = np.zeros((topology.node_count, topology.node_count))
    np.add.at(given, (shape.source, shape.target), shape.rate_bps)
    weight = np.array([given[pair] for pair in pairs])
    if not (weight > 0).any():
        mass = random.lognormal(0.0, 0.5, topology.node_count)
        weight = np.array([mass[one] * mass[two] for one, two in pairs])
    middle = float(np.median(weight[weight > 0]))
    return float_array(np.clip(weight, middle / 2, middle * 2) * random.lognormal(0.0, 0.25, len(pairs)))
