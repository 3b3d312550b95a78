"""JSON form of a snapshot of the live network, ``routewright-state/1``.

Measurements are columns aligned with ``scenario.traffic`` and ``scenario.topology.links``; null is an unknown number.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from topology_sync.errors import InputError, ScenarioError
from topology_sync.network_state import DemandMeasurements, Host, LinkMeasurements, NetworkState
from topology_sync.scenario_json import scenario_from_json, scenario_to_json
from topology_sync.strict_json import JsonObject, check_format, check_integer, check_number, shown
from topology_sync.values import FloatArray, bool_array, float_array, int_array

FORMAT = "routewright-state/1"
STATE_KEYS = (
    "format",
    "topology_version",
    "routing_version",
    "time_s",
    "window_s",
    "settled",
    "scenario",
    "demands",
    "links",
    "hosts",
)
DEMAND_COLUMNS = tuple(field.name for field in fields(DemandMeasurements))
OPTIONAL_COLUMNS = ("counted_from_s", "counted_until_s")
LINK_COLUMNS = tuple(field.name for field in fields(LinkMeasurements))
HOST_KEYS = ("ip", "mac", "node", "port")
MAC_PATTERN = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MAX_COUNT = 2**53
_MAX_VALUE = 1e18


def state_to_json(state: NetworkState) -> dict[str, Any]:
    """The JSON form of a snapshot."""
    return {
        "format": FORMAT,
        "topology_version": state.topology_version,
        "routing_version": state.routing_version,
        "time_s": state.time_s,
        "window_s": state.window_s,
        "settled": state.settled,
        "scenario": scenario_to_json(state.scenario),
        "demands": {name: _column(getattr(state.demands, name)) for name in DEMAND_COLUMNS},
        "links": {name: _column(getattr(state.links, name)) for name in LINK_COLUMNS},
        "hosts": [asdict(host) for host in state.hosts],
    }


def state_from_json(data: object) -> NetworkState:
    """The snapshot that parsed JSON describes.  Raises ScenarioError with the place of what is wrong."""
    check_format(data, FORMAT)
    top = JsonObject(data, "", STATE_KEYS)
    try:
        scenario = scenario_from_json(top.need("scenario"))
    except InputError as problem:
        raise problem.within("scenario") from None
    demands = top.child("demands", DEMAND_COLUMNS)
    links = top.child("links", LINK_COLUMNS)
    demand_count, link_count = scenario.traffic.demand_count, scenario.topology.link_count
    return NetworkState(
        topology_version=top.integer("topology_version", 0, _MAX_COUNT),
        routing_version=top.integer("routing_version", 0, _MAX_COUNT),
        time_s=top.number("time_s", 0, 1e12),
        window_s=top.number("window_s", 0, 1e9),
        settled=top.flag("settled"),
        scenario=scenario,
        demands=DemandMeasurements(
            **{
                name: _numbers(demands, name, demand_count)
                for name in DEMAND_COLUMNS
                if name != "probe_count" and (name not in OPTIONAL_COLUMNS or demands.items(name, optional=True))
            },
            probe_count=int_array(
                [
                    check_integer(value, f"demands.probe_count[{index}]", 0, _MAX_COUNT, ScenarioError)
                    for index, value in enumerate(_entries(demands, "probe_count", demand_count))
                ]
            ),
        ),
        links=LinkMeasurements(
            up=bool_array(_flags(links, "up", link_count)), carried_bps=_numbers(links, "carried_bps", link_count)
        ),
        hosts=tuple(_host(item, scenario.topology.node_index) for item in top.children("hosts", HOST_KEYS)),
    )


def _column(values: np.ndarray[Any, Any]) -> list[Any]:
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]


def _entries(item: JsonObject, name: str, count: int) -> list[Any]:
    values = item.items(name)
    if len(values) != count:
        item.fail(name, f"has {len(values)} entries for {count}", "give one for each in the scenario")
    return values


def _numbers(item: JsonObject, name: str, count: int) -> FloatArray:
    place = item.place_of(name)
    # a loss can come out slightly negative: ingress and egress are not read in the same instant
    return float_array(
        [
            math.nan
            if value is None
            else check_number(value, f"{place}[{index}]", -_MAX_VALUE, _MAX_VALUE, False, ScenarioError)
            for index, value in enumerate(_entries(item, name, count))
        ]
    )


def _flags(item: JsonObject, name: str, count: int) -> list[bool]:
    values = _entries(item, name, count)
    for index, value in enumerate(values):
        if not isinstance(value, bool):
            item.fail(f"{name}[{index}]", f"is {shown(value)}", "give true or false")
    return values


def _host(item: JsonObject, nodes: dict[str, int]) -> Host:
    host = Host(item.text("ip"), item.text("mac"), item.text("node"), item.integer("port", 0, 2**32 - 1))
    try:
        ipaddress.ip_address(host.ip)
    except ValueError:
        item.fail("ip", f"is {shown(host.ip)}", "give an IP address")
    if not MAC_PATTERN.fullmatch(host.mac):
        item.fail("mac", f"is {shown(host.mac)}", "give a MAC address like 02:00:00:00:00:01")
    if host.node not in nodes:
        item.fail("node", f"there is no node {shown(host.node)}", "name a node of the scenario")
    return host
