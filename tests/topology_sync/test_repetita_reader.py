"""REPETITA files: units, parallel links, demands that are added, refusals with their line, the public instances."""

from pathlib import Path

import pytest

from tests.benchmarks import ZOO, unpack_zoo
from topology_sync.errors import ScenarioError
from topology_sync.sources import load_scenario

GRAPH = """NODES 3
label x y
0_New York -74.0 40.7
1_Chicago -87.6 41.8
1_Chicago 0.0 0.0

EDGES 5
label src dest weight bw delay
edge_0 0 1 1 9953280 1913
edge_1 0 1 1 1000 7
edge_2 1 2 1 2000 552
edge_3 2 0 1 2000 552
edge_4 2 2 1 2000 552
"""
DEMANDS = """DEMANDS 4
label src dest bw
demand_0 0 1 193388
demand_1 0 2 100
demand_2 0 2 11
demand_3 1 1 5
"""


def write(directory: Path, graph: str = GRAPH, demands: str = DEMANDS) -> tuple[str, Path]:
    (directory / "net.graph").write_text(graph)
    (directory / "net.0000.demands").write_text(demands)
    return str(directory / "net.graph"), directory / "net.0000.demands"


def test_rates_are_kbps_delays_microseconds_and_demands_of_a_pair_are_added(tmp_path: Path) -> None:
    graph, demands = write(tmp_path)
    scenario = load_scenario(graph, demands=demands)
    assert scenario.name == "net"
    assert scenario.topology.node_names == ("0_New York", "1_Chicago", "1_Chicago (2)")
    assert scenario.topology.capacity_bps.tolist() == [9953280e3, 1e6, 2e6, 2e6]
    assert scenario.topology.delay_s[0] == pytest.approx(1913e-6)
    assert scenario.traffic.rate_bps.tolist() == [193388e3, 111e3]
    assert scenario.routing.paths[1][0].links == (0, 2)


def test_options_can_scale_the_demands(tmp_path: Path) -> None:
    graph, demands = write(tmp_path)
    scenario = load_scenario(f"{graph}?max_utilisation=0.9&queue_packets=5", demands=demands)
    assert scenario.routing.max_utilisation(scenario.traffic, scenario.topology) == pytest.approx(0.9)
    assert set(scenario.topology.queue_packets) == {5}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("NODES 3", "NODES x", "net.graph: line 1: has 'NODES x'; give 'NODES' and their number"),
        ("NODES 3", "NODES 4", "net.graph: line 7: has 2 fields in row 4 of 4 NODES; give 3 fields"),
        ("EDGES 5", "EDGES 6", "net.graph: the end: has 0 fields in row 6 of 6 EDGES; give 6 fields"),
        ("edge_1 0 1", "edge_1 0 9", "net.graph: line 10: '9' is no index of a node; give 0 to 2"),
        ("1000 7", "0 7", "net.graph: line 10: bw: is '0'"),
        ("1000 7", "1000 -1", "net.graph: line 10: delay: is '-1'"),
        ("demand_1 0 2 100", "demand_1 0 2 inf", "net.0000.demands: line 4: bw: is 'inf'"),
        ("demand_1 0 2", "demand_1 0", "net.0000.demands: line 4: has 3 fields in row 2 of 4 DEMANDS"),
    ],
)
def test_broken_files_are_refused_with_their_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    graph, demands = write(tmp_path, GRAPH.replace(old, new, 1), DEMANDS.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(graph, demands=demands)
    assert expected in str(caught.value)


def test_a_graph_needs_its_demands(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"has no traffic; give --demands X\.demands"):
        load_scenario(str(tmp_path / "net.graph"))


def test_public_instances_are_read_whole(tmp_path: Path) -> None:
    # Interoute has 316 edges, four of them self loops, which are left out
    wanted = {"Abilene": (11, 28, 110), "Geant2012": (40, 122, 1560), "Interoute": (110, 312, 11967)}
    optimum = unpack_zoo(wanted, tmp_path)
    for name, (nodes, links, demands) in wanted.items():
        graph = tmp_path / ZOO / f"{name}.graph"
        scenario = load_scenario(str(graph), demands=graph.with_suffix(".0000.demands"))
        assert scenario.topology.node_count == nodes
        assert scenario.topology.link_count == links
        assert scenario.traffic.demand_count == demands
        scenario.routing.check(scenario.topology, scenario.traffic)
        # no routing is better than the published optimum of splittable routing
        assert scenario.routing.max_utilisation(scenario.traffic, scenario.topology) >= optimum[name] - 1e-5
