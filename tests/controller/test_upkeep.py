"""The intent follows the network: new parts enter, broken demands heal, and nothing changes without need."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from controller.intent import DemandKey, NetworkIntent
from controller.labels import Hop, LabelTable
from controller.settings import ControllerSettings, StaticHost, TrafficClass
from controller.upkeep import broken_demands, default_routes, kept_up, with_network
from topology_sync.discovery import DiscoveryState, HostAttachment, LinkEnds, LinkRecord, PortKey, SwitchRecord

SETTINGS = ControllerSettings("/nowhere", classes=(TrafficClass("voice", (46,)), TrafficClass("rest")))
SQUARE = [(1, 2), (2, 3), (3, 4), (4, 1)]
KEY = DemandKey(1, 3, "rest")


def discovered(*down: tuple[int, int], pairs: list[tuple[int, int]] = SQUARE) -> DiscoveryState:
    """Switches in a square; port n of a switch leads to switch n."""
    links = {
        LinkEnds(PortKey(a, b), PortKey(b, a)): LinkRecord((a, b) not in down, 0.0, True)
        for pair in pairs
        for a, b in (pair, pair[::-1])
    }
    switches = {dpid: SwitchRecord(True, 0.0) for pair in pairs for dpid in pair}
    hosts = {f"10.0.0.{dpid}": HostAttachment(f"10.0.0.{dpid}", "02:00:00:00:00:01", dpid, 100) for dpid in switches}
    return DiscoveryState(switches, links, hosts)


def name_to_dpid(name: str) -> int | None:
    return int(name[1:])


def upkept(
    intent: NetworkIntent,
    labels: LabelTable,
    state: DiscoveryState,
    wanted: tuple[DemandKey, ...] = (),
    to_heal: frozenset[DemandKey] = frozenset(),
) -> tuple[NetworkIntent, LabelTable]:
    intent = with_network(intent, state, SETTINGS, name_to_dpid)
    reachable = frozenset(state.switches)
    return kept_up(intent, labels, wanted, to_heal, reachable, lambda hop: 1e6, protect=True)


def hops(*nodes: int) -> tuple[Hop, ...]:
    return tuple(Hop(a, b) for a, b in pairwise(nodes))


def test_everything_found_enters_the_intent() -> None:
    intent, _ = upkept(NetworkIntent(), LabelTable(), discovered())
    assert intent.switches == (1, 2, 3, 4)
    assert len(intent.links) == 8
    assert [host.prefix for host in intent.hosts] == [f"10.0.0.{dpid}/32" for dpid in (1, 2, 3, 4)]
    assert [entry.name for entry in intent.classes] == ["voice", "rest"]
    assert set(intent.bypass_of) == {link.hop for link in intent.links}


def test_upkeep_twice_changes_nothing() -> None:
    first = upkept(NetworkIntent(), LabelTable(), discovered(), (KEY,))
    assert upkept(*first, discovered(), (KEY,)) == first


def test_first_packet_gets_fewest_hops() -> None:
    intent, _ = upkept(NetworkIntent(), LabelTable(), discovered(), (KEY, DemandKey(2, 1, "voice")))
    assert intent.demand_of[KEY].routes[0].links == hops(1, 2, 3)
    assert intent.demand_of[DemandKey(2, 1, "voice")].routes[0].links == hops(2, 1)


def test_default_route_avoids_switches_out_of_reach_and_prefers_capacity() -> None:
    intent = with_network(NetworkIntent(), discovered(), SETTINGS, name_to_dpid)
    routes = default_routes(intent, [KEY], frozenset({1, 3, 4}), lambda hop: 1e6)
    assert routes[KEY][0].links == hops(1, 4, 3)
    assert default_routes(intent, [KEY], frozenset({1, 3}), lambda hop: 1e6) == {}
    wide = default_routes(intent, [KEY], frozenset({1, 2, 3, 4}), lambda hop: 2e6 if hop == Hop(1, 4) else 1e6)
    assert wide[KEY][0].links == hops(1, 4, 3)


def test_broken_demand_keeps_its_path_until_it_is_to_be_healed() -> None:
    intent, labels = upkept(NetworkIntent(), LabelTable(), discovered(), (KEY,))
    down = discovered((1, 2), (2, 1))
    broken, labels = upkept(intent, labels, down)
    assert broken.demand_of[KEY].routes == intent.demand_of[KEY].routes
    assert broken_demands(broken) == {KEY}
    healed, _ = upkept(broken, labels, down, to_heal=frozenset({KEY}))
    assert healed.demand_of[KEY].routes[0].links == hops(1, 4, 3)
    assert broken_demands(healed) == frozenset()


def test_demand_without_any_way_is_left() -> None:
    intent, labels = upkept(NetworkIntent(), LabelTable(), discovered(), (KEY,))
    apart = discovered((1, 2), (2, 1), (1, 4), (4, 1))
    left, _ = upkept(intent, labels, apart, to_heal=frozenset({KEY}))
    assert left.demand_of[KEY].routes == intent.demand_of[KEY].routes


def test_link_that_is_gone_takes_its_routes_along_and_they_are_replaced_at_once() -> None:
    intent, labels = upkept(NetworkIntent(), LabelTable(), discovered(), (KEY,))
    state = discovered(pairs=[(2, 3), (3, 4), (4, 1)])
    changed, _ = upkept(intent, labels, state)
    changed.check()
    assert changed.demand_of[KEY].routes[0].links == hops(1, 4, 3)


@pytest.mark.parametrize("prefix", ["10.0.0.1/32", "10.0.0.1"])
def test_stated_host_wins_over_a_learned_one(prefix: str) -> None:
    settings = replace(SETTINGS, hosts=(StaticHost(prefix, "02:00:00:00:00:09", "s4", 7),))
    intent = with_network(NetworkIntent(), discovered(), settings, name_to_dpid)
    assert [(host.dpid, host.port) for host in intent.hosts if host.prefix.startswith("10.0.0.1")] == [(4, 7)]


def test_a_link_that_may_come_back_costs_no_way_around() -> None:
    """Its first LLDP after a restart is late, or it flaps: ways around others over it stay, and it counts as down."""
    pairs = [*SQUARE, (1, 3)]
    intent, labels = upkept(NetworkIntent(), LabelTable(), discovered(pairs=pairs))
    around = intent.bypass_of[Hop(1, 2)].hops
    assert around == hops(1, 3, 2)
    silent = with_network(intent, discovered((1, 3), pairs=pairs), SETTINGS, name_to_dpid)
    dpids = frozenset(silent.switches)

    def kept(just_down: frozenset[Hop]) -> NetworkIntent:
        return kept_up(silent, labels, (), frozenset(), dpids, lambda hop: 1e6, protect=True, just_down=just_down)[0]

    patient, settled = kept(frozenset({Hop(1, 3)})), kept(frozenset())
    assert patient.bypasses == intent.bypasses
    assert not patient.link_of[Hop(1, 3)].up
    assert settled.bypass_of[Hop(1, 2)].hops == hops(1, 4, 3, 2)
