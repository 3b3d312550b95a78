"""Fake switches with tables and cables: they keep flows and groups as bytes, also while no controller is there."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.controller.fake_switch import (
    FLOW_MOD,
    GROUP_MOD,
    MULTIPART_REPLY,
    MULTIPART_REQUEST,
    PACKET_OUT,
    PORT_DESCRIPTION,
    FakeSwitch,
)

FLOW_STATISTICS, PORT_STATISTICS, GROUP_DESCRIPTION = 1, 4, 7
ADD, MODIFY, MODIFY_STRICT, DELETE, DELETE_STRICT = range(5)
ALL_TABLES = 0xFF
OUTPUT = 0
_FLOW_MOD = struct.Struct("!QQBBHHHIIIHxx")
_PART_BYTES = 50_000

Port = tuple[int, int]


@dataclass
class Tables:
    """What a switch keeps.  Flows by (table, priority, match) hold (cookie, instructions, made at,
    flags)."""

    flows: dict[tuple[int, int, bytes], tuple[int, bytes, float, int]] = field(default_factory=dict)
    groups: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    changes: int = 0

    def flow_mod(self, body: bytes) -> None:
        """Carry out the body of a flow_mod."""
        cookie, mask, table, command, _, _, priority, _, _, _, flags = _FLOW_MOD.unpack_from(body)
        (length,) = struct.unpack_from("!H", body, _FLOW_MOD.size + 2)
        padded = (length + 7) // 8 * 8
        match = body[_FLOW_MOD.size : _FLOW_MOD.size + padded]
        self.changes += 1
        if command == ADD:
            self.flows[table, priority, match] = cookie, body[_FLOW_MOD.size + padded :], time.monotonic(), flags
            return
        assert command in (DELETE, DELETE_STRICT), "nothing else is ever sent"
        for key, (present, *_) in list(self.flows.items()):
            meant = key == (table, priority, match) if command == DELETE_STRICT else table in (ALL_TABLES, key[0])
            if meant and present & mask == cookie & mask:
                del self.flows[key]

    def group_mod(self, body: bytes) -> None:
        """Carry out the body of a group_mod."""
        command, kind, group = struct.unpack_from("!HBxI", body)
        self.changes += 1
        if command == 2:
            self.groups.pop(group, None)
        else:
            self.groups[group] = kind, body[8:]

    def flow_entries(self, table: int, cookie: int, mask: int) -> Iterable[bytes]:
        """Entries of a flow statistics reply."""
        for (number, priority, match), (present, instructions, made_s, flags) in self.flows.items():
            if table in (ALL_TABLES, number) and present & mask == cookie & mask:
                age_s = time.monotonic() - made_s
                length = 48 + len(match) + len(instructions)
                head = struct.pack(
                    "!HBxIIHHHHxxxxQQQ",
                    *(length, number, int(age_s), int(age_s % 1 * 1e9), priority, 0, 0, flags, present, 0, 0),
                )
                yield head + match + instructions

    def group_entries(self) -> Iterable[bytes]:
        """Entries of a group description reply."""
        for group, (kind, buckets) in self.groups.items():
            yield struct.pack("!HBxI", 8 + len(buckets), kind, group) + buckets


class TableSwitch(FakeSwitch):
    """A connection of a switch of a ``FakeNetwork``."""

    def __init__(self, network: FakeNetwork, port: int, dpid: int) -> None:
        self.network = network
        self.tables = network.tables[dpid]
        super().__init__(port, dpid, network.ports[dpid])

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        if kind == FLOW_MOD:
            self.tables.flow_mod(body)
        elif kind == GROUP_MOD:
            self.tables.group_mod(body)
        elif kind == PACKET_OUT:
            self._packet_out(body)
        elif kind == MULTIPART_REQUEST and struct.unpack_from("!H", body)[0] != PORT_DESCRIPTION:
            (what,) = struct.unpack_from("!H", body)
            entries: Iterable[bytes] = ()
            if what == FLOW_STATISTICS:
                table, _, _, cookie, mask = struct.unpack_from("!B3xII4xQQ", body, 8)
                if table == ALL_TABLES:
                    time.sleep(self.network.answer_s.get(self.dpid, 0.0))
                entries = self.tables.flow_entries(table, cookie, mask)
            elif what == GROUP_DESCRIPTION:
                entries = self.tables.group_entries()
            self._reply(what, xid, entries)
        else:
            super()._answer(kind, xid, body)

    def _reply(self, what: int, xid: int, entries: Iterable[bytes]) -> None:
        part = b""
        for entry in entries:
            if len(part) + len(entry) > _PART_BYTES:
                self._send(MULTIPART_REPLY, xid, struct.pack("!HHxxxx", what, 1) + part)
                part = b""
            part += entry
        self._send(MULTIPART_REPLY, xid, struct.pack("!HHxxxx", what, 0) + part)

    def _packet_out(self, body: bytes) -> None:
        (length,) = struct.unpack_from("!H", body, 8)
        actions, frame = body[16 : 16 + length], body[16 + length :]
        while actions:
            kind, size, port = struct.unpack_from("!HHI", actions)
            if kind == OUTPUT:
                self.network.carry((self.dpid, port), frame)
            actions = actions[size:]


class FakeNetwork:
    """Switches joined by cables.  Port ``ports[dpid]``, the last one, of each is for a host.

    ``answer_s``: how long a switch takes to list all its rules; ``cut``: directed links, by their source, that carry
    nothing.
    """

    def __init__(self, cables: Iterable[tuple[int, int]]) -> None:
        self.ports: dict[int, int] = {}
        self.peers: dict[Port, Port] = {}
        for one, two in cables:
            ends = tuple((dpid, self._next_port(dpid)) for dpid in (one, two))
            self.peers[ends[0]], self.peers[ends[1]] = ends[1], ends[0]
        for dpid in self.ports:
            self._next_port(dpid)
        self.tables = {dpid: Tables() for dpid in self.ports}
        self.connections: dict[int, TableSwitch] = {}
        self.answer_s: dict[int, float] = {}
        self.cut: set[Port] = set()

    def _next_port(self, dpid: int) -> int:
        self.ports[dpid] = self.ports.get(dpid, 0) + 1
        return self.ports[dpid]

    def connect(self, port: int, dpid: int) -> None:
        """Connect a switch to the controller at ``port``."""
        self.connections[dpid] = TableSwitch(self, port, dpid)

    def connect_later(self, port: int, dpid: int, after_s: float) -> None:
        """Connect a switch in a while."""
        threading.Timer(after_s, self.connect, (port, dpid)).start()

    def carry(self, source: Port, frame: bytes) -> None:
        """A frame leaves by a port; if it is a cable's, the switch at the other end hands it up."""
        target = self.peers.get(source)
        connection = self.connections.get(target[0]) if target is not None else None
        if target is not None and connection is not None and source not in self.cut and not connection.closed.is_set():
            try:
                connection.packet_in(target[1], frame)
            except OSError:
                return

    @property
    def changes(self) -> int:
        """Flow and group modifications that came so far, to all switches."""
        return sum(tables.changes for tables in self.tables.values())
