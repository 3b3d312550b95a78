"""Queues in a real OVSDB: what is written is read back, and a database that is away or hangs is told of in time."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.labels import Hop
from controller.ovsdb import OvsdbConnection
from controller.queue_rows import (
    READ_OPERATIONS,
    TAKEN_OPERATIONS,
    asked_for,
    found_ports,
    is_taken,
    port_queues,
    queue_changes,
)
from topology_sync.errors import UnavailableError
from topology_sync.topology import Scheduler

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PORT = Hop(7, 2)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def remote(directory: Path) -> Iterator[str]:
    """A server with bridge 7, whose port 2 is ``eth2``; nobody carries out what it is told."""
    if shutil.which("ovsdb-server") is None or not SCHEMA.exists():
        pytest.skip("needs ovsdb-server")
    database, path = directory / "conf.db", directory / "db.sock"
    subprocess.run(["ovsdb-tool", "create", str(database), str(SCHEMA)], check=True, timeout=20)
    server = subprocess.Popen(
        [
            "ovsdb-server",
            str(database),
            f"--remote=punix:{path}",
            f"--unixctl={directory}/ctl",
            "-vconsole:off",
            "-vsyslog:off",
            f"--log-file={directory}/log",
        ]
    )
    try:
        deadline_s = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        interface = {"name": "eth2", "ofport": PORT.port}
        port = {"name": "eth2", "interfaces": ["named-uuid", "interface"]}
        bridge = {"name": "br7", "datapath_id": f"{PORT.dpid:016x}", "ports": ["named-uuid", "port"]}
        with OvsdbConnection(f"unix:{path}", 5.0) as database_:
            database_.transact(
                [
                    {"op": "insert", "table": "Open_vSwitch", "row": {"bridges": ["named-uuid", "bridge"]}},
                    {"op": "insert", "table": "Interface", "row": interface, "uuid-name": "interface"},
                    {"op": "insert", "table": "Port", "row": port, "uuid-name": "port"},
                    {"op": "insert", "table": "Bridge", "row": bridge, "uuid-name": "bridge"},
                ]
            )
        yield f"unix:{path}"
    finally:
        server.kill()
        server.wait(10)


def test_queues_written_are_read_back_and_change_in_place(remote: str) -> None:
    with OvsdbConnection(remote, 5.0) as database:
        for weights, rows in (((6.0, 3.0, 1.0), 3), ((6.0, 3.0, 1.0), 0), ((1.0, 3.0, 6.0), 2), ((1.0, 1.0), 2)):
            wanted = {PORT: port_queues(Scheduler("wfq", weights), 2e6)}
            changes = queue_changes(wanted, found_ports(database.transact(READ_OPERATIONS)))
            assert changes.queues == rows
            if rows:
                number = asked_for(database.transact(changes.operations))
                assert not is_taken(database.transact(TAKEN_OPERATIONS), number)
            found = found_ports(database.transact(READ_OPERATIONS))[PORT]
            assert {number: dict(entry[1]) for number, entry in found.queues.items()} == {
                number: {"min-rate": str(rates.min_bps), "max-rate": "2000000"}
                for number, rates in enumerate(wanted[PORT].queues)
            }
            assert found.own
        uuids = {entry[0] for entry in found.queues.values()}
        results = database.transact([{"op": "select", "table": "Queue", "where": [], "columns": ["_uuid"]}])
        assert {row["_uuid"][1] for row in results[0]["rows"]} == uuids  # none is left over


def test_what_the_server_refuses_is_one_line(remote: str) -> None:
    with OvsdbConnection(remote, 5.0) as database, pytest.raises(UnavailableError, match="refuses") as refused:
        database.transact([{"op": "select", "table": "Nonsense", "where": []}])
    assert "\n" not in str(refused.value)


def test_a_database_that_is_not_there_is_said_at_once(directory: Path) -> None:
    begun_s = time.monotonic()
    remote = f"unix:{directory}/none.sock"
    with pytest.raises(UnavailableError, match="cannot be reached"), OvsdbConnection(remote, 5.0):
        pass
    assert time.monotonic() - begun_s < 2.0


def test_one_that_never_answers_holds_up_one_greenlet_until_the_time_is_up(directory: Path) -> None:
    """In a process as Ryu makes it, where waiting is eventlet's business: others go on meanwhile."""
    path = directory / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        script = """
import json, sys, time
from ryu.lib import hub
hub.patch()
from controller.ovsdb import OvsdbConnection
from controller.queue_rows import READ_OPERATIONS
from topology_sync.errors import UnavailableError
beats = []
def beat():
    while True:
        beats.append(time.monotonic())
        hub.sleep(0.02)
hub.spawn(beat)
begun_s = time.monotonic()
try:
    with OvsdbConnection(sys.argv[1], 0.5) as database:
        database.transact(READ_OPERATIONS)
except UnavailableError as error:
    gaps = [b - a for a, b in zip(beats, beats[1:])]
    print(json.dumps([str(error), time.monotonic() - begun_s, len(beats), max(gaps)]))
"""
        done = subprocess.run(
            [sys.executable, "-c", script, f"unix:{path}"], capture_output=True, text=True, timeout=60, check=True
        )
    text, seconds, beats, gap_s = json.loads(done.stdout)
    assert text == f"the OVSDB at unix:{path} did not answer within 0.5 s"
    assert 0.4 < seconds < 5.0
    assert beats >= 3
    assert gap_s < seconds
