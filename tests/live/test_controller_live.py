"""The controller against real Open vSwitch: 14 switches, 21 cables, hosts that send real packets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from controller.settings import ControllerSettings, TrafficClass
from tests.live.controller_process import ControllerProcess
from tests.live.private_ovs import PrivateOvs, host_ip, host_mac, missing

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    pytest.mark.timeout(180),
]

RING = 14
CHORDS = [(1, 6), (2, 9), (3, 11), (4, 8), (5, 12), (7, 13), (10, 14)]
LINKS = [(dpid, dpid % RING + 1) for dpid in range(1, RING + 1)] + CHORDS
HOSTS = (1, 3, 7)
SENDER = Path(__file__).parent / "packet_counter.py"
PATHS_1_TO_7 = (["s1", "s6", "s7"], ["s1", "s2", "s3", "s4", "s5", "s6", "s7"], ["s1", "s14", "s13", "s7"])
UDP_PORTS = count(5000)
AUDIT_S = 5.0
FOREIGN = "cookie=0xabc,table=0,priority=999,dl_type=0x1234"


class Live(NamedTuple):
    """A network and its controller."""

    ovs: PrivateOvs
    controller: ControllerProcess
    settings: ControllerSettings
    discovered_s: float


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One network for all tests here: each leaves it whole."""
    directory = tmp_path_factory.mktemp("live")
    settings = ControllerSettings(
        state_directory=str(directory / "state"),
        api_socket=str(directory / "api"),
        classes=(TrafficClass("voice", (46,)), TrafficClass("default")),
        audit_period_s=AUDIT_S,
    )
    ovs = PrivateOvs(directory, "tcp:127.0.0.1:6653")
    controller = ControllerProcess(ovs.net, settings, directory)
    try:
        controller.start()
        started_s = time.monotonic()
        ovs.add_network(LINKS, HOSTS)
        controller.wait_for("all links", lambda state: link_count(state) == 2 * len(LINKS), 30)
        discovered_s = time.monotonic() - started_s
        await_protection(controller)
        ovs.ofctl("add-flow", "s1", f"{FOREIGN},actions=drop")
        yield Live(ovs, controller, settings, discovered_s)
    finally:
        controller.kill()
        ovs.close()


def link_count(state: dict[str, Any]) -> int:
    """Directed links that are up."""
    return sum(state["links"]["up"])


def await_protection(controller: ControllerProcess) -> None:
    """Wait until discovery is settled, every switch is in line and two readings in a row show no more changes."""
    controller.wait_for("a settled network", lambda data: data["settled"], path="/api/v1/statistics")
    controller.wait_for("switches in line", lambda data: data["switches_in_line"] == RING, path="/api/v1/statistics")
    before = -1
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        time.sleep(1.0)
        statistics = controller.get("/api/v1/statistics")
        mods = statistics["flow_mods"] + statistics["group_mods"]
        if mods == before:
            return
        before = mods
    raise AssertionError("the controller keeps on sending rules")


def send(live: Live, source: int, target: int, rate: float, duration_s: float, dscp: int = 0) -> Any:
    """Start a flow between two hosts; call the result to wait and get what the receiver saw."""
    port = str(next(UDP_PORTS))
    receiver = live.ovs.hosts[target].start(sys.executable, str(SENDER), "receive", port, stdout=subprocess.PIPE)
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    words = ["send", port, host_ip(target), str(rate), str(duration_s), str(dscp)]
    sender = live.ovs.hosts[source].start(sys.executable, str(SENDER), *words, stdout=subprocess.PIPE)

    def finish() -> dict[str, Any]:
        assert sender.wait(timeout=duration_s + 30) == 0
        output, _ = receiver.communicate(timeout=30)
        seen: dict[str, Any] = json.loads(output)
        seen["sent"] = int(rate * duration_s)
        return seen

    return finish


def put_path(live: Live, plan_id: str, nodes: list[str]) -> tuple[int, dict[str, Any]]:
    """Route s1 -> s7, default class, over these nodes."""
    state = live.controller.get("/api/v1/state")
    plan = {
        "format": "routewright-plan/1",
        "plan_id": plan_id,
        "topology_version": state["topology_version"],
        "routes": [{"source": "s1", "target": "s7", "class": "default", "paths": [{"nodes": nodes, "share": 1.0}]}],
    }
    return live.controller.ask("PUT", "/api/v1/routing", plan)


def path_of(state: dict[str, Any], source: str, target: str, traffic_class: str) -> list[str]:
    """The first path of a demand."""
    for route in state["scenario"]["routing"]:
        if (route["source"], route["target"], route["class"]) == (source, target, traffic_class):
            nodes: list[str] = route["paths"][0]["nodes"]
            return nodes
    return []


def make_demand(live: Live) -> None:
    """Let the demand s1 -> s7 exist."""
    assert send(live, 1, 7, 20, 1)()["lost"] == 0


def test_fourteen_switches_are_discovered_in_less_than_five_seconds(live: Live) -> None:
    assert live.discovered_s < 5
    state = live.controller.get("/api/v1/state")
    ends = {(link["source"], link["target"]) for link in state["scenario"]["topology"]["links"]}
    assert ends == {(f"s{a}", f"s{b}") for link in LINKS for a, b in (link, link[::-1])}


def test_what_is_read_back_equals_what_was_sent(live: Live) -> None:
    """A restart finds every kind of rule in place: it sends nothing at all, and the traffic never notices."""
    make_demand(live)
    state = live.controller.get("/api/v1/state")
    split = {
        "format": "routewright-plan/1",
        "plan_id": "split",
        "topology_version": state["topology_version"],
        "routes": [
            {
                "source": "s1",
                "target": "s7",
                "class": "default",
                "paths": [{"nodes": PATHS_1_TO_7[0], "share": 0.75}, {"nodes": PATHS_1_TO_7[2], "share": 0.25}],
            }
        ],
    }
    status, report = live.controller.ask("PUT", "/api/v1/routing", split)
    assert (status, report["ok"]) == (200, True), report
    shares = [
        path["share"]
        for route in live.controller.get("/api/v1/state")["scenario"]["routing"]
        if route["source"] == "s1" and route["target"] == "s7"
        for path in route["paths"]
    ]
    assert sorted(shares) == [0.25, 0.75]
    before = live.controller.get("/api/v1/rules")
    for _ in range(2):
        flow = send(live, 1, 7, 500, 6)
        time.sleep(0.5)
        live.controller.kill()
        live.controller.start()
        await_protection(live.controller)
        statistics = live.controller.get("/api/v1/statistics")
        assert (statistics["flow_mods"], statistics["group_mods"]) == (0, 0)
        assert live.controller.get("/api/v1/rules") == before
        seen = flow()
        assert (seen["received"], seen["lost"], seen["duplicated"]) == (seen["sent"], 0, 0)


def test_fifty_reroutings_lose_and_duplicate_nothing(live: Live) -> None:
    make_demand(live)
    flow = send(live, 1, 7, 1000, 27)
    time.sleep(0.5)
    changed = 0
    for step in range(50):
        status, report = put_path(live, f"step-{step}", list(PATHS_1_TO_7[step % 3]))
        assert (status, report["ok"]) == (200, True), report
        assert {"flip", "drain", "clean"} <= report["stage_s"].keys() or not report["changed_demands"]
        changed += report["changed_demands"]
    seen = flow()
    assert (seen["lost"], seen["duplicated"]) == (0, 0), seen
    assert seen["received"] == seen["sent"]
    assert changed >= 49


def test_measured_traffic_is_what_was_sent(live: Live) -> None:
    """Packet rate within 3 % over a window that begins right after a flip; nothing counts as lost."""
    make_demand(live)
    flow = send(live, 1, 7, 500, 16)
    time.sleep(2.0)
    for step in range(2):
        status, _ = put_path(live, f"measure-{step}", list(PATHS_1_TO_7[step]))
        assert status == 200
    time.sleep(12.5)
    state = live.controller.get("/api/v1/state")
    flow()
    (index,) = [
        number
        for number, demand in enumerate(state["scenario"]["traffic"])
        if (demand["source"], demand["target"], demand["class"]) == ("s1", "s7", "default")
    ]
    demand = state["scenario"]["traffic"][index]
    assert demand["rate_bps"] / demand["packet_bits_mean"] == pytest.approx(500, rel=0.03)
    assert state["demands"]["loss_ratio"][index] < 0.005
    assert state["demands"]["probe_count"][index] > 0


def test_first_packets_wait_for_their_rules_and_keep_their_order(live: Live) -> None:
    seen = send(live, 3, 7, 200, 1.0, dscp=46)()
    assert (seen["lost"], seen["duplicated"]) == (0, 0), seen
    state = live.controller.get("/api/v1/state")
    assert path_of(state, "s3", "s7", "voice")
    assert not path_of(state, "s3", "s7", "default")


def test_link_failure_is_seen_at_once_protected_and_healed(live: Live) -> None:
    make_demand(live)
    put_path(live, "before-failure", list(PATHS_1_TO_7[0]))
    flow = send(live, 1, 7, 1000, 9)
    time.sleep(1.5)
    cable = f"l{LINKS.index((6, 7))}a"
    version = live.controller.get("/api/v1/state")["topology_version"]
    live.ovs.set_link(cable, up=False)
    failed_s = time.monotonic()
    try:
        live.controller.wait_for("link down", lambda state: link_count(state) == 2 * len(LINKS) - 2)
        assert time.monotonic() - failed_s < 1.0
        status, answer = live.controller.ask(
            "PUT",
            "/api/v1/routing",
            {"format": "routewright-plan/1", "plan_id": "old", "topology_version": version, "routes": []},
        )
        assert status == 409, answer
        healed = live.controller.wait_for(
            "healing", lambda state: "s6" not in path_of(state, "s1", "s7", "default"), timeout_s=9
        )
        assert path_of(healed, "s1", "s7", "default") == PATHS_1_TO_7[2]
        seen = flow()
        assert seen["duplicated"] == 0
        assert seen["lost"] < 200, seen  # the FAST_FAILOVER group takes over after some 10 ms
    finally:
        live.ovs.set_link(cable, up=True)
        live.controller.wait_for("link back", lambda state: link_count(state) == 2 * len(LINKS))
        await_protection(live.controller)


def test_silently_dead_link_is_found_in_two_seconds(live: Live) -> None:
    """LLDP is dropped at one end; both ports stay up."""
    port = live.ovs.ports[2, 9]
    rule = f"priority=400,in_port={port},dl_type=0x88cc"
    live.ovs.ofctl("add-flow", "s2", f"cookie=0xabc,{rule},actions=drop")
    dead_s = time.monotonic()
    try:
        live.controller.wait_for("link down", lambda state: link_count(state) == 2 * len(LINKS) - 1)
        assert time.monotonic() - dead_s < 2.0 + 0.3
    finally:
        live.ovs.ofctl("--strict", "del-flows", "s2", rule)
        live.controller.wait_for("link back", lambda state: link_count(state) == 2 * len(LINKS))
        await_protection(live.controller)


def test_kill_at_any_moment_of_a_change_converges(live: Live) -> None:
    """Plans are cut off by kill -9 at growing delays; each restart ends consistent, and no packet is lost."""
    make_demand(live)
    for trial in range(5):
        flow = send(live, 1, 7, 500, 7)
        time.sleep(0.5)
        state = live.controller.get("/api/v1/state")
        plan = {
            "format": "routewright-plan/1",
            "plan_id": f"cut-{trial}",
            "topology_version": state["topology_version"],
            "routes": [
                {
                    "source": "s1",
                    "target": "s7",
                    "class": "default",
                    "paths": [{"nodes": PATHS_1_TO_7[trial % 3], "share": 1.0}],
                }
            ],
        }
        asking = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "put_plan.py"), str(live.settings.api_socket)],
            stdin=subprocess.PIPE,
            text=True,
        )
        assert asking.stdin is not None
        asking.stdin.write(json.dumps(plan))
        asking.stdin.close()
        time.sleep(0.1 + 0.012 * trial)
        live.controller.kill()
        asking.wait(timeout=20)
        live.controller.start()
        await_protection(live.controller)
        seen = flow()
        assert (seen["lost"], seen["duplicated"]) == (0, 0), (trial, seen)
        labels = [
            flow_rule["match"]["mpls_label"]
            for flow_rule in live.controller.get("/api/v1/rules")["s7"]["flows"]
            if flow_rule.get("goto_table") == 2 and "mpls_label" in flow_rule["match"]
        ]
        routes = live.controller.get("/api/v1/state")["scenario"]["routing"]
        assert len(labels) == sum(len(route["paths"]) for route in routes if route["target"] == "s7")


def arp_answers(live: Live, asker: int, sender_ip: str, target: int) -> list[dict[str, Any]]:
    """What the host of a switch hears when it asks for the host of another one."""
    words = (sys.executable, str(SENDER.with_name("arp_asker.py")), sender_ip, host_ip(target))
    answers: list[dict[str, Any]] = json.loads(live.ovs.hosts[asker].run(*words, PYTHONPATH=str(Path.cwd())))
    return answers


def test_hosts_find_each_other_while_the_controller_is_away(live: Live) -> None:
    """Switches answer ARP for known hosts, but tell nobody about the address that is the asker's own."""
    make_demand(live)
    await_protection(live.controller)
    (heard,) = arp_answers(live, 1, host_ip(1), 7)
    live.controller.kill()
    try:
        for dpid in HOSTS:
            live.ovs.hosts[dpid].run("ip", "neigh", "flush", "all")
        seen = send(live, 1, 7, 200, 1)()
        assert (seen["received"], seen["lost"], seen["duplicated"]) == (seen["sent"], 0, 0)
        assert arp_answers(live, 1, host_ip(1), 7) == [heard]
        assert (heard["sender_mac"], heard["from"]) == (host_mac(7), host_mac(7))
        assert (heard["target_ip"], heard["to"]) == (host_ip(1), host_mac(1))
        assert not arp_answers(live, 1, host_ip(1), 1)
        assert not arp_answers(live, 1, "0.0.0.0", 1)
        assert not arp_answers(live, 3, host_ip(1), 1), "a host that moved announces itself"
    finally:
        live.controller.start()
        await_protection(live.controller)
    statistics = live.controller.get("/api/v1/statistics")
    assert (statistics["flow_mods"], statistics["group_mods"]) == (0, 0)


def test_a_rule_deleted_by_hand_comes_back_and_nothing_else_is_sent(live: Live) -> None:
    make_demand(live)
    put_path(live, "to-be-audited", list(PATHS_1_TO_7[0]))
    await_protection(live.controller)

    def sent() -> int:
        statistics = live.controller.get("/api/v1/statistics")
        return int(statistics["flow_mods"] + statistics["group_mods"])

    def labels() -> set[str]:
        return {word for word in live.ovs.ofctl("dump-flows", "s6").replace(",", " ").split() if "mpls_label=" in word}

    before, known = sent(), labels()
    time.sleep(1.5 * AUDIT_S)
    assert sent() == before, "an audit that finds nothing sends nothing"
    victim = sorted(known)[0]
    live.ovs.ofctl("--strict", "del-flows", "s6", f"table=0,priority=200,mpls,{victim}")
    assert labels() == known - {victim}
    deadline_s = time.monotonic() + 3 * AUDIT_S
    while labels() != known and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert labels() == known
    assert sent() == before + 1
    news = live.controller.get("/api/v1/events")["events"]
    assert any("s6: 1 rules missing, 0 unasked for, 0 changed" in entry["detail"] for entry in news)


def test_foreign_rules_are_never_touched(live: Live) -> None:
    assert "cookie=0xabc" in live.ovs.ofctl("dump-flows", "s1", "table=0,dl_type=0x1234")


def test_second_controller_refuses_to_start(live: Live, tmp_path: Path) -> None:
    from dataclasses import replace

    taken = replace(live.settings, state_directory=str(tmp_path / "other"), api_socket=str(tmp_path / "other.sock"))
    (tmp_path / "settings.json").write_text(taken.to_json())
    command = [sys.executable, "-m", "controller", "--settings", str(tmp_path / "settings.json")]
    output = live.ovs.net.run("env", f"PYTHONPATH={Path.cwd()}", *command, check=False)
    assert "cannot listen on 127.0.0.1:6653" in output
    assert len(output.splitlines()) == 1
