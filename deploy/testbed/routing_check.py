"""Compares the network's routing, as the controller tells it, with what a scenario was drawn for.  Pure."""

from __future__ import annotations

from itertools import pairwise

from deploy.testbed.scenarios import TestbedScenario
from topology_sync.network_state import NetworkState
from topology_sync.routing import PathShare
from topology_sync.scenario_json import demand_keys
from topology_sync.topology import Topology


def routed_as_planned(scenario: TestbedScenario, state: NetworkState) -> bool:
    """Whether every demand of ours takes its fewest-hops path."""
    planned = {
        demand.key: [_names(scenario.base.topology, path) for path in scenario.base.routing.paths[index]]
        for index, demand in enumerate(scenario.demands)
    }
    found = _paths_of(state)
    return all(found.get(key, paths) == paths for key, paths in planned.items())


def demands_over(scenario: TestbedScenario, state: NetworkState, link: int) -> list[int]:
    """Our demands whose path crosses the cable of ``link``, in either direction, now."""
    topology = scenario.base.topology
    ends = {topology.node_names[int(end[link])] for end in (topology.link_source, topology.link_target)}
    found = _paths_of(state)
    return [
        index
        for index, demand in enumerate(scenario.demands)
        if any({one, two} == ends for path in found.get(demand.key, []) for one, two in pairwise(path))
    ]


def _paths_of(state: NetworkState) -> dict[tuple[str, str, str], list[tuple[str, ...]]]:
    scenario = state.scenario
    keys = demand_keys(scenario.topology, scenario.traffic)
    return {
        key: [_names(scenario.topology, path) for path in scenario.routing.paths[index]]
        for index, key in enumerate(keys)
    }


def _names(topology: Topology, path: PathShare) -> tuple[str, ...]:
    return tuple(topology.node_names[node] for node in path.nodes(topology))
