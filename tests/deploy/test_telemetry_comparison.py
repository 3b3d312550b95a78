"""A snapshot is held against the packets of the very window it states, and only where there is something to compare."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.testbed.measurement.arp_watch import ArpLog
from deploy.testbed.measurement.process_death import VICTIMS
from deploy.testbed.measurement.process_death import figures as death_figures
from deploy.testbed.measurement.telemetry_comparison import (
    LEAST_PACKETS_FOR_P99,
    PACKETS_FOR_P99_TO_20_PERCENT,
    compare,
    figures,
    receivers_interval_s,
)
from deploy.testbed.statistics import PacketTable
from topology_sync.network_state import DemandMeasurements, LinkMeasurements, NetworkState
from topology_sync.paths import fewest_hops_routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix
from topology_sync.values import bool_array, float_array, int_array

EPOCH_S = 1_700_000_000.0
WINDOW_S = 10.0
FRAME_BITS = 4000
KEYS = (("a", "b", "default"), ("b", "a", "default"))


def packets(rates: tuple[float, ...], span_s: float = 30.0, lose_from_s: float = 100.0) -> PacketTable:
    """Evenly spaced packets of each demand; those sent from ``lose_from_s`` on never arrive."""
    rows = sorted(
        (number / rate, demand, number) for demand, rate in enumerate(rates) for number in range(int(rate * span_s))
    )
    sent_s = np.array([row[0] for row in rows])
    arrived = sent_s < lose_from_s
    random = np.random.default_rng(1)
    delay_s = np.where(arrived, 0.010 + random.exponential(0.002, len(rows)), np.nan)
    return PacketTable(
        demand=int_array([row[1] for row in rows]),
        sequence=int_array([row[2] for row in rows]),
        sent_ns=int_array(np.rint((EPOCH_S + sent_s) * 1e9)),
        frame_bits=int_array(np.full(len(rows), FRAME_BITS)),
        delay_s=float_array(delay_s),
        copies=int_array(arrived),
        arrival_rank=int_array(np.arange(len(rows))),
        overtaken=bool_array(np.zeros(len(rows))),
    )


def state(
    rates_bps: tuple[float, ...],
    until_s: float,
    loss: float = 0.0,
    counted: tuple[float, float] = (0.0, 0.0),
    p99_s: float = 0.019,
) -> NetworkState:
    """A snapshot of two demands whose window ends ``until_s`` after the first packet."""
    topology = Topology.from_links(("a", "b"), [Link("a", "b", 1e7), Link("b", "a", 1e7)])
    demands = [Demand(*key[:2], rate, key[2]) for key, rate in zip(KEYS, rates_bps, strict=True)]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, ["default"])
    two = np.ones(2)
    return NetworkState(
        topology_version=1,
        routing_version=1,
        time_s=EPOCH_S + until_s,
        window_s=WINDOW_S,
        settled=True,
        scenario=Scenario("live", topology, traffic, fewest_hops_routing(topology, traffic)),
        demands=DemandMeasurements(
            packets_sent=float_array(100 * two),
            packets_lost=float_array(100 * loss * two),
            loss_ratio=float_array(loss * two),
            delay_s=float_array(0.012 * two),
            delay_p99_s=float_array(p99_s * two),
            jitter_s=float_array(0.002 * two),
            delay_min_s=float_array(0.010 * two),
            probe_count=int_array(50 * two),
            counted_from_s=float_array((EPOCH_S + counted[0]) * two),
            counted_until_s=float_array((EPOCH_S + counted[1]) * two),
        ),
        links=LinkMeasurements(up=bool_array([True, True]), carried_bps=float_array(two)),
    )


def test_rates_are_compared_over_the_window_of_the_snapshot() -> None:
    table = packets((50.0, 6.0))
    found = compare(state((50.0 * FRAME_BITS, 6.6 * FRAME_BITS), 20.0), table, KEYS)
    assert found.rate == pytest.approx([0.0, 0.1], abs=0.02)
    shown = figures([found])
    assert shown["rate_within_3_percent_ratio"] == 0.5
    assert shown["demands_always_within_3_percent_ratio"] == 0.5


def test_loss_is_compared_over_the_demand_s_own_window() -> None:
    """Everything sent from second 15 on is lost; the snapshot says a half, of what was sent from 10 to 20."""
    table = packets((50.0, 6.0), lose_from_s=15.0)
    right = compare(state((1.0, 1.0), 22.0, 0.5, (10.0, 20.0)), table, KEYS)
    assert right.loss == pytest.approx([0.0, 0.0], abs=0.02)
    assert right.one_packet == pytest.approx([1 / 500, 1 / 60], rel=0.03)
    assert compare(state((1.0, 1.0), 22.0, 0.5, (12.0, 22.0)), table, KEYS).loss == pytest.approx([-0.2] * 2, abs=0.03)


def test_one_packet_of_a_slow_demand_is_more_than_half_a_point() -> None:
    table = packets((50.0, 6.0), lose_from_s=15.05)
    shown = figures([compare(state((1.0, 1.0), 22.0, 0.5 + 0.9 / 60, (10.0, 20.0)), table, KEYS)])
    assert shown["loss_within_half_point_ratio"] == 0.0
    assert shown["loss_within_half_point_or_one_packet_ratio"] == 0.5


def test_percentiles_are_only_compared_where_receivers_have_one() -> None:
    fast = max(LEAST_PACKETS_FOR_P99, PACKETS_FOR_P99_TO_20_PERCENT) / WINDOW_S + 5
    found = compare(state((1.0, 1.0), 20.0), packets((fast, 6.0)), KEYS)
    assert np.isfinite(found.delay_s).tolist() == [True, False]
    assert found.delay_within[0]
    far = compare(state((1.0, 1.0), 20.0, p99_s=0.05), packets((fast, 6.0)), KEYS)
    shown = figures([found, far])
    assert shown["delay_p99_comparisons"] == shown["delay_p99_comparisons_of_450_packets"] == 2
    assert shown["delay_p99_within_20_percent_or_2_ms_ratio"] == 0.5
    assert shown["delay_p99_of_450_packets_within_20_percent_or_2_ms_ratio"] == 0.5
    assert found.delay_in_doubt[0]
    assert found.delay_compatible[0]
    assert not far.delay_in_doubt[0]
    assert not far.delay_compatible[0]
    assert shown["delay_p99_goal_overlaps_receivers_interval_ratio"] == 0.5


@pytest.mark.parametrize("count", [200, 450])
def test_the_receivers_interval_holds_the_true_percentile_nineteen_times_of_twenty(count: int) -> None:
    """400 receivers of exponential delays of mean 1; below 368 packets no upper bound is claimed."""
    demands = 400
    delay_s = np.random.default_rng(5).exponential(size=demands * count)
    number = np.arange(demands * count)
    zeros = int_array(np.zeros(len(number), dtype=np.int64))
    table = PacketTable(
        demand=int_array(number % demands),
        sequence=int_array(number // demands),
        sent_ns=zeros,
        frame_bits=zeros,
        delay_s=float_array(delay_s),
        copies=zeros,
        arrival_rank=zeros,
        overtaken=bool_array(np.zeros(len(number), dtype=np.bool_)),
    )
    low_s, high_s = receivers_interval_s(table, demands)
    inside = (low_s <= np.log(100)) & (np.log(100) <= high_s)
    assert 0.93 <= inside.mean() <= 0.99
    assert np.isinf(high_s).all() == (count < 368)


def test_a_demand_that_the_snapshot_lacks_is_not_compared() -> None:
    found = compare(state((1.0, 1.0), 20.0), packets((50.0, 6.0)), (KEYS[0], ("a", "c", "default")))
    assert np.isnan(found.rate).tolist() == [False, True]
    assert np.isnan(found.jitter_s).tolist() == [False, True]


def test_kills_are_summed_by_victim_and_lost_packets_belong_to_their_kill() -> None:
    table = packets((50.0,), lose_from_s=29.0)
    rows = [
        {
            "victim": victim,
            "flow_mods": number,
            "flow_mods_of_new_decisions": 5 * number,
            "recovery_s": 1.0 + number,
            "began_ns": round((EPOCH_S + start_s) * 1e9),
            "ended_ns": round((EPOCH_S + start_s + 10) * 1e9),
        }
        for number, (victim, start_s) in enumerate(zip(VICTIMS, (0, 10, 20), strict=True))
    ]
    shown = death_figures(rows, table, ArpLog({}, {}))
    assert shown["flow_mods_after_restart"] == dict(zip(VICTIMS, (0, 1, 2), strict=True))
    assert shown["flow_mods_of_new_decisions"] == 15
    assert [row["packets_lost"] for row in shown["rows"]] == [0, 0, 50]
    assert (shown["packets_sent"], shown["packets_lost"], shown["packets_duplicated"]) == (1500, 50, 0)
    assert not shown["ok"]
    clean = death_figures([{**row, "flow_mods": 0} for row in rows], packets((50.0,)), ArpLog({}, {}))
    assert clean["ok"]
