"""Drawing how demands are routed: fewest hops, random link weights, one of several alternatives, splits."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np

from topology_sync.paths import Path, fewest_hops_routing, k_shortest_paths, no_way
from topology_sync.routing import PathShare, Routing
from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import FloatArray

ALTERNATIVES = 3
SEARCHED = 150  # demands for which k shortest paths are searched: the others take the shortest
SHARE_STEPS = 64


def draw_routing(kind: str, topology: Topology, traffic: TrafficMatrix, random: np.random.Generator) -> Routing:
    """Routing of one kind (:data:`gnn_model.dataset.recipe.ROUTINGS`)."""
    if kind == "hops":
        return fewest_hops_routing(topology, traffic)
    weights = random.uniform(0.5, 2.0, topology.link_count)
    shortest = _by_weights(topology, traffic, weights)
    if kind == "weights":
        return Routing(tuple((PathShare(path),) for path in shortest))
    routed: list[tuple[PathShare, ...]] = [(PathShare(path),) for path in shortest]
    searched = random.permutation(traffic.demand_count)[:SEARCHED]
    for demand in searched[: max(int(len(searched) * random.uniform(0.2, 1.0)), 1)]:
        ends = int(traffic.source[demand]), int(traffic.target[demand])
        paths = k_shortest_paths(topology, *ends, ALTERNATIVES, weights)
        if kind == "alternatives":
            routed[demand] = (PathShare(paths[int(random.integers(len(paths)))]),)
        else:
            routed[demand] = _split(paths, random)
    return Routing(tuple(routed))


def _split(paths: list[Path], random: np.random.Generator) -> tuple[PathShare, ...]:
    """Random shares in 64ths, as switches have them; paths without a share are left out."""
    kept = paths[: int(random.integers(1, len(paths) + 1))]
    slots = random.multinomial(SHARE_STEPS, random.dirichlet(np.full(len(kept), 2.0)))
    return tuple(
        PathShare(path, count / SHARE_STEPS) for path, count in zip(kept, slots.tolist(), strict=True) if count
    )


def _by_weights(topology: Topology, traffic: TrafficMatrix, weights: FloatArray) -> list[Path]:
    """Path of least weight per demand; one search per source (Dijkstra)."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    for link, (source, target) in enumerate(
        zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True)
    ):
        before = graph.get_edge_data(source, target)
        if before is None or weights[link] < before["weight"]:
            graph.add_edge(source, target, weight=float(weights[link]), link=link)
    trees: dict[int, dict[int, list[int]]] = {}
    result: list[Path] = []
    for demand in range(traffic.demand_count):
        source, target = int(traffic.source[demand]), int(traffic.target[demand])
        if source not in trees:
            trees[source] = nx.single_source_dijkstra_path(graph, source) if source in graph else {}
        nodes = trees[source].get(target)
        if nodes is None:
            raise no_way(topology, traffic, demand)
        result.append(tuple(graph.edges[pair]["link"] for pair in itertools.pairwise(nodes)))
    return result
