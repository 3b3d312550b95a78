"""Networks to draw scenarios on: random families, and named or given networks of which only the links are used."""

from __future__ import annotations

import functools
import importlib
import importlib.resources
import itertools
import json
import math
import os
from pathlib import Path

import networkx as nx
import numpy as np

from gnn_model.dataset.recipe import RANDOM_FAMILIES, DatasetRecipe
from topology_sync.errors import ScenarioError
from topology_sync.sources import load_scenario
from topology_sync.topology import Link, Topology

UNIT_BPS = 1e6  # capacity of a link of a random family
CHORDS_PER_NODE = 0.4


def draw_topology(recipe: DatasetRecipe, random: np.random.Generator) -> tuple[str, Topology]:
    """(where it comes from, its nodes and directed links).  Raises ScenarioError for a source that cannot be read."""
    source = str(random.choice(list(recipe.topologies)))
    if source in RANDOM_FAMILIES:
        nodes = round(math.exp(random.uniform(math.log(recipe.nodes[0]), math.log(recipe.nodes[1]))))
        return source, random_topology(source, nodes, random)
    if source.startswith("topohub:") and source.endswith("/*"):
        group = source.removeprefix("topohub:").removesuffix("/*")
        keys = [key for key in _group(group, *recipe.nodes) if key not in recipe.exclude]
        if not keys:
            raise ScenarioError(source, "has no network of that size", "give other --nodes or another group")
        source = f"topohub:{random.choice(keys)}"
    return source, _given(source)


def random_topology(family: str, nodes: int, random: np.random.Generator) -> Topology:
    """A connected random network of ``nodes`` nodes, every link in both directions at ``UNIT_BPS``."""
    seed = int(random.integers(2**31))
    if family == "gabriel":
        graph = _gabriel(random.random((nodes, 2)))
    elif family == "waxman":
        # Density so that a node has about 3 neighbours whatever the size.
        graph = nx.waxman_graph(nodes, beta=min(1.0, 12.0 / nodes), alpha=0.25, seed=seed)
    elif family == "barabasi":
        graph = nx.barabasi_albert_graph(nodes, 1 if random.random() < 0.2 else min(2, nodes - 1), seed=seed)
    elif family == "powerlaw":
        graph = nx.powerlaw_cluster_graph(nodes, min(2, nodes - 1), 0.3, seed=seed)
    elif family == "ring":
        graph = nx.cycle_graph(nodes) if nodes > 2 else nx.path_graph(nodes)
        for _ in range(int(random.integers(0, max(int(CHORDS_PER_NODE * nodes), 1) + 1))):
            graph.add_edge(*(int(end) for end in random.choice(nodes, 2, replace=False)))
    else:
        raise ScenarioError(family, "is no family of random networks", f"use {', '.join(RANDOM_FAMILIES)}")
    _connect(graph, random)
    order = random.permutation(nodes)
    names = [f"n{node}" for node in range(nodes)]
    links = []
    for one, other in sorted(tuple(sorted((int(order[a]), int(order[b])))) for a, b in graph.edges if a != b):
        links += [Link(names[one], names[other], UNIT_BPS), Link(names[other], names[one], UNIT_BPS)]
    return Topology.from_links(names, links)


def _gabriel(places: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> nx.Graph:
    """Two places are joined where no other lies in the circle over their line (Gabriel and Sokal 1969)."""
    graph = nx.Graph()
    graph.add_nodes_from(range(len(places)))
    squares = ((places[:, None] - places[None]) ** 2).sum(axis=-1)
    for one in range(len(places)):
        for other in range(one + 1, len(places)):
            inside = squares[one] + squares[other] < squares[one, other] - 1e-12
            inside[[one, other]] = False
            if not inside.any():
                graph.add_edge(one, other)
    return graph


def _connect(graph: nx.Graph, random: np.random.Generator) -> None:
    """Join the parts of a graph by random edges."""
    parts = [sorted(part) for part in nx.connected_components(graph)]
    for part, other in itertools.pairwise(parts):
        graph.add_edge(int(random.choice(part)), int(random.choice(other)))


@functools.lru_cache(maxsize=64)
def _given(source: str) -> Topology:
    """Links of a named network or of a file; a REPETITA graph is read with the demands that lie beside it."""
    demands = None
    path = Path(source.partition("?")[0])
    if path.suffix == ".graph":
        beside = sorted(path.parent.glob(f"{path.stem}.*demands"))
        demands = beside[0] if beside else path.with_suffix(".demands")
    if not source.startswith("topohub:") and not os.path.exists(path):
        names = ", ".join(RANDOM_FAMILIES)
        raise ScenarioError(source, "is neither a family nor a file", f"use {names}, topohub:GROUP/NAME or a file")
    return load_scenario(source, demands=demands).topology


@functools.lru_cache(maxsize=16)
def _group(group: str, fewest: int, most: int) -> tuple[str, ...]:
    """Keys of a topohub group whose networks have a number of nodes in the range, sorted."""
    try:
        importlib.import_module("topohub")
    except ModuleNotFoundError:
        raise ScenarioError(f"topohub:{group}/*", "the package topohub is not installed", "pip install it") from None
    folder = importlib.resources.files("topohub").joinpath("data", *group.split("/"))
    if not folder.is_dir():
        raise ScenarioError(f"topohub:{group}/*", "there is no such group", "use sndlib, topozoo, gabriel or backbone")
    found = []
    for entry in folder.iterdir():
        if entry.name.endswith(".json"):
            nodes = len(json.loads(entry.read_text("utf-8"))["nodes"])
            if fewest <= nodes <= most:
                found.append(f"{group}/{entry.name.removesuffix('.json')}")
    return tuple(sorted(found))
