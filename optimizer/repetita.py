"""REPETITA instances below a folder, and what the exact search makes of each."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimizer.exact.least_utilisation import UtilisationLimits, least_utilisation
from topology_sync.errors import InputError
from topology_sync.repetita_reader import read_repetita


@dataclass(frozen=True)
class Instance:
    """A graph and one of its traffic matrices; ``name`` is unique among those found together."""

    name: str
    graph: Path
    demands: Path


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """The folder itself, or what an archive (.tar, .tar.xz, ...) holds, in a temporary folder."""
    if source.is_dir():
        yield source
        return
    try:
        with tempfile.TemporaryDirectory(prefix="routewright-") as folder, tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
            yield Path(folder)
    except (OSError, tarfile.TarError) as error:
        if isinstance(error, OSError) and error.filename not in (None, str(source)):
            raise
        raise InputError(str(source), "is neither a folder nor a readable archive", "give one of both") from None


def find_instances(folder: Path, matrix: str) -> list[Instance]:
    """Every ``X.graph`` below ``folder`` that has ``X.MATRIX.demands`` beside it, or else ``X.demands``, by name.

    Raises InputError where there is none.
    """
    found: list[tuple[Path, Path]] = []
    for graph in sorted(folder.rglob("*.graph")):
        for demands in (graph.with_suffix(f".{matrix}.demands"), graph.with_suffix(".demands")):
            if demands.is_file():
                found.append((graph, demands))
                break
    if not found:
        raise InputError(
            str(folder), f"holds no X.graph with X.{matrix}.demands or X.demands", "give a folder of REPETITA instances"
        )
    stems = [graph.stem for graph, _ in found]
    return [
        Instance(
            graph.stem if stems.count(graph.stem) == 1 else str(graph.relative_to(folder).with_suffix("")),
            graph,
            demands,
        )
        for graph, demands in found
    ]


def score(instance: Instance, limits: UtilisationLimits) -> dict[str, Any]:
    """One entry of ``bench repetita``.

    ``seconds`` run from the scenario in memory to the finished routing, explicit paths of every demand included, but
    without the reading of files.  ``max_utilisation`` is recomputed from those paths.
    """
    scenario = read_repetita(instance.graph, instance.demands)
    plan = least_utilisation(scenario, limits)
    plan.routing.check(scenario.topology, scenario.traffic)
    return {
        "name": instance.name,
        "nodes": scenario.topology.node_count,
        "demands": scenario.traffic.demand_count,
        "max_utilisation": plan.routing.max_utilisation(scenario.traffic, scenario.topology),
        "lower_bound": plan.lower_bound,
        "split_demands": plan.split_demands,
        "seconds": plan.seconds,
    }


def scores(
    instances: list[Instance], limits: UtilisationLimits, done: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """All entries, one after the other; ``done`` hears of each."""
    entries = []
    for instance in instances:
        entries.append(score(instance, limits))
        done(entries[-1])
    return entries
