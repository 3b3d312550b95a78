"""Queues of ports as OVSDB keeps them (ovs-vswitchd.conf.db(5), tables QoS and Queue; operations of RFC 7047).  Pure.

A port that leads to a link gets one QoS row of type linux-htb with a Queue row per queue.  Rows of ours say so in
``external_ids``; a port on which somebody else has a QoS row is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.labels import Hop
from topology_sync.errors import UnavailableError
from topology_sync.topology import Scheduler

SCHEMA = "Open_vSwitch"
QOS_TYPE = "linux-htb"
OWNER, OURS = "routewright", "queues"
SMALLEST_RATE_BPS = 12_000  # what Open vSwitch makes of any smaller min-rate

Operation = dict[str, Any]

READ_OPERATIONS: tuple[Operation, ...] = tuple(
    {"op": "select", "table": table, "where": [], "columns": columns}
    for table, columns in (
        ("Bridge", ["datapath_id", "ports"]),
        ("Port", ["_uuid", "name", "interfaces", "qos"]),
        ("Interface", ["_uuid", "ofport"]),
        ("QoS", ["_uuid", "type", "other_config", "external_ids", "queues"]),
        ("Queue", ["_uuid", "other_config"]),
    )
)
"""What ``found_ports`` reads."""

TAKEN_OPERATIONS: tuple[Operation, ...] = (
    {"op": "select", "table": SCHEMA, "where": [], "columns": ["cur_cfg", "next_cfg"]},
)
"""What ``is_taken`` reads."""


@dataclass(frozen=True)
class QueueRates:
    """What a queue may send: at least ``min_bps`` when the port is busy, up to ``max_bps`` when others leave room.

    Of queues that want more than their least rate the one with the lowest ``priority`` goes first.
    """

    min_bps: int
    max_bps: int
    priority: int = 0

    def to_map(self) -> list[Any]:
        """Column ``other_config`` of its row."""
        entries = [["max-rate", str(self.max_bps)], ["min-rate", str(self.min_bps)]]
        return ["map", entries + ([["priority", str(self.priority)]] if self.priority else [])]


@dataclass(frozen=True)
class PortQueues:
    """The queues of one port in order, and the rate of its link."""

    capacity_bps: int
    queues: tuple[QueueRates, ...]


@dataclass(frozen=True)
class FoundPort:
    """A port as the database has it; ``queues`` are (uuid of the row, ``other_config``) by number.

    ``own`` False: its QoS row is somebody else's.
    """

    uuid: str
    name: str
    qos_uuid: str | None = None
    own: bool = True
    qos: tuple[str, Mapping[str, str]] = ("", {})
    queues: Mapping[int, tuple[str, Mapping[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class QueueChanges:
    """Operations that bring ports in line; ``queues`` of them are set up or get other rates."""

    operations: tuple[Operation, ...]
    queues: int


def port_queues(scheduler: Scheduler, capacity_bps: float) -> PortQueues:
    """How linux-htb comes nearest to a scheduler on a port of this rate.

    wfq: each queue is sure of its weight's part, what others leave is shared by quanta in the same proportion.
    strict: no queue is sure of more than a trickle, and all else goes by priority.
    """
    capacity = round(capacity_bps)
    if scheduler.discipline == "strict":
        rates = [QueueRates(SMALLEST_RATE_BPS, capacity, queue) for queue in range(scheduler.queue_count)]
    else:
        total = sum(scheduler.weights)
        least = [max(round(capacity * weight / total), SMALLEST_RATE_BPS) for weight in scheduler.weights]
        rates = [QueueRates(min(rate, capacity), capacity) for rate in least]
    return PortQueues(capacity, tuple(rates))


def found_ports(results: Sequence[Mapping[str, Any]]) -> dict[Hop, FoundPort]:
    """Ports by datapath id and OpenFlow port from the answer to ``READ_OPERATIONS``.

    Raises UnavailableError when it is no such answer.
    """
    try:
        bridges, ports, interfaces, qos_rows, queue_rows = (result["rows"] for result in results[:5])
        number_of = {_uuid(row): row["ofport"] for row in interfaces if isinstance(row["ofport"], int)}
        queues = {_uuid(row): (_uuid(row), _map(row["other_config"])) for row in queue_rows}
        qos = {_uuid(row): row for row in qos_rows}
        port_of = {_uuid(row): row for row in ports}
        found: dict[Hop, FoundPort] = {}
        for bridge in bridges:
            if not isinstance(bridge["datapath_id"], str):
                continue
            dpid = int(bridge["datapath_id"], 16)
            for uuid in _uuids(bridge["ports"]):
                row = port_of[uuid]
                for interface in _uuids(row["interfaces"]):
                    if interface in number_of:
                        found[Hop(dpid, number_of[interface])] = _found(uuid, row, qos, queues)
        return found
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UnavailableError(f"the OVSDB gives an answer that we do not understand ({error!r})") from error


def _found(
    uuid: str,
    row: Mapping[str, Any],
    qos: Mapping[str, Mapping[str, Any]],
    queues: Mapping[str, tuple[str, Mapping[str, str]]],
) -> FoundPort:
    name = row["name"]
    of_port = _uuids(row["qos"])
    if not of_port:
        return FoundPort(uuid, name)
    entry = qos[of_port[0]]
    own = _map(entry["external_ids"]).get(OWNER) == OURS
    numbered = {int(number): queues[reference[1]] for number, reference in entry["queues"][1]}
    return FoundPort(uuid, name, of_port[0], own, (entry["type"], _map(entry["other_config"])), numbered)


def is_taken(results: Sequence[Mapping[str, Any]], number: int) -> bool:
    """Whether the switch daemon has carried out configuration ``number``, by the answer to ``TAKEN_OPERATIONS``."""
    return bool(results[0]["rows"][0]["cur_cfg"] >= number)


def asked_for(results: Sequence[Mapping[str, Any]]) -> int:
    """The number of the configuration that a transaction made, from the last of its results."""
    return int(results[-1]["rows"][0]["next_cfg"])


def queue_changes(wanted: Mapping[Hop, PortQueues], found: Mapping[Hop, FoundPort]) -> QueueChanges:
    """What must change so that these ports have these queues.

    Rows that are there are updated in place: Open vSwitch then changes the class of the queue, and the packets that
    wait in it go on waiting.
    """
    operations: list[Operation] = []
    queues = 0
    for hop in sorted(wanted):
        port, asked = found[hop], wanted[hop]
        made, count = _port_changes(f"{hop.dpid:x}_{hop.port}", port, asked)
        operations += made
        queues += count
    if operations:
        operations.append({"op": "mutate", "table": SCHEMA, "where": [], "mutations": [["next_cfg", "+=", 1]]})
        operations.append({"op": "select", "table": SCHEMA, "where": [], "columns": ["next_cfg"]})
    return QueueChanges(tuple(operations), queues)


def _port_changes(suffix: str, port: FoundPort, asked: PortQueues) -> tuple[list[Operation], int]:
    operations: list[Operation] = []
    references: list[Any] = []
    changed = 0
    for number, rates in enumerate(asked.queues):
        present = port.queues.get(number) if port.own else None
        column = {"other_config": rates.to_map(), "external_ids": _ours()}
        if present is None:
            name = f"queue_{suffix}_{number}"
            operations.append({"op": "insert", "table": "Queue", "row": column, "uuid-name": name})
            references.append([number, ["named-uuid", name]])
        else:
            references.append([number, ["uuid", present[0]]])
            if dict(present[1]) != _map(rates.to_map()):
                operations.append({"op": "update", "table": "Queue", "where": _where(present[0]), "row": column})
        changed += present is None or dict(present[1]) != _map(rates.to_map())
    settings = {"max-rate": str(asked.capacity_bps)}
    row = {
        "type": QOS_TYPE,
        "other_config": ["map", [list(entry) for entry in settings.items()]],
        "external_ids": _ours(),
        "queues": ["map", references],
    }
    if port.qos_uuid is None:
        name = f"qos_{suffix}"
        operations.append({"op": "insert", "table": "QoS", "row": row, "uuid-name": name})
        into = {"qos": ["named-uuid", name]}
        operations.append({"op": "update", "table": "Port", "where": _where(port.uuid), "row": into})
    elif port.qos != (QOS_TYPE, settings) or port.queues.keys() != set(range(len(asked.queues))):
        operations.append({"op": "update", "table": "QoS", "where": _where(port.qos_uuid), "row": row})
        beyond = [uuid for number, (uuid, _) in port.queues.items() if number >= len(asked.queues)]
        operations += [{"op": "delete", "table": "Queue", "where": _where(uuid)} for uuid in beyond]
    return operations, changed


def _ours() -> list[Any]:
    return ["map", [[OWNER, OURS]]]


def _where(uuid: str) -> list[Any]:
    return [["_uuid", "==", ["uuid", uuid]]]


def _uuid(row: Mapping[str, Any]) -> str:
    return str(row["_uuid"][1])


def _uuids(value: Any) -> list[str]:
    """The references in a column: one is written without a set around it."""
    entries = value[1] if value[0] == "set" else [value]
    return [str(entry[1]) for entry in entries]


def _map(value: Any) -> dict[str, str]:
    return {str(key): str(entry) for key, entry in value[1]}
