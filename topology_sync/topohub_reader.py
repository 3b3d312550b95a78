"""Networks of the topohub package: SNDlib, Topology Zoo, Gabriel graphs, backbones (https://www.topohub.org).

They have names, link lengths in km and, for SNDlib, demands, but no capacities: see ``SourceOptions``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.resources
import re
from typing import Any

from topology_sync.errors import ScenarioError
from topology_sync.scenario import Scenario
from topology_sync.source_options import (
    SIGNAL_SPEED_M_PER_S,
    SourceOptions,
    both_ways,
    complete_scenario,
    unique_names,
)
from topology_sync.strict_json import shown
from topology_sync.topology import Link, Topology

_KEY = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_.+-]*[A-Za-z0-9_+-][A-Za-z0-9_.+-]*){1,3}")


def read_topohub(key: str, options: SourceOptions | None = None) -> Scenario:
    """The scenario of a topohub key such as ``sndlib/nobel-us``.  Demands are taken as the source lists them.

    Raises ScenarioError for a key that is not there.
    """
    options = options or SourceOptions()
    data = _load(key)
    nodes: list[dict[str, Any]] = data["nodes"]
    labels = unique_names([str(node.get("name", node["id"])) for node in nodes])
    name_of = {node["id"]: label for node, label in zip(nodes, labels, strict=True)}
    links: list[Link] = []
    for edge in data["edges"]:
        source, target = name_of[edge["source"]], name_of[edge["target"]]
        if source == target:
            continue
        delay_s = float(edge.get("dist", 0.0)) * 1000 / SIGNAL_SPEED_M_PER_S if options.propagation else 0.0
        forth, back = both_ways(source, target, options.capacity_mbps * 1e6, delay_s, options.queue_packets)
        links += [forth] if data["directed"] else [forth, back]
    demands = {
        (name_of[source], name_of[target]): float(volume)
        for source, row in data["graph"].get("demands", {}).items()
        for target, volume in row.items()
        if volume > 0 and source != target
    }
    return complete_scenario(key, Topology.from_links(labels, links), demands or None, options)


def _load(key: str) -> dict[str, Any]:
    try:
        topohub = importlib.import_module("topohub")
    except ModuleNotFoundError:
        raise ScenarioError(f"topohub:{key}", "the package topohub is not installed", "pip install topohub") from None
    place = "topohub:" + (key if key.isprintable() else shown(key))
    if not _KEY.fullmatch(key):
        raise ScenarioError(place, "is no topohub key", "give one like topohub:sndlib/nobel-us")
    try:
        data: dict[str, Any] = topohub.get(key)
    except (KeyError, OSError, ValueError):
        group, _, name = key.rpartition("/")
        raise ScenarioError(place, "there is no such network", _alternatives(group, name)) from None
    return data


def _alternatives(group: str, name: str) -> str:
    folder = importlib.resources.files("topohub").joinpath("data", *group.split("/"))
    if not folder.is_dir():
        return "the groups are sndlib, topozoo, gabriel, backbone and caida"
    names = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {group}/{close[0]}?"
    return f"known there: {', '.join(names)}" if len(names) <= 30 else f"there are {len(names)}, such as {names[0]}"
