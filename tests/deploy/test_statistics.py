"""Receiver statistics: losses, duplicates, reordering, delays and jitter are what was put in."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.testbed.frame_sizes import FRAME_OVERHEAD_BYTES
from deploy.testbed.receiver_log import RECORD, RECORD_TYPE, read_records
from deploy.testbed.statistics import demand_experiences, demand_statistics, judge, packet_table, window, worst_of
from deploy.testbed.traffic_plan import Schedule
from topology_sync.scenario import SlaGoal
from topology_sync.values import float_array, int_array

SECOND = 1_000_000_000


def schedule_of(demands: list[int], spacing_s: float = 0.01, payload: int = 100) -> Schedule:
    """One packet after the other, of the demands named."""
    counts: dict[int, int] = {}
    sequence = []
    for demand in demands:
        sequence.append(counts.get(demand, 0))
        counts[demand] = counts.get(demand, 0) + 1
    return Schedule(
        time_s=float_array(np.arange(len(demands)) * spacing_s),
        demand=int_array(demands),
        sequence=int_array(sequence),
        payload_bytes=int_array(np.full(len(demands), payload)),
        flow=int_array(np.zeros(len(demands))),
    )


def records_of(entries: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Log records of (demand, sequence, sent_ns, received_ns)."""
    data = b"".join(RECORD.pack(*entry, 0, 0, 100, 64, 0) for entry in entries)
    return np.frombuffer(data, dtype=RECORD_TYPE)


def test_loss_duplicates_and_order_are_told_apart() -> None:
    schedule = schedule_of([0] * 6)
    sent = int_array(SECOND + np.arange(6) * 10_000_000)
    arrivals = [(0, 5), (1, 9), (3, 4), (2, 40), (3, 60)]  # number 4 and 5 are lost, 3 comes twice and before 2
    records = records_of([(0, n, int(sent[n]), int(sent[n]) + ms * 1_000_000) for n, ms in arrivals])
    figures = demand_statistics(packet_table(schedule, sent, records), 1, 0.06)
    assert (figures.sent[0], figures.received[0], figures.lost[0]) == (6, 4, 2)
    assert (figures.duplicated[0], figures.reordered[0]) == (1, 1)
    np.testing.assert_allclose(figures.delay_mean_s[0], (5 + 9 + 4 + 40) / 4 * 1e-3)
    np.testing.assert_allclose(figures.jitter_s[0], (4 + 5 + 36) / 3 * 1e-3)  # in order of receipt: 0, 1, 3, 2
    np.testing.assert_allclose(figures.loss_ratio[0], 2 / 6)
    np.testing.assert_allclose(figures.sent_rate_bps[0], 6 * 8 * (100 + FRAME_OVERHEAD_BYTES) / 0.06)


def test_packets_not_sent_and_records_not_asked_for_do_not_count() -> None:
    schedule = schedule_of([0, 1, 0])
    sent = int_array([SECOND, -1, 0])
    records = records_of([(0, 0, SECOND, SECOND + 1000), (7, 0, SECOND, SECOND), (0, 99, SECOND, SECOND)])
    figures = demand_statistics(packet_table(schedule, sent, records), 2, 1.0)
    assert figures.sent.tolist() == [1, 0]
    assert figures.received.tolist() == [1, 0]
    assert np.isnan(figures.delay_mean_s[1])


def test_nothing_received_is_all_lost() -> None:
    schedule = schedule_of([0, 0])
    table = packet_table(schedule, int_array([SECOND, 2 * SECOND]), records_of([]))
    assert demand_statistics(table, 1, 1.0).loss_ratio.tolist() == [1.0]
    goal = SlaGoal("default", delay_s=1.0, loss_ratio=None)
    experience = demand_experiences(table, [goal], 1.0)[0]
    assert experience is not None
    assert not experience.met


def test_empty_schedule() -> None:
    table = packet_table(schedule_of([]), int_array([]), records_of([]))
    assert demand_statistics(table, 0, 1.0).sent.tolist() == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_counts_always_add_up(data: st.DataObject) -> None:
    demands = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=60))
    schedule = schedule_of(demands)
    sent = int_array(SECOND + np.arange(len(demands)) * 1000)
    copies = data.draw(st.lists(st.integers(0, 3), min_size=len(demands), max_size=len(demands)))
    delays = data.draw(st.lists(st.integers(1, 10**6), min_size=sum(copies), max_size=sum(copies)))
    entries = []
    for index, count in enumerate(copies):
        for _ in range(count):
            when = int(sent[index])
            entries.append((demands[index], int(schedule.sequence[index]), when, when + delays.pop()))
    data.draw(st.randoms(use_true_random=False)).shuffle(entries)  # sockets are emptied in any order
    table = packet_table(schedule, sent, records_of(entries))
    whole = demand_statistics(table, 4, 1.0)
    assert whole.sent.sum() == len(demands)
    assert whole.received.sum() == sum(count > 0 for count in copies)
    assert whole.duplicated.sum() == sum(max(count - 1, 0) for count in copies)
    middle = int(sent[len(demands) // 2])
    halves = [window(table, 0, middle), window(table, middle, 2 * SECOND)]
    split = [demand_statistics(half, 4, 1.0) for half in halves]
    assert sum(part.sent.sum() for part in split) == whole.sent.sum()
    assert sum(part.lost.sum() for part in split) == whole.lost.sum()
    assert sum(part.reordered.sum() for part in split) == whole.reordered.sum()


def test_a_class_is_as_good_as_its_worst_demand() -> None:
    schedule = schedule_of([0, 1] * 50)
    sent = int_array(SECOND + np.arange(100) * 1_000_000)
    entries = [
        (int(schedule.demand[n]), int(schedule.sequence[n]), int(sent[n]), int(sent[n]) + (1 + 9 * (n % 2)) * 1_000_000)
        for n in range(100)
    ]
    goal = SlaGoal("voice", delay_s=0.005, percentile=99, jitter_s=0.001, loss_ratio=0.0)
    experiences = demand_experiences(packet_table(schedule, sent, records_of(entries)), [goal, goal], 0.1)
    assert [experience.met for experience in experiences if experience] == [True, False]
    worst = worst_of(experiences)
    np.testing.assert_allclose(worst.delay_p99_s, 0.010)
    assert not worst.met


def test_goals_without_promise_are_met() -> None:
    assert judge(None, 9.0, 9.0, 1.0)
    assert judge(SlaGoal("default"), 9.0, 9.0, 1.0)
    assert not judge(SlaGoal("default", delay_s=1.0), float("nan"), 0.0, 0.0)


def test_half_written_record_is_left_out(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log = tmp_path / "received.bin"
    log.write_bytes(records_of([(0, 0, 1, 2), (0, 1, 3, 4)]).tobytes()[:-7])
    assert len(read_records(log)) == 1
    assert len(read_records(tmp_path / "absent.bin")) == 0
