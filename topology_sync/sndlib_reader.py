"""SNDlib networks in their native XML (Orlowski et al., Networks 55(3), 2010; http://sndlib.zib.de).

A link's capacity is its pre-installed one, else that of its first module, else the option ``capacity_mbps``.  A demand
is its value times its routing unit.  Links are read as undirected (most networks are); the file itself does not say.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from topology_sync.errors import InputError, ScenarioError
from topology_sync.safe_xml import read_xml
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import MAX_RATE_BPS, MIN_CAPACITY_BPS
from topology_sync.source_options import SourceOptions, both_ways, complete_scenario, read_number
from topology_sync.strict_json import check_name, in_file, shown
from topology_sync.topology import Link, Topology

_UNITS_BPS = {"KBITPERSEC": 1e3, "MBITPERSEC": 1e6, "GBITPERSEC": 1e9}


def read_sndlib(path: Path, options: SourceOptions | None = None) -> Scenario:
    """The scenario of an SNDlib XML file; numbers without a unit are Mbit/s.  Raises ScenarioError naming the file."""
    root = read_xml(path)
    options = options or SourceOptions()
    try:
        unit_bps = _unit(root)
        topology = parse_topology(root, options, unit_bps)
        demands = parse_demands(root, topology, unit_bps)
        return complete_scenario(path.stem, topology, demands or None, options, in_bits_per_s=True)
    except InputError as problem:
        raise in_file(problem, path) from None


def _unit(root: Element) -> float:
    text = (root.findtext("meta/unit") or "MBITPERSEC").strip()
    if text not in _UNITS_BPS:
        raise ScenarioError("meta.unit", f"is {shown(text)}", f"give one of {', '.join(_UNITS_BPS)}")
    return _UNITS_BPS[text]


def parse_topology(root: Element, options: SourceOptions, unit_bps: float) -> Topology:
    """The topology in a ``network`` element."""
    structure = root.find("networkStructure")
    if root.tag != "network" or structure is None:
        raise ScenarioError(f"<{root.tag}>", "is no SNDlib network", "give a <network> with a <networkStructure>")
    nodes = structure.findall("nodes/node")
    names = [check_name(node.get("id"), f"node[{index}].id", ScenarioError) for index, node in enumerate(nodes)]
    links: list[Link] = []
    for index, link in enumerate(structure.findall("links/link")):
        place = f"link[{index}]"
        capacity = options.capacity_mbps * 1e6
        for source in ("preInstalledModule/capacity", "additionalModules/addModule/capacity"):
            text = (link.findtext(source) or "").strip()
            number = read_number(text, f"{place}.capacity", 0, MAX_RATE_BPS / unit_bps) if text else 0.0
            if number * unit_bps >= MIN_CAPACITY_BPS:
                capacity = number * unit_bps
                break
        links += both_ways(*_ends(link, place, names), capacity, 0.0, options.queue_packets)
    return Topology.from_links(names, links)


def parse_demands(root: Element, topology: Topology, unit_bps: float) -> dict[tuple[str, str], float]:
    """Demands in bit/s by names of their ends; several of a pair are added."""
    demands: dict[tuple[str, str], float] = {}
    for index, demand in enumerate(root.findall("demands/demand")):
        place = f"demand[{index}]"
        value = read_number((demand.findtext("demandValue") or "").strip(), f"{place}.demandValue", 0, MAX_RATE_BPS)
        unit = read_number((demand.findtext("routingUnit") or "1").strip(), f"{place}.routingUnit", 0, MAX_RATE_BPS)
        rate_bps = value * unit * unit_bps
        if rate_bps > MAX_RATE_BPS:
            raise ScenarioError(f"{place}.demandValue", "is too large", f"stay below {MAX_RATE_BPS:g} bit/s")
        pair = _ends(demand, place, topology.node_names)
        demands[pair] = demands.get(pair, 0.0) + rate_bps
    return demands


def _ends(element: Element, place: str, names: list[str] | tuple[str, ...]) -> tuple[str, str]:
    source, target = ((element.findtext(side) or "").strip() for side in ("source", "target"))
    for side, name in (("source", source), ("target", target)):
        if name not in names:
            raise ScenarioError(f"{place}.{side}", f"there is no node {shown(name)}", "name the id of a <node>")
    if source == target:
        raise ScenarioError(place, f"leads from {shown(source)} to itself", "remove it")
    return source, target
