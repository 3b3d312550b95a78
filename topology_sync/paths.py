"""Paths through a topology as tuples of link ids: fewest hops for all demands, shortest, and k shortest."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from topology_sync.errors import ScenarioError
from topology_sync.routing import PathShare, Routing
from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import BoolArray, FloatArray

Path = tuple[int, ...]
_Arcs = list[list[tuple[int, int, float]]]  # per node: (link, node at its other end, weight)


def fewest_hops_routing(topology: Topology, traffic: TrafficMatrix, usable: BoolArray | None = None) -> Routing:
    """Route every demand over one path with the fewest hops, see ``fewest_hops_paths``.

    Raises ScenarioError for a demand without any way.
    """
    pairs = list(zip(traffic.source.tolist(), traffic.target.tolist(), strict=True))
    shares: dict[Path, tuple[PathShare, ...]] = {}
    routed = []
    for demand, path in enumerate(fewest_hops_paths(topology, pairs, usable)):
        if not path:
            raise no_way(topology, traffic, demand)
        routed.append(shares.setdefault(path, (PathShare(path),)))
    return Routing(tuple(routed))


def no_way(topology: Topology, traffic: TrafficMatrix, demand: int) -> ScenarioError:
    """The error of a demand whose ends are not connected."""
    source, target = (topology.node_names[int(end[demand])] for end in (traffic.source, traffic.target))
    return ScenarioError(
        f"traffic[{demand}]", f"there is no way from '{source}' to '{target}'", "add links or remove the demand"
    )


def fewest_hops_paths(
    topology: Topology, pairs: Sequence[tuple[int, int]], usable: BoolArray | None = None
) -> list[Path | None]:
    """One path with the fewest hops per pair of nodes (ids), None without any way; one search per source.

    Deterministic: neighbours are visited by node id, the first way found wins, and of parallel links the usable one of
    largest capacity (lowest id) is taken.  ``usable`` [links] leaves links out.
    """
    neighbours = _best_links(topology, usable)
    trees: dict[int, dict[int, Path]] = {}
    for source, _ in pairs:
        if source not in trees:
            trees[source] = _tree(neighbours, source)
    return [trees[source].get(target) for source, target in pairs]


def _best_links(topology: Topology, usable: BoolArray | None) -> list[list[tuple[int, int]]]:
    """Per node its neighbours by id and the link to take to each."""
    neighbours: list[list[tuple[int, int]]] = [[] for _ in topology.node_names]
    for (source, target), links in sorted(topology.links_between.items()):
        link = next((link for link in links if usable is None or usable[link]), None)
        if link is not None:
            neighbours[source].append((target, link))
    return neighbours


def _tree(neighbours: list[list[tuple[int, int]]], source: int) -> dict[int, Path]:
    """The path from ``source`` to every node it reaches, first come first served."""
    paths: dict[int, Path] = {source: ()}
    queue = [source]
    for node in queue:
        for target, link in neighbours[node]:
            if target not in paths:
                paths[target] = (*paths[node], link)
                queue.append(target)
    return paths


def shortest_path(
    topology: Topology, source: int, target: int, weights: FloatArray | Sequence[float], usable: BoolArray | None = None
) -> Path | None:
    """The path of least total weight between two nodes (ids), None where there is no way.

    ``weights`` [links] are 0 or more; a link of infinite weight or not ``usable`` is left out.  The empty path leads
    from a node to itself.
    """
    arcs = _arcs(topology, weights, usable)
    found = _search(arcs, source, target, [0.0] * topology.node_count, frozenset(), frozenset())
    return None if found is None else found[1]


def k_shortest_paths(
    topology: Topology,
    source: int,
    target: int,
    k: int,
    weights: FloatArray | Sequence[float],
    usable: BoolArray | None = None,
) -> list[Path]:
    """Up to ``k`` loop-free paths, least total weight first; paths over different parallel links are different paths.

    Yen's algorithm (Management Science 17, 1971) with Lawler's rule, so that no deviation is tried twice, and A* with
    the distances to the target in the whole graph: leaving links out only makes ways longer, so they stay bounds.
    Deterministic; ties by number of hops, then by link ids.
    """
    if k < 1 or source == target:
        return []
    arcs = _arcs(topology, weights, usable)
    ahead = _distances_to(arcs, target)
    first = _search(arcs, source, target, ahead, frozenset(), frozenset())
    if first is None:
        return []
    cost_of = [float(weight) for weight in weights]
    link_source = topology.link_source.tolist()
    chosen: list[Path] = []
    known = {first[1]}
    candidates: list[tuple[float, int, Path, int]] = [(first[0], len(first[1]), first[1], 0)]
    while candidates and len(chosen) < k:
        _, _, path, deviation = heapq.heappop(candidates)
        chosen.append(path)
        if len(chosen) == k:
            break
        for spur in range(deviation, len(path)):
            root = path[:spur]
            taken = frozenset(other[spur] for other in chosen if len(other) > spur and other[:spur] == root)
            passed = frozenset(link_source[link] for link in root)
            found = _search(arcs, link_source[path[spur]], target, ahead, passed, taken)
            if found is None:
                continue
            candidate = root + found[1]
            if candidate not in known:
                known.add(candidate)
                # summed anew in path order, so that the same path always has the same cost
                cost = sum(cost_of[link] for link in candidate)
                heapq.heappush(candidates, (cost, len(candidate), candidate, spur))
    return chosen


def _arcs(topology: Topology, weights: FloatArray | Sequence[float], usable: BoolArray | None) -> _Arcs:
    arcs: _Arcs = [[] for _ in topology.node_names]
    ends = zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True)
    for link, ((source, target), weight) in enumerate(zip(ends, weights, strict=True)):
        weight = float(weight)
        if weight < 0 or weight != weight:
            raise ValueError(f"weight of link {link} is {weight}, want 0 or more")
        if weight != float("inf") and (usable is None or usable[link]):
            arcs[source].append((link, target, weight))
    return arcs


def _distances_to(arcs: _Arcs, target: int) -> list[float]:
    """Least total weight from every node to ``target``, infinite where there is no way (Dijkstra backwards)."""
    arriving: list[list[tuple[int, float]]] = [[] for _ in arcs]
    for source, leaving in enumerate(arcs):
        for _, end, weight in leaving:
            arriving[end].append((source, weight))
    distance = [float("inf")] * len(arcs)
    distance[target] = 0.0
    heap = [(0.0, target)]
    while heap:
        so_far, node = heapq.heappop(heap)
        if so_far > distance[node]:
            continue
        for source, weight in arriving[node]:
            if so_far + weight < distance[source]:
                distance[source] = so_far + weight
                heapq.heappush(heap, (so_far + weight, source))
    return distance


def _search(
    arcs: _Arcs, source: int, target: int, ahead: list[float], passed: frozenset[int], taken: frozenset[int]
) -> tuple[float, Path] | None:
    """A* from ``source`` to ``target`` around the nodes ``passed`` and the first links ``taken``; (weight, path)."""
    if ahead[source] == float("inf"):
        return None
    best = {source: (0.0, 0)}
    came: dict[int, tuple[int, int]] = {}
    done: set[int] = set()
    heap = [(ahead[source], 0, source)]
    while heap:
        _, hops, node = heapq.heappop(heap)
        if node == target:
            break
        if node in done:
            continue
        done.add(node)
        so_far, hops = best[node]
        for link, end, weight in arcs[node]:
            if end in passed or end in done or link in taken or ahead[end] == float("inf"):
                continue
            reached = (so_far + weight, hops + 1)
            if end not in best or reached < best[end]:
                best[end] = reached
                came[end] = (link, node)
                heapq.heappush(heap, (reached[0] + ahead[end], reached[1], end))
    if target not in best:
        return None
    links: list[int] = []
    node = target
    while node != source:
        link, node = came[node]
        links.append(link)
    return best[target][0], tuple(reversed(links))
