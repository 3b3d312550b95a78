"""With a queue per class every packet says everywhere which one it waits in; without, no rule is other than before."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from controller.compiler import compile_rules
from controller.message_codec import encode_message
from controller.protection import with_protection
from controller.rules import Action, RuleSet, SetMplsTc, SetQueue
from controller.update_steps import AddFlow, AddGroup, plan_update
from tests.controller import random_networks as nets
from tests.controller.random_networks import QUEUED_CLASSES, Sample, Visit, Watcher
from tests.controller.test_compiler import triangle
from tests.controller.test_update_steps import split_sample, started

RULES_BEFORE_THERE_WERE_QUEUES = "60fe8d0b658735f7b0e831879f819ba8ef1447eec7b1a9a2c132c9606ed5921c"


def check_queues(watcher: Watcher, visits: Iterable[Visit]) -> None:
    """On each link these packets wait in the queue of their class, said by action and by label alike."""
    for visit in visits:
        queue = next(
            (entry.queue for entry in QUEUED_CLASSES if visit[1].ip_dscp in entry.dscp), QUEUED_CLASSES[-1].queue
        )
        assert watcher.queues[visit] <= {(queue, queue)}, visit


@nets.searched(4)
@given(nets.samples(largest=6, queued=True))
def test_every_packet_waits_in_its_queue_on_every_hop_at_every_step(drawn: tuple[Sample, random.Random]) -> None:
    """Also while a link is down and its packets go around it."""
    sample, chance = drawn
    network = started(sample)
    following = nets.next_plan(sample, chance)
    if chance.random() < 0.7:
        network.set_link(chance.choice(sorted(sample.cables())), False)
    watcher = Watcher(network, nets.visits(sample.intent, following.intent))
    check_queues(watcher, watcher.seen)
    plan = plan_update(network.installed, compile_rules(following.intent))
    for stage in (plan.prepare, plan.flip, plan.clean):
        for dpid, message in nets.interleaved(stage, chance):
            check_queues(watcher, [visit for visit, _ in watcher.apply(dpid, message)])
    assert any(watcher.queues.values())


@nets.searched(2)
@given(nets.samples(largest=5, queued=False))
def test_queues_come_and_go_without_moving_a_packet(drawn: tuple[Sample, random.Random]) -> None:
    sample, chance = drawn
    network = started(sample)
    hop = chance.choice(sorted(sample.cables()))
    network.set_link(hop, False)
    watcher = Watcher(network, nets.visits(sample.intent))
    before = dict(watcher.seen)
    for intent in (replace(sample.intent, classes=QUEUED_CLASSES), sample.intent):
        plan = plan_update(network.installed, compile_rules(intent))
        for stage in (plan.prepare, plan.flip, plan.clean):
            for dpid, message in nets.interleaved(stage, chance):
                for visit, seen in watcher.apply(dpid, message):
                    assert seen == before[visit]
        assert network.installed == compile_rules(intent)
        if intent.queue_of:
            check_queues(watcher, watcher.seen)
    assert all(queue is None for queues in watcher.queues.values() for queue, _ in queues)


@nets.searched(6)
@given(nets.samples(largest=6, queued=True))
def test_queues_only_add_to_the_rules(drawn: tuple[Sample, random.Random]) -> None:
    sample, _ = drawn
    assume(sample.intent.bypasses)
    plain = compile_rules(replace(sample.intent, classes=nets.CLASSES))
    queued = compile_rules(sample.intent)
    assert queued != plain
    assert {dpid: without_queues(rules) for dpid, rules in queued.items()} == plain


def without_queues(rules: RuleSet) -> RuleSet:
    def bare(actions: tuple[Action, ...]) -> tuple[Action, ...]:
        return tuple(action for action in actions if not isinstance(action, SetQueue | SetMplsTc))

    flows = [replace(rule, actions=bare(rule.actions)) for rule in rules.flows.values() if rule.match.mpls_tc is None]
    groups = [
        replace(group, buckets=tuple(replace(bucket, actions=bare(bucket.actions)) for bucket in group.buckets))
        for group in rules.groups.values()
    ]
    return RuleSet.of(flows, groups)


def test_without_queues_switches_get_the_very_bytes_that_they_got_before() -> None:
    digest = hashlib.sha256()
    down, _ = with_protection(split_sample().intent, split_sample().labels)
    for intent in (triangle().intent, split_sample().intent, down):
        for dpid, rules in sorted(compile_rules(intent).items()):
            digest.update(dpid.to_bytes(8, "big"))
            for message in sorted(wire(AddFlow(flow)) for flow in rules.flows.values()):
                digest.update(message)
            for number in sorted(rules.groups):
                digest.update(wire(AddGroup(rules.groups[number])))
    assert digest.hexdigest() == RULES_BEFORE_THERE_WERE_QUEUES


def wire(message: Any) -> bytes:
    encoded = encode_message(ProtocolDesc(ofproto.OFP_VERSION), message)
    encoded.xid = 1
    encoded.serialize()
    return bytes(encoded.buf)
