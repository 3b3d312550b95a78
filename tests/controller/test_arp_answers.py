"""Switches answer ARP for known hosts, never about the asker's own address; the controller still hears all of it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given

from controller import arp_answers
from controller.arp_answers import ANSWER_COOKIE, arp_flows, trial_flow
from controller.compiler import compile_rules
from controller.intent import IntentHost, NetworkIntent
from controller.labels import Hop
from controller.packets import ARP_REPLY, ARP_REQUEST, BROADCAST, NO_ADDRESS, Arp
from controller.rules import FlowRule
from controller.simulated_network import Outcome, SimulatedNetwork, trace
from controller.simulated_switch import Packet
from controller.update_steps import plan_update
from tests.controller import random_networks as nets
from tests.controller.random_networks import Sample

EDGE_PORT = nets.HOST_PORT
ANN = IntentHost("10.0.0.1/32", "02:00:00:00:00:01", 1, EDGE_PORT)
BOB = IntentHost("10.0.0.2/32", "02:00:00:00:00:02", 2, EDGE_PORT)
STRANGER = ("02:00:00:00:00:99", "10.0.0.99")
INTENT = NetworkIntent((1, 2, 3), (), (ANN, BOB))
CABLE = {Hop(1, 1): Hop(2, 1), Hop(2, 1): Hop(1, 1)}


def ip_of(host: IntentHost) -> str:
    return host.prefix.removesuffix("/32")


def network_of(intent: NetworkIntent) -> SimulatedNetwork:
    network = SimulatedNetwork(intent.switches, CABLE)
    plan = plan_update(network.installed, compile_rules(intent, frozenset(intent.switches)))
    for stage in (plan.prepare, plan.flip, plan.clean):
        network.apply_stage(stage)
    return network


def request(mac: str, ip: str, target: str) -> Packet:
    return Packet(arp=Arp(ARP_REQUEST, mac, ip, "00:00:00:00:00:00", target), eth_src=mac, eth_dst=BROADCAST)


def heard(network: SimulatedNetwork, dpid: int, port: int, packet: Packet) -> tuple[Outcome, ...]:
    (way,) = trace(network, dpid, port, packet)
    return way.outcomes


def test_a_known_host_is_answered_for_and_the_controller_hears_the_question() -> None:
    network = network_of(INTENT)
    question = request(ANN.mac, ip_of(ANN), ip_of(BOB))
    up, back = heard(network, 1, EDGE_PORT, question)
    assert (up.kind, up.packet, up.cookies[-1]) == ("controller", question, ANSWER_COOKIE)
    assert (back.kind, back.port) == ("delivered", EDGE_PORT)
    assert back.packet.arp == Arp(ARP_REPLY, BOB.mac, ip_of(BOB), ANN.mac, ip_of(ANN))
    assert (back.packet.eth_src, back.packet.eth_dst) == (BOB.mac, ANN.mac)


@pytest.mark.parametrize(
    ("dpid", "port", "packet"),
    [
        pytest.param(1, EDGE_PORT, request(ANN.mac, NO_ADDRESS, ip_of(ANN)), id="probe for its own address"),
        pytest.param(1, 7, request(STRANGER[0], NO_ADDRESS, ip_of(ANN)), id="probe for the address of another"),
        pytest.param(1, EDGE_PORT, request(ANN.mac, ip_of(ANN), ip_of(ANN)), id="announcement"),
        pytest.param(2, 9, request(ANN.mac, ip_of(ANN), ip_of(ANN)), id="announcement of a host that moved"),
        pytest.param(2, 9, request(STRANGER[0], ip_of(ANN), ip_of(ANN)), id="announcement of another MAC"),
        pytest.param(1, EDGE_PORT, request(*STRANGER, ip_of(ANN)), id="from the port of the host itself"),
        pytest.param(1, EDGE_PORT, request(ANN.mac, ip_of(ANN), STRANGER[1]), id="for an unknown host"),
        pytest.param(3, EDGE_PORT, request(*STRANGER, ip_of(ANN)), id="first word at a switch without hosts"),
        pytest.param(
            1,
            EDGE_PORT,
            Packet(arp=Arp(ARP_REPLY, ANN.mac, ip_of(ANN), BOB.mac, ip_of(BOB)), eth_src=ANN.mac),
            id="an answer",
        ),
    ],
)
def test_what_speaks_of_the_askers_own_address_or_of_nobody_known_is_left_to_the_controller(
    dpid: int, port: int, packet: Packet
) -> None:
    (up,) = heard(network_of(INTENT), dpid, port, packet)
    assert (up.kind, up.packet) == ("controller", packet)
    assert up.cookies[-1] != ANSWER_COOKIE


def test_nobody_is_answered_over_a_link() -> None:
    links = tuple(nets.IntentLink(*source, *target) for source, target in CABLE.items())
    (end,) = heard(network_of(replace(INTENT, links=links)), 1, 1, request(BOB.mac, ip_of(BOB), ip_of(ANN)))
    assert end.kind == "dropped"


def test_rules_are_few_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [IntentHost(f"10.0.{n}.1/32", f"02:00:00:00:01:{n:02x}", 1 + n % 2, EDGE_PORT) for n in range(8)]
    hosts.append(IntentHost("10.9.0.0/16", "02:00:00:00:00:07", 1, 5))

    def rules() -> list[FlowRule]:
        return list(arp_flows(hosts, 1))

    assert list(arp_flows(hosts, 3)) == [trial_flow()]
    assert len(rules()) == 2 + 2 * 8 + 4
    monkeypatch.setattr(arp_answers, "ANSWERED_HOSTS_LIMIT", 3)
    assert len(rules()) == 2 + 2 * 3 + 2
    assert {rule.match.arp_tpa for rule in rules()} >= {"10.0.0.1", "10.0.1.1", "10.0.2.1"}


@nets.searched(8)
@given(nets.samples(largest=6))
def test_while_hosts_come_move_and_go_nobody_is_told_anything_but_the_old_or_the_new(
    drawn: tuple[Sample, random.Random],
) -> None:
    """At every step of an update, for every question at every switch; and the controller hears each of them once."""
    sample, chance = drawn

    def with_hosts() -> NetworkIntent:
        hosts = nets.random_hosts(chance, sample.intent.switches)
        named = tuple(replace(host, mac=f"02:00:00:00:00:{chance.randrange(5):02x}") for host in hosts)
        return replace(sample.intent, hosts=named, demands=())

    before, after = with_hosts(), with_hosts()
    single = [{ip_of(host): host for host in intent.hosts if host.prefix.endswith("/32")} for intent in (before, after)]
    known_macs = {ip: {hosts[ip].mac for hosts in single if ip in hosts} for ip in {*single[0], *single[1]}}
    addresses = sorted({*single[0], *single[1], STRANGER[1]})
    everywhere = frozenset(sample.intent.switches)
    network = sample.network()
    for stage in (lambda plan: plan.prepare, lambda plan: plan.flip, lambda plan: plan.clean):
        network.apply_stage(stage(plan_update(network.installed, compile_rules(before, everywhere))))

    def answers(dpid: int, asked: str) -> set[str]:
        outcomes = heard(network, dpid, EDGE_PORT + 50, request(*STRANGER, asked))
        assert [outcome.kind for outcome in outcomes].count("controller") == 1
        replies = [outcome.packet.arp for outcome in outcomes if outcome.kind == "delivered"]
        assert len(replies) <= 1
        assert all(reply is not None and reply.sender_ip == asked for reply in replies)
        return {reply.sender_mac for reply in replies if reply is not None}

    def promised(hosts: dict[str, IntentHost], dpid: int, asked: str) -> set[str]:
        answering = asked in hosts and any(host.dpid == dpid for host in hosts.values())
        return {hosts[asked].mac} if answering else set()

    plan = plan_update(network.installed, compile_rules(after, everywhere))
    for stage in (plan.prepare, plan.flip, plan.clean):
        for dpid, message in nets.interleaved(stage, chance):
            network.apply(dpid, message)
            for asked in addresses:
                assert answers(dpid, asked) <= known_macs.get(asked, set())
                (own,) = (o.kind for o in heard(network, dpid, EDGE_PORT + 50, request(STRANGER[0], asked, asked)))
                assert own == "controller"
    for dpid in everywhere:
        for asked in addresses:
            assert answers(dpid, asked) == promised(single[1], dpid, asked)
