"""From a measured snapshot to the question that is searched and to what the loop must know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gnn_model.predictor import Predictor
from gnn_model.without_transmission import WithoutTransmission
from optimizer.candidates import UsableLinks, usable_links
from optimizer.displaced import demands_over, displaced_demands
from optimizer.goals import (
    GoalTable,
    MeasurementTolerance,
    Violation,
    certain_values,
    excess_ratios,
    goal_table,
    is_clear,
    violation_score,
    violations,
)
from optimizer.loop_values import Key, Snapshot
from optimizer.settings import OptimizerSettings
from topology_sync.errors import ConfigurationError
from topology_sync.network_state import NetworkState
from topology_sync.paths import shortest_path
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys
from topology_sync.traffic import DEFAULT_PACKET_BITS, Arrivals, PacketSize, TrafficMatrix
from topology_sync.values import float_array

TOLERANCE = MeasurementTolerance()


@dataclass(frozen=True)
class View:
    """A measured state and everything that the optimizer reads out of it.

    ``scenario`` is the state's with what cannot be measured filled in: Poisson arrivals, the configured packet size
    distribution around the measured mean, unknown rates as 0.  ``found`` are the goals missed for certain.
    """

    state: NetworkState
    scenario: Scenario
    keys: tuple[Key, ...]
    table: GoalTable
    usable: UsableLinks
    snapshot: Snapshot
    found: tuple[Violation, ...]


def view_of(state: NetworkState, settings: OptimizerSettings) -> View:
    """Read a measured state."""
    scenario = planning_scenario(state, settings)
    topology, traffic = scenario.topology, scenario.traffic
    keys = tuple(demand_keys(topology, traffic))
    table = goal_table(traffic, settings.classes)
    usable = usable_links(state, settings.maintenance)
    dead = set(demands_over(scenario.routing, ~usable.up))
    movable = [
        demand
        for demand in displaced_demands(scenario, usable)
        if shortest_path(
            topology, *_ends(traffic, demand), np.ones(topology.link_count), _links_for(scenario, usable, demand)
        )
        is not None
    ]
    certain = certain_values(state.demands, table, TOLERANCE)
    snapshot = Snapshot(
        time_s=state.time_s,
        window_start_s=state.time_s - state.window_s,
        topology_version=state.topology_version,
        routing_version=state.routing_version,
        settled=state.settled,
        violation=float(violation_score(excess_ratios(certain, table), table.weight)),
        clear=is_clear(certain, table, settings.safety.clear_ratio),
        max_utilisation=scenario.routing.max_utilisation(traffic, topology),
        broken=frozenset(keys[demand] for demand in movable if demand in dead),
        displaced=frozenset(keys[demand] for demand in movable if demand not in dead),
    )
    return View(state, scenario, keys, table, usable, snapshot, violations(certain, table))


def planning_scenario(state: NetworkState, settings: OptimizerSettings) -> Scenario:
    """The state's scenario as a predictor needs it, goals of the configuration attached."""
    traffic = state.scenario.traffic
    rate = np.maximum(np.nan_to_num(traffic.rate_bps), 0.0)
    bits = np.nan_to_num(traffic.packet_bits_mean)
    known = (bits > 0) & (rate > 0)
    typical = float(np.median(bits[known])) if known.any() else DEFAULT_PACKET_BITS
    filled = TrafficMatrix(
        class_names=traffic.class_names,
        source=traffic.source,
        target=traffic.target,
        traffic_class=traffic.traffic_class,
        rate_bps=float_array(rate),
        packet_bits_mean=float_array(np.where(bits > 0, bits, typical)),
        packet_size=(PacketSize(settings.packet_size),) * traffic.demand_count,
        arrivals=(Arrivals(),) * traffic.demand_count,
    )
    return replace(state.scenario, traffic=filled, sla=settings.goals)


def make_predictor(settings: OptimizerSettings) -> Predictor:
    """The predictor that the settings name.  Raises ConfigurationError for one that is not here."""
    if settings.predictor_kind != "analytic" or settings.predictor_address is not None:
        what = settings.predictor_address or settings.predictor_kind
        raise ConfigurationError("predictor.kind", f"'{what}' is not available", "use 'analytic' without address")
    from gnn_model.analytic import AnalyticPredictor

    predictor: Predictor = AnalyticPredictor()
    return predictor if settings.transmission_delay else WithoutTransmission(predictor)


def _ends(traffic: TrafficMatrix, demand: int) -> tuple[int, int]:
    return int(traffic.source[demand]), int(traffic.target[demand])


def _links_for(scenario: Scenario, usable: UsableLinks, demand: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return usable.for_ends(scenario.topology, *_ends(scenario.traffic, demand))
