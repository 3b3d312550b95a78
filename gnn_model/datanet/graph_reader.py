"""Networks of datanet: GML files with schedulers, buffers and output ports."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import networkx

from topology_sync.errors import ScenarioError
from topology_sync.topology import Discipline, Scheduler

_DISCIPLINES: dict[str, Discipline] = {"FIFO": "fifo", "SP": "strict", "WFQ": "wfq", "DRR": "drr"}
DEFAULT_BUFFER_PACKETS = 32.0


@dataclass(frozen=True)
class DatanetGraph:
    """One GML file.  Nodes are 0..n-1; links in file order.

    ``buffer`` is the room of ONE queue of the link's port, in packets (2020, 2021) or bits (2022); ``port`` the number
    of the output port at the source; ``tos_queue[node][tos]`` the queue of a type of service.
    """

    place: str
    node_count: int
    discipline: tuple[Discipline, ...]
    weights: tuple[tuple[float, ...], ...]
    tos_queue: tuple[tuple[int, ...], ...]
    buffer: tuple[float, ...]
    buffer_unit: Literal["packets", "bits"]
    source: tuple[int, ...]
    target: tuple[int, ...]
    port: tuple[int, ...]
    capacity_bps: tuple[float, ...]

    def scheduler(self, node: int, classes: tuple[tuple[str, int], ...]) -> Scheduler:
        """Scheduler of a node; ``classes`` are (class name, type of service)."""
        if self.discipline[node] == "fifo":
            return Scheduler()
        queue = self.tos_queue[node]
        return Scheduler(
            self.discipline[node],
            self.weights[node],
            tuple((name, queue[tos] if tos < len(queue) else len(queue) - 1) for name, tos in classes),
            "datanet" if self.discipline[node] in ("wfq", "drr") else "standard",
        )


def read_graph(path: Path) -> DatanetGraph:
    """Read one GML file.  Raises ScenarioError naming file and place."""
    place = str(path)
    try:
        graph = networkx.read_gml(path, destringizer=int)
    except (networkx.NetworkXError, OSError, UnicodeDecodeError, ValueError) as error:
        raise ScenarioError(place, f"is no readable GML graph ({error})", "give a datanet graph") from None
    nodes = sorted(graph.nodes)
    if not nodes or nodes != list(range(len(nodes))):
        raise ScenarioError(place, "nodes are not numbered 0, 1, 2, ...", "give a datanet graph")
    described = [_node(f"{place}: node {node}", graph.nodes[node]) for node in nodes]
    units = {unit for *_, unit in described}
    if len(units) != 1:
        raise ScenarioError(place, "has buffers in packets and in bits", "use one unit")
    ends: list[tuple[int, int, int, float]] = []
    for source, target, data in graph.edges(data=True):
        edge = f"{place}: edge {source}->{target}"
        if "bandwidth" not in data or "port" not in data:
            raise ScenarioError(edge, "has no bandwidth or no port", "give both")
        capacity = _number(edge, data["bandwidth"])
        if capacity <= 0:
            raise ScenarioError(edge, f"has bandwidth {capacity:g}", "give a rate above 0")
        ends.append((int(source), int(target), int(_number(edge, data["port"])), capacity))
    if not graph.is_directed():
        raise ScenarioError(place, "is an undirected graph", "give a directed one")
    return DatanetGraph(
        place=place,
        node_count=len(nodes),
        discipline=tuple(discipline for discipline, *_ in described),
        weights=tuple(weights for _, weights, *_ in described),
        tos_queue=tuple(queue for _, _, queue, *_ in described),
        buffer=tuple(described[source][3] for source, *_ in ends),
        buffer_unit=units.pop(),
        source=tuple(source for source, *_ in ends),
        target=tuple(target for _, target, *_ in ends),
        port=tuple(port for *_, port, _ in ends),
        capacity_bps=tuple(capacity for *_, capacity in ends),
    )


def _node(
    place: str, data: dict[str, Any]
) -> tuple[Discipline, tuple[float, ...], tuple[int, ...], float, Literal["packets", "bits"]]:
    policy = str(data.get("schedulingPolicy", "FIFO"))
    if policy not in _DISCIPLINES:
        raise ScenarioError(place, f"has scheduling policy '{policy}'", f"use {', '.join(_DISCIPLINES)}")
    discipline = _DISCIPLINES[policy]
    weights = _numbers(place, data.get("schedulingWeights", "-"))
    queues = 1 if discipline == "fifo" else max(int(_number(place, data.get("levelsQoS", 1))), len(weights))
    if discipline in ("wfq", "drr") and (len(weights) != queues or min(weights, default=0.0) <= 0):
        raise ScenarioError(place, f"has {len(weights)} weights for {queues} queues", "give one above 0 per queue")
    mapping = data.get("tosToQoSqueue")
    tos_queue = tuple(range(queues))
    if mapping is not None:
        found = {
            int(_number(place, tos)): queue
            for queue, members in enumerate(str(mapping).split(";"))
            for tos in members.split(",")
        }
        if sorted(found) != list(range(len(found))):
            raise ScenarioError(place, f"tosToQoSqueue '{mapping}' leaves a type of service out", "name 0, 1, 2, ...")
        tos_queue = tuple(found[tos] for tos in range(len(found)))
    in_bits = "bufferSizes" in data
    room = _numbers(place, data["bufferSizes"] if in_bits else data.get("queueSizes", DEFAULT_BUFFER_PACKETS))
    if not room or min(room) < 0 or min(room) != max(room):
        raise ScenarioError(place, "has queues of different room", "give all queues of a port the same")
    weights = weights if discipline in ("wfq", "drr") else ()
    return discipline, weights, tos_queue, room[0], "bits" if in_bits else "packets"


def _numbers(place: str, text: Any) -> tuple[float, ...]:
    return () if str(text).strip() == "-" else tuple(_number(place, part) for part in str(text).split(","))


def _number(place: str, text: Any) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise ScenarioError(place, f"'{text}' is no number", "give a datanet graph") from None
    if not math.isfinite(value):
        raise ScenarioError(place, f"'{text}' is no finite number", "give a datanet graph")
    return value
