"""Paths by node names, as they stand in JSON, and their link ids inside a topology."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from topology_sync.errors import InputError, ScenarioError
from topology_sync.plan import DemandRoute, NamedPath
from topology_sync.routing import SHARE_TOLERANCE, PathShare
from topology_sync.strict_json import JsonObject, shown
from topology_sync.topology import Topology
from topology_sync.traffic import DEFAULT_CLASS

ROUTE_KEYS = ("source", "target", "class", "paths")
PATH_KEYS = ("nodes", "share", "links")
_MAX_LINK_ID = 2**31


def name_path(topology: Topology, path: PathShare) -> NamedPath:
    """A path by node names; link ids are added only where a parallel link other than the usual one is meant."""
    nodes = path.nodes(topology)
    hops = pairwise(nodes)
    usual = tuple(topology.links_between[hop][0] for hop in hops)
    names = tuple(topology.node_names[node] for node in nodes)
    return NamedPath(names, path.share, () if usual == path.links else path.links)


def name_route(topology: Topology, key: tuple[str, str, str], paths: Sequence[PathShare]) -> DemandRoute:
    """All paths of the demand ``key`` (source, target, class) by node names."""
    return DemandRoute(*key, tuple(name_path(topology, path) for path in paths))


def resolve_route(
    topology: Topology, route: DemandRoute, place: str, error: type[InputError] = ScenarioError
) -> tuple[PathShare, ...]:
    """The paths of a demand by link ids.  Raises ``error`` for unknown nodes and links, loops and wrong shares."""
    paths = tuple(
        _resolve_path(topology, route, path, f"{place}.paths[{index}]", error) for index, path in enumerate(route.paths)
    )
    if len({path.links for path in paths}) < len(paths):
        raise error(f"{place}.paths", "has the same path twice", "add up their shares in one")
    total = sum(path.share for path in paths)
    if not abs(total - 1) <= SHARE_TOLERANCE:
        raise error(f"{place}.paths", f"shares sum to {total:g}", "make the shares of a demand sum to 1")
    return paths


def _resolve_path(
    topology: Topology, route: DemandRoute, path: NamedPath, place: str, error: type[InputError]
) -> PathShare:
    if len(path.nodes) < 2 or (path.nodes[0], path.nodes[-1]) != (route.source, route.target):
        raise error(f"{place}.nodes", f"does not lead from '{route.source}' to '{route.target}'", "start and end there")
    ids = []
    for index, name in enumerate(path.nodes):
        if name not in topology.node_index:
            raise error(f"{place}.nodes[{index}]", f"there is no node {shown(name)}", "name a node of topology.nodes")
        ids.append(topology.node_index[name])
    if len(set(ids)) < len(ids):
        raise error(f"{place}.nodes", "passes a node twice", "give a path without loops")
    if not 0 < path.share <= 1 + SHARE_TOLERANCE:
        raise error(f"{place}.share", f"is {path.share:g}", "give a share above 0 and up to 1")
    hops = list(pairwise(ids))
    for hop in hops:
        if hop not in topology.links_between:
            ends = [shown(topology.node_names[node]) for node in hop]
            raise error(f"{place}.nodes", f"there is no link from {ends[0]} to {ends[1]}", "follow links that exist")
    if not path.links:
        return PathShare(tuple(topology.links_between[hop][0] for hop in hops), path.share)
    if len(path.links) != len(hops):
        raise error(f"{place}.links", f"has {len(path.links)} ids for {len(hops)} hops", "give one link id per hop")
    for index, (link, hop) in enumerate(zip(path.links, hops, strict=True)):
        if link not in topology.links_between[hop]:
            choice = ", ".join(str(link) for link in topology.links_between[hop])
            raise error(f"{place}.links[{index}]", f"link {link} is not on this hop", f"give one of {choice}")
    return PathShare(path.links, path.share)


def route_to_json(route: DemandRoute) -> dict[str, Any]:
    """The JSON form of a demand's paths."""
    paths = []
    for path in route.paths:
        entry: dict[str, Any] = {"nodes": list(path.nodes), "share": path.share}
        if path.links:
            entry["links"] = list(path.links)
        paths.append(entry)
    return {"source": route.source, "target": route.target, "class": route.traffic_class, "paths": paths}


def route_from_json(item: JsonObject) -> DemandRoute:
    """What ``route_to_json`` wrote; names are checked against a topology only by ``resolve_route``."""
    entries = item.children("paths", PATH_KEYS)
    if not entries:
        item.fail("paths", "is an empty list", "give at least one path")
    paths = tuple(
        NamedPath(
            nodes=entry.names("nodes"),
            share=entry.number("share", 0, 1 + SHARE_TOLERANCE, default=1.0, above=True),
            links=entry.integers("links", 0, _MAX_LINK_ID) if entry.has("links") else (),
        )
        for entry in entries
    )
    return DemandRoute(item.text("source"), item.text("target"), item.text("class", DEFAULT_CLASS), paths)
