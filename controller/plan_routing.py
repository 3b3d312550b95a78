"""Between names and switches: the live state as the optimizer sees it, and its plans as explicit paths.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.intent import DemandKey, ExplicitPath, IntentDemand, NetworkIntent
from controller.labels import Hop
from controller.link_facts import Names, inventory
from controller.settings import ControllerSettings
from controller.upkeep import valid_weights
from topology_sync.discovery import DiscoverySettings, DiscoveryState, LinkEnds
from topology_sync.errors import PlanError
from topology_sync.network_state import NetworkState
from topology_sync.path_delays import PathDelays
from topology_sync.plan import RoutingPlan
from topology_sync.plan_json import routing_with_plan, topology_with_plan
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario
from topology_sync.shares import quantise, realised_shares
from topology_sync.snapshot import DemandInstalled, InstalledPath, build_state
from topology_sync.strict_json import shown
from topology_sync.telemetry import TelemetryState
from topology_sync.topology import Scheduler


@dataclass(frozen=True)
class LivePicture:
    """All that a snapshot is made of, taken at one moment (``now_s`` monotonic, ``wall_time_s`` since the epoch)."""

    discovery: DiscoveryState
    telemetry: TelemetryState
    delays: PathDelays
    intent: NetworkIntent
    routing_version: int
    now_s: float
    wall_time_s: float


def snapshot(
    picture: LivePicture, settings: ControllerSettings, names: Names, discovery_settings: DiscoverySettings
) -> NetworkState:
    """The state that goes up.  Only demands with a route are in it."""
    return build_state(
        picture.discovery,
        picture.telemetry,
        picture.delays,
        now_s=picture.now_s,
        wall_time_s=picture.wall_time_s,
        node_names=settings.node_names,
        inventory=inventory(settings),
        default_capacity_bps=settings.default_capacity_bps,
        default_queue_packets=settings.default_queue_packets,
        class_names=[entry.name for entry in settings.classes],
        demands=[_installed(demand, picture.intent) for demand in picture.intent.demands if demand.routes],
        routing_version=picture.routing_version,
        window_s=settings.window_s,
        discovery_settings=discovery_settings,
        schedulers=node_schedulers(picture.intent, settings),
    )


def node_schedulers(intent: NetworkIntent, settings: ControllerSettings) -> dict[int, Scheduler]:
    """How switches serve their queues, by datapath id; the others serve packets as they come."""
    queues = settings.queues
    if queues is None:
        return {}
    return {entry.dpid: queues.scheduler(entry.weights) for entry in valid_weights(intent, queues)}


def planned_weights(
    plan: RoutingPlan, scenario: Scenario, settings: ControllerSettings, names: Names
) -> dict[int, tuple[float, ...]]:
    """New weights by datapath id.  Raises PlanError for schedulers that the switches cannot have."""
    wanted = topology_with_plan(scenario.topology, plan)
    weights: dict[int, tuple[float, ...]] = {}
    for position, entry in enumerate(plan.schedulers):
        place = f"nodes[{position}]"
        node = scenario.topology.node_index[entry.node]
        present, asked, dpid = scenario.topology.schedulers[node], wanted.schedulers[node], names.dpid_of(entry.node)
        if asked == present:
            continue
        if settings.queues is None or present.discipline == "fifo" or dpid is None:
            problem = f"switch {shown(entry.node)} supports no weights of queues"
            raise PlanError(place, problem, "set queues.ovsdb in the configuration, or plan for what it has")
        if replace(asked, weights=present.weights) != present or len(asked.weights) != len(present.weights):
            remedy = f"keep {present.discipline} with its {len(present.weights)} queues and change weights only"
            raise PlanError(place, "is more than other weights", remedy)
        weights[dpid] = asked.weights
    return weights


def _installed(demand: IntentDemand, intent: NetworkIntent) -> DemandInstalled:
    """With the shares that the switch realises, not those once asked for."""
    shares = realised_shares([route.weight for route in demand.routes]) if len(demand.routes) > 1 else (1.0,)
    paths = tuple(
        InstalledPath(route.label, route.links, share) for route, share in zip(demand.routes, shares, strict=True)
    )
    queue = intent.queue_of.get(demand.traffic_class)
    return DemandInstalled(demand.number, demand.source_dpid, demand.target_dpid, demand.traffic_class, paths, queue)


def planned_routes(
    plan: RoutingPlan, scenario: Scenario, discovery: DiscoveryState, names: Names
) -> dict[DemandKey, tuple[ExplicitPath, ...]]:
    """The explicit paths of every demand in the plan.  Raises PlanError where it does not fit the network."""
    routing = routing_with_plan(scenario, plan)
    # the order of link ids in a snapshot, see topology_sync.snapshot
    ends = sorted(
        discovery.links, key=lambda ends: (names.name_of(ends.source.dpid), names.name_of(ends.target.dpid), ends)
    )
    if len(ends) != scenario.topology.link_count:
        raise PlanError("routes", "the links changed since the snapshot", "plan again for the present topology")
    hops = [Hop(*link.source) for link in ends]
    index = {
        (
            scenario.topology.node_names[int(scenario.traffic.source[demand])],
            scenario.topology.node_names[int(scenario.traffic.target[demand])],
            scenario.traffic.class_name(demand),
        ): demand
        for demand in range(scenario.traffic.demand_count)
    }
    routes: dict[DemandKey, tuple[ExplicitPath, ...]] = {}
    for position, route in enumerate(plan.routes):
        source, target = names.dpid_of(route.source), names.dpid_of(route.target)
        if source is None or target is None:
            raise PlanError(f"routes[{position}]", "names a switch that is not known", "name nodes of the state")
        key = DemandKey(source, target, route.traffic_class)
        routes[key] = _explicit(routing.paths[index[route.key]], hops, discovery, ends, f"routes[{position}]")
    return routes


def _explicit(
    paths: tuple[PathShare, ...], hops: list[Hop], discovery: DiscoveryState, ends: list[LinkEnds], place: str
) -> tuple[ExplicitPath, ...]:
    for path in paths:
        for link in path.links:
            if not discovery.links[ends[link]].up:
                raise PlanError(place, f"uses link {link}, which is down", "route over links that are up")
    weights = quantise([path.share for path in paths]) if len(paths) > 1 else (1,)
    return tuple(
        ExplicitPath(tuple(hops[link] for link in path.links), weight)
        for path, weight in zip(paths, weights, strict=True)
        if weight
    )
