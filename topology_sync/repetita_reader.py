"""REPETITA instances: ``X.graph`` and ``X.NNNN.demands`` (Gay, Schaus, Vissicchio, arXiv:1710.08665).

Rates are in kbit/s, delays in microseconds, links directed, parallel links occur; several demands of a pair are added,
empty ones are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from topology_sync.errors import InputError, ScenarioError
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import MAX_DELAY_S, MAX_RATE_BPS, MIN_CAPACITY_BPS
from topology_sync.source_options import SourceOptions, complete_scenario, read_number, unique_names
from topology_sync.strict_json import in_file, read_text, shown
from topology_sync.topology import Link, Topology


def read_repetita(graph: Path, demands: Path, options: SourceOptions | None = None) -> Scenario:
    """The scenario of a graph and one of its traffic matrices.  Raises ScenarioError naming file and line."""
    options = options or SourceOptions()
    topology = read_graph(graph, options.queue_packets)
    return complete_scenario(graph.stem, topology, read_demands(demands, topology), options, in_bits_per_s=True)


def read_graph(path: Path, queue_packets: int) -> Topology:
    """The topology of an ``X.graph`` file; queues are not in it."""
    text = read_text(path)
    try:
        return parse_graph(text, queue_packets)
    except InputError as problem:
        raise in_file(problem, path) from None


def read_demands(path: Path, topology: Topology) -> dict[tuple[str, str], float]:
    """Demands in bit/s by names of their ends, from an ``X.NNNN.demands`` file of the same graph."""
    text = read_text(path)
    try:
        return parse_demands(text, topology)
    except InputError as problem:
        raise in_file(problem, path) from None


def parse_graph(text: str, queue_packets: int) -> Topology:
    """See ``read_graph``."""
    lines = _lines(text)
    labels = [fields[0] for _, fields in _table(lines, "NODES", 3)]
    names = unique_names(labels)
    links = []
    for place, (_, source, target, _, bandwidth, delay) in _table(lines, "EDGES", 6):
        ends = [_index(end, place, len(names)) for end in (source, target)]
        link = Link(
            source=names[ends[0]],
            target=names[ends[1]],
            capacity_bps=1e3 * read_number(bandwidth, f"{place}: bw", MIN_CAPACITY_BPS, MAX_RATE_BPS / 1e3),
            delay_s=1e-6 * read_number(delay, f"{place}: delay", 0, MAX_DELAY_S * 1e6),
            queue_packets=queue_packets,
        )
        if link.source != link.target:  # Interoute has one; no loop-free path takes it
            links.append(link)
    return Topology.from_links(names, links)


def parse_demands(text: str, topology: Topology) -> dict[tuple[str, str], float]:
    """See ``read_demands``."""
    names = topology.node_names
    demands: dict[tuple[str, str], float] = {}
    for place, (_, source, target, rate) in _table(_lines(text), "DEMANDS", 4):
        ends = (_index(source, place, len(names)), _index(target, place, len(names)))
        rate_bps = 1e3 * read_number(rate, f"{place}: bw", 0, MAX_RATE_BPS / 1e3)
        if ends[0] != ends[1] and rate_bps > 0:  # what stays at its node or is nothing loads no link
            pair = (names[ends[0]], names[ends[1]])
            demands[pair] = demands.get(pair, 0.0) + rate_bps
    return demands


def _lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """Place and fields of every line that is not blank."""
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if fields:
            yield f"line {number}", fields


def _table(lines: Iterator[tuple[str, list[str]]], title: str, width: int) -> Iterator[tuple[str, list[str]]]:
    """The rows below ``TITLE n`` and a line of headings.  The first field may hold blanks."""
    place, fields = next(lines, ("the end", ["nothing"]))
    if (
        len(fields) != 2
        or fields[0] != title
        or not (fields[1].isascii() and fields[1].isdigit())
        or len(fields[1]) > 9
    ):
        raise ScenarioError(place, f"has {shown(' '.join(fields))}", f"give '{title}' and their number")
    next(lines, None)
    for row in range(int(fields[1])):
        place, cells = next(lines, ("the end", []))
        if len(cells) < width:
            problem = f"has {len(cells)} fields in row {row + 1} of {fields[1]} {title}"
            raise ScenarioError(place, problem, f"give {width} fields")
        yield place, [" ".join(cells[: len(cells) - width + 1]), *cells[len(cells) - width + 1 :]]


def _index(text: str, place: str, count: int) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < count:
        return int(text)
    raise ScenarioError(place, f"{shown(text)} is no index of a node", f"give 0 to {count - 1}")
