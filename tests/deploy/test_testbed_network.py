"""The parts of the testbed that can be looked at without root: cables, shaping, operator's files, run directories."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np

from deploy.configuration import read_configuration
from deploy.testbed.base_traffic import CAPACITY_BPS, CLASSES, QUEUE_PACKETS
from deploy.testbed.emulated_network import host_addresses, paired_links
from deploy.testbed.link_shaping import ShapedInterface, line_commands, queue_commands, shaping_commands
from deploy.testbed.operator_files import write_operator_files
from deploy.testbed.outage import outage
from deploy.testbed.run_directory import PREFIX, RunDirectory, remove_stale
from deploy.testbed.scenarios import make_scenario
from deploy.testbed.statistics import PacketTable
from topology_sync.sources import load_scenario
from topology_sync.topology import Link, Topology
from topology_sync.values import bool_array, float_array, int_array

NSFNET = "topohub:sndlib/nobel-us"


def test_cables_join_opposite_links_parallel_ones_in_order() -> None:
    links = [("a", "b"), ("a", "b"), ("b", "a"), ("b", "c"), ("b", "a"), ("c", "b")]
    topology = Topology.from_links(["a", "b", "c"], [Link(one, two, 1e6) for one, two in links])
    assert paired_links(topology) == [(0, 2), (1, 4), (3, 5)]


def test_hosts_have_addresses_of_their_own() -> None:
    assert host_addresses(0, 2) == ("10.0.1.1", "10.0.1.2")
    assert not set(host_addresses(0, 4)) & set(host_addresses(1, 4))


def test_shaping_has_a_bucket_smaller_than_any_packet_and_the_stated_queue() -> None:
    script = shaping_commands([ShapedInterface("s1-eth2", 2e6, 50)])
    assert "rate 2000000bit burst 25 cburst 25" in script
    assert "pfifo limit 50" in script
    assert "protocol 0x88cc" in script  # LLDP does not wait behind data


def test_packets_are_told_apart_by_label_and_by_dscp_where_there_is_none() -> None:
    script = queue_commands("s1-eth2", 50, [(46,), (34, 36), ()]).splitlines()
    assert "filter add dev s1-eth2 parent 1: protocol mpls_uc prio 2 u32 match u8 0x04 0x0e at 2 classid 1:3" in script
    assert "filter add dev s1-eth2 parent 1: protocol ip prio 3 u32 match u8 0xb8 0xfc at 1 classid 1:1" in script
    assert "filter add dev s1-eth2 parent 1: protocol ip prio 3 u32 match u8 0x90 0xfc at 1 classid 1:2" in script
    assert script[-1] == "filter add dev s1-eth2 parent 1: protocol all prio 4 u32 match u32 0 0 classid 1:3"
    assert sum("pfifo limit 50" in line for line in script) == 3
    assert not any(
        "htb rate" in line and "1:f100" not in line for line in script
    )  # classes are Open vSwitch's business


def test_the_line_behind_queues_is_a_little_faster_than_they_are_together() -> None:
    script = line_commands(ShapedInterface("s2-line3", 2e6, 50), "s1-line2")
    assert "htb rate 2040000bit burst 26" in script
    assert "filter replace dev s1-line2 parent ffff:" in script
    assert "redirect dev s2-line3" in script


def test_the_operators_file_of_a_run_with_queues_asks_for_them(tmp_path: Path) -> None:
    scenario = make_scenario("queues", NSFNET, load_scenario(NSFNET), 4)
    assert scenario.queues is not None
    assert set(scenario.base.topology.schedulers) == {scenario.queues.scheduler()}
    file = write_operator_files(tmp_path, scenario, 6653, 18080, ovsdb="unix:/run/db.sock")
    configuration = read_configuration(file)
    assert configuration.controller_settings().queues == scenario.queues
    assert configuration.controller_settings().ovsdb == "unix:/run/db.sock"
    assert configuration.optimizer_settings().queues == scenario.queues


def test_operators_files_are_ones_that_an_operator_could_have_written(tmp_path: Path) -> None:
    scenario = make_scenario("steady", NSFNET, load_scenario(NSFNET), 1)
    configuration = read_configuration(write_operator_files(tmp_path, scenario, 6653, 18080))
    controller, optimizer = configuration.controller_settings(), configuration.optimizer_settings()
    assert controller.links == scenario.base.topology.links_of()
    assert {link.capacity_bps for link in controller.links} == {CAPACITY_BPS}
    assert {link.queue_packets for link in controller.links} == {QUEUE_PACKETS}
    assert controller.node_names == {node + 1: name for node, name in enumerate(scenario.base.topology.node_names)}
    assert [entry.sla for entry in optimizer.classes] == [entry.goal for entry in CLASSES]
    assert optimizer.mode == "auto"
    assert not optimizer.transmission_delay
    assert (optimizer.safety.hold_s, optimizer.safety.violations_to_act, optimizer.safety.verify_s) == (5.0, 3, 10.0)


def test_a_run_directory_is_gone_afterwards_and_one_of_a_dead_run_with_the_next(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as living:
        dead = tmp_path / f"{PREFIX}dead"
        dead.mkdir()
        (dead / "lock").touch()
        (dead / "conf.db").write_text("left over")
        foreign = tmp_path / f"{PREFIX}being-made"
        foreign.mkdir()
        assert remove_stale(tmp_path) == [dead]
        assert living.path.exists()
        assert foreign.exists()
    assert not living.path.exists()


def test_a_locked_directory_belongs_to_somebody(tmp_path: Path) -> None:
    taken = tmp_path / f"{PREFIX}taken"
    taken.mkdir()
    descriptor = os.open(taken / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert remove_stale(tmp_path) == []
    os.close(descriptor)
    assert remove_stale(tmp_path) == [taken]


def test_outage_is_lost_packets_over_the_rate_of_the_demands_concerned() -> None:
    broken_ns = 10**12
    count = 2200
    sent_ns = broken_ns - 200_000_000 + np.arange(count) * 1_000_000  # 1,000 packets/s over the 2.2 s looked at
    lost = (sent_ns >= broken_ns) & (sent_ns < broken_ns + 9_000_000)
    table = PacketTable(
        demand=int_array(np.arange(count) % 2),
        sequence=int_array(np.arange(count) // 2),
        sent_ns=int_array(sent_ns),
        frame_bits=int_array(np.full(count, 800)),
        delay_s=float_array(np.where(lost, np.nan, 0.001)),
        copies=int_array(np.where(lost, 0, 1)),
        arrival_rank=int_array(np.zeros(count)),
        overtaken=bool_array(np.zeros(count)),
    )
    found = outage(table, broken_ns, [0, 1], "a->b")
    assert found["packets_lost"] == 9
    assert abs(found["outage_s"] - 0.009) < 1e-9
    assert abs(found["longest_loss_s"] - 0.008) < 1e-9
    assert outage(table, broken_ns, [5], "a->b")["outage_s"] == 0.0
