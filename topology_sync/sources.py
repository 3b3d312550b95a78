"""Scenarios from wherever they come: our own JSON, topohub, REPETITA, GraphML, SNDlib."""

from __future__ import annotations

import os
from pathlib import Path

from topology_sync.errors import ScenarioError
from topology_sync.graphml_reader import read_graphml
from topology_sync.repetita_reader import read_repetita
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import read_scenario
from topology_sync.sndlib_reader import read_sndlib
from topology_sync.source_options import parse_options
from topology_sync.strict_json import printable_path, shown
from topology_sync.topohub_reader import read_topohub

KINDS = "FILE.json[.gz|.xz], topohub:GROUP/NAME, X.graph with X.demands, X.graphml or SNDlib X.xml"
_PACKED = (".gz", ".xz")


def load_scenario(source: str, *, demands: Path | None = None) -> Scenario:
    """The scenario at ``source``: a file by its ending or ``topohub:GROUP/NAME``; ``demands`` goes with ``X.graph``.

    All but our own JSON take options behind a question mark, see ``SourceOptions``.  Raises ScenarioError.
    """
    if not source or not source.isprintable():
        raise ScenarioError("scenario", f"{shown(source)} is no source", f"give {KINDS}")
    if os.path.isfile(source):  # a file may have a question mark in its name
        name, text = source, ""
    else:
        name, _, text = source.partition("?")
    options = parse_options(text)
    if name.startswith("topohub:"):
        _no_demands(demands, "topohub networks")
        return read_topohub(name.removeprefix("topohub:"), options)
    path = Path(name)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in _PACKED else "".join(suffixes[-1:])
    if kind == ".graph":
        if demands is None:
            raise ScenarioError(printable_path(name), "has no traffic", "give --demands X.demands with it")
        return read_repetita(path, demands, options)
    _no_demands(demands, f"{kind or 'these'} files")
    if kind == ".json":
        if text:
            raise ScenarioError(printable_path(name), "takes no options", "write them into the file")
        return read_scenario(path)
    if kind == ".graphml":
        return read_graphml(path, options)
    if kind == ".xml":
        return read_sndlib(path, options)
    if os.path.isdir(name):
        raise ScenarioError(printable_path(name), "is a directory, and only topologies are read here", f"give {KINDS}")
    problem = "has an ending that is not known" if os.path.exists(name) else "there is no such file"
    raise ScenarioError(printable_path(name), problem, f"give {KINDS}")


def _no_demands(demands: Path | None, what: str) -> None:
    if demands is not None:
        raise ScenarioError("--demands", f"does not go with {what}", "use it with X.graph only")
