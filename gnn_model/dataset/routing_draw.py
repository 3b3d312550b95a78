"""Drawing how demands are routed: fewest hops, random link weights, one of several alternatives, splits."""

from __future__ import annotations

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
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra

    nodes = topology.node_count
    best: dict[tuple[int, int], int] = {}
    for link, ends in enumerate(zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True)):
        if ends not in best or weights[link] < weights[best[ends]]:
            best[ends] = link
    rows, columns = np.array(list(best)).T
    matrix = csr_matrix((weights[list(best.values())], (rows, columns)), shape=(nodes, nodes))
    _, before = dijkstra(matrix, return_predecessors=True)
    result: list[Path] = []
    for demand in range(traffic.demand_count):
        source, node = int(traffic.source[demand]), int(traffic.target[demand])
        links: list[int] = []
        while node != source:
            previous = int(before[source, node])
            if previous < 0:
                raise no_way(topology, traffic, demand)
            links.append(best[previous, node])
            node = previous
        result.append(tuple(reversed(links)))
    return result
