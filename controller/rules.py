"""OpenFlow 1.3 rules as values, free of any library.

Every value has one canonical form, so that what is read back from a switch compares equal to what was compiled:
addresses are masked to their prefix, protocols carry the ethertype that OpenFlow demands of them, buckets carry only
what their kind of group uses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_MPLS = 0x8847
ETHERTYPE_LLDP = 0x88CC

GroupKind: TypeAlias = Literal["select", "fast_failover"]
HeaderField: TypeAlias = Literal["eth_src", "eth_dst", "arp_op", "arp_sha", "arp_spa", "arp_tha", "arp_tpa"]


@dataclass(frozen=True)
class Match:
    """What a packet must be; None is a wildcard.  ``ipv4_dst`` is (address, prefix length), all others are exact."""

    in_port: int | None = None
    eth_type: int | None = None
    ipv4_dst: tuple[str, int] | None = None
    ip_dscp: int | None = None
    ip_proto: int | None = None
    mpls_label: int | None = None
    metadata: int | None = None
    mpls_tc: int | None = None
    arp_op: int | None = None
    arp_spa: str | None = None
    arp_tpa: str | None = None

    def __post_init__(self) -> None:
        if self.ipv4_dst is not None:
            object.__setattr__(self, "ipv4_dst", canonical_prefix(*self.ipv4_dst))
            if self.eth_type is None:
                object.__setattr__(self, "eth_type", ETHERTYPE_IPV4)
        if self.mpls_label is not None and self.eth_type is None:
            object.__setattr__(self, "eth_type", ETHERTYPE_MPLS)
        if (self.arp_op, self.arp_spa, self.arp_tpa) != (None, None, None) and self.eth_type is None:
            object.__setattr__(self, "eth_type", ETHERTYPE_ARP)


def canonical_prefix(address: str, length: int) -> tuple[str, int] | None:
    """The prefix with its host bits cleared; None for /0, which matches everything.

    >>> canonical_prefix("10.1.2.3", 16)
    ('10.1.0.0', 16)
    """
    if length == 0:
        return None
    return str(ipaddress.IPv4Network((address, length), strict=False).network_address), length


@dataclass(frozen=True)
class PushMpls:
    """Push an MPLS header (ethertype 0x8847); its label is set by the SetMplsLabel that follows."""


@dataclass(frozen=True)
class PopMpls:
    """Remove the outer MPLS header; ``ethertype`` is that of what was below it."""

    ethertype: int


@dataclass(frozen=True)
class SetMplsLabel:
    """Write the label of the outer MPLS header."""

    label: int


@dataclass(frozen=True)
class SetMplsTc:
    """Write the traffic class (three bits, RFC 5462) of the outer MPLS header."""

    traffic_class: int


@dataclass(frozen=True)
class SetQueue:
    """Wait in this queue of whatever port the packet leaves this switch by."""

    queue: int


@dataclass(frozen=True)
class ForgetInPort:
    """Set the ingress port to 0, so that the Output that follows may be the port on which the packet came.

    OpenFlow never sends a packet back out of its ingress port by number; a detour must be able to.
    """


@dataclass(frozen=True)
class SetField:
    """Write a header field of an ARP message: a MAC, an address, or the number of the operation."""

    name: HeaderField
    value: str | int


@dataclass(frozen=True)
class CopyField:
    """Copy a header field into another of its kind: not in OpenFlow 1.3, a Nicira extension (NXAST_REG_MOVE)."""

    source: HeaderField
    target: HeaderField


@dataclass(frozen=True)
class Output:
    """Send out of a port."""

    port: int


@dataclass(frozen=True)
class OutputBack:
    """Send out of the port by which the packet came (OFPP_IN_PORT)."""


@dataclass(frozen=True)
class ToController:
    """Send the whole packet to the controller."""


@dataclass(frozen=True)
class ToGroup:
    """Hand the packet to a group."""

    group_id: int


Action: TypeAlias = (
    PushMpls
    | PopMpls
    | SetMplsLabel
    | SetMplsTc
    | SetQueue
    | ForgetInPort
    | SetField
    | CopyField
    | Output
    | OutputBack
    | ToController
    | ToGroup
)


class FlowKey(NamedTuple):
    """What identifies a flow inside one switch: adding another one with the same key replaces it."""

    table: int
    priority: int
    match: Match


@dataclass(frozen=True)
class FlowRule:
    """One flow: ``actions`` are applied (none and no ``goto_table``: drop), then metadata, then the next table.

    ``send_removed`` asks the switch to report the final counters when the flow goes.
    """

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    write_metadata: int | None = None
    goto_table: int | None = None
    cookie: int = 0
    send_removed: bool = False

    @property
    def key(self) -> FlowKey:
        """Table, priority and match."""
        return FlowKey(self.table, self.priority, self.match)

    def groups(self) -> frozenset[int]:
        """Ids of the groups that it refers to."""
        return _groups_of(self.actions)


@dataclass(frozen=True)
class Bucket:
    """One bucket.  ``weight`` counts in SELECT groups only, ``watch_port`` in FAST_FAILOVER groups only."""

    actions: tuple[Action, ...]
    weight: int = 0
    watch_port: int | None = None


@dataclass(frozen=True)
class GroupRule:
    """One group: the first live bucket (``fast_failover``) or one by hash and weight (``select``)."""

    group_id: int
    kind: GroupKind
    buckets: tuple[Bucket, ...]

    def __post_init__(self) -> None:
        failover = self.kind == "fast_failover"
        object.__setattr__(
            self,
            "buckets",
            tuple(
                Bucket(bucket.actions, 0 if failover else bucket.weight, bucket.watch_port if failover else None)
                for bucket in self.buckets
            ),
        )

    def groups(self) -> frozenset[int]:
        """Ids of the groups that its buckets refer to."""
        return frozenset().union(*(_groups_of(bucket.actions) for bucket in self.buckets))


@dataclass(frozen=True)
class RuleSet:
    """All rules of one switch: flows by key and groups by id."""

    flows: Mapping[FlowKey, FlowRule] = field(default_factory=dict)
    groups: Mapping[int, GroupRule] = field(default_factory=dict)

    @classmethod
    def of(cls, flows: Iterable[FlowRule] = (), groups: Iterable[GroupRule] = ()) -> RuleSet:
        """Build from rules in any order; of two flows with one key the later stays, as on a switch."""
        return cls({flow.key: flow for flow in flows}, {group.group_id: group for group in groups})


# Groups carry no cookie: these ranges of ids are ours.  The top four bits tell the kind.
_LINK_GROUPS = 0x4000_0000
_DEMAND_GROUPS = 0x5000_0000
_RANGE = 0xF000_0000


def link_group_id(port: int) -> int:
    """Id of the FAST_FAILOVER group of the link that leaves by ``port``.

    >>> hex(link_group_id(3))
    '0x40000003'
    """
    if not 0 < port < 1 << 28:
        raise ValueError(f"port {port} is outside 1..2^28-1")
    return _LINK_GROUPS | port


def demand_group_id(demand: int, version: int) -> int:
    """Id of the SELECT group of a split demand in one version (20 and 8 bits): a new version is a new group.

    >>> hex(demand_group_id(7, 2))
    '0x50200007'
    """
    return _DEMAND_GROUPS | version << 20 | demand


def is_own_group(group_id: int) -> bool:
    """Whether the id lies in our ranges."""
    return group_id & _RANGE in (_LINK_GROUPS, _DEMAND_GROUPS)


def _groups_of(actions: Iterable[Action]) -> frozenset[int]:
    return frozenset(action.group_id for action in actions if isinstance(action, ToGroup))
