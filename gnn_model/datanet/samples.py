"""Samples of datanet directories as scenarios with labels.

Which rate is fed.  ``traffic.txt`` holds the rate a flow was *offered* with, ``simulationResults.txt`` the rate the
simulator *measured* while it ran, and with it the mean size of the packets that were in fact sent.  The published
models take what was measured (as an operator has it from byte and packet counters), so it is the default;
``rate="offered"`` is what a planner knows beforehand.  They differ by the chance of one run (about 1 %), but for ON-OFF
sources measured rates are higher throughout (2022: by 16 % on average, more for slow ones): their generator sends about
one more packet per period than its parameters say.  Masked results hold -1: then the offered rate is fed.

Time units of the files are taken as seconds.  Buffers of 2020 and 2021 are packets per queue; those of 2022 are bits
per queue and become ``round(bits / mean packet on the link)`` packets.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from gnn_model.datanet.archive import read_archive
from gnn_model.datanet.graph_reader import DatanetGraph, read_graph
from gnn_model.datanet.results_reader import FlowResult, QueueLabels, read_link_usage, read_results
from gnn_model.datanet.routing_reader import Paths, read_routing
from gnn_model.datanet.traffic_reader import DatanetFlow, read_traffic
from topology_sync.errors import ScenarioError
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import FloatArray, float_array, int_array

RateSource = Literal["measured", "offered"]
KILO = 1000.0
FILES_KEPT = 512  # parsed graphs and routings; a data set uses each many times


@dataclass(frozen=True)
class FlowLabels:
    """What the simulator saw per flow, [flows]; NaN where it is masked or no packet arrived.

    ``delay_s`` mean of delivered packets, ``delay_variance_s2`` (called jitter in the files), ``quantile_s`` [flows, 5]
    at 0.1, 0.2, 0.5, 0.8, 0.9, ``loss_ratio`` dropped over generated, ``measured_bps`` and ``measured_packets_per_s``.
    """

    delay_s: FloatArray
    delay_variance_s2: FloatArray
    quantile_s: FloatArray
    loss_ratio: FloatArray
    measured_bps: FloatArray
    measured_packets_per_s: FloatArray


@dataclass(frozen=True)
class DatanetSample:
    """One simulated network.  ``topology_key`` is equal exactly for samples with the same nodes and directed links."""

    scenario: Scenario
    labels: FlowLabels
    queues: QueueLabels | None
    topology_key: str


def find_directories(root: Path) -> list[Path]:
    """Datanet directories at or below ``root``: those with ``graphs/``, ``routings/`` and a tarball.  Sorted.

    Raises ScenarioError where there is none.
    """
    if not root.is_dir():
        raise ScenarioError(str(root), "is no directory", "give a directory with graphs/, routings/ and *.tar.gz")
    candidates = [root, *(path.parent for path in root.rglob("graphs") if path.is_dir())]
    found = sorted({path for path in candidates if _is_datanet(path)})
    if not found:
        raise ScenarioError(str(root), "holds no datanet directory", "give one with graphs/, routings/ and *.tar.gz")
    return found


def _is_datanet(path: Path) -> bool:
    return (path / "graphs").is_dir() and (path / "routings").is_dir() and any(path.glob("*.tar.gz"))


def iterate_samples(
    root: Path, rate: RateSource = "measured", keep: Callable[[Path, int], bool] | None = None
) -> Iterator[DatanetSample]:
    """All usable samples at or below ``root``, in a fixed order; one tarball is in memory at a time.

    Samples whose simulation did not converge (no ``;OK;`` in stability.txt) and samples without any label are left out.
    ``keep(tarball, line)`` may leave out more before they are parsed.  Raises ScenarioError naming file and line.
    """
    for directory in find_directories(root):
        graphs = functools.lru_cache(maxsize=FILES_KEPT)(read_graph)
        routings = functools.lru_cache(maxsize=FILES_KEPT)(read_routing)
        for tarball in sorted(directory.glob("*.tar.gz"), key=_number_order):
            files = read_archive(tarball)
            for line in range(len(files["input_files.txt"])):
                if "stability.txt" in files and ";OK;" not in files["stability.txt"][line]:
                    continue
                if keep is not None and not keep(tarball, line):
                    continue
                sample = _sample(directory, tarball, files, line, rate, graphs, routings)
                if sample is not None:
                    yield sample


def _number_order(path: Path) -> tuple[int, str]:
    digits = "".join(letter if letter.isdigit() else " " for letter in path.name.removesuffix(".tar.gz")).split()
    return (int(digits[-1]) if digits else 0, path.name)


def _sample(
    directory: Path,
    tarball: Path,
    files: dict[str, list[str]],
    line: int,
    rate: RateSource,
    graphs: Callable[[Path], DatanetGraph],
    routings: Callable[[Path, DatanetGraph], Paths],
) -> DatanetSample | None:
    def place(name: str) -> str:
        return f"{tarball}:{name}: line {line + 1}"

    inputs = [part.strip() for part in files["input_files.txt"][line].split(";")]
    if len(inputs) < 3:
        raise ScenarioError(place("input_files.txt"), "names no graph and routing", "write id;graph;routing")
    graph = graphs(_inside(directory / "graphs", inputs[1], place("input_files.txt")))
    paths = routings(_inside(directory / "routings", inputs[2], place("input_files.txt")), graph)
    capacity = np.array(graph.capacity_bps)
    if len(inputs) > 3 and inputs[3]:
        bandwidths = _inside(directory / "links_bw", inputs[3], place("input_files.txt"))
        capacity = _capacities(bandwidths, graph, capacity)
    offered = read_traffic(place("traffic.txt"), files["traffic.txt"][line], graph.node_count)
    flows = [flow for flow in offered if divmod(flow.pair, graph.node_count) in paths]
    results_file = "simulationResults.txt"
    if any(flow.number for flow in flows):
        results_file = "flowSimulationResults.txt"
        if results_file not in files:
            raise ScenarioError(place("traffic.txt"), f"has several flows per pair and no {results_file}", "add it")
    wanted = [(flow.pair, flow.number) for flow in flows]
    labels = _labels(read_results(place(results_file), files[results_file][line], wanted))
    if not np.isfinite(labels.delay_s).any():
        return None
    name = f"{directory.parent.name}/{directory.name}/{tarball.name.removesuffix('.tar.gz')}/{inputs[0]}"
    scenario = _scenario(name, graph, capacity, flows, paths, labels if rate == "measured" else None)
    queues = None
    if "linkUsage.txt" in files:
        count = max(scheduler.queue_count for scheduler in scenario.topology.schedulers)
        queues = read_link_usage(place("linkUsage.txt"), files["linkUsage.txt"][line], graph, capacity, count)
    return DatanetSample(scenario, labels, queues, topology_key(scenario.topology))


def _inside(folder: Path, name: str, place: str) -> Path:
    if PurePosixPath(name).name != name or name in ("", ".", ".."):
        raise ScenarioError(place, f"'{name[:80]}' is no file name", "name a file of " + folder.name)
    return folder / name


def _capacities(path: Path, graph: DatanetGraph, capacity: FloatArray) -> FloatArray:
    """Capacities with the lines ``source;target;bandwidth`` of a links_bw file put over them."""
    result = capacity.copy()
    try:
        for text in path.read_text("ascii").splitlines():
            if text.strip():
                source, target, bandwidth = text.split(";")[:3]
                hit = (np.array(graph.source) == int(source)) & (np.array(graph.target) == int(target))
                result[hit] = float(bandwidth)
    except (OSError, ValueError) as error:
        raise ScenarioError(str(path), f"cannot be read ({error})", "write source;target;bandwidth") from None
    return result


def _labels(results: list[FlowResult]) -> FlowLabels:
    table = np.array(results, dtype=np.float64).reshape(len(results), -1)
    if not len(results):
        table = np.zeros((0, 11))
    known = table[:, 0] >= 0
    delivered = known & (table[:, 3] > 0)
    generated = np.where(table[:, 1] > 0, table[:, 1], np.nan)

    def where(mask: np.ndarray[tuple[int], np.dtype[np.bool_]], column: FloatArray) -> FloatArray:
        return float_array(np.where(mask, column, np.nan))

    return FlowLabels(
        delay_s=where(delivered, table[:, 3]),
        delay_variance_s2=where(delivered & (table[:, 10] >= 0), table[:, 10]),
        quantile_s=float_array(np.where(delivered[:, None], table[:, 5:10], np.nan)),
        loss_ratio=where(known, np.clip(table[:, 2] / generated, 0.0, 1.0)),
        measured_bps=where(known, table[:, 0] * KILO),
        measured_packets_per_s=where(known, table[:, 1]),
    )


def _scenario(
    name: str,
    graph: DatanetGraph,
    capacity: FloatArray,
    flows: list[DatanetFlow],
    paths: Paths,
    measured: FlowLabels | None,
) -> Scenario:
    rate = np.array([flow.rate_bps for flow in flows], dtype=np.float64)
    bits = np.array([flow.packet_bits_mean for flow in flows], dtype=np.float64)
    if measured is not None:
        known = (measured.measured_bps > 0) & (measured.measured_packets_per_s > 0)
        rate = np.where(known, measured.measured_bps, rate)
        bits = np.where(known, measured.measured_bps / np.where(known, measured.measured_packets_per_s, 1.0), bits)
    classes = sorted({(_class_name(flow), flow.tos) for flow in flows})
    index = {name: position for position, (name, _) in enumerate(classes)}
    ends = [divmod(flow.pair, graph.node_count) for flow in flows]
    traffic = TrafficMatrix(
        class_names=tuple(name for name, _ in classes),
        source=int_array([source for source, _ in ends]),
        target=int_array([target for _, target in ends]),
        traffic_class=int_array([index[_class_name(flow)] for flow in flows]),
        rate_bps=float_array(rate),
        packet_bits_mean=float_array(bits),
        packet_size=tuple(flow.packet_size for flow in flows),
        arrivals=tuple(flow.arrivals for flow in flows),
    )
    routing = Routing(tuple((PathShare(paths[pair]),) for pair in ends))
    room = np.array(graph.buffer)
    if graph.buffer_unit == "bits":
        room = np.round(room / _packet_bits(traffic, routing, len(graph.source)))
    topology = Topology(
        node_names=tuple(str(node) for node in range(graph.node_count)),
        link_source=int_array(graph.source),
        link_target=int_array(graph.target),
        capacity_bps=float_array(capacity),
        delay_s=float_array(np.zeros(len(capacity))),
        queue_packets=int_array(room),
        schedulers=tuple(graph.scheduler(node, tuple(classes)) for node in range(graph.node_count)),
    )
    return Scenario(name, topology, traffic, routing)


def _class_name(flow: DatanetFlow) -> str:
    return f"tos{flow.tos}" if flow.number == 0 else f"tos{flow.tos}.{flow.number}"


def _packet_bits(traffic: TrafficMatrix, routing: Routing, links: int) -> FloatArray:
    """Mean packet size of the traffic offered to each link, [links] in bits."""
    flat = routing.flat
    packets = traffic.packets_per_s[flat.path_demand][flat.hop_path]
    bits = traffic.rate_bps[flat.path_demand][flat.hop_path]
    total = np.bincount(flat.hop_link, weights=packets, minlength=links)
    carried = np.bincount(flat.hop_link, weights=bits, minlength=links)
    usual = float(np.mean(traffic.packet_bits_mean)) if traffic.demand_count else 1.0
    return np.where(total > 0, carried / np.where(total > 0, total, 1.0), usual)


def topology_key(topology: Topology) -> str:
    """Short name of the set of directed links, for folds by topology: node count and a checksum."""
    ends = sorted(zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True))
    digest = hashlib.sha256(repr((topology.node_count, ends)).encode()).hexdigest()
    return f"{topology.node_count}-{digest[:8]}"
