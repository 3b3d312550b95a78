"""Whether settings make sense, beyond being JSON: types, ranges, and names that must not repeat.  Pure."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from topology_sync.addresses import split_ovsdb
from topology_sync.class_queues import MAX_CLASS_QUEUES
from topology_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from controller.settings import ControllerSettings

LOG_LEVELS = ("debug", "info", "warning", "error")
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "float": (int, float),
}
_POSITIVE = (
    "default_capacity_bps",
    "lldp_period_s",
    "link_timeout_s",
    "poll_period_s",
    "window_s",
    "echo_interval_s",
    "echo_misses",
    "flow_mods_per_s",
    "transaction_timeout_s",
    "audit_period_s",
)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def check_settings(settings: ControllerSettings) -> None:
    """Raise ConfigurationError naming the first setting that cannot be."""
    _check_types(settings)
    for name in ("openflow_port", "api_port"):
        _require(0 < getattr(settings, name) < 65536, name, getattr(settings, name), "give a port from 1 to 65535")
    for name in _POSITIVE:
        value = getattr(settings, name)
        _require(0 < value < math.inf, name, value, "give a number above 0")
    for name in ("default_queue_packets", "probes_per_s"):
        value = getattr(settings, name)
        _require(0 <= value < math.inf, name, value, "give a number of 0 or more")
    _require(settings.log_level in LOG_LEVELS, "log_level", settings.log_level, f"choose of {', '.join(LOG_LEVELS)}")
    _check_classes(settings)
    _check_hosts(settings)
    _check_queues(settings)
    for place, link in enumerate(settings.links):
        where = f"links[{place}]"
        _require(isinstance(link.source, str) and isinstance(link.target, str), where, link, "name both ends")
        for name, low in (("capacity_bps", 1e-9), ("delay_s", 0.0), ("queue_packets", 0)):
            value = getattr(link, name)
            fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value < math.inf
            _require(fits, f"{where}.{name}", value, "give a finite number that is not negative, capacities above 0")


def _check_types(settings: ControllerSettings) -> None:
    for field in fields(settings):
        value = getattr(settings, field.name)
        kinds = _KINDS.get(str(field.type))
        if kinds is not None:
            fits = isinstance(value, kinds) and not isinstance(value, bool)
            _require(fits, field.name, value, f"give {field.type}")
    names = settings.node_names
    fits = isinstance(names, dict) and all(
        isinstance(name, str) and 0 <= dpid < 1 << 64 for dpid, name in names.items()
    )
    _require(fits, "node_names", names, "map datapath ids to names")
    _require(len(set(names.values())) == len(names), "node_names", names, "give every switch a name of its own")


def _check_classes(settings: ControllerSettings) -> None:
    names = [entry.name for entry in settings.classes]
    _require(bool(names) and all(isinstance(name, str) for name in names), "classes", names, "name at least one class")
    _require(len(set(names)) == len(names), "classes", names, "name every class once")
    values = [value for entry in settings.classes for value in entry.dscp]
    fits = all(isinstance(value, int) and 0 <= value < 64 for value in values) and len(set(values)) == len(values)
    _require(fits, "classes", values, "give every DSCP value from 0 to 63 to one class")
    rest = sum(not entry.dscp for entry in settings.classes)
    _require(rest <= 1, "classes", names, "leave at most one class without DSCP values")
    for name in settings.probe_classes:
        _require(name in names, "probe_classes", name, "name classes that exist")


def _check_queues(settings: ControllerSettings) -> None:
    if settings.ovsdb is not None:
        split_ovsdb(settings.ovsdb, "ovsdb")
    queues = settings.queues
    if queues is None:
        return
    names = [entry.name for entry in settings.classes]
    fits = sorted(queues.order) == sorted(names) and len(queues.order) <= MAX_CLASS_QUEUES
    _require(fits, "queues.order", queues.order, f"name every class once, at most {MAX_CLASS_QUEUES}")
    _require(queues.discipline in ("wfq", "strict"), "queues.discipline", queues.discipline, "give wfq or strict")
    wanted = len(names) if queues.discipline == "wfq" else 0
    fits = len(queues.weights) == wanted and all(
        isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < math.inf
        for weight in queues.weights
    )
    _require(fits, "queues.weights", queues.weights, f"give {wanted} numbers above 0")


def _check_hosts(settings: ControllerSettings) -> None:
    for place, host in enumerate(settings.hosts):
        where = f"hosts[{place}]"
        try:
            ipaddress.IPv4Network(host.prefix)
        except ValueError:
            _require(False, f"{where}.prefix", host.prefix, "give an IPv4 prefix like 10.1.0.0/16")
        mac = host.mac
        _require(isinstance(mac, str) and bool(_MAC.fullmatch(mac)), f"{where}.mac", mac, "write 02:00:00:00:00:01")
        _require(isinstance(host.node, str), f"{where}.node", host.node, "name the switch")
        fits = isinstance(host.port, int) and 0 < host.port < 1 << 28
        _require(fits, f"{where}.port", host.port, "give the number of the switch's port")


def _require(condition: bool, place: str, value: Any, remedy: str) -> None:
    if not condition:
        raise ConfigurationError(place, f"is {str(value)[:60]!r}", remedy)
