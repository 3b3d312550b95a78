"""One simulated OpenFlow 1.3 switch and a packet as its rules see it: tables, groups, messages, matching."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import TypeAlias

from controller.packets import Arp
from controller.rules import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_MPLS,
    FlowKey,
    FlowRule,
    GroupRule,
    HeaderField,
    Match,
    RuleSet,
)
from controller.update_steps import AddFlow, AddGroup, DeleteFlow, DeleteGroup, Message, ModifyGroup
from topology_sync.errors import TransactionError

_Pivot: TypeAlias = tuple[int, int | None, int | None, int | None]  # what flows are looked up by, None for any

_ARP_FIELDS: dict[HeaderField, str] = {
    "arp_op": "operation",
    "arp_sha": "sender_mac",
    "arp_spa": "sender_ip",
    "arp_tha": "target_mac",
    "arp_tpa": "target_ip",
}


@dataclass(frozen=True)
class Packet:
    """What the rules can see of a packet.

    ``labels`` is its MPLS stack, outermost first, ``traffic_classes`` those of the same headers; with
    ``arp`` it is ARP.
    """

    ipv4_dst: str = "0.0.0.0"
    ip_dscp: int = 0
    ip_proto: int = 17
    labels: tuple[int, ...] = ()
    inner_type: int = ETHERTYPE_IPV4
    traffic_classes: tuple[int, ...] = ()
    arp: Arp | None = None
    eth_src: str = "02:00:00:00:00:01"
    eth_dst: str = "02:00:00:00:00:02"

    def __post_init__(self) -> None:
        missing = len(self.labels) - len(self.traffic_classes)
        object.__setattr__(self, "traffic_classes", (*self.traffic_classes, *(0,) * missing)[: len(self.labels)])

    @property
    def eth_type(self) -> int:
        """The ethertype on the wire."""
        if self.arp is not None:
            return ETHERTYPE_ARP
        return ETHERTYPE_MPLS if self.labels else self.inner_type

    def with_field(self, name: HeaderField, value: str | int) -> Packet:
        """The packet with this header field written; ARP fields of a packet that is none are left alone."""
        of_ethernet, of_arp = ({name: value}, {}) if name.startswith("eth") else ({}, {_ARP_FIELDS[name]: value})
        arp = self.arp if self.arp is None else replace(self.arp, **of_arp)  # type: ignore[arg-type]
        return replace(self, arp=arp, **of_ethernet)  # type: ignore[arg-type]

    def field(self, name: HeaderField) -> str | int:
        """The value of a header field."""
        value: str | int = getattr(self, name) if name.startswith("eth") else getattr(self.arp, _ARP_FIELDS[name])
        return value


@dataclass
class SimulatedSwitch:
    """One switch: its flows and groups, and the packets that each flow has counted."""

    flows: dict[FlowKey, FlowRule] = field(default_factory=dict)
    groups: dict[int, GroupRule] = field(default_factory=dict)
    packets: Counter[FlowKey] = field(default_factory=Counter)
    _index: dict[_Pivot, dict[FlowKey, FlowRule]] = field(default_factory=dict, repr=False)

    def apply(self, message: Message) -> None:
        """Carry out a message.  Raises TransactionError where a switch would answer with an error."""
        match message:
            case AddFlow(flow):
                for group_id in flow.groups() - self.groups.keys():
                    raise TransactionError(f"flow refers to group {group_id:#x}, which is not there")
                self.flows[flow.key] = flow
                self._index.setdefault(_pivot(flow.table, flow.match), {})[flow.key] = flow
            case DeleteFlow(flow):
                present = self.flows.get(flow.key)
                if present is not None and present.cookie == flow.cookie:
                    self._remove(flow.key)
            case AddGroup(group):
                if group.group_id in self.groups:
                    raise TransactionError(f"group {group.group_id:#x} is there already")
                self._set_group(group)
            case ModifyGroup(group):
                if group.group_id not in self.groups:
                    raise TransactionError(f"group {group.group_id:#x} is not there")
                self._set_group(group)
            case DeleteGroup(group_id):
                self.groups.pop(group_id, None)
                for flow in [flow for flow in self.flows.values() if group_id in flow.groups()]:
                    self._remove(flow.key)

    def _set_group(self, group: GroupRule) -> None:
        for group_id in group.groups() - self.groups.keys():
            raise TransactionError(f"group {group.group_id:#x} refers to group {group_id:#x}, which is not there")
        self.groups[group.group_id] = group

    def _remove(self, key: FlowKey) -> None:
        del self.flows[key]
        del self._index[_pivot(key.table, key.match)][key]
        self.packets.pop(key, None)

    def lookup(self, table: int, packet: Packet, in_port: int, metadata: int) -> FlowRule | None:
        """The flow of the highest priority that matches; None is a table miss."""
        label = packet.labels[0] if packet.labels else None
        pivots = product((table,), {None, packet.eth_type}, {None, label}, {None, metadata})
        hits = [
            flow
            for pivot in pivots
            for flow in self._index.get(pivot, {}).values()
            if _matches(flow.match, packet, in_port, metadata)
        ]
        return max(hits, key=lambda flow: flow.priority, default=None)

    @property
    def rules(self) -> RuleSet:
        """What a controller would read back."""
        return RuleSet(dict(self.flows), dict(self.groups))


def _matches(match: Match, packet: Packet, in_port: int, metadata: int) -> bool:
    is_ip = packet.eth_type == ETHERTYPE_IPV4
    arp = packet.arp
    return (
        match.in_port in (None, in_port)
        and match.eth_type in (None, packet.eth_type)
        and match.metadata in (None, metadata)
        and (match.mpls_label is None or packet.labels[:1] == (match.mpls_label,))
        and (match.mpls_tc is None or packet.traffic_classes[:1] == (match.mpls_tc,))
        and (match.ip_dscp is None or (is_ip and match.ip_dscp == packet.ip_dscp))
        and (match.ip_proto is None or (is_ip and match.ip_proto == packet.ip_proto))
        and (match.ipv4_dst is None or (is_ip and _within(packet.ipv4_dst, *match.ipv4_dst)))
        and (match.arp_op is None or (arp is not None and match.arp_op == arp.operation))
        and (match.arp_spa is None or (arp is not None and match.arp_spa == arp.sender_ip))
        and (match.arp_tpa is None or (arp is not None and match.arp_tpa == arp.target_ip))
    )


def _within(address: str, network: str, length: int) -> bool:
    shift = 32 - length
    return _number(address) >> shift == _number(network) >> shift


@cache
def _number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


def _pivot(table: int, match: Match) -> _Pivot:
    return table, match.eth_type, match.mpls_label, match.metadata
