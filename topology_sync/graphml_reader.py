"""GraphML as the Internet Topology Zoo writes it (http://www.topology-zoo.org): labels, link speeds, no demands.

An undirected edge becomes a link in each direction; capacity is ``LinkSpeedRaw`` (bit/s) where it is there, else the
option ``capacity_mbps``.  Nodes that stand for a hyperedge or have no link stay; demands join only connected nodes.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from topology_sync.errors import InputError, ScenarioError
from topology_sync.safe_xml import read_xml
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import MAX_RATE_BPS, MIN_CAPACITY_BPS
from topology_sync.source_options import SourceOptions, both_ways, complete_scenario, read_number, unique_names
from topology_sync.strict_json import in_file, shown
from topology_sync.topology import Link, Topology


def read_graphml(path: Path, options: SourceOptions | None = None) -> Scenario:
    """The scenario of a GraphML file, with the same demand between all connected pairs unless the options say none.

    Raises ScenarioError naming the file.
    """
    root = read_xml(path)
    options = options or SourceOptions()
    try:
        return complete_scenario(path.stem, parse_graphml(root, options), None, options)
    except InputError as problem:
        raise in_file(problem, path) from None


def parse_graphml(root: Element, options: SourceOptions) -> Topology:
    """The topology in a ``graphml`` element."""
    graphs = root.findall("graph")
    if root.tag != "graphml" or len(graphs) != 1:
        raise ScenarioError(f"<{root.tag}>", f"holds {len(graphs)} graphs", "give a <graphml> with one <graph>")
    graph = graphs[0]
    if graph.find("hyperedge") is not None:
        raise ScenarioError("<hyperedge>", "has no meaning as a link", "write it as a node with edges")
    keys = {key.get("id"): key.get("attr.name", "") for key in root.findall("key")}
    nodes = graph.findall("node")
    labels = unique_names([_data(node, keys).get("label") or node.get("id") or "" for node in nodes])
    name_of: dict[str, str] = {}
    for position, (node, label) in enumerate(zip(nodes, labels, strict=True)):
        identity = node.get("id")
        if identity is None or identity in name_of:
            raise ScenarioError(f"node[{position}]", "has no id of its own", "give every <node> its id")
        name_of[identity] = label
    directed_by_default = graph.get("edgedefault") == "directed"
    links: list[Link] = []
    for position, edge in enumerate(graph.findall("edge")):
        place = f"edge[{position}]"
        ends = []
        for side in ("source", "target"):
            identity = edge.get(side) or ""
            if identity not in name_of:
                raise ScenarioError(f"{place}.{side}", f"there is no node {shown(identity)}", "name the id of a <node>")
            ends.append(name_of[identity])
        if ends[0] == ends[1]:
            continue
        speed = _data(edge, keys).get("LinkSpeedRaw", "")
        capacity = options.capacity_mbps * 1e6
        if speed.strip():
            capacity = read_number(speed.strip(), f"{place}.LinkSpeedRaw", MIN_CAPACITY_BPS, MAX_RATE_BPS)
        forth, back = both_ways(ends[0], ends[1], capacity, 0.0, options.queue_packets)
        directed = {"true": True, "false": False}.get(edge.get("directed", ""), directed_by_default)
        links += [forth] if directed else [forth, back]
    return Topology.from_links(labels, links)


def _data(element: Element, keys: dict[str | None, str]) -> dict[str, str]:
    return {keys.get(data.get("key"), ""): data.text or "" for data in element.findall("data")}
