"""Recorded traffic matrices on disk: a directory with a node-link JSON graph, tunnels and one file per series.

``NAME.json`` (the only JSON file) has ``nodes`` with ``id`` and ``links`` with ``source``, ``target``, ``capacity``
in bit/s; ``tunnels.txt`` (optional) a line ``s t: s-a-t,s-b-t`` per pair; ``SERIES.hist`` (or ``.hist.xz``) one matrix
per line, nodes x nodes values row by row in the order of ``nodes``; ``SERIES.opt`` (optional) the best possible maximum
utilisation of each line.  Or the form of ``cfr_rl_series``.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from optimizer.moving_traffic import cfr_rl_series
from optimizer.moving_traffic.tunnels import TunnelSet
from topology_sync.errors import ScenarioError
from topology_sync.strict_json import printable_path
from topology_sync.topology import Link, Topology
from topology_sync.values import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class RecordedSeries:
    """``matrices`` [intervals, pairs of ``tunnels``] in bit/s; ``optimum`` [intervals] or None where none is given."""

    tunnels: TunnelSet
    matrices: FloatArray
    optimum: FloatArray | None


def read_series(directory: Path, name: str, *, own_tunnels: bool = False) -> RecordedSeries:
    """Read a series; ``own_tunnels`` leaves ``tunnels.txt`` aside.  Raises ScenarioError with the place of a fault."""
    if cfr_rl_series.is_kept_here(directory, name):
        topology = cfr_rl_series.read_topology(directory / name)
        raw = cfr_rl_series.BPS_PER_UNIT * _read_matrices(directory, f"{name}TM", topology.node_count, "")
    else:
        topology = _read_topology(directory)
        raw = _read_matrices(directory, name, topology.node_count, ".hist")
    names = topology.node_index
    file = directory / "tunnels.txt"
    carried = raw.reshape(len(raw), -1).max(axis=0) > 0
    pairs = [
        (source, target)
        for source in range(topology.node_count)
        for target in range(topology.node_count)
        if source != target
    ]
    if file.is_file() and not own_tunnels:
        tunnels = TunnelSet.of_paths(topology, _read_tunnels(file, topology, names))
    else:
        tunnels = TunnelSet.own(topology, pairs)
    if not tunnels.pair_count:
        raise ScenarioError(printable_path(str(directory)), "connects no two nodes", "give a network with links")
    covered = {(int(s), int(t)) for s, t in zip(tunnels.pair_source, tunnels.pair_target, strict=True)}
    for source, target in pairs:
        if carried[source * topology.node_count + target] and (source, target) not in covered:
            place = f"{printable_path(str(directory))}: {topology.node_names[source]}-{topology.node_names[target]}"
            raise ScenarioError(place, "has traffic but no tunnel", "give it one in tunnels.txt")
    column = tunnels.pair_source * topology.node_count + tunnels.pair_target
    matrices = raw[:, column]
    return RecordedSeries(tunnels, matrices, _read_optimum(directory / f"{name}.opt", matrices.any(axis=1)))


def _read_topology(directory: Path) -> Topology:
    shown = printable_path(str(directory))
    if not directory.is_dir():
        raise ScenarioError(shown, "is no directory", "give one with a network, tunnels and matrices")
    files = sorted(directory.glob("*.json"))
    if len(files) != 1:
        raise ScenarioError(shown, f"holds {len(files)} JSON files", "keep exactly one, the network")
    place = printable_path(str(files[0]))
    try:
        data: Any = json.loads(files[0].read_text())
        names = [str(node["id"]) for node in data["nodes"]]
        links = [Link(str(link["source"]), str(link["target"]), float(link["capacity"])) for link in data["links"]]
        if not data.get("directed", True):
            links += [Link(link.target, link.source, link.capacity_bps) for link in links]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ScenarioError(
            place, f"is no network ({type(error).__name__}: {error})", "give nodes with id and links with capacity"
        ) from None
    try:
        return Topology.from_links(names, links)
    except ScenarioError as error:
        raise error.within(place) from None


def _read_tunnels(
    file: Path, topology: Topology, names: dict[str, int]
) -> dict[tuple[int, int], list[tuple[int, ...]]]:
    paths: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        place = f"{printable_path(str(file))}: line {number}"
        try:
            ends, _, tunnels = line.partition(":")
            source, target = (names[end] for end in ends.split())
            found = [tuple(names[node] for node in path.strip().split("-")) for path in tunnels.split(",")]
            joined = [tuple(topology.links_between[hop][0] for hop in pairwise(path)) for path in found]
        except (KeyError, ValueError):
            raise ScenarioError(place, "is no line of tunnels", "write 's t: s-a-t,s-b-t' over known links") from None
        for path in found:
            if len(path) < 2 or (path[0], path[-1]) != (source, target) or len(set(path)) != len(path):
                raise ScenarioError(place, "a tunnel is no loop-free way between its ends", "give one")
        paths.setdefault((source, target), []).extend(joined)
    return {pair: list(dict.fromkeys(tunnels)) for pair, tunnels in paths.items()}


def _read_matrices(directory: Path, name: str, nodes: int, ending: str) -> FloatArray:
    plain, packed = directory / f"{name}{ending}", directory / f"{name}{ending}.xz"
    file = plain if plain.is_file() else packed
    if not file.is_file() or Path(name).name != name:
        known = sorted({path.name.split(".hist")[0] for path in directory.glob("*.hist*")})
        raise ScenarioError("--series", f"there is no series '{name}'", f"choose of {', '.join(known) or 'none'}")
    rows = []
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        place = f"{printable_path(str(file))}: line {number}"
        try:
            row = np.array([float(value) for value in line.split()])
        except ValueError:
            raise ScenarioError(place, "is no row of numbers", "write one matrix per line") from None
        if len(row) != nodes * nodes or not np.isfinite(row).all() or (row < 0).any():
            raise ScenarioError(place, f"is no matrix of {nodes} x {nodes} rates", "write nodes x nodes rates")
        rows.append(row)
    if not rows:
        raise ScenarioError(printable_path(str(file)), "holds no matrix", "write one matrix per line")
    return np.stack(rows)


def _read_optimum(file: Path, carries: BoolArray) -> FloatArray | None:
    """One per matrix, above 0 for those that carry traffic, ``carries`` [intervals]."""
    if not file.is_file():
        return None
    place = printable_path(str(file))
    try:
        values = np.array([float(line) for line in _lines(file) if line.strip()])
    except ValueError:
        raise ScenarioError(place, "is no column of numbers", "write one optimum per line") from None
    count = len(carries)
    if len(values) < count or not ((values[:count] > 0) | ~carries & (values[:count] == 0)).all():
        raise ScenarioError(place, f"has no optimum above 0 for each of {count} matrices", "write one per line")
    return values[:count]


def _lines(file: Path) -> Iterator[str]:
    with _read(file) as lines:
        yield from lines


@contextmanager
def _read(file: Path) -> Iterator[Iterator[str]]:
    place = printable_path(str(file))
    try:
        if file.suffix == ".xz":
            with lzma.open(file, "rt", encoding="utf-8") as packed:
                yield iter(packed)
        else:
            with file.open(encoding="utf-8") as plain:
                yield iter(plain)
    except (OSError, UnicodeDecodeError, EOFError, lzma.LZMAError) as error:
        raise ScenarioError(place, f"cannot be read ({error})", "give a readable file") from None
