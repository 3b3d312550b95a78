"""Routings of datanet: a matrix of output ports (2020, 2022), or one line per pair with the nodes of its path
(2021).
"""

from __future__ import annotations

import itertools
from pathlib import Path

from gnn_model.datanet.graph_reader import DatanetGraph
from topology_sync.errors import ScenarioError

Paths = dict[tuple[int, int], tuple[int, ...]]


def read_routing(path: Path, graph: DatanetGraph) -> Paths:
    """Link ids of the path of every pair that has one.  Raises ScenarioError naming file and line."""
    try:
        lines = [line for line in path.read_text("ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(str(path), f"cannot be read ({error})", "give a datanet routing") from None
    try:
        if any(";" in line for line in lines):
            return _node_paths(str(path), lines, graph)
        return _port_matrix(str(path), lines, graph)
    except ValueError:
        raise ScenarioError(str(path), "holds something that is no whole number", "give a datanet routing") from None


def _node_paths(place: str, lines: list[str], graph: DatanetGraph) -> Paths:
    link_of: dict[tuple[int, int], int] = {}
    for link, ends in enumerate(zip(graph.source, graph.target, strict=True)):
        # A node path over parallel links means the one with the largest capacity.
        if ends not in link_of or graph.capacity_bps[link] > graph.capacity_bps[link_of[ends]]:
            link_of[ends] = link
    paths: Paths = {}
    for number, line in enumerate(lines, start=1):
        nodes = [int(part) for part in line.split(";") if part.strip()]
        steps = list(itertools.pairwise(nodes))
        if not steps or any(step not in link_of for step in steps) or len(set(nodes)) != len(nodes):
            raise ScenarioError(f"{place}: line {number}", "is no loop-free path of the graph", "check the routing")
        paths[nodes[0], nodes[-1]] = tuple(link_of[step] for step in steps)
    return paths


def _port_matrix(place: str, lines: list[str], graph: DatanetGraph) -> Paths:
    count = graph.node_count
    rows = [[int(part) for part in line.split(",") if part.strip()] for line in lines]
    if len(rows) != count or any(len(row) != count for row in rows):
        raise ScenarioError(place, f"is no {count} x {count} matrix of output ports", "check the routing")
    link_at = {(source, port): link for link, (source, port) in enumerate(zip(graph.source, graph.port, strict=True))}
    paths: Paths = {}
    for source in range(count):
        for target in range(count):
            if source == target or rows[source][target] < 0:
                continue
            node = source
            links: list[int] = []
            while node != target:
                link = link_at.get((node, rows[node][target]))
                if link is None or len(links) >= count:
                    raise ScenarioError(
                        f"{place}: line {node + 1}", f"does not lead from {source} to {target}", "check the routing"
                    )
                links.append(link)
                node = graph.target[link]
            paths[source, target] = tuple(links)
    return paths
