"""Graphs with labels, and a folder of them: one .npz per sample, so that the fixed point is solved only once."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gnn_model.datanet.samples import DatanetSample
from gnn_model.graph_tensors import GraphTensors, graph_tensors
from topology_sync.errors import ScenarioError

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
