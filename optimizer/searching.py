"""One decision's work: the search on a view of the network, and the plan, the way back and the record that follow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from gnn_model.configurations import rescheduled
from gnn_model.predictor import Predictor
from gnn_model.validity import validity_of_change
from optimizer import records
from optimizer.candidates import CandidateCache
from optimizer.exact.warm_up import warm_up
from optimizer.goals import experienced_values, violated_demands, violations
from optimizer.history import Decision
from optimizer.local_search import SearchLimits, SearchResult, search
from optimizer.loop_values import Proposal, StartSearch
from optimizer.moving_traffic.forecast import forecast_json
from optimizer.moving_traffic.planning_ahead import search_ahead
from optimizer.planning import View
from optimizer.settings import OptimizerSettings
from topology_sync.errors import PlanError
from topology_sync.network_state import NetworkState
from topology_sync.plan import DemandRoute, NodeScheduler, RoutingPlan
from topology_sync.plan_json import plan_from_json, plan_routes, plan_schedulers, plan_to_json, routing_with_plan
from topology_sync.scenario_json import demand_keys
from topology_sync.topology import Topology
from topology_sync.values import FloatArray

DEMANDS_PER_SEARCH_TIME = 500


@dataclass(frozen=True, eq=False)
class Found:
    """What a search on ``view`` came to; ``planned_bps`` [demands] None: it planned for the measured rates.

    ``validity``: by ``before`` and ``after`` whether the network lies where the predictor was trained; empty where that
    is not known.
    """

    request: StartSearch
    view: View
    result: SearchResult
    planned_bps: FloatArray | None = None
    validity: dict[str, Any] = field(default_factory=dict)

    @property
    def warning(self) -> str | None:
        """Why the prediction for the planned routing may be further off than usual, None where nothing says so."""
        validity = self.validity.get("after")
        if validity is None or validity["inside"]:
            return None
        count, reason = validity["outside_demands"], validity["reasons"][0]
        return f"{count} of the demands are unlike what the model was trained on: {reason}"

    @property
    def proposal(self) -> Proposal:
        """The same for the loop."""
        keys = self.view.keys
        return Proposal(
            decision=self.request.decision,
            topology_version=self.view.snapshot.topology_version,
            routing_version=self.view.snapshot.routing_version,
            before=self.result.start_score,
            after=self.result.score,
            changed=frozenset(keys[demand] for demand in self.result.changed),
            repaired=frozenset(keys[demand] for demand in self.result.repaired),
            changed_nodes=frozenset(self.view.scenario.topology.node_names[node] for node in self.result.changed_nodes),
        )


def find(
    view: View,
    request: StartSearch,
    settings: OptimizerSettings,
    predictor: Predictor,
    cache: CandidateCache,
    planned_bps: FloatArray | None = None,
) -> Found:
    """Search for as long as ``search_time_s`` says; call it off the event loop.

    ``planned_bps`` [demands] are the rates to plan for where they are not the measured ones.
    """
    known = view.scenario.topology.node_index.keys()
    limits = SearchLimits(
        time_s=search_time_s(view, settings),
        max_changes=request.max_changes,
        frozen=frozenset(demand for demand, key in enumerate(view.keys) if key in request.frozen),
        seed=settings.seed + request.decision,
        queue_weights=settings.queues is not None and settings.queues.change_weights,
        frozen_nodes=frozenset(view.scenario.topology.node_index[name] for name in request.frozen_nodes & known),
        from_balanced=True,
        # switches split by hashing addresses: a demand between few hosts would go one way, whatever was planned
        new_splits=False,
    )
    warm_up()  # nothing to do after the first time
    candidates = cache.get(view.scenario.topology, view.usable)
    table = view.table.with_headroom(settings.headroom_ratio)
    rates = view.scenario.traffic.rate_bps
    if planned_bps is None or planned_bps is rates:
        planned_bps = None
        result = search(view.scenario, table, predictor, candidates, limits)
    else:
        result = search_ahead(view.scenario, planned_bps, table, predictor, candidates, limits)
    after = rescheduled(view.scenario, result.schedulers).with_routing(result.routing)
    validity = validity_of_change(predictor, view.scenario, after)
    return Found(request, view, result, planned_bps, validity.get("validity", {}))


def search_time_s(view: View, settings: OptimizerSettings) -> float:
    """``settings.search_time_s``, and in proportion more beyond DEMANDS_PER_SEARCH_TIME demands."""
    return settings.search_time_s * max(1.0, view.scenario.traffic.demand_count / DEMANDS_PER_SEARCH_TIME)


def decision_of(found: Found, settings: OptimizerSettings, predictor: Predictor, now_s: float) -> Decision:
    """The record of a decision as far as it is known when the search has ended."""
    view, result, trigger = found.view, found.result, found.request.trigger
    scenario, table, classes = view.scenario, view.table, view.scenario.traffic.class_names
    plan_id = f"decision-{found.request.decision}-{int(now_s * 1000)}"
    version = view.snapshot.topology_version
    # broken paths cannot be put back, so the way back is only for the rest
    back = [demand for demand in result.changed if demand not in result.repaired]
    present, planned = scenario.topology, rescheduled(scenario, result.schedulers).topology
    plan = RoutingPlan(
        plan_id, version, plan_routes(scenario, result.routing, result.changed), plan_schedulers(present, planned)
    )
    previous = RoutingPlan(
        f"{plan_id}-back", version, plan_routes(scenario, scenario.routing, back), plan_schedulers(planned, present)
    )
    before_values, after_values = (experienced_values(p, table) for p in (result.before, result.after))
    return Decision(
        id=found.request.decision,
        time_s=now_s,
        trigger=trigger.kind,
        status="proposed",
        reason="",
        summary={
            "changed_demands": len(result.changed),
            "repaired_demands": len(result.repaired),
            "unroutable_demands": len(result.unroutable),
            "changed_nodes": len(result.changed_nodes),
            "predicted": {
                "before": records.score_json(result.start_score),
                "after": records.score_json(result.score),
                "violated_demands_before": int(violated_demands(before_values, table).sum()),
                "violated_demands_after": int(violated_demands(after_values, table).sum()),
                "warning": found.warning,
            },
            "measured": {
                "violation_before": view.snapshot.violation,
                "violated_demands_before": len({item.demand for item in view.found}),
            },
            "times_s": {
                "violation_first_measured": trigger.first_measured_s,
                "held": trigger.held_s,
                "plan_found": now_s,
            },
        },
        detail={
            "plan": plan_to_json(plan),
            "previous": plan_to_json(previous),
            "search": {
                "predictor": predictor.name,
                "seed": settings.seed + found.request.decision,
                "max_changes": found.request.max_changes,
                "seconds": result.seconds,
                "moves_screened": result.moves_screened,
                "routings_judged": result.routings_judged,
            },
            "validity": found.validity,
            "assumed": {
                "arrivals": "poisson",
                "packet_size": settings.packet_size,
                "transmission_delay": settings.transmission_delay,
                "headroom_ratio": settings.headroom_ratio,
                "forecast": forecast_json(view.keys, scenario.traffic.rate_bps, found.planned_bps, settings.forecast),
            },
            "classes": {
                "measured_before": records.measured_classes(view, settings.classes),
                "predicted_before": records.predicted_classes(scenario, table, settings.classes, result.before),
                "predicted_after": records.predicted_classes(scenario, table, settings.classes, result.after),
            },
            "worst": {
                "measured_before": records.worst_rows(view.keys, view.found),
                "predicted_after": records.worst_rows(view.keys, violations(after_values, table)),
            },
            "demands": records.comparison_rows(
                view.keys, frozenset(result.changed), result.before, result.after, view.state.demands
            ),
            "links": records.link_rows(scenario, result.routing),
            "queues": {
                "before": records.queue_rows(present, classes),
                "after": records.queue_rows(planned, classes),
            },
        },
    )


def plan_of(decision: Decision) -> RoutingPlan:
    """The plan of a recorded decision."""
    return plan_from_json(decision.detail["plan"])


def way_back(decision: Decision, state: NetworkState, now_s: float) -> RoutingPlan:
    """A plan that puts routes and queue weights from before a decision back where they differ from now; routes where
    their links are alive.

    Raises PlanError where nothing can be put back.
    """
    previous = plan_from_json(decision.detail["previous"])
    scenario = state.scenario
    index = {key: demand for demand, key in enumerate(demand_keys(scenario.topology, scenario.traffic))}
    routes: list[DemandRoute] = []
    for route in previous.routes:
        demand = index.get(route.key)
        try:
            routing = routing_with_plan(scenario, RoutingPlan(previous.plan_id, 0, (route,)))
        except PlanError:
            continue
        if demand is None or not routing.changed_demands(scenario.routing):
            continue
        if all(state.links.up[list(path.links)].all() for path in routing.paths[demand]):
            routes.append(route)
    schedulers = tuple(entry for entry in previous.schedulers if _differs(entry, scenario.topology))
    if not routes and not schedulers:
        raise PlanError(f"decision {decision.id}", "none of its earlier routes and weights can be put back", "")
    plan_id = f"{previous.plan_id}-{int(now_s * 1000)}"
    return RoutingPlan(plan_id, state.topology_version, tuple(routes), schedulers)


def _differs(entry: NodeScheduler, topology: Topology) -> bool:
    """Whether a node that is there still has the same queues with other weights."""
    node = topology.node_index.get(entry.node)
    if node is None:
        return False
    present = topology.schedulers[node]
    return present != entry.scheduler and replace(present, weights=entry.scheduler.weights) == entry.scheduler
