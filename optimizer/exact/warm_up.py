"""Load the compiled kernels before a clock starts."""

from __future__ import annotations

import functools
import time

import numpy as np

from optimizer.candidates import UsableLinks
from optimizer.cheapest_paths import CheapestPaths
from optimizer.exact.flow_problem import FlowProblem
from optimizer.exact.least_utilisation import UtilisationLimits, least_utilisation, split_optimum
from optimizer.exact.single_path import improve_single_paths
from optimizer.goals import class_goals, goal_table
from optimizer.rough_runs import RoughRuns
from optimizer.screening import LoadScreen
from topology_sync.paths import fewest_hops_routing
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix

LONGEST_S = 600.0  # on a busy machine compiling alone takes longer than any search may


@functools.cache
def warm_up(single_path: bool = False, delay_limits: bool = False) -> None:
    """Run a tiny problem through all kernels: seconds when they must be compiled, half a second from the cache."""
    names = ("a", "b", "c", "d")
    pairs = [("a", "b"), ("b", "d"), ("a", "c"), ("c", "d"), ("a", "d")]
    links = [Link(x, y, 1e6, 1e-3) for pair in pairs for x, y in (pair, pair[::-1])]
    topology = Topology.from_links(names, links)
    demands = [Demand("a", "d", 1.1e6), Demand("a", "b", 0.4e6), Demand("b", "d", 0.3e6), Demand("c", "d", 0.9e6)]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    scenario = Scenario("warm-up", topology, traffic, fewest_hops_routing(topology, traffic))
    limit = np.full(len(demands), 0.01) if delay_limits else None
    least_utilisation(scenario, UtilisationLimits(LONGEST_S, delay_limit_s=limit))
    CheapestPaths(topology).between(0, 3, np.ones(topology.link_count), np.ones(topology.link_count, dtype=np.bool_))
    _warm_up_rough_runs(scenario)
    if single_path:
        problem = FlowProblem.of(topology, traffic, delay_limit_s=limit)
        start = split_optimum(problem, 1, np.inf).start
        assert start is not None
        improve_single_paths(problem, start, 0.0, time.monotonic() + 0.02, 1)


def _warm_up_rough_runs(scenario: Scenario) -> None:
    """``scenario`` must be one whose routing a move improves: kernels are loaded by what calls them."""
    name = scenario.traffic.class_names[0]
    table = goal_table(scenario.traffic, class_goals([SlaGoal(name, 1e-6, 99.0, 1e-6, 1e-6)]))
    movable = np.ones(scenario.traffic.demand_count, dtype=np.bool_)
    RoughRuns(LoadScreen(scenario, table), UsableLinks.all_of(scenario.topology)).moves(movable, lambda: True)
