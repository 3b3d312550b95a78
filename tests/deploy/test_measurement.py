"""What the live measurements compute from packets, without any packet."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

from deploy.testbed.measurement.arp_watch import ArpLog
from deploy.testbed.measurement.failover import FAST_S, LOOK_S, START_S, TRIAL_S, _cables, _flows, _outage_s
from deploy.testbed.measurement.label_sniffer import RECORD_TYPE, read_sightings, record_of
from deploy.testbed.measurement.process_death import askings_of
from deploy.testbed.measurement.update_safety import mixed_paths
from deploy.testbed.statistics import PacketTable
from deploy.testbed.traffic_plan import HostEntry, RateStep, TrafficDemand, TrafficJob, make_schedule
from deploy.testbed.traffic_sender import HEADER, MAGIC
from topology_sync.topology import Link, Topology
from topology_sync.values import bool_array, float_array, int_array

PATHS = [frozenset({1, 2}), frozenset({3, 4, 5})]


def _frame(labels: list[int], demand: int = 7, sequence: int = 42) -> bytes:
    entries = [
        struct.pack("!I", label << 12 | (0x100 if position == len(labels) - 1 else 0) | 64)
        for position, label in enumerate(labels)
    ]
    return bytes(14) + b"".join(entries) + bytes(28) + HEADER.pack(MAGIC, demand, sequence, 0, 28)


def _sightings(rows: list[tuple[int, int, int, int]]) -> np.ndarray:
    array = np.zeros(len(rows), dtype=RECORD_TYPE)
    for name, column in zip(("sequence", "interface", "label", "labels"), zip(*rows, strict=True), strict=True):
        array[name] = column
    return array


def test_a_sniffed_frame_tells_packet_outer_label_and_depth(tmp_path):
    log = tmp_path / "sightings.bin"
    log.write_bytes(record_of(_frame([900, 101]), 3) + b"half a record")
    (row,) = read_sightings(log)
    assert (row["demand"], row["sequence"], row["interface"], row["label"], row["labels"]) == (7, 42, 3, 900, 2)


@pytest.mark.parametrize("frame", [b"", bytes(14), _frame([101])[:-1], bytes(80)])
def test_frames_that_are_not_ours_give_no_record(frame):
    assert record_of(frame, 1) is None


def test_a_packet_on_exactly_one_path_with_one_label_is_not_mixed():
    seen = _sightings([(0, 1, 101, 1), (0, 2, 101, 1), (1, 3, 102, 1), (1, 4, 102, 1), (1, 5, 102, 1)])
    assert mixed_paths(seen, np.array([0, 1]), PATHS) == (0, 0, 2)


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 1, 101, 1), (0, 4, 101, 1)],  # links of both paths
        [(0, 1, 101, 1), (0, 2, 102, 1)],  # relabelled on the way
        [(0, 1, 101, 1)],  # a link is missing
        [(0, 1, 101, 1), (0, 2, 101, 2)],  # detoured under a second label
        [(0, 1, 101, 1), (0, 2, 101, 1), (0, 2, 101, 1)],  # twice over a link
    ],
)
def test_anything_else_is_mixed(rows):
    assert mixed_paths(_sightings(rows), np.array([0]), PATHS)[0] == 1


def test_packets_that_nobody_saw_are_counted():
    assert mixed_paths(_sightings([(0, 1, 101, 1), (0, 2, 101, 1)]), np.array([0, 9]), PATHS)[1] == 1


def _table(copies: list[int]) -> PacketTable:
    count = len(copies)
    return PacketTable(
        demand=int_array(np.zeros(count)),
        sequence=int_array(np.arange(count)),
        sent_ns=int_array(np.arange(count) * 1_000_000),
        frame_bits=int_array(np.full(count, 800)),
        delay_s=float_array(np.zeros(count)),
        copies=int_array(copies),
        arrival_rank=int_array(np.arange(count)),
        overtaken=bool_array(np.zeros(count)),
    )


def test_an_outage_lasts_from_the_last_packet_before_to_the_first_after():
    assert _outage_s(_table([1] * 500 + [0] * 9 + [1] * 500), 0, 500_000_000) == pytest.approx(0.009)


def test_a_flow_that_lost_nothing_had_no_outage_and_one_that_never_came_back_had_all():
    whole = _table([1] * 1000)
    assert _outage_s(whole, 0, 500_000_000) == 0.0
    assert _outage_s(replace(whole, copies=int_array(np.zeros(1000))), 0, 500_000_000) == 3.0


def test_only_cables_with_a_way_around_are_broken():
    edges = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]  # c-d is a bridge
    topology = Topology.from_links(
        "abcd", [Link(*pair, 1e6) for one, two in edges for pair in ((one, two), (two, one))]
    )
    chosen = _cables(topology, seed=3, trials=7)
    assert len(chosen) == 7
    assert {frozenset(topology.link_name(link).split("->")) for link in chosen} == {
        frozenset(edge) for edge in edges[:3]
    }


def test_each_trial_has_a_flow_each_way_that_is_fast_while_its_cable_breaks():
    topology = Topology.from_links("ab", [Link("a", "b", 1e6), Link("b", "a", 1e6)])
    forth, back = _flows(topology, 0, trial=2)
    assert (forth.source, forth.target) == (back.target, back.source) == ("a", "b")
    begin = START_S + 2 * TRIAL_S
    assert [step.start_s for step in forth.steps] == [begin, begin + FAST_S, begin + LOOK_S]
    slow, fast, none = (step.rate_bps for step in forth.steps)
    assert none == 0 < slow < fast
    assert LOOK_S < TRIAL_S, "over before the next one"


SECOND_NS = 1_000_000_000


def test_a_question_without_an_answer_within_a_second_is_counted_as_such():
    log = ArpLog(
        {("a", "10.0.0.2"): (1 * SECOND_NS, 5 * SECOND_NS, 9 * SECOND_NS), ("a", "10.0.0.3"): (2 * SECOND_NS,)},
        {("a", "10.0.0.2"): (SECOND_NS + 1000, 8 * SECOND_NS)},
    )
    assert log.unanswered(0, 10 * SECOND_NS) == (4, 3)
    assert log.unanswered(0, 2 * SECOND_NS) == (1, 0)


def test_a_packet_waits_while_the_last_word_about_its_target_is_a_question():
    asking = ("a", "10.0.0.2")
    log = ArpLog({asking: (10, 50)}, {asking: (12, 90)})
    at_ns = int_array([5, 11, 20, 60, 95])
    assert log.waiting([asking] * 5, at_ns).tolist() == [False, True, False, True, False]
    assert log.waiting([("b", "10.0.0.2")], int_array([60])).tolist() == [False]


def test_a_lost_packet_is_traced_to_the_address_that_its_host_asked_for(tmp_path):
    """Which of its addresses a packet goes to is the schedule's choice; the job tells who they are."""
    hosts = [HostEntry(node, 1, (f"10.0.{n}.1", f"10.0.{n}.2")) for n, node in enumerate("abc")]
    demands = [
        TrafficDemand(source, target, "default", 0, (RateStep(0.0, 40_000.0),), 1000.0)
        for source, target in (("a", "b"), ("c", "a"))
    ]
    schedule = make_schedule(demands, 3.0, 4, 1)
    job = TrafficJob.for_demands(hosts, demands, tmp_path)
    places = np.arange(0, schedule.packet_count, 7)
    found = askings_of(job, schedule, int_array(schedule.demand[places]), int_array(schedule.sequence[places]))
    nodes = [("a", 1), ("c", 0)]
    expected = [
        (nodes[demand][0], f"10.0.{nodes[demand][1]}.{1 + flow // 2}")
        for demand, flow in zip(schedule.demand[places], schedule.flow[places], strict=True)
    ]
    assert found == expected
    assert len(set(found)) == 4
