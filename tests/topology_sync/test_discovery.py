"""Discovery: what appears, what goes down when, and what never happens whatever the order of events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology_sync.discovery import (
    DiscoverySettings,
    DiscoveryState,
    LinkEnds,
    PortKey,
    reduce_discovery,
    seed_links,
)
from topology_sync.events import (
    ClockTicked,
    FlowCountersRead,
    HostSeen,
    LldpReceived,
    Port,
    PortChanged,
    SwitchConnected,
    SwitchDisconnected,
)

SETTINGS = DiscoverySettings()
AB = LinkEnds(PortKey(1, 1), PortKey(2, 1))
BA = LinkEnds(PortKey(2, 1), PortKey(1, 1))


def port(number: int, up: bool = True) -> Port:
    return Port(number, f"eth{number}", f"02:00:00:00:00:{number:02x}", up)


def connected(time_s: float, dpid: int, *numbers: int) -> SwitchConnected:
    return SwitchConnected(time_s, dpid, tuple(port(number) for number in numbers or (1, 2, 3)))


def lldp(time_s: float, ends: LinkEnds) -> LldpReceived:
    return LldpReceived(time_s, *ends.source, *ends.target)


def fold(*events, state=None, rules=SETTINGS):
    state = state or DiscoveryState()
    for event in events:
        state = reduce_discovery(state, event, rules)
    return state


def ticks(start_s: float, end_s: float, step_s: float = 0.25):
    count = round((end_s - start_s) / step_s)
    return [ClockTicked(start_s + step_s * number) for number in range(count + 1)]


def up(state: DiscoveryState) -> set[LinkEnds]:
    return {ends for ends, link in state.links.items() if link.up}


def joined() -> DiscoveryState:
    """Two switches, one cable, heard both ways at time 1."""
    return fold(connected(0, 1), connected(0, 2), ClockTicked(1), lldp(1, AB), lldp(1, BA))


def test_a_link_appears_with_the_first_lldp_in_its_direction():
    state = fold(connected(0, 1), connected(0, 2), lldp(0.1, AB))
    assert up(state) == {AB}
    assert state.topology_version == 3
    assert up(fold(lldp(0.2, BA), state=state)) == {AB, BA}


def test_lldp_between_ports_that_are_not_up_makes_no_link():
    down = SwitchConnected(0, 2, (port(1, up=False),))
    assert not fold(connected(0, 1), down, lldp(0.1, AB)).links
    assert not fold(connected(0, 1), lldp(0.1, AB)).links, "an unknown switch"
    assert not fold(connected(0, 1), lldp(0.1, LinkEnds(PortKey(1, 1), PortKey(1, 2)))).links, "a cable to itself"


@pytest.mark.parametrize("dpid", [1, 2])
@pytest.mark.parametrize("removed", [True, False])
def test_a_port_down_at_either_end_takes_both_directions_down_at_once(dpid, removed):
    state = fold(PortChanged(1.1, dpid, port(1, up=False), removed), state=joined())
    assert not up(state)
    assert set(state.links) == {AB, BA}
    assert state.topology_version == joined().topology_version + 1


def test_a_port_that_comes_back_waits_for_lldp():
    state = fold(PortChanged(1.1, 1, port(1, up=False)), PortChanged(1.2, 1, port(1)), state=joined())
    assert not up(state)
    assert up(fold(lldp(1.3, AB), state=state)) == {AB}


def test_a_silent_direction_goes_down_after_the_link_timeout_and_within_2_s():
    state = joined()
    for tick in ticks(1, 4):
        state = fold(lldp(tick.time_s, BA), tick, state=state)
        assert (AB in up(state)) == (tick.time_s <= 1 + SETTINGS.link_timeout_s)
    assert up(state) == {BA}
    assert state.changed_s is not None
    assert state.changed_s <= 3.0


def test_our_own_standstill_never_looks_like_dead_links():
    state = fold(*ticks(1, 2), ClockTicked(30.0), *ticks(30.25, 30.25), state=joined())
    assert up(state) == {AB, BA}
    assert not up(fold(*ticks(30.25, 32), state=state)), "but silence that goes on does"


def test_a_lost_channel_takes_links_down_only_after_the_switch_timeout():
    state = fold(SwitchDisconnected(2, 1), state=joined())
    for tick in ticks(2, 13):
        state = fold(tick, state=state)
        assert bool(up(state)) == (tick.time_s <= 12)
    assert not state.switches[1].connected


def test_a_port_down_at_the_neighbour_of_a_lost_switch_counts_at_once():
    assert not up(fold(SwitchDisconnected(2, 1), PortChanged(2.1, 2, port(1, up=False)), state=joined()))


def test_a_switch_that_comes_back_has_confirm_s_to_be_heard():
    state = fold(SwitchDisconnected(2, 1), *ticks(2, 8), connected(8, 1), *ticks(8.25, 11), state=joined())
    assert up(state) == {AB, BA}
    state = fold(lldp(11, AB), *ticks(11, 11.5), state=state)
    assert up(state) == {AB}, "the other direction was not confirmed within 3 s"


def test_a_switch_that_comes_back_with_a_dead_port_loses_its_links_at_once():
    back = SwitchConnected(3, 1, (port(1, up=False), port(2)))
    assert not up(fold(SwitchDisconnected(2, 1), back, state=joined()))
    assert not up(fold(SwitchDisconnected(2, 1), connected(3, 1, 2, 3), state=joined())), "the port is gone"


def test_seeded_links_count_as_up_until_confirmed_or_found_dead():
    state = seed_links(DiscoveryState(topology_version=7), [AB, BA], 0.0)
    assert up(state) == {AB, BA}
    assert state.topology_version == 8
    state = fold(ClockTicked(0), connected(4, 1), *ticks(0.25, 5), connected(5, 2), *ticks(5.25, 8), state=state)
    assert up(state) == {AB, BA}, "the switches came late, the links still have their time"
    state = fold(lldp(8, AB), *ticks(8, 9), state=state)
    assert up(state) == {AB}


def test_seeding_leaves_what_is_known():
    state = fold(PortChanged(1.1, 1, port(1, up=False)), state=joined())
    assert seed_links(state, [AB, BA], 2.0) is state


def test_a_moved_cable_replaces_the_link():
    moved = LinkEnds(PortKey(1, 1), PortKey(3, 1))
    state = fold(connected(1, 3), lldp(1.1, moved), state=joined())
    assert up(state) == set(state.links) == {moved}


def test_parallel_links_are_kept():
    second = LinkEnds(PortKey(1, 2), PortKey(2, 2))
    assert up(fold(lldp(1.1, second), state=joined())) == {AB, BA, second}


def test_hosts_are_learnt_move_and_are_never_behind_a_link():
    state = fold(HostSeen(1.1, "10.0.0.1", "aa", 1, 2), state=joined())
    assert state.hosts["10.0.0.1"].port == 2
    assert state.topology_version == joined().topology_version
    assert fold(HostSeen(1.2, "10.0.0.1", "aa", 1, 1), state=state) is state, "a link's port"
    assert fold(HostSeen(1.2, "10.0.0.1", "aa", 2, 3), state=state).hosts["10.0.0.1"].dpid == 2
    new = LinkEnds(PortKey(2, 2), PortKey(1, 2))
    assert not fold(lldp(1.3, new), state=state).hosts, "the port turns out to be a link's"


def test_a_port_whose_cable_went_to_a_host_is_given_up_as_a_link():
    state = fold(PortChanged(2, 1, port(1, up=False)), PortChanged(3, 1, port(1)), state=joined())
    assert not fold(HostSeen(4, "10.0.0.1", "aa", 1, 1), state=state).hosts
    state = fold(HostSeen(2 + SETTINGS.recable_s, "10.0.0.1", "aa", 1, 1), state=state)
    assert state.hosts["10.0.0.1"].port == 1
    assert not state.links


def test_settled_waits_for_quiet_and_for_confirmation():
    assert not DiscoveryState().settled(100.0, SETTINGS)
    state = joined()
    assert not state.settled(1.9, SETTINGS)
    assert state.settled(2.0, SETTINGS)
    assert not fold(SwitchDisconnected(2, 1), state=state).settled(4.0, SETTINGS), "links of a lost switch are unsure"


def test_events_of_others_change_nothing():
    state = joined()
    assert fold(FlowCountersRead(2, 1, ()), state=state) is state


dpids = st.integers(1, 4)
numbers = st.integers(1, 3)


def events_at(time_s: float):
    return st.one_of(
        st.builds(
            SwitchConnected,
            st.just(time_s),
            dpids,
            st.lists(st.booleans(), max_size=3).map(lambda ups: tuple(port(n + 1, on) for n, on in enumerate(ups))),
        ),
        st.builds(SwitchDisconnected, st.just(time_s), dpids),
        st.builds(PortChanged, st.just(time_s), dpids, st.builds(port, numbers, st.booleans()), st.booleans()),
        st.builds(LldpReceived, st.just(time_s), dpids, numbers, dpids, numbers),
        st.builds(HostSeen, st.just(time_s), st.sampled_from(["h1", "h2"]), st.just("aa"), dpids, numbers),
        st.just(ClockTicked(time_s)),
    )


@st.composite
def histories(draw):
    time_s, history = 0.0, [connected(0, dpid) for dpid in range(1, 5)]
    for gap_s in draw(st.lists(st.sampled_from([0.0, 0.1, 0.4, 1.0, 4.0, 11.0]), max_size=40)):
        time_s += gap_s
        history.append(draw(events_at(time_s)))
    return history


def liveness(state):
    return (
        {dpid: switch.connected for dpid, switch in state.switches.items()},
        {ends: link.up for ends, link in state.links.items()},
    )


@settings(max_examples=300, deadline=None)
@given(histories())
def test_invariants_hold_after_every_event_of_any_history(history):
    state = DiscoveryState()
    for event in history:
        before, state = state, reduce_discovery(state, event, SETTINGS)
        assert reduce_discovery(before, event, SETTINGS) == state, "same state and event, same result"
        assert state.topology_version - before.topology_version == (liveness(state) != liveness(before))
        peers: dict[PortKey, PortKey] = {}
        for ends, link in state.links.items():
            assert peers.setdefault(ends.source, ends.target) == ends.target, "a port has one peer"
            assert peers.setdefault(ends.target, ends.source) == ends.source
            for end in ends:
                switch = state.switches[end.dpid]
                assert not link.up or (end.port in switch.ports and switch.ports[end.port].up)
        assert not {(host.dpid, host.port) for host in state.hosts.values()} & set(peers)


@given(st.permutations([lldp(1, AB), lldp(1, BA), HostSeen(1, "h1", "aa", 3, 3), HostSeen(1, "h2", "bb", 1, 3)]))
def test_the_order_of_independent_events_does_not_matter(events):
    start = fold(*(connected(0, dpid) for dpid in (1, 2, 3)))
    reference = fold(*sorted(events, key=repr), state=start)
    assert fold(*events, state=start) == reference
