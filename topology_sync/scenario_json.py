"""Reader and writer of ``routewright-scenario/1``, the JSON form of a scenario.

Beyond what the examples in the documentation show, three optional keys keep a scenario exact: ``classes`` at the top
names all traffic classes where their order is not that of the traffic, ``links`` in a path gives link ids
(positions in ``topology.links``) where a parallel link other than the one of largest capacity is meant, and ``variant``
of a node says whose implementation its scheduler is where that is not the standard one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from topology_sync.errors import InputError, ScenarioError
from topology_sync.named_paths import ROUTE_KEYS, name_route, resolve_route, route_from_json, route_to_json
from topology_sync.node_json import NODE_KEYS, node_to_json, scheduler_from_json
from topology_sync.paths import fewest_hops_paths, no_way
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.strict_json import JsonObject, check_format, in_file, read_json, shown, write_json
from topology_sync.topology import DEFAULT_QUEUE_PACKETS, Link, Topology
from topology_sync.traffic import (
    ARRIVAL_MODELS,
    DEFAULT_CLASS,
    DEFAULT_PACKET_BITS,
    SIZE_MODELS,
    Arrivals,
    Demand,
    PacketSize,
    TrafficMatrix,
)

FORMAT = "routewright-scenario/1"
SCENARIO_KEYS = ("format", "name", "topology", "classes", "traffic", "routing", "sla")
LINK_KEYS = ("source", "target", "capacity_bps", "delay_s", "queue_packets")
DEMAND_KEYS = ("source", "target", "class", "rate_bps", "packet_bits_mean", "packet_size", "arrivals")
ARRIVAL_KEYS = ("model", "on_s", "off_s", "correlation", "sigma")
SLA_KEYS = ("class", "delay_s", "percentile", "jitter_s", "loss_ratio")

# Bounds far beyond any network, so that sums and products of accepted numbers stay finite.
MIN_CAPACITY_BPS = 1e-6
MAX_RATE_BPS = 1e18
MAX_DELAY_S = 1e6
MAX_QUEUE_PACKETS = 10**9
MAX_PACKET_BITS = 1e9
PROBABILITY_TOLERANCE = 1e-6


def read_scenario(path: Path) -> Scenario:
    """Read a scenario from FILE.json, .json.gz or .json.xz.  Raises ScenarioError naming file, place and remedy."""
    data = read_json(path)
    try:
        return scenario_from_json(data)
    except InputError as problem:
        raise in_file(problem, path) from None


def write_scenario(scenario: Scenario, path: Path) -> None:
    """Write a scenario as ``read_scenario`` takes it, packed where ``path`` ends in .gz or .xz."""
    write_json(scenario_to_json(scenario), path)


def scenario_from_json(data: object) -> Scenario:
    """The scenario that parsed JSON describes.  Demands without routing take fewest hops.

    Raises ScenarioError with the place of the first thing that is unknown, missing, of the wrong type or out of bounds.
    """
    check_format(data, FORMAT)
    top = JsonObject(data, "", SCENARIO_KEYS)
    name = top.text("name", "scenario")
    topology = _topology(top.child("topology", ("nodes", "links")))
    traffic = _traffic(top, topology)
    return Scenario(name, topology, traffic, _routing(top, topology, traffic), _sla(top))


def scenario_to_json(scenario: Scenario) -> dict[str, Any]:
    """The JSON form: complete routing, defaults left out where they say nothing."""
    topology, traffic = scenario.topology, scenario.traffic
    demands = demand_keys(topology, traffic)
    data: dict[str, Any] = {
        "format": FORMAT,
        "name": scenario.name,
        "topology": {
            "nodes": [node_to_json(*node) for node in zip(topology.node_names, topology.schedulers, strict=True)],
            "links": [
                {
                    "source": link.source,
                    "target": link.target,
                    "capacity_bps": link.capacity_bps,
                    "delay_s": link.delay_s,
                    "queue_packets": link.queue_packets,
                }
                for link in topology.links_of()
            ],
        },
        "classes": list(traffic.class_names),
        "traffic": [_demand_to_json(traffic, demand, key) for demand, key in enumerate(demands)],
        "routing": [
            route_to_json(name_route(topology, key, paths))
            for key, paths in zip(demands, scenario.routing.paths, strict=True)
        ],
        "sla": [_goal_to_json(goal) for goal in scenario.sla],
    }
    if list(dict.fromkeys(key[2] for key in demands)) == data["classes"]:
        del data["classes"]
    return data


def demand_keys(topology: Topology, traffic: TrafficMatrix) -> list[tuple[str, str, str]]:
    """(source, target, class) by name of every demand."""
    names = topology.node_names
    return [
        (names[source], names[target], traffic.class_names[traffic_class])
        for source, target, traffic_class in zip(
            traffic.source.tolist(), traffic.target.tolist(), traffic.traffic_class.tolist(), strict=True
        )
    ]


def _topology(item: JsonObject) -> Topology:
    nodes = item.children("nodes", NODE_KEYS)
    names = [node.text("id") for node in nodes]
    schedulers = [scheduler_from_json(node) for node in nodes]
    links = [
        Link(
            source=link.text("source"),
            target=link.text("target"),
            capacity_bps=link.number("capacity_bps", MIN_CAPACITY_BPS, MAX_RATE_BPS),
            delay_s=link.number("delay_s", 0, MAX_DELAY_S, default=0.0),
            queue_packets=link.integer("queue_packets", 0, MAX_QUEUE_PACKETS, default=DEFAULT_QUEUE_PACKETS),
        )
        for link in item.children("links", LINK_KEYS)
    ]
    return Topology.from_links(names, links, schedulers)


def _traffic(top: JsonObject, topology: Topology) -> TrafficMatrix:
    classes = top.names("classes") if top.has("classes") else ()
    if len(set(classes)) < len(classes):
        top.fail("classes", "names a class twice", "name each once")
    demands: list[Demand] = []
    first: dict[tuple[str, str, str], int] = {}
    for index, item in enumerate(top.children("traffic", DEMAND_KEYS)):
        demand = Demand(
            source=item.text("source"),
            target=item.text("target"),
            rate_bps=item.number("rate_bps", 0, MAX_RATE_BPS),
            traffic_class=item.text("class", DEFAULT_CLASS),
            packet_bits_mean=item.number("packet_bits_mean", 1, MAX_PACKET_BITS, default=DEFAULT_PACKET_BITS),
            packet_size=_packet_size(item),
            arrivals=_arrivals(item),
        )
        for end in ("source", "target"):
            if item.data[end] not in topology.node_index:
                item.fail(end, f"there is no node {shown(item.data[end])}", "name a node of topology.nodes")
        if demand.source == demand.target:
            item.fail("target", f"is the source {shown(demand.source)} itself", "remove the demand")
        if demand.key in first:
            problem = f"is the same source, target and class as traffic[{first[demand.key]}]"
            raise ScenarioError(item.place, problem, "add them up in one")
        first[demand.key] = index
        demands.append(demand)
    return TrafficMatrix.from_demands(demands, topology.node_index, classes)


def _packet_size(item: JsonObject) -> PacketSize:
    value = item.data.get("packet_size", "exponential")
    if isinstance(value, str):
        named = SIZE_MODELS[:3]
        return PacketSize(item.choice("packet_size", named, default="exponential"))
    size = item.child("packet_size", ("sizes", "probabilities"))
    size.need("sizes")
    size.need("probabilities")
    sizes = size.numbers("sizes", 1e-6, MAX_PACKET_BITS)
    probabilities = size.numbers("probabilities", 0, 1)
    if not sizes or len(sizes) != len(probabilities):
        size.fail("probabilities", f"has {len(probabilities)} entries for {len(sizes)} sizes", "give one for each size")
    if abs(sum(probabilities) - 1) > PROBABILITY_TOLERANCE:
        size.fail("probabilities", f"sums to {sum(probabilities):g}", "make it sum to 1")
    return PacketSize("discrete", sizes, probabilities)


def _arrivals(item: JsonObject) -> Arrivals:
    usual = Arrivals()
    if not item.has("arrivals"):
        return usual
    value = item.child("arrivals", ARRIVAL_KEYS)
    return Arrivals(
        model=value.choice("model", ARRIVAL_MODELS, default=usual.model),
        on_s=value.number("on_s", 0, MAX_DELAY_S, default=usual.on_s, above=True),
        off_s=value.number("off_s", 0, MAX_DELAY_S, default=usual.off_s),
        correlation=value.number("correlation", -0.9999, 0.9999, default=usual.correlation),
        sigma=value.number("sigma", 0, 10, default=usual.sigma),
    )


def _routing(top: JsonObject, topology: Topology, traffic: TrafficMatrix) -> Routing:
    index = {key: demand for demand, key in enumerate(demand_keys(topology, traffic))}
    given: dict[int, tuple[PathShare, ...]] = {}
    for item in top.children("routing", ROUTE_KEYS, optional=True):
        route = route_from_json(item)
        demand = index.get(route.key)
        if demand is None:
            ends = f"from {shown(route.source)} to {shown(route.target)} of class {shown(route.traffic_class)}"
            raise ScenarioError(item.place, f"there is no traffic {ends}", "add it to traffic or remove this entry")
        if demand in given:
            raise ScenarioError(item.place, "routes a demand that is routed before", "give all its paths in one entry")
        given[demand] = resolve_route(topology, route, item.place)
    missing = [demand for demand in range(traffic.demand_count) if demand not in given]
    pairs = [(int(traffic.source[demand]), int(traffic.target[demand])) for demand in missing]
    for demand, path in zip(missing, fewest_hops_paths(topology, pairs), strict=True):
        if path is None:
            raise no_way(topology, traffic, demand)
        given[demand] = (PathShare(path),)
    return Routing(tuple(given[demand] for demand in range(traffic.demand_count)))


def _sla(top: JsonObject) -> tuple[SlaGoal, ...]:
    goals: list[SlaGoal] = []
    for item in top.children("sla", SLA_KEYS, optional=True):
        goal = SlaGoal(
            traffic_class=item.text("class"),
            delay_s=item.optional_number("delay_s", 0, MAX_DELAY_S, above=True),
            # from 1, lest 0.99 be taken for the 0.99th percentile of the one who meant the 99th
            percentile=item.optional_number("percentile", 1, 99.9999) if item.has("percentile") else 99.0,
            jitter_s=item.optional_number("jitter_s", 0, MAX_DELAY_S, above=True),
            loss_ratio=item.optional_number("loss_ratio", 0, 1),
        )
        if any(other.traffic_class == goal.traffic_class for other in goals):
            item.fail("class", f"{shown(goal.traffic_class)} has a goal before", "give one goal per class")
        goals.append(goal)
    return tuple(goals)


def _demand_to_json(traffic: TrafficMatrix, demand: int, key: tuple[str, str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "source": key[0],
        "target": key[1],
        "class": key[2],
        "rate_bps": float(traffic.rate_bps[demand]),
        "packet_bits_mean": float(traffic.packet_bits_mean[demand]),
    }
    size, arrivals, usual = traffic.packet_size[demand], traffic.arrivals[demand], Arrivals()
    if size.model == "discrete":
        entry["packet_size"] = {"sizes": list(size.sizes), "probabilities": list(size.probabilities)}
    elif size.model != "exponential":
        entry["packet_size"] = size.model
    changed = {name: value for name in ARRIVAL_KEYS if (value := getattr(arrivals, name)) != getattr(usual, name)}
    if changed:
        entry["arrivals"] = {"model": arrivals.model, **changed}
    return entry


def _goal_to_json(goal: SlaGoal) -> dict[str, Any]:
    return {
        "class": goal.traffic_class,
        "delay_s": goal.delay_s,
        "percentile": goal.percentile,
        "jitter_s": goal.jitter_s,
        "loss_ratio": goal.loss_ratio,
    }
