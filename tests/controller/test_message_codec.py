"""Rules survive the way to a switch and back: what is read back compares equal to what was sent."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from controller.compiler import compile_rules
from controller.flow_statistics import FlowEntry
from controller.message_codec import NotOurForm, decode_flow, decode_group, encode_message
from controller.rules import FlowRule, GroupRule, Match, ToController
from controller.update_steps import AddFlow, AddGroup, DeleteFlow, DeleteGroup
from tests.controller import random_networks as nets

DATAPATH = ProtocolDesc(ofproto.OFP_VERSION)
FLOW_MOD_HEAD = 48
GROUP_MOD_HEAD = 16


def on_the_wire(message: Any) -> bytes:
    """The bytes of a message."""
    message.xid = 1
    message.serialize()
    return bytes(message.buf)


def as_statistics(rule: FlowRule, cookie_flags: tuple[int, int], packets: int = 7) -> bytes:
    """The flow statistics entry of a switch that took the rule's flow_mod: same match and instructions."""
    wire = on_the_wire(encode_message(DATAPATH, AddFlow(rule)))
    rest = wire[FLOW_MOD_HEAD:]
    cookie, flags = cookie_flags
    head = struct.pack(
        "!HBxIIHHHH4xQQQ", 48 + len(rest), rule.table, 3, 500_000_000, rule.priority, 0, 0, flags, cookie, packets, 700
    )
    return head + rest


def as_description(group: GroupRule) -> Any:
    """The group description of a switch that took the group's group_mod."""
    wire = on_the_wire(encode_message(DATAPATH, AddGroup(group)))
    head = struct.pack("!HBxI", 8 + len(wire) - GROUP_MOD_HEAD, wire[10], group.group_id)
    return parser.OFPGroupDescStats.parser(head + wire[GROUP_MOD_HEAD:], 0)


@given(nets.samples())
@nets.searched(15)
def test_every_compiled_rule_comes_back_equal(drawn: Any) -> None:
    sample, _ = drawn
    for rules in compile_rules(sample.intent, frozenset(sample.intent.switches)).values():
        for rule in rules.flows.values():
            flags = ofproto.OFPFF_SEND_FLOW_REM if rule.send_removed else 0
            entry = FlowEntry.parser(as_statistics(rule, (rule.cookie, flags)), 0)
            assert decode_flow(entry.full()) == rule
        for group in rules.groups.values():
            assert decode_group(as_description(group)) == group


def test_light_parse_reads_counts_without_the_match() -> None:
    rule = FlowRule(1, 100, Match(metadata=5), (ToController(),), cookie=0x5257000000500000)
    data = as_statistics(rule, (rule.cookie, 0), packets=42)
    entry = FlowEntry.parser(bytes(8) + data, 8)
    counter = entry.counter()
    assert (counter.cookie, counter.table_id, counter.packets, counter.bytes) == (rule.cookie, 1, 42, 700)
    assert counter.age_s == pytest.approx(3.5)
    assert entry.length == len(data)


def test_delete_names_the_very_rule_and_its_cookie() -> None:
    rule = FlowRule(0, 200, Match(mpls_label=77), cookie=0x5257010000100004)
    wire = on_the_wire(encode_message(DATAPATH, DeleteFlow(rule)))
    cookie, mask, table, command = struct.unpack_from("!QQBB", wire, 8)
    assert (cookie, mask, table) == (rule.cookie, 2**64 - 1, 0)
    assert command == ofproto.OFPFC_DELETE_STRICT


def test_group_delete_names_one_group() -> None:
    wire = on_the_wire(encode_message(DATAPATH, DeleteGroup(0x40000003)))
    assert struct.unpack_from("!HBxI", wire, 8) == (ofproto.OFPGC_DELETE, ofproto.OFPGT_SELECT, 0x40000003)


def apply(action: Any) -> list[Any]:
    """Instructions of a flow that does this."""
    return [parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, [action])]


@pytest.mark.parametrize(
    "change",
    [
        {"match": parser.OFPMatch(eth_type=0x0800, ipv4_dst=("10.0.0.1", "255.0.0.255"))},
        {"match": parser.OFPMatch(vlan_vid=5)},
        {"idle_timeout": 10},
        {"instructions": [parser.OFPInstructionMeter(1)]},
        {"instructions": apply(parser.OFPActionOutput(ofproto.OFPP_CONTROLLER, 128))},
        {"instructions": apply(parser.OFPActionPopVlan())},
        {"instructions": apply(parser.OFPActionSetField(vlan_vid=5))},
        {"instructions": apply(parser.NXActionRegMove(src_field="arp_sha", dst_field="arp_tha", n_bits=24))},
    ],
)
def test_rules_of_another_make_are_told_apart(change: dict[str, Any]) -> None:
    entry = {
        "table_id": 0,
        "priority": 1,
        "match": parser.OFPMatch(),
        "instructions": [],
        "cookie": 0,
        "flags": 0,
        "idle_timeout": 0,
        "hard_timeout": 0,
    }
    assert decode_flow(SimpleNamespace(**entry)).table == 0
    with pytest.raises(NotOurForm):
        decode_flow(SimpleNamespace(**{**entry, **change}))
