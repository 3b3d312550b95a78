"""Samples in Parquet: one row per sample, the scenario as JSON of ``routewright-scenario/1``, labels as lists."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnn_model.datanet.samples import topology_key
from gnn_model.dataset.draw import Drawn
from topology_sync.errors import InputError, ScenarioError, UnavailableError
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import scenario_from_json, scenario_to_json
from topology_sync.values import FloatArray, IntArray

if TYPE_CHECKING:
    from gnn_model.packet_simulator.simulator import Simulation

TEXTS = ("name", "topology_key", "topology", "arrivals", "sizes", "scheduler", "routing")
WHOLE = ("index", "seed", "nodes", "demands", "queues", "packet_hops")
NUMBERS = ("load", "simulated_s")
FLOW_COUNTS = ("generated", "delivered")
FLOW_LABELS = (
    "delay_s",
    "delay_variance_s2",
    "delay_p50_s",
    "delay_p90_s",
    "delay_p99_s",
    "jitter_s",
    "loss_ratio",
    "rse",
)
QUEUE_LABELS = ("queue_waiting_packets", "queue_loss_ratio")
LINK_LABELS = ("link_utilisation_ratio",)
PARTIAL = ".partial"  # how files end that are being written
COLUMNS = (*TEXTS, *WHOLE, *NUMBERS, *FLOW_COUNTS, *FLOW_LABELS, *QUEUE_LABELS, *LINK_LABELS)


@dataclass(frozen=True)
class SimulatedLabels:
    """What the packet simulator saw.  Per demand [demands], NaN where nothing was delivered; per queue [links, queues].

    ``generated`` and ``delivered`` count packets; ``rse`` is the relative standard error of ``delay_s``.
    """

    generated: IntArray
    delivered: IntArray
    delay_s: FloatArray
    delay_variance_s2: FloatArray
    delay_p50_s: FloatArray
    delay_p90_s: FloatArray
    delay_p99_s: FloatArray
    jitter_s: FloatArray
    loss_ratio: FloatArray
    rse: FloatArray
    queue_waiting_packets: FloatArray
    queue_loss_ratio: FloatArray
    link_utilisation_ratio: FloatArray


@dataclass(frozen=True)
class StoredSample:
    """One sample as it is on disk; ``about`` holds the columns that are no labels."""

    scenario: Scenario
    labels: SimulatedLabels
    topology_key: str
    about: dict[str, Any]


def row_of(index: int, seed: int, drawn: Drawn, simulation: Simulation) -> dict[str, Any]:
    """The row of a simulated scenario."""
    scenario, prediction = drawn.scenario, simulation.prediction
    labels: dict[str, Any] = {
        "generated": simulation.generated,
        "delivered": simulation.delivered,
        "delay_s": prediction.delay_s,
        "delay_variance_s2": simulation.delay_variance_s2,
        "delay_p50_s": simulation.delay_p50_s,
        "delay_p90_s": simulation.delay_p90_s,
        "delay_p99_s": prediction.delay_p99_s,
        "jitter_s": prediction.jitter_s,
        "loss_ratio": prediction.loss_ratio,
        "rse": simulation.rse,
        "queue_waiting_packets": simulation.queue_waiting_packets.reshape(-1),
        "queue_loss_ratio": simulation.queue_loss_ratio.reshape(-1),
        "link_utilisation_ratio": prediction.link_utilisation_ratio,
    }
    return {
        "name": scenario.name,
        "topology_key": topology_key(scenario.topology),
        "topology": drawn.topology_source,
        "arrivals": drawn.arrivals,
        "sizes": drawn.sizes,
        "scheduler": drawn.scheduler,
        "routing": drawn.routing,
        "index": index,
        "seed": seed,
        "nodes": scenario.topology.node_count,
        "demands": scenario.traffic.demand_count,
        "queues": simulation.queue_waiting_packets.shape[1],
        "packet_hops": simulation.packet_hops,
        "load": drawn.load,
        "simulated_s": simulation.simulated_s,
        "scenario": json.dumps(scenario_to_json(scenario), separators=(",", ":")),
        **labels,
    }


def write_shard(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Write rows in one step and return the file's SHA-256; the same rows give the same file."""
    arrow, parquet = _pyarrow()
    kinds = {name: arrow.string() for name in (*TEXTS, "scenario")}
    kinds |= {name: arrow.int64() for name in WHOLE} | {name: arrow.float64() for name in NUMBERS}
    kinds |= {name: arrow.list_(arrow.int64()) for name in FLOW_COUNTS}
    kinds |= {name: arrow.list_(arrow.float32()) for name in (*QUEUE_LABELS, *LINK_LABELS)}
    kinds |= {name: arrow.list_(arrow.float64()) for name in FLOW_LABELS}
    columns = {name: arrow.array([row[name] for row in rows], type=kind) for name, kind in kinds.items()}
    # A name of its own: a worker given up for lost may still be writing the same shard.
    partial = path.with_suffix(f".{uuid.uuid4().hex}{PARTIAL}")
    parquet.write_table(arrow.table(columns), partial, compression="zstd")
    os.replace(partial, path)
    return checksum(path)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_shard(path: Path) -> Iterator[StoredSample]:
    """Samples of one file.  Raises ScenarioError where it is no shard."""
    for row in read_columns(path, (*COLUMNS, "scenario")):
        try:
            yield _sample(row)
        except (InputError, ValueError, TypeError) as error:
            raise ScenarioError(str(path), f"sample {row['index']} cannot be used ({error})", "make it again") from None


def read_columns(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of all rows of a shard.  Raises ScenarioError where it is none."""
    arrow, parquet = _pyarrow()
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path, columns=list(columns)).to_pylist()
    except (OSError, arrow.ArrowException) as error:
        raise ScenarioError(str(path), f"cannot be read ({error})", "make it again") from None
    missing = set(columns) - set(rows[0]) if rows else set()
    if missing:
        raise ScenarioError(str(path), f"lacks the columns {', '.join(sorted(missing))}", "make it again")
    return rows


def _sample(row: dict[str, Any]) -> StoredSample:
    scenario = scenario_from_json(json.loads(row["scenario"]))
    demands, links, queues = scenario.traffic.demand_count, scenario.topology.link_count, int(row["queues"])
    values: dict[str, Any] = {name: np.array(row[name], dtype=np.int64).reshape(demands) for name in FLOW_COUNTS}
    values |= {name: np.array(row[name], dtype=np.float64).reshape(demands) for name in FLOW_LABELS}
    values |= {name: np.array(row[name], dtype=np.float64).reshape(links, queues) for name in QUEUE_LABELS}
    values |= {name: np.array(row[name], dtype=np.float64).reshape(links) for name in LINK_LABELS}
    about = {name: row[name] for name in (*TEXTS, *WHOLE, *NUMBERS)}
    return StoredSample(scenario, SimulatedLabels(**values), row["topology_key"], about)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise UnavailableError("own data sets need pyarrow; install routewright[model]") from None
    return pyarrow, pyarrow.parquet
