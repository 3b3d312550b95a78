"""A proven lower bound of the maximum utilisation of any routing, split or not."""

from __future__ import annotations

import time

from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import BoolArray


def utilisation_lower_bound(
    topology: Topology, traffic: TrafficMatrix, usable: BoolArray | None = None, time_s: float = 0.5
) -> float:
    """No routing over the ``usable`` links [links] has a lower maximum utilisation; 0 without traffic.

    The optimum itself where column generation ends within ``time_s``, else the best bound by then.  Raises
    ScenarioError for a demand without any way.
    """
    from optimizer.exact.flow_problem import FlowProblem, check_routable
    from optimizer.exact.least_utilisation import split_optimum

    check_routable(topology, traffic, usable)
    problem = FlowProblem.of(topology, traffic, usable)
    if not problem.demand_count:
        return 0.0
    generation = split_optimum(problem, seed=1, deadline=time.monotonic() + time_s)
    return min(generation.bound, generation.value)
