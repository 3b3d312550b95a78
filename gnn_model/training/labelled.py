"""Graphs with labels, and a folder of them: one .npz per sample, so that the fixed point is solved only once."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gnn_model.datanet.samples import DatanetSample
from gnn_model.graph_tensors import HOP_FEATURES, GraphTensors, graph_tensors
from topology_sync.errors import ScenarioError

if TYPE_CHECKING:
    from gnn_model.dataset.shards import SimulatedLabels, StoredSample

FEWEST_PACKETS = 100  # delivered, for a mean to be a label
FEWEST_FOR_P99 = 1000
Labels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelledGraph:
    """A graph, and what was simulated or measured, in units of ``graph.unit_s``; NaN where it is not known.

    Per demand: ``delay``, ``deviation``, ``p90``, ``p99``, ``jitter``, ``loss``; per queue of the graph:
    ``queue_wait``. ``collection`` names the data set, ``topology_key`` the set of links, ``nodes`` its size.
    """

    name: str
    collection: str
    topology_key: str
    nodes: int
    graph: GraphTensors
    delay: Labels
    deviation: Labels
    p90: Labels
    p99: Labels
    jitter: Labels
    loss: Labels
    queue_wait: Labels


TARGETS = ("delay", "deviation", "p90", "p99", "jitter", "loss", "queue_wait")


def label_datanet(sample: DatanetSample, collection: str) -> LabelledGraph:
    """Tensors and labels of a datanet sample (no p99 and no jitter there)."""
    graph = graph_tensors(sample.scenario)
    labels, unit = sample.labels, graph.unit_s
    wait = np.full(len(graph.queue_number), np.nan)
    if sample.queues is not None:
        wait = sample.queues.wait_s.reshape(-1)[graph.queue_number] / unit
    unknown = np.full(len(labels.delay_s), np.nan)
    return LabelledGraph(
        name=sample.scenario.name,
        collection=collection,
        topology_key=sample.topology_key,
        nodes=sample.scenario.topology.node_count,
        graph=graph,
        delay=_single(labels.delay_s / unit),
        deviation=_single(np.sqrt(labels.delay_variance_s2) / unit),
        p90=_single(labels.quantile_s[:, 4] / unit),
        p99=_single(unknown),
        jitter=_single(unknown),
        loss=_single(labels.loss_ratio),
        queue_wait=_single(wait),
    )


def label_simulated(sample: StoredSample, collection: str) -> LabelledGraph:
    """Tensors and labels of a sample of our own; demands with too few delivered packets have none."""
    graph = graph_tensors(sample.scenario)
    unit = graph.unit_s
    known = known_labels(sample.labels)
    return LabelledGraph(
        name=f"{collection}/{sample.about['name']}",
        collection=collection,
        topology_key=sample.topology_key,
        nodes=sample.scenario.topology.node_count,
        graph=graph,
        delay=_single(known.delay_s / unit),
        deviation=_single(np.sqrt(known.delay_variance_s2) / unit),
        p90=_single(known.delay_p90_s / unit),
        p99=_single(known.delay_p99_s / unit),
        jitter=_single(known.jitter_s / unit),
        loss=_single(known.loss_ratio),
        queue_wait=_single(_queue_waits(sample, graph) / unit),
    )


def known_labels(labels: SimulatedLabels) -> SimulatedLabels:
    """The labels that enough packets stand behind, NaN elsewhere: FEWEST_PACKETS, for the 99th percentile more."""
    delivered = labels.delivered >= FEWEST_PACKETS
    generated = labels.generated >= FEWEST_PACKETS

    def where(mask: npt.NDArray[np.bool_], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.where(mask, values, np.nan)

    return replace(
        labels,
        delay_s=where(delivered, labels.delay_s),
        delay_variance_s2=where(delivered, labels.delay_variance_s2),
        delay_p50_s=where(delivered, labels.delay_p50_s),
        delay_p90_s=where(delivered, labels.delay_p90_s),
        delay_p99_s=where(labels.delivered >= FEWEST_FOR_P99, labels.delay_p99_s),
        jitter_s=where(delivered, labels.jitter_s),
        loss_ratio=where(generated, labels.loss_ratio),
    )


def _queue_waits(sample: StoredSample, graph: GraphTensors) -> npt.NDArray[np.float64]:
    """Mean wait per queue of the graph in seconds by Little's law; arrivals are those of the analytic fixed point."""
    waiting = sample.labels.queue_waiting_packets.reshape(-1)[graph.queue_number]
    loss = sample.labels.queue_loss_ratio.reshape(-1)[graph.queue_number]
    traffic, flat = sample.scenario.traffic, graph.path_demand
    hop_path = np.repeat(np.arange(graph.path_count), np.diff(graph.hop_pointer))
    share = graph.path_share[hop_path]
    thinned = np.exp(graph.hop_features[:, HOP_FEATURES.index("thinned")])
    packets = traffic.packets_per_s[flat][hop_path] * share * thinned
    arriving = np.bincount(graph.hop_queue, weights=packets, minlength=len(waiting)) * (1 - loss)
    return np.where(arriving > 0, waiting / np.where(arriving > 0, arriving, 1.0), np.nan)


def _single(values: npt.NDArray[np.float64]) -> Labels:
    return values.astype(np.float32)


def store(graphs: Iterable[LabelledGraph], folder: Path) -> Iterator[LabelledGraph]:
    """Write graphs into ``folder`` one by one (names are checksums of the samples' names), handing them on."""
    folder.mkdir(parents=True, exist_ok=True)
    for labelled in graphs:
        path = folder / f"{hashlib.sha256(labelled.name.encode()).hexdigest()[:16]}.npz"
        partial = path.with_suffix(".partial")
        description = {name: getattr(labelled, name) for name in ("name", "collection", "topology_key", "nodes")}
        arrays = {
            f"graph.{field.name}": np.asarray(getattr(labelled.graph, field.name)) for field in fields(GraphTensors)
        }
        arrays |= {name: getattr(labelled, name) for name in TARGETS}
        arrays["description"] = np.frombuffer(json.dumps(description).encode(), dtype=np.uint8)
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(partial, path)
        yield labelled


def load(folder: Path, keep: Callable[[str, str, int], bool] | None = None) -> list[LabelledGraph]:
    """Graphs of a folder in the order of their names; ``keep(collection, topology key, nodes)`` may leave some out.

    Raises ScenarioError for a folder without graphs or with a damaged one.
    """
    found: list[LabelledGraph] = []
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as data:
                about = json.loads(bytes(data["description"]).decode())
                if keep is not None and not keep(about["collection"], about["topology_key"], about["nodes"]):
                    continue
                values = {field.name: data[f"graph.{field.name}"] for field in fields(GraphTensors)}
                values |= {"unit_s": float(values["unit_s"]), "demand_count": int(values["demand_count"])}
                graph = GraphTensors(**values)
                found.append(LabelledGraph(graph=graph, **about, **{name: data[name] for name in TARGETS}))
        except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
            raise ScenarioError(str(path), f"is no stored graph ({error})", "delete it and make it again") from None
    if not found and not any(folder.glob("*.npz")):
        raise ScenarioError(str(folder), "holds no stored graphs", "make them with `routewright train --data`")
    return sorted(found, key=lambda labelled: labelled.name)
