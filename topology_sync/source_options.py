"""What a public format does not say and its reader must be told: capacities, the scale of demands, delays.

Written behind the source, as in ``topohub:sndlib/nobel-us?capacity_mbps=10&max_utilisation=0.7``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import permutations
from typing import Literal
from urllib.parse import unquote_plus

import numpy as np

from topology_sync.errors import ScenarioError
from topology_sync.paths import fewest_hops_paths, fewest_hops_routing
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import MAX_PACKET_BITS, MAX_QUEUE_PACKETS, MAX_RATE_BPS
from topology_sync.strict_json import printable, shown, suggestion
from topology_sync.topology import DEFAULT_QUEUE_PACKETS, Link, Topology
from topology_sync.traffic import DEFAULT_PACKET_BITS, Demand, TrafficMatrix

SIGNAL_SPEED_M_PER_S = 2e8  # light in fibre, about two thirds of its speed in vacuum
DEFAULT_MAX_UTILISATION = 0.5
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class SourceOptions:
    """How to complete a source.

    ``capacity_mbps`` and ``queue_packets`` are given to links without.  ``demands``: those of the source, the same
    between all connected pairs, or none.  ``max_utilisation`` scales all demands so that the most loaded link has that
    utilisation when each takes fewest hops; ``unit_mbps`` instead says what one unit of the source's demands is.
    ``both_directions`` gives every pair the sum of its demands in each direction, for sources that list a pair once.
    ``propagation`` turns link lengths into delays, at 2e8 m/s.
    """

    capacity_mbps: float = 1000.0
    queue_packets: int = DEFAULT_QUEUE_PACKETS
    packet_bits: float = DEFAULT_PACKET_BITS
    demands: Literal["given", "uniform", "none"] = "given"
    max_utilisation: float | None = None
    unit_mbps: float | None = None
    both_directions: bool = False
    propagation: bool = False


def parse_options(text: str, defaults: SourceOptions | None = None) -> SourceOptions:
    """Options from ``key=value&key=value``.  Raises ScenarioError for unknown keys and values that do not fit."""
    known = [field.name for field in fields(SourceOptions)]
    given: dict[str, str] = {}
    for part in text.split("&") if text else ():
        key, equals, value = (unquote_plus(piece) for piece in part.partition("="))
        if key not in known:
            raise ScenarioError(f"option {printable(key)}", "unknown key", suggestion(key, known))
        if key in given or not equals:
            raise ScenarioError(
                f"option {key}", "is given twice" if key in given else "has no value", f"write {key}=..."
            )
        given[key] = value
    options = defaults or SourceOptions()
    for key, value in given.items():
        options = replace(options, **{key: _option(key, value)})  # type: ignore[arg-type]
    if "unit_mbps" in given and "max_utilisation" in given:
        raise ScenarioError("option unit_mbps", "contradicts max_utilisation", "give one of them")
    return options


def _option(key: str, value: str) -> object:
    if key == "demands":
        if value not in ("given", "uniform", "none"):
            raise ScenarioError("option demands", f"is {shown(value)}", "give given, uniform or none")
        return value
    if key in ("both_directions", "propagation"):
        if value not in _WORDS:
            raise ScenarioError(f"option {key}", f"is {shown(value)}", "give true or false")
        return _WORDS[value]
    if key == "queue_packets":
        if not (value.isascii() and value.isdigit() and len(value) < 12 and int(value) <= MAX_QUEUE_PACKETS):
            raise ScenarioError("option queue_packets", f"is {shown(value)}", "give a whole number of 0 or more")
        return int(value)
    high = {"packet_bits": MAX_PACKET_BITS, "max_utilisation": 1e6}.get(key, MAX_RATE_BPS / 1e6)
    return read_number(value, f"option {key}", 1.0 if key == "packet_bits" else 1e-9, high)


def read_number(text: str, place: str, low: float, high: float) -> float:
    """A finite number written in a text file.  Raises ScenarioError at ``place``."""
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise ScenarioError(place, f"is {shown(text)}", f"give a number from {low:g} to {high:g}")
    return number


def unique_names(labels: Sequence[str]) -> list[str]:
    """Names for nodes from their labels: printable, not empty, and of equal ones the later ones numbered."""
    names: list[str] = []
    taken: set[str] = set()
    for position, label in enumerate(labels):
        clean = "".join(letter if letter.isprintable() else "?" for letter in label.strip())[:180]
        name = base = clean or f"node {position}"
        number = 1
        while name in taken:
            number += 1
            name = f"{base} ({number})"
        taken.add(name)
        names.append(name)
    return names


def complete_scenario(
    name: str,
    topology: Topology,
    demands: Mapping[tuple[str, str], float] | None,
    options: SourceOptions,
    in_bits_per_s: bool = False,
) -> Scenario:
    """A scenario of what a reader found: ``demands`` by names of their ends, in bit/s or in the source's own unit.

    Where the source has no demands (None), all connected pairs get the same.  Demands are of one class and take fewest
    hops.  Raises ScenarioError for demands without any way.
    """
    given = demands if options.demands == "given" else None
    wanted = {} if options.demands == "none" else dict(_uniform(topology) if given is None else given)
    if options.both_directions:
        pairs = dict.fromkeys(pair for ends in wanted for pair in (ends, ends[::-1]))
        wanted = {pair: wanted.get(pair, 0.0) + wanted.get(pair[::-1], 0.0) for pair in pairs}
    traffic = TrafficMatrix.from_demands(
        [Demand(*pair, rate, packet_bits_mean=options.packet_bits) for pair, rate in wanted.items()],
        topology.node_index,
    )
    routing = fewest_hops_routing(topology, traffic)
    factor = _factor(options, in_bits_per_s and given is not None)
    if factor is None:
        goal = options.max_utilisation or DEFAULT_MAX_UTILISATION
        present = routing.max_utilisation(traffic, topology)
        factor = goal / present if present > 0 else 1.0
    rates = traffic.rate_bps * factor
    if not np.all(np.isfinite(rates)) or np.any(rates > MAX_RATE_BPS):
        raise ScenarioError(name, "its demands are too large when scaled", "give another max_utilisation or unit_mbps")
    return Scenario(name, topology, traffic.with_rates(rates), routing)


def _uniform(topology: Topology) -> dict[tuple[str, str], float]:
    """One unit between every two connected nodes."""
    pairs = list(permutations(range(topology.node_count), 2))
    names = topology.node_names
    ways = fewest_hops_paths(topology, pairs)
    return {(names[a], names[b]): 1.0 for (a, b), way in zip(pairs, ways, strict=True) if way}


def _factor(options: SourceOptions, known_unit: bool) -> float | None:
    """What demands are multiplied with to be bit/s; None: so that the most loaded link is as full as wanted."""
    if options.unit_mbps is not None:
        return options.unit_mbps * 1e6
    return 1.0 if known_unit and options.max_utilisation is None else None


def both_ways(source: str, target: str, capacity_bps: float, delay_s: float, queue_packets: int) -> tuple[Link, Link]:
    """The two directed links of an undirected one."""
    return (
        Link(source, target, capacity_bps, delay_s, queue_packets),
        Link(target, source, capacity_bps, delay_s, queue_packets),
    )
