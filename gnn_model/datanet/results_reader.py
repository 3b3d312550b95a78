"""Labels of datanet: ``simulationResults.txt`` (per pair or flow) and ``linkUsage.txt`` (per port and queue)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gnn_model.datanet.graph_reader import DatanetGraph
from topology_sync.errors import ScenarioError
from topology_sync.values import FloatArray

RESULT_FIELDS = 11


class FlowResult(NamedTuple):
    """One entry as written: rates per time unit, delays in time units, ``variance`` called jitter in the files."""

    kilobits: float
    generated: float
    dropped: float
    delay: float
    log_delay: float
    p10: float
    p20: float
    p50: float
    p80: float
    p90: float
    variance: float


def read_results(place: str, line: str, wanted: list[tuple[int, int]]) -> list[FlowResult]:
    """Results of the wanted (pair, flow number).  Raises ScenarioError naming ``place`` and the entry."""
    entries = line.partition("|")[2].split(";")
    results: list[FlowResult] = []
    for pair, number in wanted:
        try:
            fields = entries[pair].split(":")[number].split(",")
            results.append(FlowResult(*(float(field) for field in fields)))
        except (IndexError, ValueError, TypeError):
            raise ScenarioError(
                f"{place}: entry {pair}", f"has no {RESULT_FIELDS} numbers for flow {number}", "check the results"
            ) from None
    return results


@dataclass(frozen=True)
class QueueLabels:
    """Per link and queue as the simulator saw it, [links, queues]; NaN where nothing is known.

    ``wait_s``: mean time from arrival to the start of service, ``(occupancy - packet size) / capacity``: the occupancy
    counts the arriving packet.  ``utilisation_ratio`` of the link's capacity, ``loss_ratio``.
    """

    wait_s: FloatArray
    utilisation_ratio: FloatArray
    loss_ratio: FloatArray


def read_link_usage(place: str, line: str, graph: DatanetGraph, capacity_bps: FloatArray, queues: int) -> QueueLabels:
    """Queue labels of one sample, in both layouts (2021: occupancy in packets, 2022: in bits).  Parallel links: NaN."""
    entries = line.split(";")
    count = graph.node_count
    wait, use, loss = (np.full((len(graph.source), queues), np.nan) for _ in range(3))
    ends = list(zip(graph.source, graph.target, strict=True))
    alone = {pair for pair in ends if ends.count(pair) == 1} if len(set(ends)) < len(ends) else set(ends)
    try:
        for link, (source, target) in enumerate(ends):
            text = entries[source * count + target]
            if text.startswith("-1") or (source, target) not in alone:
                continue
            for queue, (utilisation, lost, occupancy_bits, packet_bits) in enumerate(_queues(text)[:queues]):
                use[link, queue], loss[link, queue] = utilisation, lost
                if packet_bits > 0 and utilisation > 0:
                    wait[link, queue] = max(occupancy_bits - packet_bits, 0.0) / capacity_bps[link]
    except (IndexError, ValueError):
        raise ScenarioError(place, "is no line of link usage", "check it") from None
    return QueueLabels(wait, use, loss)


def _queues(text: str) -> list[tuple[float, float, float, float]]:
    """(utilisation, loss, occupancy in bits, packet bits) of each queue of one port."""
    if ":" in text:
        parts = [[float(field) for field in part.split(",")] for part in text.split(":")[1:]]
        return [(part[0], part[1], part[2], part[4]) for part in parts]
    fields = [float(field) for field in text.split(",")]
    return [(fields[3], fields[4], fields[5] * fields[7], fields[7])]
