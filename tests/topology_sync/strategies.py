"""Random networks, traffic, routings, states and plans for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from topology_sync.network_state import DemandMeasurements, Host, LinkMeasurements, NetworkState
from topology_sync.paths import k_shortest_paths
from topology_sync.plan import TransactionReport
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.topology import SCHEDULER_VARIANTS, Link, Scheduler, Topology
from topology_sync.traffic import ARRIVAL_MODELS, Arrivals, Demand, PacketSize, TrafficMatrix
from topology_sync.values import bool_array, float_array, int_array

CLASSES = ("voice", "video", "default")
names = st.text(st.characters(categories=("L", "N", "P", "S"), codec="utf-8"), min_size=1, max_size=12)
positive = st.floats(1e-3, 1e9)


@st.composite
def topologies(draw: st.DrawFn, max_nodes: int = 7) -> Topology:
    """Strongly connected: a ring of directed links in both directions, and any others, parallel ones too."""
    node_names = draw(st.lists(names, min_size=2, max_size=max_nodes, unique=True))
    count = len(node_names)
    ring = [(node, (node + 1) % count) for node in range(count)]
    node = st.integers(0, count - 1)
    extra = draw(st.lists(st.tuples(node, node).filter(lambda ends: ends[0] != ends[1]), max_size=8))
    links = [
        Link(
            node_names[source],
            node_names[target],
            draw(st.sampled_from([1e6, 1e7]) | positive),
            draw(st.floats(0, 1)),
            draw(st.integers(0, 1000)),
        )
        for source, target in [*ring, *(ends[::-1] for ends in ring), *extra]
    ]
    return Topology.from_links(node_names, links, [draw(schedulers) for _ in node_names])


@st.composite
def _schedulers(draw: st.DrawFn) -> Scheduler:
    discipline = draw(st.sampled_from(["fifo", "strict", "wfq", "drr"]))
    queues = draw(st.integers(1, 4))
    weights = tuple(draw(st.lists(positive, min_size=queues, max_size=queues)))
    classes = draw(st.lists(st.sampled_from(CLASSES), unique=True))
    mapping = tuple((name, draw(st.integers(0, queues - 1))) for name in classes)
    return Scheduler(discipline, weights, mapping, draw(st.sampled_from(SCHEDULER_VARIANTS)))


schedulers = st.just(Scheduler()) | _schedulers()


@st.composite
def _discrete_sizes(draw: st.DrawFn) -> PacketSize:
    sizes = draw(st.lists(st.floats(1, 12000), min_size=1, max_size=4))
    parts = draw(st.lists(st.integers(1, 10), min_size=len(sizes), max_size=len(sizes)))
    return PacketSize("discrete", tuple(sizes), tuple(part / sum(parts) for part in parts))


packet_sizes = st.sampled_from([PacketSize(), PacketSize("constant"), PacketSize("bimodal")]) | _discrete_sizes()
arrivals = st.builds(
    Arrivals,
    model=st.sampled_from(ARRIVAL_MODELS),
    on_s=st.floats(0.1, 10),
    off_s=st.floats(0, 10),
    correlation=st.floats(-0.9, 0.9),
    sigma=st.floats(0, 3),
)


@st.composite
def scenarios(draw: st.DrawFn, goals: bool = True) -> Scenario:
    """Valid scenarios with single and split paths."""
    topology = draw(topologies())
    keys = [
        (source, target, name)
        for source in topology.node_names
        for target in topology.node_names
        if source != target
        for name in CLASSES
    ]
    demands = [
        Demand(
            source,
            target,
            draw(st.floats(0, 1e9)),
            name,
            draw(st.floats(64, 12000)),
            draw(packet_sizes),
            draw(arrivals),
        )
        for source, target, name in draw(st.lists(st.sampled_from(keys), max_size=6, unique=True))
    ]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, draw(st.sampled_from([(), CLASSES])))
    sla = tuple(
        SlaGoal(
            name,
            draw(st.none() | st.floats(1e-3, 1)),
            draw(st.none() | st.floats(51, 99)),
            draw(st.none() | st.floats(1e-3, 1)),
            draw(st.none() | st.floats(0, 1)),
        )
        for name in (draw(st.lists(st.sampled_from(CLASSES), unique=True)) if goals else ())
    )
    return Scenario(draw(names), topology, traffic, draw(routings(topology, traffic)), sla)


@st.composite
def routings(draw: st.DrawFn, topology: Topology, traffic: TrafficMatrix) -> Routing:
    """Any loop-free paths for the demands, with shares that sum to 1."""
    weights = [1.0] * topology.link_count
    routed = []
    for source, target in zip(traffic.source.tolist(), traffic.target.tolist(), strict=True):
        paths = k_shortest_paths(topology, source, target, 6, weights)
        chosen = draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3, unique=True))
        parts = draw(st.lists(st.integers(1, 9), min_size=len(chosen), max_size=len(chosen)))
        routed.append(tuple(PathShare(path, part / sum(parts)) for path, part in zip(chosen, parts, strict=True)))
    return Routing(tuple(routed))


@st.composite
def network_states(draw: st.DrawFn) -> NetworkState:
    """Snapshots with unknown measurements among the known."""
    scenario = draw(scenarios(goals=False))
    demands, links = scenario.traffic.demand_count, scenario.topology.link_count

    def column(count: int) -> Any:
        return float_array(draw(st.lists(st.floats(-1, 1e9) | st.just(float("nan")), min_size=count, max_size=count)))

    version = st.integers(0, 2**40)
    return NetworkState(
        draw(version),
        draw(version),
        draw(st.floats(0, 2e9)),
        draw(st.floats(0, 100)),
        draw(st.booleans()),
        scenario,
        DemandMeasurements(
            *(column(demands) for _ in range(7)),
            probe_count=int_array(draw(st.lists(st.integers(0, 1000), min_size=demands, max_size=demands))),
        ),
        LinkMeasurements(bool_array(draw(st.lists(st.booleans(), min_size=links, max_size=links))), column(links)),
        tuple(
            Host(f"10.0.0.{index}", f"02:00:00:00:00:{index:02x}", name, draw(st.integers(1, 48)))
            for index, name in enumerate(scenario.topology.node_names)
        ),
    )


count = st.integers(0, 10**6)
seconds = st.floats(0, 2e9)
transaction_reports = st.builds(
    TransactionReport,
    plan_id=names,
    ok=st.booleans(),
    routing_version=count,
    changed_demands=count,
    flow_mods=count,
    group_mods=count,
    switches=count,
    started_s=seconds,
    flipped_s=seconds,
    finished_s=seconds,
    stage_s=st.dictionaries(st.sampled_from(["prepare", "flip", "drain", "clean"]), seconds),
    error=st.none() | st.text(),
    queue_changes=count,
)
