"""Odd networks: small ones that no generator of training data draws, each an extreme of one thing.

Chains with one stream, ports with one source, queues of hardly any room, weights of 1000 to 1, rates from 1 kbit/s to
400 Gbit/s.  What a model answers here is how far its figures on random networks carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations

from topology_sync.paths import fewest_hops_routing
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Scheduler, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix

CAPACITY_BPS = 1e7
CLASSES = ("x", "y", "z")
QUEUE_EACH = tuple((name, queue) for queue, name in enumerate(CLASSES))


@dataclass(frozen=True)
class OddNetwork:
    """A network of the battery; ``kind`` groups those that are odd in the same way."""

    kind: str
    name: str
    scenario: Scenario


def odd_networks() -> Iterator[OddNetwork]:
    """The battery, in a fixed order."""
    for kind, rows in (
        ("shape", _shapes()),
        ("chain", _chains()),
        ("load", _loads()),
        ("queue", _queues()),
        ("units", _units()),
        ("sizes", _sizes()),
        ("scheduler", _schedulers()),
        ("arrivals", _arrivals()),
        ("split", _splits()),
    ):
        for name, scenario in rows:
            yield OddNetwork(kind, name, replace(scenario, name=name))


Rows = Iterator[tuple[str, Scenario]]
EXPONENTIAL, POISSON = PacketSize(), Arrivals()
EQUAL = PacketSize("constant")
PERIODIC = Arrivals("cbr")


def _shapes() -> Rows:
    for leaves, load in ((8, 0.3), (8, 0.7), (8, 0.95), (30, 0.7)):
        names = [f"s{number}" for number in range(leaves)]
        pairs = [pair for name in names for pair in (("hub", name), (name, "hub"))]
        demands = [_demand(*ends, load / (leaves - 1)) for ends in permutations(names, 2)]
        yield f"star of {leaves}, load {load:g}", _scenario(("hub", *names), pairs, demands)
    for nodes in (5, 12):
        names, pairs = _line(nodes)
        most = (nodes // 2) * (nodes - nodes // 2)
        demands = [_demand(*ends, 0.8 / most) for ends in permutations(names, 2)]
        yield f"line of {nodes}, load 0.8", _scenario(names, pairs, demands)
    for nodes, load in ((6, 0.6), (12, 0.9)):
        names = [f"m{number}" for number in range(nodes)]
        demands = [_demand(*ends, load) for ends in permutations(names, 2)]
        yield f"full mesh of {nodes}, load {load:g}", _scenario(names, list(permutations(names, 2)), demands)


def _chains() -> Rows:
    """One stream alone: its packets have met at the first port already."""
    for hops, load in ((4, 0.8), (10, 0.8), (19, 0.8), (39, 0.6), (10, 0.3)):
        yield f"alone, {hops} hops, load {load:g}", _chain(hops, load)
    for sizes in (EQUAL, PacketSize("bimodal")):
        for hops in (4, 19):
            yield f"alone, {hops} hops, {sizes.model}", _chain(hops, 0.8, sizes)
    yield "alone, 19 hops, on-off", _chain(19, 0.4, arrivals=Arrivals("onoff", 0.05, 0.05))
    yield "alone, 19 hops, periodic, constant", _chain(19, 0.8, EQUAL, PERIODIC)
    names, pairs = _line(20)
    few = [_demand(source, target, 0.2) for source in names[:2] for target in names[-2:]]
    yield "four streams together, 17 hops", _scenario(names, pairs, few)


def _loads() -> Rows:
    for load in (0.01, 0.1, 0.5, 0.8, 0.95, 1.05, 1.2, 1.5, 3.0, 10.0):
        yield f"one source, load {load:g}", _one_link(load)
    for load in (0.8, 1.2, 1.5, 3.0):
        yield f"20 sources, load {load:g}", _fan_in(20, load)


def _queues() -> Rows:
    for room in (0, 1, 4, 8, 100, 1000, 100_000):
        yield f"room of {room}, load 0.9", _one_link(0.9, queue_packets=room)
    yield "room of 1000, load 1.2", _one_link(1.2, queue_packets=1000)


def _units() -> Rows:
    yield "0.1 s of propagation", _one_link(0.8, delay_s=0.1)
    yield "1 kbit/s", _one_link(0.8, capacity_bps=1e3)
    yield "400 Gbit/s", _one_link(0.8, capacity_bps=4e11)


def _sizes() -> Rows:
    yield "constant, load 0.8", _one_link(0.8, sizes=EQUAL)
    yield "one periodic source, constant, load 0.9", _one_link(0.9, sizes=EQUAL, arrivals=PERIODIC)
    yield "one periodic source, exponential, load 0.9", _one_link(0.9, arrivals=PERIODIC)
    yield "5 periodic sources, constant, load 0.9", _fan_in(5, 0.9, EQUAL, PERIODIC)
    yield "50 periodic sources, constant, load 0.9", _fan_in(50, 0.9, EQUAL, PERIODIC)
    yield "sizes 1 and 300", _one_link(0.8, sizes=PacketSize("discrete", (40, 12_000), (0.9, 0.1)))


def _schedulers() -> Rows:
    for name in ("strict", "wfq", "drr"):
        weights = () if name == "strict" else (60.0, 30.0, 10.0)
        for load in (0.9, 1.3):
            scheduler = Scheduler(name, weights, QUEUE_EACH)
            yield f"{name}, load {load:g}", _one_link(load, scheduler=scheduler)
        yield f"{name}, one queue used", _one_link(0.9, scheduler=Scheduler(name, weights))
    yield "wfq, weights 1000:1:1", _one_link(0.95, scheduler=Scheduler("wfq", (1000.0, 1.0, 1.0), QUEUE_EACH))


def _arrivals() -> Rows:
    for period_s in (1e-6, 1e-3, 0.02, 0.5):
        yield f"on-off {period_s:g} s", _one_link(0.4, arrivals=Arrivals("onoff", period_s, period_s))
    yield "on-off 1:9", _one_link(0.2, arrivals=Arrivals("onoff", 0.005, 0.045))
    yield "autocorrelated 0.99", _one_link(0.5, arrivals=Arrivals("autocorrelated", correlation=0.99, sigma=1.5))
    yield "modulated", _one_link(0.6, arrivals=Arrivals("modulated", correlation=0.8, sigma=0.9))


def _splits() -> Rows:
    for ways, load in ((2, 0.85), (8, 0.7)):
        middle = [f"m{number}" for number in range(ways)]
        pairs = [*(("a", name) for name in middle), *((name, "b") for name in middle)]
        demands = [_demand("a", "b", load * ways), *(_demand("a", name, 0.05) for name in middle)]
        scenario = _scenario(("a", "b", *middle), pairs, demands)
        parts = tuple(PathShare((way, ways + way), 1 / ways) for way in range(ways))
        routing = Routing((parts, *(((PathShare((way,))),) for way in range(ways))))
        yield f"split over {ways}, load {load:g}", replace(scenario, routing=routing)


def _chain(hops: int, load: float, sizes: PacketSize = EXPONENTIAL, arrivals: Arrivals = POISSON) -> Scenario:
    names, pairs = _line(hops + 1)
    return _scenario(names, pairs, [_demand(names[0], names[-1], load, sizes=sizes, arrivals=arrivals)])


def _fan_in(sources: int, load: float, sizes: PacketSize = EXPONENTIAL, arrivals: Arrivals = POISSON) -> Scenario:
    """Sources at one node, to one other each, over one link that all share."""
    ends = [f"t{number}" for number in range(sources)]
    demands = [_demand("a", end, load / sources, sizes=sizes, arrivals=arrivals) for end in ends]
    return _scenario(("a", "b", *ends), [("a", "b"), *(("b", end) for end in ends)], demands)


def _one_link(
    load: float,
    sizes: PacketSize = EXPONENTIAL,
    arrivals: Arrivals = POISSON,
    scheduler: Scheduler | None = None,
    capacity_bps: float = CAPACITY_BPS,
    delay_s: float = 0.0,
    queue_packets: int = 32,
) -> Scenario:
    """Two nodes; one demand, or one of each class where a scheduler is given."""
    classes = CLASSES if scheduler is not None else ("default",)
    demands = [
        _demand("a", "b", load / len(classes), name, sizes, arrivals, capacity_bps=capacity_bps) for name in classes
    ]
    links = [Link("a", "b", capacity_bps, delay_s, queue_packets)]
    return _with_links(("a", "b"), links, demands, scheduler)


def _line(nodes: int) -> tuple[list[str], list[tuple[str, str]]]:
    names = [f"l{number}" for number in range(nodes)]
    return names, [pair for ends in pairwise(names) for pair in (ends, ends[::-1])]


def _demand(
    source: str,
    target: str,
    load: float,
    name: str = "default",
    sizes: PacketSize = EXPONENTIAL,
    arrivals: Arrivals = POISSON,
    capacity_bps: float = CAPACITY_BPS,
) -> Demand:
    return Demand(source, target, load * capacity_bps, name, packet_size=sizes, arrivals=arrivals)


def _scenario(names: Sequence[str], pairs: Sequence[tuple[str, str]], demands: Sequence[Demand]) -> Scenario:
    return _with_links(names, [Link(*pair, CAPACITY_BPS) for pair in pairs], demands)


def _with_links(
    names: Sequence[str], links: Sequence[Link], demands: Sequence[Demand], scheduler: Scheduler | None = None
) -> Scenario:
    topology = Topology.from_links(names, links, [scheduler or Scheduler()] * len(names))
    classes = list(dict.fromkeys(demand.traffic_class for demand in demands))
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, classes)
    return Scenario("odd", topology, traffic, fewest_hops_routing(topology, traffic))
