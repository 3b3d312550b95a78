"""REPETITA instances below a folder, and what the exact search makes of each."""

from __future__ import annotations

import csv
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optimizer.exact.least_utilisation import UtilisationLimits, least_utilisation
from topology_sync.errors import InputError
from topology_sync.repetita_reader import read_repetita

COLUMNS: dict[str, Callable[[str], Any]] = {
    "name": str,
    "nodes": int,
    "demands": int,
    "max_utilisation": float,
    "lower_bound": float,
    "split_demands": int,
    "seconds": float,
}


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
    if not matrix or "/" in matrix or "\0" in matrix:
        raise InputError("--matrix", f"is {matrix!r}", "give the part of X.0000.demands before .demands, such as 0000")
    found: list[tuple[Path, Path]] = []
    for graph in sorted(folder.rglob("*.graph")):
        for demands in (graph.with_name(f"{graph.stem}.{matrix}.demands"), graph.with_suffix(".demands")):
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


@dataclass(frozen=True)
class Failure:
    """An instance that could not be read or routed, and why in one line."""

    name: str
    problem: str


def scored(instances: list[Instance], limits: UtilisationLimits) -> Iterator[dict[str, Any] | Failure]:
    """One entry or failure per instance, each as soon as it is there."""
    for instance in instances:
        try:
            yield score(instance, limits)
        except InputError as error:
            yield Failure(instance.name, str(error))


@dataclass(eq=False)
class ScoreFile:
    """A CSV file of entries, written line by line, so that what was interrupted can be resumed.

    ``known`` are the entries that it had before; without ``resume`` it begins anew.
    """

    path: Path
    resume: bool
    known: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            if self.resume and self.path.exists():
                with self.path.open(newline="") as file:
                    reader = csv.DictReader(file)
                    if reader.fieldnames not in (None, list(COLUMNS)):
                        raise ValueError("another file's columns")
                    self.known = [_entry(row) for row in reader]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a" if self.known else "w", newline="") as file:
                if not self.known:
                    csv.writer(file, lineterminator="\n").writerow(COLUMNS)
        except OSError as error:
            raise InputError(str(self.path), f"cannot be written ({error.strerror})", "choose another file") from None
        except (KeyError, TypeError, ValueError, csv.Error):
            raise InputError(str(self.path), "holds no scores to go on from", "leave out --resume") from None

    def add(self, entry: dict[str, Any]) -> None:
        """Write one entry, so that it is kept whatever happens next."""
        row = [f"{value:.7g}" if isinstance(value, float) else value for value in entry.values()]
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)


def _entry(row: dict[str, str]) -> dict[str, Any]:
    return {name: kind(row[name]) for name, kind in COLUMNS.items()}
