"""JSON forms of what optimizer and controller exchange: ``routewright-plan/1`` and ``routewright-transaction/1``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from topology_sync.errors import PlanError
from topology_sync.named_paths import ROUTE_KEYS, name_route, resolve_route, route_from_json, route_to_json
from topology_sync.node_json import NODE_KEYS, node_to_json, scheduler_from_json
from topology_sync.plan import DemandRoute, NodeScheduler, RoutingPlan, TransactionReport
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys
from topology_sync.strict_json import JsonObject, check_format, shown
from topology_sync.topology import Scheduler, Topology

PLAN_FORMAT = "routewright-plan/1"
TRANSACTION_FORMAT = "routewright-transaction/1"
PLAN_KEYS = ("format", "plan_id", "topology_version", "routes", "nodes")
TRANSACTION_KEYS = (
    "format",
    "plan_id",
    "ok",
    "routing_version",
    "changed_demands",
    "flow_mods",
    "group_mods",
    "switches",
    "started_s",
    "flipped_s",
    "finished_s",
    "stage_s",
    "error",
    "queue_changes",
)
_MAX_COUNT = 2**53
_MAX_TIME_S = 1e12


def plan_to_json(plan: RoutingPlan) -> dict[str, Any]:
    """The JSON form of a plan."""
    data: dict[str, Any] = {
        "format": PLAN_FORMAT,
        "plan_id": plan.plan_id,
        "topology_version": plan.topology_version,
        "routes": [route_to_json(route) for route in plan.routes],
    }
    if plan.schedulers:
        data["nodes"] = [node_to_json(entry.node, entry.scheduler) for entry in plan.schedulers]
    return data


def plan_from_json(data: object) -> RoutingPlan:
    """The plan that parsed JSON describes, names not yet checked.  Raises PlanError with the place of what is wrong."""
    check_format(data, PLAN_FORMAT, PlanError)
    top = JsonObject(data, "", PLAN_KEYS, PlanError)
    return RoutingPlan(
        plan_id=top.text("plan_id"),
        topology_version=top.integer("topology_version", 0, _MAX_COUNT),
        routes=tuple(route_from_json(item) for item in top.children("routes", ROUTE_KEYS)),
        schedulers=tuple(
            NodeScheduler(item.text("id"), scheduler_from_json(item))
            for item in top.children("nodes", NODE_KEYS, optional=True)
        ),
    )


def transaction_to_json(report: TransactionReport) -> dict[str, Any]:
    """The JSON form of a transaction report."""
    return {"format": TRANSACTION_FORMAT, **asdict(report)}


def transaction_from_json(data: object) -> TransactionReport:
    """The report that parsed JSON describes.  Raises PlanError with the place of what is wrong."""
    check_format(data, TRANSACTION_FORMAT, PlanError)
    top = JsonObject(data, "", TRANSACTION_KEYS, PlanError)
    stages: dict[str, float] = {}
    if top.has("stage_s"):
        raw = top.need("stage_s")
        item = JsonObject(raw, "stage_s", tuple(raw) if isinstance(raw, dict) else (), PlanError)
        stages = {name: item.number(name, 0, _MAX_TIME_S) for name in item.data}
    return TransactionReport(
        plan_id=top.text("plan_id"),
        ok=top.flag("ok"),
        routing_version=top.integer("routing_version", 0, _MAX_COUNT),
        changed_demands=top.integer("changed_demands", 0, _MAX_COUNT, default=0),
        flow_mods=top.integer("flow_mods", 0, _MAX_COUNT, default=0),
        group_mods=top.integer("group_mods", 0, _MAX_COUNT, default=0),
        switches=top.integer("switches", 0, _MAX_COUNT, default=0),
        started_s=top.number("started_s", 0, _MAX_TIME_S, default=0.0),
        flipped_s=top.number("flipped_s", 0, _MAX_TIME_S, default=0.0),
        finished_s=top.number("finished_s", 0, _MAX_TIME_S, default=0.0),
        stage_s=stages,
        error=_error_line(top),
        queue_changes=top.integer("queue_changes", 0, _MAX_COUNT, default=0),
    )


def _error_line(top: JsonObject) -> str | None:
    value = top.data.get("error")
    if value is not None and not isinstance(value, str):
        top.fail("error", f"is {shown(value)}", "give text or null")
    return value


def plan_routes(scenario: Scenario, routing: Routing, demands: Iterable[int]) -> tuple[DemandRoute, ...]:
    """The paths that ``routing`` gives to ``demands`` (ids), by names, as a plan carries them."""
    keys = demand_keys(scenario.topology, scenario.traffic)
    return tuple(name_route(scenario.topology, keys[demand], routing.paths[demand]) for demand in demands)


def routing_with_plan(scenario: Scenario, plan: RoutingPlan) -> Routing:
    """The scenario's routing with the plan's routes in place of the old ones.

    Raises PlanError for demands, nodes and links that are not there, demands named twice, loops and wrong shares.
    """
    index = {key: demand for demand, key in enumerate(demand_keys(scenario.topology, scenario.traffic))}
    changes: dict[int, tuple[PathShare, ...]] = {}
    for position, route in enumerate(plan.routes):
        place = f"routes[{position}]"
        demand = index.get(route.key)
        if demand is None:
            ends = f"from {shown(route.source)} to {shown(route.target)} of class {shown(route.traffic_class)}"
            raise PlanError(place, f"there is no demand {ends}", "name demands of the present state")
        if demand in changes:
            raise PlanError(place, "routes a demand that is routed before", "give all its paths in one entry")
        changes[demand] = resolve_route(scenario.topology, route, place, PlanError)
    return scenario.routing.with_changes(changes)


def plan_schedulers(before: Topology, after: Topology) -> tuple[NodeScheduler, ...]:
    """The schedulers of ``after`` that are not those of ``before``, by node name, as a plan carries them."""
    changed = zip(after.node_names, before.schedulers, after.schedulers, strict=True)
    return tuple(NodeScheduler(name, new) for name, old, new in changed if new != old)


def topology_with_plan(topology: Topology, plan: RoutingPlan) -> Topology:
    """The topology with the plan's schedulers in place of the old ones.

    Raises PlanError for nodes that are not there or are named twice.
    """
    changes: dict[int, Scheduler] = {}
    for position, entry in enumerate(plan.schedulers):
        place = f"nodes[{position}].id"
        node = topology.node_index.get(entry.node)
        if node is None:
            raise PlanError(place, f"there is no node {shown(entry.node)}", "name nodes of the present state")
        if node in changes:
            raise PlanError(place, f"{shown(entry.node)} is there before", "name every node once")
        changes[node] = entry.scheduler
    return topology.with_schedulers(changes)
