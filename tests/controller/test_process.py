"""The controller process as its neighbours meet it: start, refusals, HTTP, and switches that misbehave.

The switches are small fakes on sockets; real ones are in tests/live.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from controller.packets import ARP_REPLY, ARP_REQUEST, BROADCAST, Arp, decode_arp, encode_arp
from controller.settings import ControllerSettings, TrafficClass
from tests.controller.fake_switch import FLOW_MOD, GROUP_MOD, FakeSwitch
from topology_sync.probes import PROBE_TARGET

REPOSITORY = Path(__file__).resolve().parents[2]
STATIC_FLOWS = 4


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def command(settings: ControllerSettings, directory: Path) -> list[str]:
    """The command line of a controller with these settings."""
    file = directory / f"settings-{time.monotonic_ns()}.json"
    file.write_text(settings.to_json())
    return [sys.executable, "-m", "controller", "--settings", str(file)]


@contextlib.contextmanager
def running(settings: ControllerSettings, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A controller process that is ready."""
    with (directory / "log").open("a") as log:
        process = subprocess.Popen(
            command(settings, directory), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("controller ready:"), (directory / "log").read_text()
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("controller")


@pytest.fixture(scope="module")
def settings(place: Path) -> ControllerSettings:
    return ControllerSettings(
        state_directory=str(place / "state"),
        openflow_port=free_port(),
        api_socket=str(place / "api"),
        classes=(TrafficClass("voice", (46,)), TrafficClass("default")),
        echo_interval_s=0.3,
        echo_misses=3,
        transaction_timeout_s=1.0,
    )


@pytest.fixture(scope="module")
def process(settings: ControllerSettings, place: Path) -> Iterator[subprocess.Popen[str]]:
    """One process for the tests that only ask."""
    with running(settings, place) as started:
        yield started


@pytest.fixture
def api(process: subprocess.Popen[str], settings: ControllerSettings) -> Iterator[httpx.Client]:
    assert process.poll() is None
    transport = httpx.HTTPTransport(uds=settings.api_socket)
    with httpx.Client(transport=transport, base_url="http://controller", timeout=10) as client:
        yield client


def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """The first true value of ``condition``; fails when there is none in time."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)
    return value


def refused(settings: ControllerSettings, directory: Path) -> tuple[int, str]:
    """Exit code and error output of a controller that does not start."""
    done = subprocess.run(
        command(settings, directory), cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False
    )
    return done.returncode, done.stderr


def test_loads_no_library_that_eventlet_would_break() -> None:
    code = (
        "import eventlet; eventlet.monkey_patch(); import controller.launcher, sys;"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    loaded = set(re.findall(r"'([^']+)'", output))
    assert {"ryu", "eventlet", "controller"} <= loaded
    assert not loaded & {"torch", "grpc", "pydantic", "yaml", "fastapi", "uvicorn", "anyio", "optimizer", "gnn_model"}


def test_taken_openflow_port_is_refused_in_one_line(
    process: subprocess.Popen[str], settings: ControllerSettings, tmp_path: Path
) -> None:
    other = replace(settings, state_directory=str(tmp_path / "state"), api_socket=str(tmp_path / "api"))
    code, text = refused(other, tmp_path)
    assert code == 1
    assert re.fullmatch(r"controller: cannot listen on 127\.0\.0\.1:\d+ for OpenFlow \(.*\); .*\n", text)


def test_taken_state_directory_and_api_are_refused(
    process: subprocess.Popen[str], settings: ControllerSettings, tmp_path: Path
) -> None:
    code, text = refused(replace(settings, openflow_port=free_port()), tmp_path)
    assert (code, len(text.splitlines())) == (1, 1)
    assert "another controller runs" in text
    code, text = refused(
        replace(settings, openflow_port=free_port(), state_directory=str(tmp_path / "state")), tmp_path
    )
    assert (code, len(text.splitlines())) == (1, 1)
    assert "is in use" in text


@pytest.mark.parametrize("content", ["{", '{"state_directory": 5}'])
def test_bad_settings_end_with_exit_code_2_and_one_line(content: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "controller", "--settings", str(file)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr


def test_stale_socket_is_replaced_and_the_socket_is_private(tmp_path: Path) -> None:
    path = tmp_path / "api"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    settings = ControllerSettings(str(tmp_path / "state"), openflow_port=free_port(), api_socket=str(path))
    with running(settings, tmp_path) as process:
        assert path.stat().st_mode & 0o777 == 0o600
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert not path.exists()


def test_loopback_api_answers_and_sigint_ends_cleanly(tmp_path: Path) -> None:
    settings = ControllerSettings(str(tmp_path / "state"), openflow_port=free_port(), api_port=free_port())
    with running(settings, tmp_path) as process:
        assert httpx.get(f"http://127.0.0.1:{settings.api_port}/healthz", timeout=5).json()["ok"] is True
        for port in (6633, settings.openflow_port + 1):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def test_unreadable_store_is_set_aside(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "intent.json").write_text('{"format": "routewright-controller-store/1"')
    settings = ControllerSettings(str(state), openflow_port=free_port(), api_socket=str(tmp_path / "api"))
    with running(settings, tmp_path):
        pass
    assert "cannot be used" in (tmp_path / "log").read_text()
    assert (state / "intent.unreadable").exists()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("POST", "/api/v1/state", "x", 405),
        ("PUT", "/api/v1/routing", "", 400),
        ("PUT", "/api/v1/routing", "{", 400),
        ("PUT", "/api/v1/routing", "[" * 100000, 400),
        ("PUT", "/api/v1/routing", "{}", 400),
        ("PUT", "/api/v1/routing", b"\xff\xfe", 400),
        (
            "PUT",
            "/api/v1/routing",
            '{"format": "routewright-plan/1", "plan_id": "a", "topology_version": 999999, "routes": []}',
            409,
        ),
        ("GET", "/api/v1/events?after=x", None, 400),
        ("GET", "/api/v1/events?after=-1", None, 400),
    ],
)
def test_bad_requests_get_one_line(api: httpx.Client, method: str, path: str, body: Any, status: int) -> None:
    answer = api.request(method, path, content=body)
    assert answer.status_code == status, answer.text
    assert len(answer.json()["error"].splitlines()) == 1


def test_every_page_answers(api: httpx.Client) -> None:
    assert api.get("/api/v1/state").json()["format"] == "routewright-state/1"
    assert api.get("/api/v1/transactions").json().keys() == {"transactions"}
    assert api.get("/api/v1/rules").status_code == 200
    assert api.get("/healthz").json()["ok"] is True
    text = api.get("/metrics").text
    for name in ("flow_mods_total", "group_mods_total", "largest_stall_seconds", "transaction_seconds_bucket"):
        assert f"routewright_{name}" in text


def test_switch_gets_its_rules_and_hosts_get_answers(api: httpx.Client, settings: ControllerSettings) -> None:
    """Two hosts on one switch: learned by ARP, asked for at the edge, answered by the controller."""
    switch = FakeSwitch(settings.openflow_port, 17, ports=3)
    eventually(lambda: switch.count(FLOW_MOD) >= STATIC_FLOWS)
    first, second = ("02:00:00:00:00:01", "10.9.0.1"), ("02:00:00:00:00:02", "10.9.0.2")
    time.sleep(1.7)  # until the ports are known to be edge ports
    ask = Arp(ARP_REQUEST, *first, "00:00:00:00:00:00", second[1])
    switch.packet_in(1, encode_arp(ask, BROADCAST))

    def arps(operation: int) -> list[Arp]:
        found = [decode_arp(frame) for frame in switch.packet_outs()]
        return [message for message in found if message is not None and message.operation == operation]

    asked = eventually(lambda: arps(ARP_REQUEST))
    assert {message.target_ip for message in asked} == {second[1]}
    assert len(asked) == 2  # out of the two other ports
    switch.packet_in(2, encode_arp(Arp(ARP_REPLY, *second, *first), first[0]))
    (answer,) = eventually(lambda: arps(ARP_REPLY))
    assert (answer.sender_mac, answer.sender_ip, answer.target_mac) == (second[0], second[1], first[0])
    hosts = eventually(lambda: [h for h in api.get("/api/v1/state").json()["hosts"] if h["node"] == "s17"] or None)
    assert {(host["ip"], host["port"]) for host in hosts} == {("10.9.0.1", 1), ("10.9.0.2", 2)}
    third = ("02:00:00:00:00:03", "10.9.0.3")
    for port, (sender, target) in ((2, (third, second)), (1, (first, second))):
        switch.packet_in(port, encode_arp(Arp(ARP_REQUEST, *sender, "00:00:00:00:00:00", target[1]), BROADCAST))
    eventually(lambda: len(arps(ARP_REPLY)) == 2)
    assert third[0] not in {message.target_mac for message in arps(ARP_REPLY)}, "the second host answers there itself"
    switch.packet_in(3, encode_arp(Arp(ARP_REQUEST, *first, "00:00:00:00:00:00", first[1]), BROADCAST))
    eventually(lambda: any(h["ip"] == first[1] and h["port"] == 3 for h in api.get("/api/v1/state").json()["hosts"]))
    switch.close()


NICIRA = (0x00002320).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("dpid", "refuses"),
    [
        (18, lambda body: NICIRA in body),
        (19, lambda body: NICIRA in body and PROBE_TARGET not in body),  # the trial passes, then the table is full
    ],
)
def test_a_switch_that_cannot_answer_arp_is_served_all_the_same(
    api: httpx.Client, settings: ControllerSettings, dpid: int, refuses: Callable[[bytes], bool]
) -> None:
    """It gets all other rules, people are told in one line, and the controller answers."""
    switch = FakeSwitch(settings.openflow_port, dpid, ports=2, refuses=refuses)
    eventually(lambda: switch.count(FLOW_MOD) >= STATIC_FLOWS)
    first, second = ("02:00:00:00:01:01", f"10.{dpid}.0.1"), ("02:00:00:00:01:02", f"10.{dpid}.0.2")
    for port, (mac, ip) in enumerate((first, second), start=1):
        switch.packet_in(port, encode_arp(Arp(ARP_REQUEST, mac, ip, "00:00:00:00:00:00", ip), BROADCAST))
    eventually(lambda: sum(host["node"] == f"s{dpid}" for host in api.get("/api/v1/state").json()["hosts"]) == 2)

    def refusals() -> int:
        told = [entry["detail"] for entry in api.get("/api/v1/events").json()["events"]]
        return sum(f"{dpid:#x} refuses rules that answer ARP" in detail for detail in told)

    def leads_to(ip: str) -> bool:
        rules = api.get("/api/v1/rules").json().get(f"s{dpid}", {"flows": []})
        return sum(flow["match"].get("ipv4_dst", [""])[0] == ip for flow in rules["flows"]) == 2

    eventually(lambda: refusals() and leads_to(first[1]) and leads_to(second[1]), 15)
    switch.packet_in(1, encode_arp(Arp(ARP_REQUEST, *first, "00:00:00:00:00:00", second[1]), BROADCAST))
    eventually(lambda: any(message == second[0] for message in answering_macs(switch)))
    assert refusals() == 1
    transactions = api.get("/api/v1/transactions").json()["transactions"]
    assert all(report["ok"] for report in transactions)
    switch.close()


def answering_macs(switch: FakeSwitch) -> list[str]:
    """The MACs that ARP replies of the controller told."""
    found = [decode_arp(frame) for frame in switch.packet_outs()]
    return [message.sender_mac for message in found if message is not None and message.operation == ARP_REPLY]


def test_deaf_and_mute_switches_hold_up_nobody(api: httpx.Client, settings: ControllerSettings) -> None:
    deaf = FakeSwitch(settings.openflow_port, 21, deaf=True)
    mute = FakeSwitch(settings.openflow_port, 22, mute=True)
    eventually(lambda: mute.count(FLOW_MOD))
    started_s = time.monotonic()
    healthy = FakeSwitch(settings.openflow_port, 23)
    eventually(lambda: healthy.count(FLOW_MOD) >= STATIC_FLOWS, 8)
    assert time.monotonic() - started_s < 6  # a transaction that waits for the mute one ends after a second
    assert api.get("/healthz").json()["ok"] is True
    eventually(lambda: "s21 disconnected" in api.get("/api/v1/events").text, 15)
    assert not healthy.closed.is_set()
    for switch in (deaf, mute, healthy):
        switch.close()


def test_garbage_on_the_wire_costs_only_its_own_connection(api: httpx.Client, settings: ControllerSettings) -> None:
    healthy = FakeSwitch(settings.openflow_port, 31)
    noisy = FakeSwitch(settings.openflow_port, 32)
    eventually(lambda: healthy.count(FLOW_MOD) >= STATIC_FLOWS)
    noisy.packet_in(1, b"")
    noisy.packet_in(1, os.urandom(60))
    noisy.packet_in(1, bytes(12) + b"\x08\x00" + os.urandom(10))
    noisy.packet_in(1, bytes(12) + b"\x08\x06" + os.urandom(40))
    noisy.raw(os.urandom(4096))
    time.sleep(0.3)
    with socket.create_connection(("127.0.0.1", settings.openflow_port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 50)
    assert api.get("/healthz").json()["ok"] is True
    assert not healthy.closed.is_set()
    healthy.close()
    noisy.close()


def test_garbage_at_the_api_is_answered_or_dropped(
    api: httpx.Client, settings: ControllerSettings, place: Path
) -> None:
    for noise in (b"\x00\xff" * 1000 + b"\r\n\r\n", b"GET /" + b"a" * 100_000, b"GET / HTTP/9.9\r\n\r\n", b""):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(settings.api_socket))
            stranger.sendall(noise)
            stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(5)
            with contextlib.suppress(ConnectionError):
                stranger.recv(4096)
    assert api.get("/healthz").json()["ok"] is True
    assert "Traceback" not in (place / "log").read_text()


def test_a_flood_of_connections_ends_without_the_controller(
    api: httpx.Client, settings: ControllerSettings, process: subprocess.Popen[str]
) -> None:
    """Files run out while strangers hold connections; once they have gone, switches are served again."""
    usual = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    used = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used + 8, usual[1]))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(socket.create_connection(("127.0.0.1", settings.openflow_port), 5))
            time.sleep(0.5)
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, usual)
    switch = FakeSwitch(settings.openflow_port, 33)
    eventually(lambda: switch.count(FLOW_MOD) >= STATIC_FLOWS)
    assert api.get("/healthz").json()["ok"] is True
    switch.close()


def test_events_are_told_as_they_happen(api: httpx.Client, settings: ControllerSettings) -> None:
    last = api.get("/api/v1/events").json()["last"]
    switch = FakeSwitch(settings.openflow_port, 41)
    answer = api.get("/api/v1/events", params={"after": last, "wait_s": 5}).json()
    assert answer["events"][0]["kind"] == "switch"
    assert "s41 connected" in answer["events"][0]["detail"]
    started_s = time.monotonic()
    api.get("/api/v1/events", params={"after": 10**9, "wait_s": 0})
    assert time.monotonic() - started_s < 2
    switch.close()


def test_hundred_reconnections_leave_nothing_behind(
    api: httpx.Client, settings: ControllerSettings, process: subprocess.Popen[str]
) -> None:
    descriptors = Path(f"/proc/{process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(100):
        switch = FakeSwitch(settings.openflow_port, 51)
        eventually(lambda switch=switch: len(switch.received) >= 3)
        switch.close()
    eventually(lambda: len(list(descriptors.iterdir())) <= before + 3, 15)
    assert switch.count(GROUP_MOD) == 0


def test_plan_for_unknown_demand_is_refused(api: httpx.Client) -> None:
    version = api.get("/api/v1/state").json()["topology_version"]
    plan = {
        "format": "routewright-plan/1",
        "plan_id": "x",
        "topology_version": version,
        "routes": [{"source": "s1", "target": "s2", "class": "voice", "paths": [{"nodes": ["s1", "s2"]}]}],
    }
    answer = api.put("/api/v1/routing", content=json.dumps(plan))
    assert answer.status_code == 400
    assert "there is no demand" in answer.json()["error"]
