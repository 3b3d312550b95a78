"""Compiled rules deliver every packet on its path, and around links that are down."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given

from controller.compiler import PROBE_ADDRESS, PROBE_PROTOCOL, compile_rules
from controller.intent import (
    DemandKey,
    ExplicitPath,
    IntentClass,
    IntentHost,
    IntentLink,
    NetworkIntent,
    with_plan,
)
from controller.labels import Hop, LabelTable
from controller.protection import with_protection
from controller.rules import (
    ETHERTYPE_ARP,
    ETHERTYPE_LLDP,
    Bucket,
    ForgetInPort,
    GroupRule,
    Match,
    Output,
    PopMpls,
    PushMpls,
    SetMplsLabel,
    ToGroup,
    demand_group_id,
    link_group_id,
)
from controller.simulated_network import SimulatedNetwork, send, trace
from controller.simulated_switch import Packet
from controller.update_steps import AddFlow, AddGroup
from tests.controller import random_networks as nets
from tests.controller.random_networks import Sample
from topology_sync.cookies import PROTECTION_DEMAND, Cookie
from topology_sync.errors import PlanError


def installed(intent: NetworkIntent, cables: dict[Hop, Hop]) -> SimulatedNetwork:
    network = SimulatedNetwork(intent.switches, cables)
    for dpid, rules in compile_rules(intent).items():
        for group_id in sorted(rules.groups):
            network.apply(dpid, AddGroup(rules.groups[group_id]))
        for flow in rules.flows.values():
            network.apply(dpid, AddFlow(flow))
    return network


def triangle() -> Sample:
    """Switches 1, 2, 3; ports 1 and 2 lead to the others in order, a host at port 100 of 3; one demand 1 -> 2 -> 3."""
    ports = {(1, 2): 1, (1, 3): 2, (2, 1): 1, (2, 3): 2, (3, 1): 1, (3, 2): 2}
    links = tuple(IntentLink(a, port, b, ports[b, a]) for (a, b), port in ports.items())
    hosts = (IntentHost("10.0.0.3/32", "02:00:00:00:00:03", 3, 100),)
    intent, labels = with_protection(NetworkIntent((1, 2, 3), links, hosts), LabelTable())
    paths = {DemandKey(1, 3, "default"): [ExplicitPath((Hop(1, 1), Hop(2, 2)))]}
    return Sample(*with_plan(intent, labels, paths))


@nets.searched(15)
@given(nets.samples())
def test_every_packet_takes_the_paths_of_its_demand_in_their_shares(drawn: tuple[Sample, random.Random]) -> None:
    sample, _ = drawn
    network = installed(sample.intent, sample.cables())
    for visit in nets.visits(sample.intent):
        traces = trace(network, visit[0], nets.HOST_PORT + 50, visit[1])
        assert nets.endings(traces) == nets.promised(sample.intent, visit)


@nets.searched(10)
@given(nets.samples())
def test_any_one_link_down_loses_only_what_crosses_a_bridge(drawn: tuple[Sample, random.Random]) -> None:
    sample, _ = drawn
    intent = sample.intent
    network = installed(intent, sample.cables())
    for hop, end in sample.cables().items():
        dead = frozenset({hop, end})
        assert (hop in intent.bypass_of) != nets.is_bridge(intent, hop)
        network.set_link(hop, False)
        for visit in nets.visits(intent):
            demand = nets.demand_for(intent, visit)
            if demand is None or not any(dead & set(route.links) for route in demand.routes):
                continue
            traces = trace(network, visit[0], nets.HOST_PORT + 50, visit[1])
            seen = nets.endings(traces)
            assert seen == nets.promised(intent, visit, dead)
            assert nets.is_bridge(intent, hop) or all(ending[0] == "delivered" for ending in seen)
            for way in traces:
                bypasses = [intent.bypass_of[link] for link in dead if link in intent.bypass_of]
                used = {label for stack in way.outcomes[0].labels for label in stack}
                own = {route.label for route in demand.routes}
                assert used <= own | {bypass.label for bypass in bypasses}
        network.set_link(hop, True)


@nets.searched(10)
@given(nets.samples(largest=6))
def test_two_links_down_never_make_a_loop(drawn: tuple[Sample, random.Random]) -> None:
    sample, chance = drawn
    intent = sample.intent
    network = installed(intent, sample.cables())
    for _ in range(5):
        hops = chance.sample(sorted(sample.cables()), 2)
        dead = frozenset(hops) | {sample.cables()[hop] for hop in hops}
        for hop in hops:
            network.set_link(hop, False)
        for visit in nets.visits(intent):
            seen = nets.endings(trace(network, visit[0], nets.HOST_PORT + 50, visit[1]))
            assert seen == nets.promised(intent, visit, dead)
        for hop in hops:
            network.set_link(hop, True)


def test_a_path_goes_on_over_the_last_link_of_a_bypass() -> None:
    """Around 1-2 by 3, and then from 2 back to 3 over the very link it came by."""
    sample = triangle()
    network = installed(sample.intent, sample.cables())
    network.set_link(Hop(1, 1), False)
    (way,) = trace(network, 1, 100, Packet("10.0.0.3"))
    (end,) = way.outcomes
    assert (end.kind, end.dpid, end.port) == ("delivered", 3, 100)
    assert end.hops == (Hop(1, 2), Hop(3, 2), Hop(2, 2))
    bypass = sample.intent.bypass_of[Hop(1, 1)]
    path = sample.intent.demands[0].routes[0]
    assert end.labels == ((bypass.label, path.label), (path.label,), (path.label,))


def test_a_bypass_starts_with_the_link_that_the_packet_came_by() -> None:
    sample = triangle()
    network = installed(sample.intent, sample.cables())
    network.set_link(Hop(2, 2), False)
    (way,) = trace(network, 1, 100, Packet("10.0.0.3"))
    assert way.outcomes[0].kind == "delivered"
    assert way.outcomes[0].hops == (Hop(1, 1), Hop(2, 1), Hop(1, 2))


def test_the_rules_of_one_path_in_full() -> None:
    sample = triangle()
    rules = compile_rules(sample.intent)
    (demand,) = sample.intent.demands
    (route,) = demand.routes
    cookie = Cookie(route.version, demand.number, route.label).pack()
    flows = {dpid: {flow.cookie: flow for flow in rules[dpid].flows.values()} for dpid in (1, 2, 3)}
    ingress, transit, egress = (flows[dpid][cookie] for dpid in (1, 2, 3))
    assert (ingress.table, ingress.match) == (1, Match(metadata=demand.number))
    assert ingress.actions == (PushMpls(), SetMplsLabel(route.label), ToGroup(link_group_id(1)))
    assert transit.actions == (ToGroup(link_group_id(2)),)
    assert (egress.actions, egress.goto_table) == ((PopMpls(0x0800),), 2)
    classifier = flows[1][Cookie(0, demand.number, 0).pack()]
    assert classifier.match == Match(ipv4_dst=("10.0.0.3", 32))
    assert (classifier.write_metadata, classifier.goto_table) == (demand.number, 1)
    bypass = sample.intent.bypass_of[Hop(1, 1)]
    assert bypass.label is not None
    assert rules[1].groups[link_group_id(1)] == GroupRule(
        link_group_id(1),
        "fast_failover",
        (
            Bucket((ForgetInPort(), Output(1)), watch_port=1),
            Bucket((PushMpls(), SetMplsLabel(bypass.label), ForgetInPort(), Output(2)), watch_port=2),
        ),
    )
    (turn,) = (f for f in flows[3].values() if f.cookie == Cookie(0, PROTECTION_DEMAND, bypass.label).pack())
    assert turn.actions == (PopMpls(0x8847), Output(2))


def test_a_parallel_link_is_a_bypass_without_a_label() -> None:
    links = tuple(IntentLink(a, port, 3 - a, port) for a in (1, 2) for port in (1, 2))
    intent, labels = with_protection(NetworkIntent((1, 2), links), LabelTable())
    assert labels == LabelTable()
    second = compile_rules(intent)[1].groups[link_group_id(1)].buckets[1]
    assert second == Bucket((ForgetInPort(), Output(2)), watch_port=2)


def test_split_demand_counts_at_the_ingress_and_splits_by_weight() -> None:
    sample = triangle()
    paths = [ExplicitPath((Hop(1, 1), Hop(2, 2)), 3), ExplicitPath((Hop(1, 2),), 1)]
    intent, _ = with_plan(sample.intent, sample.labels, {DemandKey(1, 3, "default"): paths})
    network = installed(intent, sample.cables())
    for flow_hash in range(8):
        assert send(network, 1, 100, Packet("10.0.0.3"), flow_hash).outcomes[0].kind == "delivered"
    (demand,) = intent.demands
    assert demand_group_id(demand.number, demand.version) in network.switches[1].groups
    counted = {
        (dpid, network.switches[dpid].flows[key].cookie): count
        for dpid in (1, 3)
        for key, count in network.switches[dpid].packets.items()
        if key.table < 2 and key.match.ipv4_dst is None
    }
    two_hops, one_hop = demand.routes
    assert counted == {
        (1, Cookie(demand.version, demand.number, 0).pack()): 8,
        (3, Cookie(two_hops.version, demand.number, two_hops.label).pack()): 6,
        (3, Cookie(one_hop.version, demand.number, one_hop.label).pack()): 2,
    }


def test_a_probe_takes_the_labelled_path_to_the_controller_at_its_end() -> None:
    sample = triangle()
    network = installed(sample.intent, sample.cables())
    label = sample.intent.demands[0].routes[0].label
    (way,) = trace(network, 2, 1, Packet(PROBE_ADDRESS, ip_proto=PROBE_PROTOCOL, labels=(label,)))
    assert (way.outcomes[0].kind, way.outcomes[0].dpid) == ("controller", 3)


def test_lldp_always_and_arp_from_the_edge_go_to_the_controller() -> None:
    sample = triangle()
    network = installed(sample.intent, sample.cables())
    for inner_type, port, kind in (
        (ETHERTYPE_LLDP, 1, "controller"),
        (ETHERTYPE_ARP, 100, "controller"),
        (ETHERTYPE_ARP, 1, "dropped"),
    ):
        (way,) = trace(network, 1, port, Packet(inner_type=inner_type))
        assert way.outcomes[0].kind == kind


def test_a_class_without_demand_goes_to_the_controller_not_into_another_class() -> None:
    sample = triangle()
    intent = replace(sample.intent, classes=(IntentClass("default"), IntentClass("voice", (46,))))
    network = installed(intent, sample.cables())
    assert trace(network, 1, 100, Packet("10.0.0.3", 0))[0].outcomes[0].kind == "delivered"
    assert trace(network, 1, 100, Packet("10.0.0.3", 46))[0].outcomes[0].kind == "controller"


def test_a_demand_without_routes_is_counted_and_dropped() -> None:
    sample = triangle()
    (demand,) = sample.intent.demands
    intent = replace(sample.intent, demands=(replace(demand, routes=()),))
    network = installed(intent, sample.cables())
    assert send(network, 1, 100, Packet("10.0.0.3")).outcomes[0].kind == "dropped"
    assert sum(count for key, count in network.switches[1].packets.items() if key.table == 1) == 1


def test_a_route_over_an_unknown_link_is_refused() -> None:
    sample = triangle()
    intent = replace(sample.intent, links=sample.intent.links[:-4], bypasses=())
    with pytest.raises(PlanError, match="demand 1"):
        compile_rules(intent)


def test_a_host_that_is_no_address_is_refused() -> None:
    sample = triangle()
    hosts = (IntentHost("nowhere", "02:00:00:00:00:03", 3, 100),)
    with pytest.raises(PlanError, match="host nowhere"):
        compile_rules(replace(sample.intent, hosts=hosts))
