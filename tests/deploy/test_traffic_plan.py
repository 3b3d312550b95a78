"""The packet schedule offers the rates, sizes and arrival processes that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.testbed.frame_sizes import FRAME_OVERHEAD_BYTES, MAX_FRAME_BYTES
from deploy.testbed.traffic_plan import (
    MIN_FRAME_BYTES,
    HostEntry,
    RateStep,
    Schedule,
    TrafficDemand,
    TrafficJob,
    frame_sizes,
    make_schedule,
)
from topology_sync.traffic import PacketSize


def demand(steps: tuple[RateStep, ...], **changes: object) -> TrafficDemand:
    values = {"packet_bits_mean": 4000.0, **changes}
    return TrafficDemand("a", "b", "default", 0, steps, **values)  # type: ignore[arg-type]


def test_poisson_arrivals_have_the_rate_and_the_variance_of_poisson() -> None:
    schedule = make_schedule([demand((RateStep(0, 4_000_000.0),))], 60.0, 1, seed=3)
    gaps = np.diff(schedule.time_s)
    assert schedule.packet_count == pytest.approx(60_000, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.03)


def test_constant_rate_has_constant_spacing_and_random_phase() -> None:
    demands = [demand((RateStep(1.0, 400_000.0),), arrivals="cbr") for _ in range(2)]
    schedule = make_schedule(demands, 11.0, 1, seed=3)
    starts = []
    for index in range(2):
        times = schedule.time_s[schedule.demand == index]
        np.testing.assert_allclose(np.diff(times), 0.01)
        assert len(times) in (1000, 1001)
        assert times[0] >= 1.0
        starts.append(times[0])
    assert starts[0] != starts[1]


def test_rate_steps_are_followed_through_pauses() -> None:
    steps = (RateStep(0, 400_000.0), RateStep(10, 0.0), RateStep(20, 1_600_000.0))
    times = make_schedule([demand(steps)], 30.0, 1, seed=1).time_s
    counts = [int(((times >= start) & (times < start + 10)).sum()) for start in (0, 10, 20)]
    assert counts[1] == 0
    assert counts[0] == pytest.approx(1000, rel=0.1)
    assert counts[2] == pytest.approx(4000, rel=0.05)


@pytest.mark.parametrize(
    ("size", "mean"),
    [
        (PacketSize("exponential"), 400.0),
        (PacketSize("exponential"), 600.0),
        (PacketSize("constant"), 200.0),
        (PacketSize("bimodal"), 300.0),
        (PacketSize("discrete", (1.0, 3.0), (0.25, 0.75)), 600.0),
    ],
)
def test_frame_sizes_have_the_wanted_mean_within_what_the_hosts_can_send(size: PacketSize, mean: float) -> None:
    drawn = frame_sizes(size, mean, 200_000, np.random.default_rng(1))
    assert drawn.mean() == pytest.approx(mean, rel=0.01)
    assert drawn.min() >= MIN_FRAME_BYTES
    assert drawn.max() <= MAX_FRAME_BYTES


def test_schedule_is_in_order_and_sequence_numbers_are_dense() -> None:
    demands = [demand((RateStep(0, 200_000.0 * (index + 1)),)) for index in range(3)]
    schedule = make_schedule(demands, 5.0, 4, seed=2)
    assert np.all(np.diff(schedule.time_s) >= 0)
    for index in range(3):
        numbers = schedule.sequence[schedule.demand == index]
        np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert set(np.unique(schedule.flow)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(schedule.frame_bits, (schedule.payload_bytes + FRAME_OVERHEAD_BYTES) * 8)


def test_same_seed_same_packets_and_a_new_demand_leaves_the_others_alone() -> None:
    two = [demand((RateStep(0, 400_000.0),)), demand((RateStep(0, 100_000.0),))]
    assert make_schedule(two, 5.0, 1, seed=5) == make_schedule(two, 5.0, 1, seed=5)
    alone = make_schedule(two[:1], 5.0, 1, seed=5)
    both = make_schedule(two, 5.0, 1, seed=5)
    np.testing.assert_array_equal(alone.time_s, both.time_s[both.demand == 0])
    assert make_schedule(two, 5.0, 1, seed=6) != both


def test_nothing_to_send_is_an_empty_schedule() -> None:
    assert make_schedule([], 5.0, 1, seed=1).packet_count == 0
    assert make_schedule([demand((RateStep(0, 0.0),))], 5.0, 1, seed=1).packet_count == 0


def test_files_read_back_as_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    demands = [demand((RateStep(0, 400_000.0),))]
    schedule = make_schedule(demands, 2.0, 1, seed=5)
    schedule.save(tmp_path / "schedule.npz")
    assert Schedule.load(tmp_path / "schedule.npz") == schedule
    hosts = [HostEntry("a", 10, ("10.0.1.1", "10.0.1.2")), HostEntry("b", 11, ("10.0.2.1",))]
    job = TrafficJob.for_demands(hosts, demands, tmp_path)
    job.write(tmp_path / "job.json")
    assert TrafficJob.read(tmp_path / "job.json") == job


def test_packets_added_later_leave_earlier_ones_alone_and_count_on() -> None:
    calm = make_schedule([demand((RateStep(0, 400_000.0),)), demand((RateStep(0, 200_000.0),))], 10.0, 1, seed=1)
    extra = make_schedule([demand((RateStep(0, 0.0),)), demand((RateStep(0, 800_000.0),))], 5.0, 1, seed=2)
    both = calm.with_added(extra, 4.0)
    assert both.packet_count == calm.packet_count + extra.packet_count
    assert np.all(np.diff(both.time_s) >= 0)
    before = int((calm.time_s < 4.0).sum())
    for name in ("time_s", "demand", "sequence", "payload_bytes"):
        np.testing.assert_array_equal(getattr(both, name)[:before], getattr(calm, name)[:before])
    for index in range(2):
        numbers = both.sequence[both.demand == index]
        np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert both.frame_bits.sum() == calm.frame_bits.sum() + extra.frame_bits.sum()
