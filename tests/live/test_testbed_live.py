"""The emulated network carries what is sent, and nothing of it is left: after a good end, Ctrl-C or kill -9."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.process_control import wait_until
from deploy.testbed.preconditions import what_is_missing
from deploy.testbed.run_directory import PREFIX, remove_stale

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(what_is_missing() is not None, reason=what_is_missing() or ""),
]

BED = '''
import json, os, subprocess, sys, time
from pathlib import Path
import networkx
from deploy.testbed.emulated_network import EmulatedNetwork
from deploy.testbed.link_shaping import queue_drops, run_batch
from deploy.testbed.network_namespace import NetworkNamespace, unshare_network
from deploy.testbed.private_openvswitch import PrivateOpenvSwitch
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.statistics import demand_statistics, packet_table
from deploy.testbed.traffic import TrafficProcesses
from deploy.testbed.traffic_plan import HostEntry, RateStep, TrafficDemand, TrafficJob, make_schedule
from topology_sync.topology import Link, Topology
from topology_sync.traffic import PacketSize

names = ["a", "b", "c"]
pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")]
topology = Topology.from_links(names, [Link(one, two, 4e6, 0.0, 40) for one, two in pairs])


def install_rules(network, openvswitch):
    """Label paths by hand between all pairs, and neighbours so that nobody need answer ARP."""
    graph = networkx.DiGraph((int(s), int(t)) for s, t in zip(topology.link_source, topology.link_target))
    port = {}
    for link, interfaces in enumerate(network.link_interfaces):
        ends = int(topology.link_source[link]), int(topology.link_target[link])
        port[ends] = interfaces.sending.split("eth")[1]
    for node in range(3):
        flows = [
            f"table=0,priority=60,mpls,mpls_label={100 + node},actions=pop_mpls:0x0800,output:1",
        ]
        for other in set(range(3)) - {node}:
            out = port[node, networkx.shortest_path(graph, node, other)[1]]
            push = f"push_mpls:0x8847,set_field:{100 + other}->mpls_label,output:{out}"
            flows += [
                f"table=0,priority=50,ip,nw_dst=10.0.{other + 1}.0/24,actions={push}",
                f"table=0,priority=60,mpls,mpls_label={100 + other},actions=output:{out}",
            ]
        for flow in flows:
            openvswitch.ofctl("add-flow", f"s{node + 1}", flow)
    for host in network.hosts:
        with NetworkNamespace.of_process(host.process_id).entered():
            others = [(other, address) for other in network.hosts if other is not host for address in other.addresses]
            run_batch("ip", "".join(f"neigh replace {a} lladdr {o.mac} dev {host.interface}\\n" for o, a in others))


with RunDirectory() as directory:
    unshare_network()
    openvswitch = PrivateOpenvSwitch(directory.path / "ovs")
    openvswitch.start()
    network = EmulatedNetwork(topology, openvswitch, 6653, addresses_per_host=2)
    network.start()
    print(json.dumps({
        "namespace": os.stat("/proc/self/ns/net").st_ino,
        "directory": str(directory.path),
        "processes": [*openvswitch.process_ids, *(host.process_id for host in network.hosts)],
    }), flush=True)
'''

WAIT = BED + "    time.sleep(120)\n"

SEND = (
    BED
    + """
    install_rules(network, openvswitch)
    size = PacketSize("constant")
    demands = [
        TrafficDemand("a", "c", "voice", 46, (RateStep(0, 160_000.0),), 1600.0, size, "cbr"),
        TrafficDemand("c", "a", "default", 0, (RateStep(0, 400_000.0),), 4000.0, PacketSize("exponential")),
        TrafficDemand("b", "c", "default", 0, (RateStep(0, 0.0), RateStep(3.0, 6_000_000.0)), 4800.0, size),
    ]
    schedule = make_schedule(demands, 6.0, 4, seed=1)
    hosts = [HostEntry(host.node, host.process_id, host.addresses) for host in network.hosts]
    traffic = TrafficProcesses(TrafficJob.for_demands(hosts, demands, directory.path), schedule, directory.path)
    traffic.start()
    time.sleep(1.0)
    enlarged = openvswitch.enlarge_send_buffer()
    traffic.wait_sent(20)
    drops = queue_drops(link.sending for link in network.link_interfaces)
    traffic.stop()
    drops = queue_drops(link.sending for link in network.link_interfaces)
    records = traffic.received()
    table = packet_table(schedule, traffic.sent_ns(), records)
    figures = demand_statistics(table, 3, 6.0)
    print(json.dumps({
        "scheduled": schedule.packet_count,
        "sent": figures.sent.tolist(),
        "lost": figures.lost.tolist(),
        "duplicated": figures.duplicated.tolist(),
        "reordered": figures.reordered.tolist(),
        "delay_p50_s": figures.delay_p50_s.tolist(),
        "delay_max_s": figures.delay_max_s.tolist(),
        "ttl": sorted(set(records["ttl"].tolist())),
        "flags": sorted(set(records["flags"].tolist())),
        "sources": len(set(records["source"].tolist())),
        "receiver": traffic.summaries["receiver"],
        "enlarged": enlarged,
        "drops": drops,
    }), flush=True)
    network.stop()
    openvswitch.stop()
"""
)


@pytest.fixture
def outside() -> Iterator[None]:
    """What the machine itself has must be the same before and after."""
    before = interfaces()
    yield
    assert interfaces() == before


def interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def processes_in(namespace: int) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}/ns/net").st_ino == namespace:
                found.append(int(name))
        except OSError:
            continue
    return found


def is_alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start(script: str) -> tuple[subprocess.Popen[str], dict[str, object]]:
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def assert_nothing_is_left(facts: dict[str, object]) -> None:
    processes = facts["processes"]
    assert isinstance(processes, list)
    wait_until(lambda: not any(is_alive(one) for one in processes), 5, "processes of the testbed are still there")
    wait_until(lambda: not processes_in(int(str(facts["namespace"]))), 5, "something still lives in the namespace")


def test_packets_arrive_once_in_order_and_queues_hold_what_they_should(outside: None) -> None:
    process, facts = start(SEND)
    assert process.stdout is not None
    result = json.loads(process.stdout.readline())
    assert process.wait(30) == 0
    assert sum(result["sent"]) == result["scheduled"]
    assert result["lost"][1] == 0  # nothing stands in the way from c to a
    assert result["duplicated"] == [0, 0, 0]
    assert result["reordered"] == [0, 0, 0]
    assert result["ttl"] == [64]
    assert result["flags"] == [0]
    assert result["sources"] == 6  # both addresses of all three hosts
    assert result["receiver"]["foreign"] == result["receiver"]["dropped"] == 0
    assert result["delay_p50_s"][1] < 0.005
    # 6 Mbit/s into 4: a third is lost, and the queue counted every loss; Open vSwitch offers some packets a second time
    # when a full queue refuses them, so it counted a few more, or drops a few itself while its send buffer is small.
    assert result["lost"][2] / result["sent"][2] == pytest.approx(1 / 3, abs=0.06)
    assert result["drops"] == pytest.approx(sum(result["lost"]), rel=0.03)
    # 40 packets of 600 bytes wait 48 ms at 4 Mbit/s, the voice packets among them make it a little less
    assert 0.040 < result["delay_max_s"][2] < 0.070
    assert result["enlarged"]
    assert_nothing_is_left(facts)
    assert not Path(str(facts["directory"])).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_it_is_ended_from_outside(outside: None, number: signal.Signals) -> None:
    process, facts = start(WAIT)
    assert len(processes_in(int(str(facts["namespace"])))) >= 3
    process.send_signal(number)
    process.wait(10)
    assert_nothing_is_left(facts)
    directory = Path(str(facts["directory"]))
    if number == signal.SIGKILL:
        assert directory.exists()
        remove_stale(Path(tempfile.gettempdir()))  # what the next run does first
    assert not directory.exists()


def test_two_networks_live_side_by_side(outside: None) -> None:
    first, one = start(WAIT)
    second, two = start(WAIT)
    assert one["namespace"] != two["namespace"]
    assert Path(str(one["directory"])).exists()
    for process, facts in ((first, one), (second, two)):
        process.send_signal(signal.SIGINT)
        process.wait(10)
        assert_nothing_is_left(facts)


def test_the_machines_own_open_vswitch_is_not_touched(outside: None) -> None:
    before = sorted(os.listdir("/var/run/openvswitch")) if os.path.isdir("/var/run/openvswitch") else []
    process, facts = start(WAIT)
    directory = str(facts["directory"])
    commands = [
        Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        for one in processes_in(int(str(facts["namespace"])))
        if is_alive(one)
    ]
    daemons = [command for command in commands if re.search("ovs-vswitchd|ovsdb-server", command)]
    assert len(daemons) == 2
    assert all(directory in command for command in daemons)
    process.send_signal(signal.SIGINT)
    process.wait(10)
    after = sorted(os.listdir("/var/run/openvswitch")) if os.path.isdir("/var/run/openvswitch") else []
    assert before == after
    assert_nothing_is_left(facts)


def test_killed_run_leaves_no_controller_or_optimizer(outside: None) -> None:
    """kill -9 of the whole command, with controller, optimizer, sender and receiver under way."""
    run = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "testbed", "run", "--scenario", "steady"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def family() -> set[int]:
        """The run's descendants."""
        parents: dict[int, int] = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
        found = {run.pid}
        while True:
            more = {child for child, parent in parents.items() if parent in found} - found
            if not more:
                return found - {run.pid}
            found |= more

    def words(process_id: int) -> str:
        try:
            return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""

    def everything_runs() -> bool:
        commands = " ".join(words(one) for one in family())
        parts = ("controller --settings", "optimizer --config", "traffic_sender", "traffic_receiver", "ovs-vswitchd")
        return run.poll() is not None or all(part in commands for part in parts)

    wait_until(everything_runs, 60, "the run did not get going")
    assert run.poll() is None
    members = family()
    configuration = next(word for one in members for word in words(one).split() if word.endswith("routewright.yaml"))
    directory = Path(configuration).parent
    run.kill()
    run.wait(10)
    wait_until(lambda: not any(is_alive(one) for one in members), 5, "something outlived the run")
    before = set(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
    assert set(remove_stale(Path(tempfile.gettempdir()))) <= before
    assert directory.name in {path.name for path in before}
    assert not directory.exists()
