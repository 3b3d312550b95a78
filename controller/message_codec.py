"""Rules to OpenFlow 1.3 messages and back.

What is read back is brought into the canonical form of ``controller.rules``; a rule that uses something our rules never
use raises NotOurForm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.rules import (
    Action,
    Bucket,
    CopyField,
    FlowRule,
    ForgetInPort,
    GroupRule,
    Match,
    Output,
    OutputBack,
    PopMpls,
    PushMpls,
    SetField,
    SetMplsLabel,
    SetMplsTc,
    SetQueue,
    ToController,
    ToGroup,
)
from controller.update_steps import AddFlow, AddGroup, DeleteFlow, DeleteGroup, Message, ModifyGroup

FULL_COOKIE_MASK = 2**64 - 1
EXACT_FIELDS = (
    *("in_port", "eth_type", "ip_dscp", "ip_proto", "mpls_label", "mpls_tc", "metadata"),
    *("arp_op", "arp_spa", "arp_tpa"),
)
WHOLE_PACKET = ofproto.OFPCML_NO_BUFFER
_FULL_IPV4_MASK = "255.255.255.255"
_FIELD_BITS: dict[Any, int] = {
    **dict.fromkeys(("eth_src", "eth_dst", "arp_sha", "arp_tha"), 48),
    **dict.fromkeys(("arp_spa", "arp_tpa"), 32),
    "arp_op": 16,
}
_NXM = "_nxm"
_GROUP_TYPES = {"select": ofproto.OFPGT_SELECT, "fast_failover": ofproto.OFPGT_FF}
_GROUP_KINDS = {number: kind for kind, number in _GROUP_TYPES.items()}


class NotOurForm(Exception):  # noqa: N818 - not an error: a rule of a form that we never write
    """Something that our rules never contain."""


def encode_match(match: Match) -> Any:
    """An OFPMatch."""
    fields: dict[str, Any] = {}
    for name in EXACT_FIELDS:
        value = getattr(match, name)
        if value is not None:
            fields[name] = value
    if match.ipv4_dst is not None:
        address, length = match.ipv4_dst
        fields["ipv4_dst"] = address if length == 32 else (address, _mask_of(length))
    return parser.OFPMatch(**fields)


def decode_match(match: Any) -> Match:
    """The canonical Match of an OFPMatch; raises NotOurForm for fields that our rules never match on."""
    fields: dict[str, Any] = {}
    for name, value in match.items():
        if name == "ipv4_dst":
            address, mask = value if isinstance(value, tuple) else (value, _FULL_IPV4_MASK)
            fields[name] = (address, _length_of(mask))
        elif name in EXACT_FIELDS:
            if isinstance(value, tuple):
                raise NotOurForm(f"masked {name}")
            fields[name] = value
        else:
            raise NotOurForm(f"match on {name}")
    return Match(**fields)


def encode_actions(actions: Iterable[Action]) -> list[Any]:
    """OpenFlow actions in order."""
    return [_encode_action(action) for action in actions]


def _encode_action(action: Action) -> Any:
    match action:
        case PushMpls():
            return parser.OFPActionPushMpls(0x8847)
        case PopMpls(ethertype):
            return parser.OFPActionPopMpls(ethertype)
        case SetMplsLabel(label):
            return parser.OFPActionSetField(mpls_label=label)
        case SetMplsTc(traffic_class):
            return parser.OFPActionSetField(mpls_tc=traffic_class)
        case SetQueue(queue):
            return parser.OFPActionSetQueue(queue)
        case ForgetInPort():
            return parser.OFPActionSetField(in_port_nxm=0)  # Open vSwitch lets only this one be written
        case SetField(name, value):
            return parser.OFPActionSetField(**{name: value})
        case CopyField(source, target):
            names = {"src_field": source + _NXM, "dst_field": target + _NXM}  # as Open vSwitch names them itself
            return parser.NXActionRegMove(**names, n_bits=_FIELD_BITS[source])
        case Output(port):
            return parser.OFPActionOutput(port)
        case OutputBack():
            return parser.OFPActionOutput(ofproto.OFPP_IN_PORT)
        case ToController():
            return parser.OFPActionOutput(ofproto.OFPP_CONTROLLER, WHOLE_PACKET)
        case ToGroup(group_id):
            return parser.OFPActionGroup(group_id)


def decode_actions(actions: Iterable[Any]) -> tuple[Action, ...]:
    """Our actions; raises NotOurForm for others."""
    return tuple(_decode_action(action) for action in actions)


def _decode_action(action: Any) -> Action:
    match action.type:
        case ofproto.OFPAT_PUSH_MPLS if action.ethertype == 0x8847:
            return PushMpls()
        case ofproto.OFPAT_POP_MPLS:
            return PopMpls(action.ethertype)
        case ofproto.OFPAT_SET_FIELD if action.key == "mpls_label":
            return SetMplsLabel(action.value)
        case ofproto.OFPAT_SET_FIELD if action.key == "mpls_tc":
            return SetMplsTc(action.value)
        case ofproto.OFPAT_SET_QUEUE:
            return SetQueue(action.queue_id)
        case ofproto.OFPAT_SET_FIELD if action.key == "in_port_nxm" and action.value == 0:
            return ForgetInPort()
        case ofproto.OFPAT_SET_FIELD if action.key in _FIELD_BITS:
            return SetField(action.key, action.value)
        case ofproto.OFPAT_EXPERIMENTER if isinstance(action, parser.NXActionRegMove):
            return _decode_copy(action)
        case ofproto.OFPAT_OUTPUT if action.port == ofproto.OFPP_CONTROLLER:
            if action.max_len != WHOLE_PACKET:
                raise NotOurForm("part of the packet to the controller")
            return ToController()
        case ofproto.OFPAT_OUTPUT if action.port == ofproto.OFPP_IN_PORT:
            return OutputBack()
        case ofproto.OFPAT_OUTPUT:
            return Output(action.port)
        case ofproto.OFPAT_GROUP:
            return ToGroup(action.group_id)
    raise NotOurForm(f"action {action.type}")


def _decode_copy(action: Any) -> CopyField:
    source, target = action.src_field.removesuffix(_NXM), action.dst_field.removesuffix(_NXM)
    whole = (_FIELD_BITS.get(source), 0, 0)
    if (action.n_bits, action.src_ofs, action.dst_ofs) != whole or _FIELD_BITS.get(target) != action.n_bits:
        raise NotOurForm(f"a copy of {action.n_bits} bits of {source} to {target}")
    return CopyField(source, target)


def encode_message(datapath: Any, message: Message) -> Any:
    """The flow_mod or group_mod of one step of an update."""
    match message:
        case AddFlow(flow):
            return _add_flow(datapath, flow)
        case DeleteFlow(flow):
            return _delete_flow(datapath, flow)
        case AddGroup(group):
            return _group_mod(datapath, group, ofproto.OFPGC_ADD)
        case ModifyGroup(group):
            return _group_mod(datapath, group, ofproto.OFPGC_MODIFY)
        case DeleteGroup(group_id):
            return parser.OFPGroupMod(datapath, ofproto.OFPGC_DELETE, ofproto.OFPGT_SELECT, group_id)


def _add_flow(datapath: Any, rule: FlowRule) -> Any:
    instructions = []
    if rule.actions:
        actions = encode_actions(rule.actions)
        instructions.append(parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions))
    if rule.write_metadata is not None:
        instructions.append(parser.OFPInstructionWriteMetadata(rule.write_metadata, FULL_COOKIE_MASK))
    if rule.goto_table is not None:
        instructions.append(parser.OFPInstructionGotoTable(rule.goto_table))
    return parser.OFPFlowMod(
        datapath,
        cookie=rule.cookie,
        table_id=rule.table,
        command=ofproto.OFPFC_ADD,
        priority=rule.priority,
        flags=ofproto.OFPFF_SEND_FLOW_REM if rule.send_removed else 0,
        match=encode_match(rule.match),
        instructions=instructions,
    )


def _delete_flow(datapath: Any, rule: FlowRule) -> Any:
    return parser.OFPFlowMod(
        datapath,
        cookie=rule.cookie,
        cookie_mask=FULL_COOKIE_MASK,
        table_id=rule.table,
        command=ofproto.OFPFC_DELETE_STRICT,
        priority=rule.priority,
        out_port=ofproto.OFPP_ANY,
        out_group=ofproto.OFPG_ANY,
        match=encode_match(rule.match),
    )


def delete_flows_by_cookie(datapath: Any, cookie: int, mask: int) -> Any:
    """A flow_mod that removes every flow of every table whose cookie fits."""
    return parser.OFPFlowMod(
        datapath,
        cookie=cookie,
        cookie_mask=mask,
        table_id=ofproto.OFPTT_ALL,
        command=ofproto.OFPFC_DELETE,
        out_port=ofproto.OFPP_ANY,
        out_group=ofproto.OFPG_ANY,
        match=parser.OFPMatch(),
    )


def _group_mod(datapath: Any, group: GroupRule, command: int) -> Any:
    buckets = [
        parser.OFPBucket(
            weight=bucket.weight,
            watch_port=ofproto.OFPP_ANY if bucket.watch_port is None else bucket.watch_port,
            watch_group=ofproto.OFPG_ANY,
            actions=encode_actions(bucket.actions),
        )
        for bucket in group.buckets
    ]
    return parser.OFPGroupMod(datapath, command, _GROUP_TYPES[group.kind], group.group_id, buckets)


def decode_flow(entry: Any) -> FlowRule:
    """The canonical rule of an OFPFlowStats.  Raises NotOurForm for a flow of another make."""
    actions: tuple[Action, ...] = ()
    write_metadata = goto_table = None
    for instruction in entry.instructions:
        match instruction.type:
            case ofproto.OFPIT_APPLY_ACTIONS:
                actions = decode_actions(instruction.actions)
            case ofproto.OFPIT_WRITE_METADATA if instruction.metadata_mask == FULL_COOKIE_MASK:
                write_metadata = instruction.metadata
            case ofproto.OFPIT_GOTO_TABLE:
                goto_table = instruction.table_id
            case _:
                raise NotOurForm(f"instruction {instruction.type}")
    if entry.idle_timeout or entry.hard_timeout:
        raise NotOurForm("a timeout")
    return FlowRule(
        table=entry.table_id,
        priority=entry.priority,
        match=decode_match(entry.match),
        actions=actions,
        write_metadata=write_metadata,
        goto_table=goto_table,
        cookie=entry.cookie,
        send_removed=bool(entry.flags & ofproto.OFPFF_SEND_FLOW_REM),
    )


def decode_group(description: Any) -> GroupRule:
    """The canonical group of an OFPGroupDescStats.  Raises NotOurForm for a group of another make."""
    kind = _GROUP_KINDS.get(description.type)
    if kind is None:
        raise NotOurForm(f"group type {description.type}")
    buckets = tuple(
        Bucket(
            actions=decode_actions(bucket.actions),
            weight=bucket.weight,
            watch_port=None if bucket.watch_port == ofproto.OFPP_ANY else bucket.watch_port,
        )
        for bucket in description.buckets
    )
    return GroupRule(description.group_id, kind, buckets)  # type: ignore[arg-type]


def _mask_of(length: int) -> str:
    bits = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return ".".join(str(bits >> shift & 0xFF) for shift in (24, 16, 8, 0))


def _length_of(mask: str) -> int:
    bits = int.from_bytes(bytes(int(part) for part in mask.split(".")), "big")
    length = bits.bit_count()
    if _mask_of(length) != mask:
        raise NotOurForm(f"address mask {mask}")
    return length
