"""Small random problems, and their optimum by a formulation that shares nothing with the search: arc flows in scipy."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog

from topology_sync.paths import fewest_hops_routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix


@st.composite
def scenarios(draw: st.DrawFn, largest: int = 7, zero_rates: bool = True) -> Scenario:
    """A ring with chords and parallel links, capacities over two decades, some demands larger than any link."""
    count = draw(st.integers(3, largest))
    names = tuple(f"n{number}" for number in range(count))
    ring = [(number, (number + 1) % count) for number in range(count)]
    node = st.integers(0, count - 1)
    chords = draw(st.lists(st.tuples(node, node).filter(lambda ends: ends[0] != ends[1]), max_size=2 * count))
    links = []
    for ends in [pair for a, b in ring for pair in ((a, b), (b, a))] + chords:
        capacity = draw(st.sampled_from([1e6, 2e6, 5e6, 1e7, 1e8]))
        links.append(Link(names[ends[0]], names[ends[1]], capacity, draw(st.sampled_from([0.0, 1e-3, 3e-3, 8e-3]))))
    topology = Topology.from_links(names, links)
    rates = st.sampled_from(([0.0] if zero_rates else []) + [1e4, 3e5, 1e6, 2.5e6, 3e7])
    pairs = draw(
        st.lists(
            st.tuples(node, node, st.sampled_from(["voice", "bulk"])).filter(lambda ends: ends[0] != ends[1]),
            min_size=1,
            max_size=14,
            unique=True,
        )
    )
    demands = [Demand(names[a], names[b], draw(rates), name) for a, b, name in pairs]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, ("voice", "bulk"))
    return Scenario("random", topology, traffic, fewest_hops_routing(topology, traffic))


def arc_flow_optimum(scenario: Scenario) -> float:
    """min theta over flows of every demand on every link, one commodity per demand."""
    topology, traffic = scenario.topology, scenario.traffic
    demands = np.flatnonzero(traffic.rate_bps > 0)
    if not len(demands):
        return 0.0
    links, nodes = topology.link_count, topology.node_count
    unit = topology.capacity_bps.max()
    conservation = np.zeros((nodes, links))
    conservation[topology.link_source, np.arange(links)] += 1.0
    conservation[topology.link_target, np.arange(links)] -= 1.0
    variables = len(demands) * links + 1
    equal = np.zeros((len(demands) * nodes, variables))
    supply = np.zeros(len(demands) * nodes)
    upper = np.zeros((links, variables))
    upper[:, -1] = -topology.capacity_bps / unit
    for position, demand in enumerate(demands):
        columns = slice(position * links, (position + 1) * links)
        rows = slice(position * nodes, (position + 1) * nodes)
        equal[rows, columns] = conservation
        supply[position * nodes + traffic.source[demand]] += traffic.rate_bps[demand] / unit
        supply[position * nodes + traffic.target[demand]] -= traffic.rate_bps[demand] / unit
        upper[:, columns] = np.eye(links)
    cost = np.zeros(variables)
    cost[-1] = 1.0
    result = linprog(cost, A_ub=upper, b_ub=np.zeros(links), A_eq=equal, b_eq=supply, method="highs")
    assert result.status == 0
    return float(result.x[-1])
