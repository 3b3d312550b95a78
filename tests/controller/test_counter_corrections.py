"""Counters go on over flips, and our own probes do not count as users' packets."""

from __future__ import annotations

from dataclasses import replace

from controller.counter_corrections import ContinuedCounters, ProbeDiscount
from topology_sync.cookies import Cookie
from topology_sync.events import FlowCounter


def counter(version: int, label: int, packets: int, age_s: float, table_id: int = 1) -> FlowCounter:
    """A counter of demand 5; every packet has 100 bytes."""
    return FlowCounter(Cookie(version, 5, label).pack(), table_id, packets, 100 * packets, age_s)


def test_flip_goes_on_counting_under_one_cookie() -> None:
    """Open vSwitch carries the counts over to the new rule and lets its age begin again."""
    continued = ContinuedCounters()
    first = continued.of(1, counter(1, 20, 1000, 10.0), 100.0)
    after_flip = continued.of(1, counter(2, 21, 1100, 0.4), 101.0)
    later = continued.of(1, counter(2, 21, 1200, 1.4), 102.0)
    assert first.cookie == after_flip.cookie == later.cookie
    assert [entry.packets for entry in (first, after_flip, later)] == [1000, 1100, 1200]
    assert [entry.age_s for entry in (first, after_flip, later)] == [10.0, 11.0, 12.0]


def test_counter_that_starts_again_is_passed_on_as_it_is() -> None:
    continued = ContinuedCounters()
    continued.of(1, counter(1, 20, 1000, 10.0), 100.0)
    again = continued.of(1, counter(1, 20, 30, 0.5), 101.0)
    assert (again.packets, again.age_s) == (30, 0.5)


def test_switches_and_demands_are_kept_apart() -> None:
    continued = ContinuedCounters()
    continued.of(1, counter(1, 20, 1000, 10.0), 100.0)
    assert continued.of(2, counter(1, 20, 2000, 3.0), 100.0).age_s == 3.0


def test_probes_are_taken_off_by_the_time_at_which_they_passed_and_nothing_goes_backwards() -> None:
    discount = ProbeDiscount()
    for number in range(10):
        discount.probe_returned(20, 80, 1.0 + number / 10, 1.0 + number / 10)
    egress = counter(1, 20, 110, 5.0, table_id=0)
    users = discount.users(egress, 5.0)
    assert (users.packets, users.bytes, users.unsure_packets) == (100, 11000 - 800, 0)
    for _ in range(5):
        discount.probe_returned(20, 80, 5.5, 5.5)
    older = discount.users(replace(egress, age_s=5.2), 5.2)
    assert (older.packets, older.unsure_packets) == (100, 0), "the counter is of a moment before they passed"
    shown = replace(egress, packets=125, bytes=12500, age_s=7.0)
    assert discount.users(shown, 7.0).packets == 110
    assert discount.users(replace(shown, age_s=20.0), 20.0).packets == 110, "long past ones are only counted"


def test_probes_that_passed_just_then_are_unsure() -> None:
    discount = ProbeDiscount()
    discount.probe_returned(20, 80, 4.99, 4.99)
    discount.probe_returned(20, 80, 4.2, 5.4)  # nobody knows when it came
    assert discount.users(counter(1, 20, 50, 5.0, table_id=0), 5.0).unsure_packets == 2
    assert discount.users(counter(1, 20, 52, 6.0, table_id=0), 6.0).unsure_packets == 0


def test_rule_made_anew_counts_only_its_own_probes() -> None:
    discount = ProbeDiscount()
    for _ in range(50):
        discount.probe_returned(20, 80, 1.0, 1.0)
    assert discount.users(counter(1, 20, 150, 9.0, table_id=0), 9.0).packets == 100
    assert discount.users(counter(1, 20, 30, 0.5, table_id=0), 10.0).packets == 30


def test_forgotten_labels_take_no_memory() -> None:
    discount = ProbeDiscount()
    discount.probe_returned(20, 80, 0.5, 0.5)
    discount.users(counter(1, 20, 5, 1.0, table_id=0), 1.0)
    discount.keep_only(frozenset({21}))
    assert not discount.labels
    assert discount.users(counter(1, 20, 5, 1.0, table_id=0), 1.0).packets == 5
