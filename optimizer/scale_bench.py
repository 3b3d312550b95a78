"""How the exact search grows with the network: random geometric backbones with traffic between all pairs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gnn_model.figure_files import save_figure
from topology_sync.errors import InputError
from topology_sync.output_files import write_output
from topology_sync.topology import Link, Topology
from topology_sync.traffic import DEFAULT_PACKET_BITS, TrafficMatrix
from topology_sync.values import FloatArray, float_array, int_array

UNIT_BPS = 10e9  # links are bought in multiples of this
MEDIAN_UNITS = 4
CITY_CHANGE = 0.3  # standard deviation of the logarithm of what cities grew since the links were bought
PAIR_CHANGE = 0.7  # and pairs of cities
PROOF_GAPS = (0.01, 0.001, 1e-6)


@dataclass(frozen=True)
class ScaleEntry:
    """One size: processor seconds (of all threads) until the gap was below each of PROOF_GAPS (None: not within the
    limit), and where it ended; ``wall_seconds`` in all.
    """

    nodes: int
    links: int
    demands: int
    seconds_to_gap: dict[str, float | None]
    seconds: float
    wall_seconds: float
    max_utilisation: float
    lower_bound: float
    gap: float


def gabriel_edges(points: FloatArray, random: np.random.Generator, edges_per_node: float) -> list[tuple[int, int]]:
    """Edges of the Gabriel graph of ``points`` [nodes, 2], thinned at random to ``edges_per_node`` but connected.

    Two points are joined where no other lies in the circle over their distance (Gabriel and Sokal, 1969): what
    backbones look like.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial import Delaunay, cKDTree

    triangles = Delaunay(points).simplices
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
    pairs = np.unique(np.sort(sides, 1), axis=0)
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    middle = (points[pairs[:, 0]] + points[pairs[:, 1]]) / 2
    nearest = cKDTree(points).query(middle)[0]
    keep = nearest >= length / 2 * (1 - 1e-9)
    pairs, length = pairs[keep], length[keep]
    count = len(points)
    tree = minimum_spanning_tree(coo_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(count, count))).tocoo()
    needed = {(min(a, b), max(a, b)) for a, b in zip(tree.row.tolist(), tree.col.tolist(), strict=True)}
    others = [pair for pair in map(tuple, pairs.tolist()) if pair not in needed]
    room = max(int(edges_per_node * count) - len(needed), 0)
    chosen = random.permutation(len(others))[:room]
    return sorted(needed | {others[index] for index in chosen.tolist()})


def backbone(nodes: int, edges_per_node: float, seed: int) -> tuple[Topology, TrafficMatrix]:
    """A backbone whose links were bought for shortest-path gravity traffic, and traffic that has changed since.

    City sizes are log-normal; under the planned traffic every link is about as full as any other.
    """
    from optimizer.exact.balanced_start import shortest_start
    from optimizer.exact.flow_problem import FlowProblem
    from optimizer.exact.pricing import ShortestPathPricing

    random = np.random.default_rng([seed, nodes])
    edges = gabriel_edges(random.random((nodes, 2)), random, edges_per_node)
    names = [f"n{number}" for number in range(nodes)]
    flat = [Link(names[a], names[b], UNIT_BPS) for pair in edges for a, b in (pair, pair[::-1])]
    size = random.lognormal(0.0, 1.0, nodes)
    topology = Topology.from_links(names, flat)
    problem = FlowProblem.of(topology, _gravity(size, random, 0.0))
    load = shortest_start(problem, ShortestPathPricing(problem)).load
    units = np.maximum(np.ceil(MEDIAN_UNITS * load / np.median(load[load > 0])), 1.0)
    links = [Link(link.source, link.target, UNIT_BPS * count) for link, count in zip(flat, units.tolist(), strict=True)]
    grown = size * random.lognormal(0.0, CITY_CHANGE, nodes)
    return Topology.from_links(names, links), _gravity(grown, random, PAIR_CHANGE)


def _gravity(size: FloatArray, random: np.random.Generator, change: float) -> TrafficMatrix:
    nodes = len(size)
    source, target = (ends.astype(np.int64) for ends in np.nonzero(~np.eye(nodes, dtype=bool)))
    rate = size[source] * size[target] * random.lognormal(0.0, change, len(source))
    return TrafficMatrix(
        class_names=("default",),
        source=int_array(source),
        target=int_array(target),
        traffic_class=int_array(np.zeros(len(source), dtype=np.int64)),
        rate_bps=float_array(rate / rate.sum() * nodes * UNIT_BPS),
        packet_bits_mean=float_array(np.full(len(source), DEFAULT_PACKET_BITS)),
    )


def measure(nodes: int, edges_per_node: float, seed: int, time_limit_s: float) -> ScaleEntry:
    """Search one backbone until proven optimal or out of wall time; topology and traffic are in memory before."""
    from optimizer.exact.balanced_start import SWEEPS, balance, shortest_start
    from optimizer.exact.column_generation import ColumnGeneration
    from optimizer.exact.flow_problem import FlowProblem
    from optimizer.exact.key_routing import KeyRouting
    from optimizer.exact.pricing import ShortestPathPricing

    topology, traffic = backbone(nodes, edges_per_node, seed)
    began, began_processor = time.monotonic(), time.process_time()
    deadline = began + time_limit_s
    problem = FlowProblem.of(topology, traffic)
    pricing = ShortestPathPricing(problem)
    start = shortest_start(problem, pricing)
    balance(problem, start, np.random.default_rng(seed), SWEEPS, began + 0.8 * time_limit_s)
    generation = ColumnGeneration(problem, pricing, KeyRouting.of_paths(start))
    generation.prove_from_loads()
    reached: dict[str, float | None] = {}
    for gap in PROOF_GAPS:
        generation.run(deadline, gap)
        done = generation.value <= generation.bound * (1 + gap)
        reached[f"{gap:g}"] = time.process_time() - began_processor if done else None
    return ScaleEntry(
        nodes,
        topology.link_count,
        problem.demand_count,
        reached,
        time.process_time() - began_processor,
        time.monotonic() - began,
        generation.value,
        generation.bound,
        generation.value / generation.bound - 1.0,
    )


def draw(entries: list[tuple[float, ScaleEntry]], path: Path) -> None:
    """Processor seconds to each proven gap over nodes, one panel per density, as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    densities = sorted({density for density, _ in entries})
    figure, panels = pyplot.subplots(1, len(densities), figsize=(5 * len(densities), 4), sharey=True, squeeze=False)
    for panel, density in zip(panels[0], densities, strict=True):
        mine = sorted((entry for other, entry in entries if other == density), key=lambda entry: entry.nodes)
        for gap, marker in zip(PROOF_GAPS, "os^", strict=True):
            name = f"{gap:g}"
            done = [entry for entry in mine if entry.seconds_to_gap[name] is not None]
            seconds = [entry.seconds_to_gap[name] for entry in done]
            panel.plot([entry.nodes for entry in done], seconds, marker=marker, label=f"proven within {100 * gap:g} %")
        panel.set(xscale="log", yscale="log", xlabel="nodes (traffic between all pairs)")
        panel.set_title(f"{density:g} edges per node")
        panel.set_xticks([entry.nodes for entry in mine], [str(entry.nodes) for entry in mine], minor=False)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("processor seconds")
    panels[0][0].legend()
    figure.tight_layout()
    save_figure(figure, path)
    pyplot.close(figure)


def as_json(entries: list[tuple[float, ScaleEntry]]) -> dict[str, Any]:
    """For machines."""
    return {"sizes": [{"edges_per_node": density, **asdict(entry)} for density, entry in entries]}


def read_entries(file: Path) -> list[tuple[float, ScaleEntry]]:
    """What ``write_entries`` wrote, nothing where there is no such file.  Raises InputError."""
    if not file.exists():
        return []
    try:
        sizes = json.loads(file.read_text())["sizes"]
        return [
            (float(size["edges_per_node"]), ScaleEntry(**{key: size[key] for key in size if key != "edges_per_node"}))
            for size in sizes
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(str(file), f"holds no results ({type(error).__name__}: {error})", "give another") from None


def write_entries(entries: list[tuple[float, ScaleEntry]], file: Path) -> None:
    """Keep the results in ``file``.  Raises InputError."""
    write_output(file, json.dumps(as_json(entries), indent=1) + "\n")
