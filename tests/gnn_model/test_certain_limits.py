"""Limits of waits and jitter that hold whatever a model believes: the packet simulator keeps them, predictions too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.certain_limits import UNKNOWN
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.graph_tensors import GraphTensors, graph_tensors
from gnn_model.packet_simulator.simulator import PacketSimulator
from gnn_model.routenet.model import ModelConfig, RouteNet
from topology_sync.paths import fewest_hops_routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix

CAPACITY_BPS = 1e6
EQUAL, BIMODAL, PERIODIC = PacketSize("constant"), PacketSize("bimodal"), Arrivals("cbr")
Builder = Callable[..., Scenario]


def tree(links: dict[str, float], demands: list[Demand]) -> Scenario:
    """Links named by their ends ("ab") with their capacities; the fewest hops between any two nodes are one path."""
    nodes = sorted({node for ends in links for node in ends})
    topology = Topology.from_links(nodes, [Link(ends[0], ends[1], bps) for ends, bps in links.items()])
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    return Scenario("tree", topology, traffic, fewest_hops_routing(topology, traffic))


def chain(sizes: PacketSize, hops: int = 4, load: float = 0.8, arrivals: Arrivals | None = None) -> Scenario:
    """One stream over hops alike, packets of 1000 bits."""
    names = "abcdefgh"[: hops + 1]
    links = {"".join(ends): CAPACITY_BPS for ends in pairwise(names)}
    return tree(links, [Demand("a", names[-1], load * CAPACITY_BPS, "x", 1000.0, sizes, arrivals or Arrivals())])


def limits(scenario: Scenario) -> list[float]:
    """Of the mean waits at the hops of the first demand's path, in services of 1000 bits; infinite: none is certain."""
    graph = graph_tensors(scenario)
    known = graph.hop_longest < UNKNOWN
    in_services = graph.hop_limit * graph.unit_s * CAPACITY_BPS / 1000
    return np.where(known, in_services, np.inf)[: graph.hop_pointer[1]].tolist()


def wild_model(seed: int) -> GnnPredictor:
    """A network that believes anything."""
    torch.manual_seed(seed)
    model = RouteNet(ModelConfig(width=8, rounds=1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return GnnPredictor.of_model(model, threads=1)


def test_equal_packets_wait_at_the_first_hop_alone() -> None:
    assert limits(chain(EQUAL)) == pytest.approx([np.inf, 0, 0, 0], abs=1e-5)


def test_packets_of_two_sizes_wait_for_the_larger_ones() -> None:
    """213 of 37 and 213 bytes is 1.704 of the mean; no limit where sizes have none."""
    assert limits(chain(BIMODAL))[1:] == pytest.approx([0.704] * 3, rel=1e-5)
    assert limits(chain(PacketSize())) == [np.inf] * 4


def test_periodic_sources_wait_for_one_packet_of_each_other() -> None:
    assert limits(chain(EQUAL, 2, arrivals=PERIODIC)) == pytest.approx([0, 0], abs=1e-5)
    demands = [Demand("a", "b", 0.25 * CAPACITY_BPS, name, 1000.0, EQUAL, PERIODIC) for name in "xyz"]
    assert limits(tree({"ab": CAPACITY_BPS}, demands)) == pytest.approx([2.0])
    overload = [replace(demand, rate_bps=0.5 * CAPACITY_BPS) for demand in demands]
    assert limits(tree({"ab": CAPACITY_BPS}, overload)) == [np.inf]


@pytest.mark.parametrize(("out_bps", "expected"), [(2 * CAPACITY_BPS, 0.5), (1.9 * CAPACITY_BPS, np.inf)])
def test_links_that_merge_into_one_as_fast_as_both(out_bps: float, expected: float) -> None:
    """Two packets may come at once, half a service of the slow links each."""
    demands = [Demand(source, "d", 0.5 * CAPACITY_BPS, "x", 1000.0, EQUAL) for source in "ab"]
    scenario = tree({"ac": CAPACITY_BPS, "bc": CAPACITY_BPS, "cd": out_bps}, demands)
    assert limits(scenario)[1] == pytest.approx(expected, rel=1e-5)


def test_traffic_that_enters_at_a_port_ends_certainty() -> None:
    demands = [Demand(source, "c", 0.4 * CAPACITY_BPS, "x", 1000.0, EQUAL) for source in "ab"]
    assert limits(tree({"ab": CAPACITY_BPS, "bc": CAPACITY_BPS}, demands)) == [np.inf, np.inf]


def jitter_limits(graph: GraphTensors, loss: np.ndarray) -> np.ndarray:
    paths = loss[graph.path_demand]
    return 2 * graph.unit_s * (graph.path_half_jitter + graph.path_spacing * paths / np.maximum(1 - paths, 1e-6))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_simulator_keeps_them(random_scenario: Builder, seed: int) -> None:
    """Any network, any sources: simulated mean delays and jitter are within what is certain."""
    scenario = random_scenario(seed, peak=0.9)
    sizes = tuple(EQUAL if number % 2 else BIMODAL for number in range(scenario.traffic.demand_count))
    scenario = replace(scenario, traffic=replace(scenario.traffic, packet_size=sizes))
    simulated = PacketSimulator(0.05, seed + 1, 200_000).simulate(scenario).prediction
    graph = graph_tensors(scenario)
    most = graph.path_fixed + np.add.reduceat(graph.hop_limit, graph.hop_pointer[:-1])
    certain = np.logical_and.reduceat(graph.hop_longest < UNKNOWN, graph.hop_pointer[:-1])
    known = np.isfinite(simulated.delay_s)[graph.path_demand] & (graph.path_share == 1)
    delay = simulated.delay_s[graph.path_demand] / graph.unit_s
    assert (delay <= most * 1.02)[known & certain].all()
    jitter, most_jitter = simulated.jitter_s[graph.path_demand], jitter_limits(graph, simulated.loss_ratio)
    some = known & np.isfinite(jitter)
    assert (jitter <= most_jitter * 1.15)[some].all()


@pytest.mark.parametrize("sizes", [PacketSize(), EQUAL, BIMODAL])
@pytest.mark.parametrize("arrivals", [Arrivals(), PERIODIC])
def test_jitter_of_a_long_chain_comes_close_to_its_limit(sizes: PacketSize, arrivals: Arrivals) -> None:
    scenario = chain(sizes, 7, 0.6, arrivals)
    simulated = PacketSimulator(0.02, 1, 2_000_000).simulate(scenario).prediction
    most = jitter_limits(graph_tensors(scenario), simulated.loss_ratio)
    assert 0 <= simulated.jitter_s[0] <= most[0] * 1.03
    if sizes.model == "exponential" and arrivals.model == "poisson":
        assert simulated.jitter_s[0] > 0.8 * most[0]


@pytest.mark.parametrize("seed", range(3))
def test_no_model_predicts_beyond_them(random_scenario: Builder, seed: int) -> None:
    predictor = wild_model(seed)
    for scenario in (chain(EQUAL), chain(BIMODAL), random_scenario(seed, peak=0.9)):
        graph, predicted = graph_tensors(scenario), predictor.predict(scenario)
        single = np.flatnonzero(graph.path_share == 1)
        demand = graph.path_demand[single]
        most = (graph.path_fixed + np.add.reduceat(graph.hop_limit, graph.hop_pointer[:-1])) * graph.unit_s
        assert (predicted.delay_s[demand] <= most[single] * (1 + 1e-4)).all()
        # the reported loss is cut off below what counts as none
        most_jitter = jitter_limits(graph, predicted.loss_ratio + 1e-5)
        assert (predicted.jitter_s[demand] <= most_jitter[single] * (1 + 1e-3)).all()


def test_a_periodic_stream_of_equal_packets_has_no_delay_but_its_own() -> None:
    predicted = wild_model(1).predict(chain(EQUAL, 3, 0.9, PERIODIC))
    assert predicted.delay_s == pytest.approx([3e-3], rel=1e-4)
    assert predicted.delay_p99_s == pytest.approx([3e-3], rel=1e-3)
    assert predicted.jitter_s == pytest.approx([0.0], abs=3e-6)
