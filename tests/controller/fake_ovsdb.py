"""An OVSDB in memory: so much of RFC 7047 as setting up queues needs, and a switch daemon that obeys at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from controller.labels import Hop
from topology_sync.errors import UnavailableError


class FakeOvsdb:
    """Bridges with ports; ``broken`` makes every transaction after so many more fail."""

    def __init__(self, ports: Iterable[Hop]) -> None:
        self.tables: dict[str, dict[str, dict[str, Any]]] = {
            name: {} for name in ("Open_vSwitch", "Bridge", "Port", "Interface", "QoS", "Queue")
        }
        self.tables["Open_vSwitch"]["root"] = {"cur_cfg": 0, "next_cfg": 0}
        self.broken: int | None = None
        self.written: list[str] = []
        bridges: dict[int, list[str]] = {}
        for hop in sorted(ports):
            name = f"{hop.dpid}-{hop.port}"
            self.tables["Interface"][f"i{name}"] = {"ofport": hop.port}
            self.tables["Port"][f"p{name}"] = {
                "name": f"eth{name}",
                "interfaces": ["uuid", f"i{name}"],
                "qos": ["set", []],
            }
            bridges.setdefault(hop.dpid, []).append(f"p{name}")
        for dpid, names in bridges.items():
            references: list[Any] = ["set", [["uuid", name] for name in names]]
            row = {"datapath_id": f"{dpid:016x}", "ports": references if len(names) > 1 else references[1][0]}
            self.tables["Bridge"][f"b{dpid}"] = row

    def open(self, remote: str, timeout_s: float) -> FakeOvsdb:
        return self

    def __enter__(self) -> FakeOvsdb:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def transact(self, operations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.broken is not None:
            self.broken -= 1
            if self.broken < 0:
                raise UnavailableError("the OVSDB at fake did not answer within 5 s")
        names = {
            one["uuid-name"]: f"{one['uuid-name']}@{len(self.written)}" for one in operations if "uuid-name" in one
        }
        return [self._carry_out(operation, names) for operation in operations]

    def _carry_out(self, operation: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
        table = self.tables[operation["table"]]
        where = [clause[2][1] for clause in operation.get("where", ())]
        chosen = [uuid for uuid in table if not where or uuid in where]
        kind = operation["op"]
        if kind == "select":
            rows = [{"_uuid": ["uuid", uuid], **table[uuid]} for uuid in chosen]
            return {"rows": [{name: row[name] for name in operation["columns"]} for row in rows]}
        self.written.append(f"{kind} {operation['table']}")
        if kind == "insert":
            table[names[operation["uuid-name"]]] = {"external_ids": ["map", []], **_named(operation["row"], names)}
        elif kind == "update":
            for uuid in chosen:
                table[uuid] |= _named(operation["row"], names)
        elif kind == "delete":
            for uuid in chosen:
                del table[uuid]
        else:
            root = table["root"]
            root["next_cfg"] += 1
            root["cur_cfg"] = root["next_cfg"]
            self.written.pop()
        return {"count": len(chosen)}

    def put_foreign_qos(self, port: str) -> None:
        """Somebody gives a port a row that is not ours."""
        self.tables["QoS"]["theirs"] = {
            "type": "linux-hfsc",
            "other_config": ["map", []],
            "external_ids": ["map", []],
            "queues": ["map", []],
        }
        self.tables["Port"][port]["qos"] = ["uuid", "theirs"]

    def rates(self, hop: Hop) -> list[tuple[int, int]]:
        """Least rate and priority of every queue of a port."""
        port = self.tables["Port"][f"p{hop.dpid}-{hop.port}"]
        references = self.tables["QoS"][port["qos"][1]]["queues"][1]
        found = [dict(self.tables["Queue"][uuid]["other_config"][1]) for _, (_, uuid) in sorted(references)]
        return [(int(entry["min-rate"]), int(entry.get("priority", 0))) for entry in found]


def _named(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _named(entry, names) for key, entry in value.items()}
    if isinstance(value, list):
        if len(value) == 2 and value[0] == "named-uuid":
            return ["uuid", names[value[1]]]
        return [_named(entry, names) for entry in value]
    return value
