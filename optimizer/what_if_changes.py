"""Changes as people write them: links as ``A:B`` (both directions), capacities as ``1e9``, ``2.5G`` or ``100M``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from optimizer.what_if import Changes
from topology_sync.errors import InputError
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import MAX_RATE_BPS
from topology_sync.strict_json import shown
from topology_sync.topology import Link, Topology

UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
LARGEST_FACTOR = 1e6


@dataclass(frozen=True)
class WrittenChanges:
    """The options of the command, as given."""

    fail_links: Sequence[str] = ()
    fail_nodes: Sequence[str] = ()
    drain_links: Sequence[str] = ()
    drain_nodes: Sequence[str] = ()
    scale_traffic: Sequence[str] = ()
    set_capacity: Sequence[str] = ()
    add_links: Sequence[str] = ()


def read_changes(scenario: Scenario, written: WrittenChanges) -> Changes:
    """Resolve names and numbers.  Raises InputError that names the option."""
    topology = scenario.topology
    overall, by_class = 1.0, dict[str, float]()
    for text in written.scale_traffic:
        name, _, number = text.rpartition("=")
        factor = _number(number, "--scale-traffic", LARGEST_FACTOR)
        if not name:
            overall *= factor
        elif name in scenario.traffic.class_names:
            by_class[name] = by_class.get(name, 1.0) * factor
        else:
            raise _unknown("--scale-traffic", "class", name, scenario.traffic.class_names)
    capacity: dict[int, float] = {}
    for text in written.set_capacity:
        links, value = text.rpartition("=")[::2]
        bps = _number(value, "--set-capacity", MAX_RATE_BPS, ", as A:B=BPS, such as 10G or 2.5e9")
        capacity.update(dict.fromkeys(link_ids(topology, links, "--set-capacity"), bps))
    return Changes(
        failed_links=_links(topology, written.fail_links, "--fail-link"),
        failed_nodes=_nodes(topology, written.fail_nodes, "--fail-node"),
        drained_links=_links(topology, written.drain_links, "--drain-link"),
        drained_nodes=_nodes(topology, written.drain_nodes, "--drain-node"),
        traffic_factor=overall,
        class_factor=by_class,
        capacity_bps=capacity,
        new_links=tuple(link for text in written.add_links for link in _new_links(topology, text)),
    )


def changes_to_json(scenario: Scenario, changes: Changes) -> list[dict[str, Any]]:
    """Every change as ``{"change", ...}`` with names, one entry per cable, node or factor."""
    topology = scenario.topology
    names = topology.node_names
    entries: list[dict[str, Any]] = []
    for kind, links in (("fail-link", changes.failed_links), ("drain-link", changes.drained_links)):
        entries += [{"change": kind, "link": pair} for pair in _pairs(topology, links)]
    for kind, nodes in (("fail-node", changes.failed_nodes), ("drain-node", changes.drained_nodes)):
        entries += [{"change": kind, "node": names[node]} for node in sorted(nodes)]
    if changes.traffic_factor != 1.0:
        entries.append({"change": "scale-traffic", "factor": changes.traffic_factor})
    for name, factor in changes.class_factor.items():
        entries.append({"change": "scale-traffic", "class": name, "factor": factor})
    for value in dict.fromkeys(changes.capacity_bps.values()):
        same = [link for link, capacity in changes.capacity_bps.items() if capacity == value]
        entries += [{"change": "set-capacity", "link": pair, "capacity_bps": value} for pair in _pairs(topology, same)]
    entries += [
        {"change": "add-link", "link": [link.source, link.target], "capacity_bps": link.capacity_bps}
        for link in changes.new_links[::2]
    ]
    return entries


def link_ids(topology: Topology, text: str, option: str) -> tuple[int, ...]:
    """Both directions of ``A:B``, all parallel links of it; ``A:B#2`` is the second of parallel cables alone."""
    body, hash_sign, number = text.rpartition("#")
    if hash_sign and number.isascii() and number.isdigit():
        try:
            source, target = _pair(topology, body, option)
        except InputError:
            pass  # the sharp sign may belong to a name
        else:
            cables = cables_between(topology, source, target)
            if not 1 <= int(number) <= len(cables):
                raise InputError(option, f"{shown(text)} is not there", f"there are {len(cables)} such links")
            return cables[int(number) - 1]
    return tuple(link for cable in cables_between(topology, *_pair(topology, text, option)) for link in cable)


def cables_between(topology: Topology, a: int, b: int) -> list[tuple[int, ...]]:
    """Links between two nodes, the n-th of one direction with the n-th of the other."""
    forth, back = (sorted(topology.links_between.get(pair, ())) for pair in ((a, b), (b, a)))
    return [
        tuple(direction[index] for direction in (forth, back) if index < len(direction))
        for index in range(max(len(forth), len(back)))
    ]


def all_cables(topology: Topology) -> list[tuple[int, ...]]:
    """Every cable of the network once."""
    pairs = dict.fromkeys((min(pair), max(pair)) for pair in topology.links_between)
    return [cable for a, b in sorted(pairs) for cable in cables_between(topology, a, b)]


def _pair(topology: Topology, text: str, option: str) -> tuple[int, int]:
    index = topology.node_index
    cuts = [position for position, letter in enumerate(text) if letter == ":"]
    if not cuts:
        raise InputError(option, f"{shown(text)} is no link", "write A:B")
    for cut in cuts:  # names may contain colons
        ends = text[:cut], text[cut + 1 :]
        if all(end in index for end in ends):
            pair = index[ends[0]], index[ends[1]]
            if pair in topology.links_between or pair[::-1] in topology.links_between:
                return pair
            problem = f"there is no link between {shown(ends[0])} and {shown(ends[1])}"
            raise InputError(option, problem, _neighbours(topology, pair[0]))
    raise _unknown_end(topology, text, option)


def _neighbours(topology: Topology, node: int) -> str:
    """To what a node has links, as a remedy."""
    names, pairs = topology.node_names, topology.links_between
    known = sorted({names[b if a == node else a] for a, b in pairs if node in (a, b)})
    what = f"links to {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else "no links"
    return f"{names[node]} has {what}"


def _unknown_end(topology: Topology, text: str, option: str) -> InputError:
    """Of ``A:B``, of which one is no node."""
    source, _, target = text.partition(":")
    name = source if source not in topology.node_index else target
    return _unknown(option, "node", name, topology.node_names)


def _links(topology: Topology, texts: Iterable[str], option: str) -> frozenset[int]:
    return frozenset(link for text in texts for link in link_ids(topology, text, option))


def _nodes(topology: Topology, texts: Iterable[str], option: str) -> frozenset[int]:
    for text in texts:
        if text not in topology.node_index:
            raise _unknown(option, "node", text, topology.node_names)
    return frozenset(topology.node_index[text] for text in texts)


def _new_links(topology: Topology, text: str) -> tuple[Link, Link]:
    option = "--add-link"
    ends, _, value = text.rpartition("=")
    rate, comma, delay = value.partition(",")
    capacity = _number(rate, option, MAX_RATE_BPS, ", as A:B=BPS[,DELAY_S], such as 10G or 2.5e9")
    delay_s = _number(delay, option, 1e3, ", for the delay in seconds", zero=True) if comma else 0.0
    for cut in (position for position, letter in enumerate(ends) if letter == ":"):
        source, target = ends[:cut], ends[cut + 1 :]
        if source in topology.node_index and target in topology.node_index and source != target:
            queue = int(topology.queue_packets.max(initial=0)) if topology.link_count else 32
            return (
                Link(source, target, capacity, delay_s, queue),
                Link(target, source, capacity, delay_s, queue),
            )
    source, _, target = ends.partition(":")
    if target and source != target:
        raise _unknown_end(topology, ends, option)
    raise InputError(option, f"{shown(text)} does not name two different nodes", "write A:B=BPS")


def _pairs(topology: Topology, links: Iterable[int]) -> list[list[str]]:
    names = topology.node_names
    cables: dict[tuple[int, int], list[str]] = {}
    for link in sorted(links):
        source, target = int(topology.link_source[link]), int(topology.link_target[link])
        cables.setdefault((min(source, target), max(source, target)), [names[source], names[target]])
    return list(cables.values())


def _number(text: str, option: str, high: float, form: str = "", zero: bool = False) -> float:
    unit = UNITS.get(text[-1:], 1.0)
    digits = text[:-1] if text[-1:] in UNITS else text
    try:
        value = float(digits) * unit if digits.isascii() and "_" not in digits else -1.0
    except ValueError:
        value = -1.0
    if not (0 <= value <= high if zero else 0 < value <= high):
        raise InputError(
            option,
            f"{shown(text)} is no usable number",
            f"give one {'of 0 or more' if zero else 'above 0'}, up to {high:g}{form}",
        )
    return value


def _unknown(option: str, kind: str, name: str, known: Iterable[str]) -> InputError:
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    remedy = f"did you mean {shown(close[0])}?" if close else f"there are {', '.join(known[:8])}"
    return InputError(
        option, f"there is no {kind} {shown(name)}", remedy + (", ..." if len(known) > 8 and not close else "")
    )
