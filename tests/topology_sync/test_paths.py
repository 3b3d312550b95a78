"""Paths: agreement with networkx, determinism, parallel links, speed."""

import itertools
import time

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.topology_sync.strategies import topologies
from topology_sync.errors import ScenarioError
from topology_sync.paths import fewest_hops_paths, fewest_hops_routing, k_shortest_paths, shortest_path
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix


def all_simple_paths(topology: Topology, source: int, target: int) -> list[tuple[int, ...]]:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(topology.node_count))
    for link in range(topology.link_count):
        graph.add_edge(int(topology.link_source[link]), int(topology.link_target[link]), key=link)
    paths = nx.all_simple_edge_paths(graph, source, target)
    return [tuple(key for _, _, key in path) for path in paths]


@settings(max_examples=40, deadline=None)
@given(topologies(max_nodes=5), st.data())
def test_k_shortest_are_the_k_cheapest_of_all_simple_paths(topology: Topology, data: st.DataObject) -> None:
    count = topology.link_count
    weights = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5]), min_size=count, max_size=count))
    usable = np.array(data.draw(st.lists(st.sampled_from([True, True, True, False]), min_size=count, max_size=count)))
    k = data.draw(st.integers(1, 12))
    everything = [path for path in all_simple_paths(topology, 0, 1) if all(usable[link] for link in path)]
    found = k_shortest_paths(topology, 0, 1, k, weights, usable)
    costs = [sum(weights[link] for link in path) for path in found]
    assert len(set(found)) == len(found) == min(k, len(everything))
    assert set(found) <= set(everything)
    assert costs == sorted(costs)
    assert costs == sorted(sum(weights[link] for link in path) for path in everything)[:k]
    best = shortest_path(topology, 0, 1, weights, usable)
    assert (None if best is None else sum(weights[link] for link in best)) == (costs[0] if costs else None)


@settings(max_examples=40, deadline=None)
@given(topologies(), st.data())
def test_fewest_hops_are_fewest_and_do_not_depend_on_the_order_of_links(topology: Topology, data) -> None:
    pairs = list(itertools.permutations(range(topology.node_count), 2))
    paths = fewest_hops_paths(topology, pairs)
    hops = [1.0] * topology.link_count
    for (source, target), path in zip(pairs, paths, strict=True):
        assert path is not None
        assert len(path) == len(shortest_path(topology, source, target, hops))
    links = topology.links_of()
    order = data.draw(st.permutations(range(len(links))))
    shuffled = Topology.from_links(topology.node_names, [links[position] for position in order])
    nodes = [[int(topology.link_target[link]) for link in path] for path in paths]
    again = [[int(shuffled.link_target[link]) for link in path] for path in fewest_hops_paths(shuffled, pairs)]
    assert nodes == again


def ring_with_chords(nodes: int, step: int) -> Topology:
    names = [f"n{node}" for node in range(nodes)]
    ends = [(node, (node + hop) % nodes) for node in range(nodes) for hop in (1, step)]
    return Topology.from_links(names, [Link(names[a], names[b], 1e9) for pair in ends for a, b in (pair, pair[::-1])])


def all_pairs(topology: Topology) -> TrafficMatrix:
    return TrafficMatrix.from_demands(
        [Demand(a, b, 1.0) for a, b in itertools.permutations(topology.node_names, 2)], topology.node_index
    )


def test_fewest_hops_for_all_pairs_of_200_nodes_takes_well_under_seconds() -> None:
    topology = ring_with_chords(200, 14)
    traffic = all_pairs(topology)
    started = time.perf_counter()
    routing = fewest_hops_routing(topology, traffic)
    assert time.perf_counter() - started < 5
    routing.check(topology, traffic)


def test_eight_shortest_for_all_pairs_of_50_nodes_takes_seconds() -> None:
    topology = ring_with_chords(50, 7)
    weights = np.random.default_rng(1).uniform(1, 2, topology.link_count)
    started = time.perf_counter()
    for source, target in itertools.permutations(range(50), 2):
        assert len(k_shortest_paths(topology, source, target, 8, weights)) == 8
    assert time.perf_counter() - started < 20


def test_without_a_usable_way_a_demand_is_refused() -> None:
    topology = Topology.from_links("ab", [Link("a", "b", 1e6), Link("a", "b", 2e6)])
    traffic = TrafficMatrix.from_demands([Demand("a", "b", 1)], topology.node_index)
    assert fewest_hops_routing(topology, traffic).paths[0][0].links == (1,)
    assert fewest_hops_routing(topology, traffic, np.array([True, False])).paths[0][0].links == (0,)
    with pytest.raises(ScenarioError, match=r"^traffic\[0\]: there is no way from 'a' to 'b'"):
        fewest_hops_routing(topology, traffic, np.array([False, False]))
    assert k_shortest_paths(topology, 1, 0, 3, [1, 1]) == []
    assert shortest_path(topology, 1, 0, [1, 1]) is None
    assert shortest_path(topology, 0, 0, [1, 1]) == ()
