"""The snapshot: names, stable ids, what is measured where, and links that are down or forgotten."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology_sync.cookies import Cookie
from topology_sync.discovery import DiscoverySettings, DiscoveryState, LinkEnds, PortKey, reduce_discovery
from topology_sync.events import (
    ClockTicked,
    FlowCounter,
    FlowCountersRead,
    HostSeen,
    LldpReceived,
    Port,
    PortChanged,
    PortCounter,
    PortCountersRead,
    ProbeReturned,
    SwitchConnected,
)
from topology_sync.network_state import Host
from topology_sync.path_delays import PathDelays, reduce_path_delays
from topology_sync.snapshot import DemandInstalled, InstalledPath, build_state
from topology_sync.telemetry import TelemetrySettings, TelemetryState, reduce_telemetry
from topology_sync.topology import Link

CABLES = [((1, 1), (2, 1)), ((2, 2), (3, 1)), ((1, 2), (3, 2)), ((1, 4), (3, 4))]
VOICE = DemandInstalled(
    5, 1, 3, "voice", (InstalledPath(70, ((1, 1), (2, 2)), 0.25), InstalledPath(71, ((1, 4),), 0.75))
)
BULK = DemandInstalled(6, 3, 1, "bulk", (InstalledPath(72, ((3, 2),)),))


def port(number: int, up: bool = True) -> Port:
    return Port(number, f"eth{number}", "02:00:00:00:00:01", up)


def network(cables=CABLES) -> DiscoveryState:
    events = [SwitchConnected(0, dpid, tuple(port(number) for number in range(1, 6))) for dpid in (1, 2, 3)]
    for one, other in cables:
        events += [LldpReceived(1, *one, *other), LldpReceived(1, *other, *one)]
    events += [HostSeen(2, "10.0.0.9", "aa", 3, 5), HostSeen(2, "10.0.0.1", "bb", 1, 5)]
    state = DiscoveryState()
    for event in events:
        state = reduce_discovery(state, event, DiscoverySettings())
    return state


def counted() -> TelemetryState:
    """Voice sends 100 frames of 496 + 4 bytes a second and loses a tenth; bulk was never read."""
    state = TelemetryState()
    for second in range(11):
        for dpid, table, label, share, size in ((1, 1, 0, 100, 496), (3, 0, 70, 25, 500), (3, 0, 71, 65, 500)):
            count = FlowCounter(Cookie(1, 5, label).pack(), table, share * second, share * second * size, 20 + second)
            entries = (count,)
            if label == 71:
                continue
            if label == 70:
                more = 65 * second
                entries = (count, FlowCounter(Cookie(1, 5, 71).pack(), 0, more, more * size, 20 + second))
            state = reduce_telemetry(state, FlowCountersRead(second, dpid, entries), TelemetrySettings())
        bytes_sent = 1000 * second
        ports = (PortCounter(1, second, bytes_sent, 0, 0, 30 + second),)
        state = reduce_telemetry(state, PortCountersRead(second, 1, ports), TelemetrySettings())
    return state


def probed() -> PathDelays:
    state = PathDelays()
    for number in range(20):
        state = reduce_path_delays(state, ProbeReturned(9 + number / 20, 70, 0.010, number))
        state = reduce_path_delays(state, ProbeReturned(9 + number / 20, 71, 0.020, number))
    return state


def state_of(discovery=None, demands=(VOICE, BULK), names=None, **changes):
    options = {
        "now_s": 10.0,
        "wall_time_s": 1e9,
        "node_names": names if names is not None else {1: "berlin", 2: "bonn"},
        "inventory": {("berlin", "bonn"): Link("berlin", "bonn", 5e6, 0.003, 20)},
        "default_capacity_bps": 1e7,
        "default_queue_packets": 30,
        "class_names": ["voice", "bulk"],
        "demands": demands,
        "routing_version": 4,
        "window_s": 10.0,
    }
    return build_state(discovery or network(), counted(), probed(), **(options | changes))


def test_nodes_links_and_hosts_have_names_and_stated_properties():
    state = state_of()
    topology = state.scenario.topology
    assert topology.node_names == ("berlin", "bonn", "s3")
    assert topology.link_count == 8
    assert state.links.up.all()
    stated = topology.links_between[0, 1][0]
    assert (topology.capacity_bps[stated], topology.delay_s[stated], topology.queue_packets[stated]) == (5e6, 0.003, 20)
    other = topology.links_between[1, 0][0]
    assert (topology.capacity_bps[other], topology.delay_s[other], topology.queue_packets[other]) == (1e7, 0.0, 30)
    assert state.hosts == (Host("10.0.0.1", "bb", "berlin", 5), Host("10.0.0.9", "aa", "s3", 5))
    assert (state.routing_version, state.time_s, state.settled) == (4, 1e9, True)


def test_demands_carry_what_was_measured_and_nan_where_nothing_was():
    state = state_of()
    traffic, measured = state.scenario.traffic, state.demands
    assert traffic.class_names == ("voice", "bulk")
    assert [traffic.class_name(demand) for demand in range(2)] == ["voice", "bulk"]
    assert traffic.rate_bps[0] == pytest.approx(100 * 500 * 8)
    assert traffic.packet_bits_mean[0] == pytest.approx(4000)
    assert measured.loss_ratio[0] == pytest.approx(0.1)
    assert measured.packets_sent[0] == pytest.approx(1000)
    assert measured.delay_s[0] == pytest.approx(0.25 * 0.010 + 0.75 * 0.020)
    assert measured.delay_min_s[0] == pytest.approx(0.010)
    assert measured.probe_count[0] == 40
    assert traffic.rate_bps[1] == 0
    assert math.isnan(measured.loss_ratio[1])
    assert math.isnan(measured.delay_p99_s[1])


def test_routing_is_the_installed_one_over_the_very_parallel_link():
    state = state_of()
    state.scenario.routing.check(state.scenario.topology, state.scenario.traffic)
    first, second = state.scenario.routing.paths[0]
    assert (first.share, second.share) == (0.25, 0.75)
    parallel = state.scenario.topology.links_between[0, 2]
    assert len(parallel) == 2
    (voice,), (bulk,) = second.links, state.scenario.routing.paths[1][0].links
    assert voice == max(parallel), "port 4, the later of the two"
    assert bulk == min(state.scenario.topology.links_between[2, 0])


def test_carried_rate_belongs_to_the_link_of_the_port():
    state = state_of()
    link = state.scenario.topology.links_between[0, 1][0]
    assert state.links.carried_bps[link] == pytest.approx(8000)
    assert np.isnan(np.delete(state.links.carried_bps, link)).all()


def test_a_link_that_went_down_stays_with_its_id():
    down = reduce_discovery(network(), PortChanged(3, 1, port(1, up=False)), DiscoverySettings())
    state = state_of(down)
    assert state.scenario.topology == state_of().scenario.topology
    assert [state.scenario.topology.link_name(link) for link in np.flatnonzero(~state.links.up)] == [
        "berlin->bonn",
        "bonn->berlin",
    ]


def test_a_forgotten_link_in_use_stays_down_and_the_routing_valid():
    moved = reduce_discovery(network(), LldpReceived(3, 1, 4, 2, 4), DiscoverySettings())
    assert LinkEnds(PortKey(1, 4), PortKey(3, 4)) not in moved.links
    state = state_of(moved)
    state.scenario.routing.check(state.scenario.topology, state.scenario.traffic)
    (used,) = state.scenario.routing.paths[0][1].links
    assert not state.links.up[used]
    assert state.scenario.topology.link_name(used) == "berlin->s3"
    assert len(state.scenario.topology.links_between[0, 1]) == 2


def test_an_empty_network_is_a_state_too():
    state = state_of(DiscoveryState(), demands=())
    assert state.scenario.topology.node_count == 0
    assert not state.settled


@given(st.permutations(CABLES), st.permutations([VOICE, BULK]))
def test_ids_do_not_depend_on_the_order_of_discovery(cables, demands):
    state = state_of(network(cables), demands)
    assert state.scenario == state_of().scenario
    assert state.demands == state_of().demands


def test_silence_is_told_by_the_clock_not_by_the_snapshot():
    late = reduce_discovery(network(), ClockTicked(10.0), DiscoverySettings())
    assert not state_of(late).links.up.any()
