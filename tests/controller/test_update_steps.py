"""Updates are safe at every moment, whatever the switches had before."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import assume, given

from controller.compiler import compile_rules
from controller.intent import (
    DemandKey,
    ExplicitPath,
    IntentHost,
    IntentLink,
    NetworkIntent,
    with_plan,
)
from controller.labels import Hop, LabelTable
from controller.protection import with_protection
from controller.rules import Bucket, FlowRule, GroupRule, Match, Output, RuleSet
from controller.update_steps import (
    AddFlow,
    AddGroup,
    DeleteFlow,
    DeleteGroup,
    ModifyGroup,
    UpdatePlan,
    drain_bound_s,
    plan_update,
    undo,
)
from tests.controller import random_networks as nets
from tests.controller.random_networks import Sample, Watcher
from topology_sync.errors import TransactionError
from topology_sync.topology import Link


def carry_out(network: nets.SimulatedNetwork, plan: UpdatePlan) -> None:
    for stage in (plan.prepare, plan.flip, plan.clean):
        network.apply_stage(stage)


def started(sample: Sample) -> nets.SimulatedNetwork:
    """A network on which the sample's rules are installed."""
    network = sample.network()
    carry_out(network, plan_update(network.installed, compile_rules(sample.intent)))
    return network


def update_watched(
    network: nets.SimulatedNetwork, before: NetworkIntent, after: NetworkIntent, chance: random.Random
) -> None:
    """Update step by step; every packet must meet exactly what the one or the other intent promises."""
    watched = nets.visits(before, after)
    watcher = Watcher(network, watched)
    allowed = {visit: (nets.promised(before, visit), nets.promised(after, visit)) for visit in watched}
    for visit in watched:
        assert watcher.seen[visit] in allowed[visit]
    desired = compile_rules(after)
    plan = plan_update(network.installed, desired)
    for stage in (plan.prepare, plan.flip, plan.clean):
        for dpid, message in nets.interleaved(stage, chance):
            for visit, seen in watcher.apply(dpid, message):
                assert seen in allowed[visit], (dpid, message, visit)
    for visit in watched:
        assert watcher.seen[visit] == allowed[visit][1]
    assert network.installed == desired
    assert plan_update(network.installed, desired).empty


@nets.searched(8)
@given(nets.samples())
def test_every_packet_takes_the_old_or_the_new_path_at_every_step(drawn: tuple[Sample, random.Random]) -> None:
    sample, chance = drawn
    network = started(sample)
    for _ in range(2):
        following = nets.next_plan(sample, chance)
        update_watched(network, sample.intent, following.intent, chance)
        sample = Sample(following.intent, following.labels.keep_only(following.intent.labels()))


@nets.searched(12)
@given(nets.samples(largest=6))
def test_a_crash_in_mid_update_is_completed_or_taken_back_without_loss(drawn: tuple[Sample, random.Random]) -> None:
    sample, chance = drawn
    network = started(sample)
    following = nets.next_plan(sample, chance)
    plan = plan_update(network.installed, compile_rules(following.intent))
    stages = [nets.interleaved(stage, chance) for stage in (plan.prepare, plan.flip, plan.clean)]
    messages = [message for stage in stages for message in stage]
    for dpid, message in messages[: chance.randint(0, len(messages))]:
        network.apply(dpid, message)
    stored = chance.choice((sample, following))
    other = following if stored is sample else sample
    update_watched(network, other.intent, stored.intent, chance)


@nets.searched(6)
@given(nets.samples(largest=6))
def test_packets_follow_hosts_that_come_move_and_go(drawn: tuple[Sample, random.Random]) -> None:
    """Whichever demand a packet is put into, it takes that demand's paths and comes out at an old or new port."""
    sample, chance = drawn
    before = sample.intent
    moved = nets.random_hosts(chance, before.switches)
    staying = {host.prefix: host for host in before.hosts if chance.random() < 0.5}
    hosts = tuple(staying.get(host.prefix, host) for host in moved)
    following = nets.next_plan(Sample(replace(before, hosts=hosts), sample.labels), chance)
    after = following.intent
    steps = (before, replace(after, hosts=before.hosts), after)
    watched = nets.visits(before, after)

    def without_port(endings: nets.Endings) -> list[tuple[object, ...]]:
        return sorted((kind, dpid, hops, share) for kind, dpid, _, hops, share in endings)

    ways = {visit: [without_port(nets.promised(intent, visit)) for intent in steps] for visit in watched}
    network = started(sample)
    watcher = Watcher(network, watched)
    desired = compile_rules(after)
    plan = plan_update(network.installed, desired)
    for stage in (plan.prepare, plan.flip, plan.clean):
        for dpid, message in nets.interleaved(stage, chance):
            for visit, seen in watcher.apply(dpid, message):
                assert without_port(seen) in ways[visit], (dpid, message, visit)
                ports = {nets.delivery_port(intent, ending[1], visit[1]) for intent in steps for ending in seen}
                assert all(ending[0] != "delivered" or ending[2] in ports for ending in seen)
    for visit in watched:
        assert watcher.seen[visit] == nets.promised(after, visit)
    assert network.installed == desired


@nets.searched(12)
@given(nets.samples(largest=6))
def test_any_leftovers_are_cleared_without_touching_what_is_right(drawn: tuple[Sample, random.Random]) -> None:
    """Rules lost, rules too many, rules of others: what works goes on working, and in the end all is as desired."""
    sample, chance = drawn
    following = nets.next_plan(sample, chance)
    network, leftovers = started(sample), started(following)
    for dpid, switch in network.switches.items():
        for group in sorted(leftovers.switches[dpid].groups.values(), key=lambda group: group.group_id):
            if group.group_id not in switch.groups and chance.random() < 0.5:
                switch.apply(AddGroup(group))
        for flow in leftovers.switches[dpid].flows.values():
            if flow.key not in switch.flows and flow.groups() <= switch.groups.keys() and chance.random() < 0.5:
                switch.apply(AddFlow(flow))
        for flow in list(switch.flows.values()):
            if chance.random() < 0.1:
                switch.apply(DeleteFlow(flow))
        for group_id in sorted(switch.groups):
            if chance.random() < 0.05:
                switch.apply(DeleteGroup(group_id))
    foreign = FlowRule(0, 1, Match(in_port=77), (Output(78),), cookie=0xAA)
    foreign_group = GroupRule(5, "select", (Bucket((Output(3),), 1),))
    for switch in network.switches.values():
        switch.apply(AddGroup(foreign_group))
        switch.apply(AddFlow(foreign))

    watched = nets.visits(sample.intent)
    right = {visit: nets.promised(sample.intent, visit) for visit in watched}
    watcher = Watcher(network, watched)
    fine = {visit for visit in watched if watcher.seen[visit] == right[visit]}
    desired = compile_rules(sample.intent)
    plan = plan_update(network.installed, desired)
    for stage in (plan.prepare, plan.flip, plan.clean):
        for dpid, message in nets.interleaved(stage, chance):
            for visit, seen in watcher.apply(dpid, message):
                assert visit not in fine or seen == right[visit], (dpid, message, visit)
    assert watcher.seen == right
    for dpid, rules in network.installed.items():
        assert rules.flows == {**desired[dpid].flows, foreign.key: foreign}
        assert rules.groups == {**desired[dpid].groups, 5: foreign_group}
    assert plan_update(network.installed, desired).empty


@nets.searched(8)
@given(nets.samples(largest=6))
def test_undoing_prepare_or_flip_leaves_what_was_there(drawn: tuple[Sample, random.Random]) -> None:
    sample, chance = drawn
    network = started(sample)
    before = network.installed
    following = nets.next_plan(sample, chance)
    plan = plan_update(before, compile_rules(following.intent))
    watched = nets.visits(sample.intent, following.intent)
    watcher = Watcher(network, watched)
    allowed = {
        visit: (nets.promised(sample.intent, visit), nets.promised(following.intent, visit)) for visit in watched
    }
    forward = [nets.interleaved(plan.prepare, chance)]
    back = [undo(plan, "prepare")]
    if chance.random() < 0.5:
        forward.append(nets.interleaved(plan.flip, chance))
        back.insert(0, undo(plan, "flip"))
    forward[-1] = forward[-1][: chance.randint(0, len(forward[-1]))]
    forward += [nets.interleaved(stage, chance) for stage in back]
    for dpid, message in chain.from_iterable(forward):
        for visit, seen in watcher.apply(dpid, message):
            assert seen in allowed[visit], (dpid, message, visit)
    assert network.installed == before


@nets.searched(12)
@given(nets.samples(largest=7))
def test_a_dead_link_is_bypassed_while_its_bypass_changes(drawn: tuple[Sample, random.Random]) -> None:
    sample, chance = drawn
    before = sample.intent
    after, _ = with_protection(nets.with_links_down(before, chance), sample.labels)
    changing = [
        hop
        for hop, bypass in before.bypass_of.items()
        if hop in after.bypass_of and after.bypass_of[hop] != bypass and sample.cables()[hop] in after.bypass_of
    ]
    assume(changing)
    hop = chance.choice(changing)
    dead = frozenset({hop, sample.cables()[hop]})
    network = started(sample)
    network.set_link(hop, False)
    watched = nets.visits(before)
    old = {visit: nets.promised(before, visit, dead) for visit in watched}
    new = {visit: nets.promised(after, visit, dead) for visit in watched}
    watcher = Watcher(network, watched)
    assert watcher.seen == old
    plan = plan_update(network.installed, compile_rules(after))
    for stage in (plan.prepare, plan.flip, plan.clean):
        for dpid, message in nets.interleaved(stage, chance):
            for visit, seen in watcher.apply(dpid, message):
                # The two directions of the link change over on their own; no way ever mixes two bypasses.
                assert set(seen) <= {*old[visit], *new[visit]}, (dpid, message, visit)
                assert len(seen) == len(new[visit])
    assert watcher.seen == new


def test_only_shares_change_by_one_group_message() -> None:
    sample = split_sample()
    (demand,) = sample.intent.demands
    heavier = [ExplicitPath(route.links, weight) for route, weight in zip(demand.routes, (3, 5), strict=True)]
    after, _ = with_plan(sample.intent, sample.labels, {demand.key: heavier})
    plan = plan_update(started(sample).installed, compile_rules(after))
    ((message,),) = plan.flip.values()
    assert isinstance(message, ModifyGroup)
    assert not plan.prepare
    assert not plan.clean


def test_new_paths_of_a_split_demand_flip_by_one_flow_message() -> None:
    sample = split_sample()
    (demand,) = sample.intent.demands
    other = [ExplicitPath(demand.routes[0].links, 1), ExplicitPath((Hop(1, 2), Hop(3, 3), Hop(4, 1)), 1)]
    after, _ = with_plan(sample.intent, sample.labels, {demand.key: other})
    plan = plan_update(started(sample).installed, compile_rules(after))
    ((message,),) = plan.flip.values()
    assert isinstance(message, AddFlow)
    assert any(isinstance(message, DeleteFlow) for messages in plan.clean.values() for message in messages)


def test_a_host_that_moves_to_another_port_of_its_switch_flips() -> None:
    sample = split_sample()
    (host,) = sample.intent.hosts
    after = replace(sample.intent, hosts=(replace(host, port=host.port + 1),))
    plan = plan_update(started(sample).installed, compile_rules(after))
    assert not plan.prepare
    assert not plan.clean
    assert list(plan.flip) == [2]
    assert len(plan.flip[2]) == 1


def test_groups_come_before_and_go_after_those_that_refer_to_them() -> None:
    desired = compile_rules(split_sample().intent)
    installing = [message for message in plan_update({}, desired).prepare[1] if isinstance(message, AddGroup)]
    removing = plan_update(desired, {1: RuleSet()}).clean[1]
    assert [message.group.kind for message in installing] == [*["fast_failover"] * 3, "select"]
    assert isinstance(removing[-4], DeleteGroup)
    assert [message.group_id for message in removing[-4:] if isinstance(message, DeleteGroup)] == [
        message.group.group_id for message in reversed(installing)
    ]


def split_sample() -> Sample:
    """Switches 1..4 in a full mesh; one demand from 1 to 2, split over the direct link and the way by 3."""
    ports = {(1, 2): 1, (1, 3): 2, (1, 4): 3, (2, 1): 1, (2, 3): 2, (2, 4): 3}
    ports |= {(3, 1): 1, (3, 2): 2, (3, 4): 3, (4, 2): 1, (4, 1): 2, (4, 3): 3}
    links = tuple(IntentLink(a, port, b, ports[b, a]) for (a, b), port in sorted(ports.items()))
    hosts = (IntentHost("10.0.0.2/32", "02:00:00:00:00:02", 2, nets.HOST_PORT),)
    intent, labels = with_protection(NetworkIntent((1, 2, 3, 4), links, hosts), LabelTable())
    paths = [ExplicitPath((Hop(1, 1),), 1), ExplicitPath((Hop(1, 2), Hop(3, 2)), 1)]
    return Sample(*with_plan(intent, labels, {DemandKey(1, 2, "default"): paths}))


def test_somebody_elses_flow_in_our_place_is_refused() -> None:
    desired = {1: RuleSet.of([FlowRule(0, 300, Match(in_port=1), cookie=0x5257 << 48)])}
    installed = {1: RuleSet.of([FlowRule(0, 300, Match(in_port=1), cookie=0xAA)])}
    with pytest.raises(TransactionError, match="somebody else"):
        plan_update(installed, desired)


def test_switches_that_are_not_asked_for_get_nothing() -> None:
    installed = {1: RuleSet.of([FlowRule(0, 300, Match(in_port=1), cookie=0x5257 << 48)])}
    assert plan_update(installed, {}).empty


def test_drain_waits_for_full_queues_of_the_longest_path() -> None:
    slow = Link("a", "b", capacity_bps=1e6, delay_s=0.05, queue_packets=99)
    links = {Hop(1, 1): slow, Hop(2, 1): slow}
    one_link_s = 100 * 8 * 1526 / 1e6 + 0.05
    assert drain_bound_s([(Hop(1, 1),), (Hop(1, 1), Hop(2, 1))], links) == pytest.approx(2 * one_link_s)
    assert drain_bound_s([], links) == 0.3
    assert drain_bound_s([(Hop(1, 1),)], {Hop(1, 1): Link("a", "b", 1e9)}) == 0.3
