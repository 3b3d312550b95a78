"""From a difference of rules to steps that are safe for packets in flight.

Between any two messages, and however the switches interleave them within a stage, a packet meets the old rules or the
new ones all the way. Why that holds:

- A label names one path for good, so rules of new labels, new groups and new deliveries can be added while nobody uses
  them (``prepare``) and those of old ones removed when nobody does any more (``clean``).
- What decides for a packet is changed by one message each (``flip``): the demand's flow in table 1, the buckets of a
  group, the port of a host.
- Classifying flows overlap (prefixes, DSCP). They are added or replaced from the highest priority down, so that a new
  flow never hides an old one that hides another new one; then the old ones go from the lowest priority up, so that a
  removed flow never uncovers an old one. At every moment the flow that a packet meets is its old or its new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from controller.labels import Hop
from controller.rules import FlowKey, FlowRule, GroupRule, RuleSet, is_own_group
from topology_sync.cookies import Cookie
from topology_sync.errors import TransactionError
from topology_sync.topology import Link

StageName: TypeAlias = Literal["prepare", "flip"]

SHORTEST_DRAIN_S = 0.3
LONGEST_FRAME_BITS = 8 * (1518 + 8)  # Ethernet and two MPLS headers


@dataclass(frozen=True)
class AddFlow:
    """OFPFC_ADD without RESET_COUNTS: replaces a flow with the same key at once and keeps its counters."""

    flow: FlowRule


@dataclass(frozen=True)
class DeleteFlow:
    """OFPFC_DELETE_STRICT by table, priority, match and full cookie of ``flow``."""

    flow: FlowRule


@dataclass(frozen=True)
class AddGroup:
    """OFPGC_ADD."""

    group: GroupRule


@dataclass(frozen=True)
class ModifyGroup:
    """OFPGC_MODIFY: changes buckets at once, flows that use the group stay."""

    group: GroupRule


@dataclass(frozen=True)
class DeleteGroup:
    """OFPGC_DELETE."""

    group_id: int


Message: TypeAlias = AddFlow | DeleteFlow | AddGroup | ModifyGroup | DeleteGroup
Stage: TypeAlias = Mapping[int, tuple[Message, ...]]


@dataclass(frozen=True)
class UpdatePlan:
    """Messages per switch and stage, in the order in which each switch must get them.

    The stages are sent in this order, each confirmed by every switch before the next; between ``flip`` and ``clean``
    comes the drain, a mere wait.  ``installed`` is what the plan started from.  A switch without messages is not in a
    stage.
    """

    prepare: Stage
    flip: Stage
    clean: Stage
    installed: Mapping[int, RuleSet]

    @property
    def empty(self) -> bool:
        """Whether nothing is to be sent."""
        return not (self.prepare or self.flip or self.clean)


def plan_update(installed: Mapping[int, RuleSet], desired: Mapping[int, RuleSet]) -> UpdatePlan:
    """The steps from what the switches have to what they should have; empty when that is the same.

    ``installed`` may be anything: what a crash left half done is completed or taken back.  Only switches in ``desired``
    get messages; flows whose cookie is not ours and groups outside our ids are left alone.  Raises TransactionError
    when a flow of somebody else stands where one of ours belongs.
    """
    steps = {dpid: _switch_steps(dpid, installed.get(dpid, RuleSet()), rules) for dpid, rules in desired.items()}
    prepare, flip, clean = (
        {dpid: stages[number] for dpid, stages in sorted(steps.items()) if stages[number]} for number in range(3)
    )
    return UpdatePlan(prepare, flip, clean, installed)


def undo(plan: UpdatePlan, stage: StageName = "prepare") -> Stage:
    """Messages that take ``stage`` back, whether or not all of it was carried out; what was not is left as it is.

    To go back from a ``flip``: undo it, drain the new paths, then undo ``prepare``.
    """
    taken = plan.prepare if stage == "prepare" else plan.flip
    return {
        dpid: tuple(_opposite(message, plan.installed.get(dpid, RuleSet())) for message in reversed(messages))
        for dpid, messages in taken.items()
    }


def drain_bound_s(paths: Iterable[Sequence[Hop]], links: Mapping[Hop, Link]) -> float:
    """Longest time in seconds that a packet can still be under way on one of ``paths``, at least 0.3.

    Per link: every place in the queue and the one in service taken by a longest frame, then the propagation delay.
    """

    def link_bound_s(link: Link) -> float:
        return (link.queue_packets + 1) * LONGEST_FRAME_BITS / link.capacity_bps + link.delay_s

    bounds = (sum(link_bound_s(links[hop]) for hop in path if hop in links) for path in paths)
    return max([SHORTEST_DRAIN_S, *bounds])


Steps: TypeAlias = tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]


def _switch_steps(dpid: int, installed: RuleSet, desired: RuleSet) -> Steps:
    """prepare, flip and clean of one switch."""
    has = {key: flow for key, flow in installed.flows.items() if _is_own(flow)}
    _check_free(dpid, installed, desired)
    changed = [flow for key, flow in desired.flows.items() if has.get(key) != flow]
    gone = [flow for key, flow in has.items() if key not in desired.flows]
    at_flip = [flow for flow in changed if _decides(flow, has)]
    before = [flow for flow in changed if not _decides(flow, has)]
    uncovering = [flow for flow in gone if _classifies(flow)]
    unused = [flow for flow in gone if not _classifies(flow)]

    used = _used_groups(installed)
    has_groups = {group_id: group for group_id, group in installed.groups.items() if is_own_group(group_id)}
    new_groups = sorted(
        (group for group_id, group in desired.groups.items() if has_groups.get(group_id) != group),
        key=lambda group: group.group_id,
    )

    # Link groups have the lower ids: they are there before, and go after, the SELECT groups that refer to them.
    prepare: list[Message] = [
        ModifyGroup(group) if group.group_id in has_groups else AddGroup(group)
        for group in new_groups
        if group.group_id not in used or group.group_id not in has_groups
    ]
    prepare += [AddFlow(flow) for flow in before]
    flip: list[Message] = [
        ModifyGroup(group) for group in new_groups if group.group_id in used and group.group_id in has_groups
    ]
    flip += [AddFlow(flow) for flow in sorted(at_flip, key=_flip_order)]
    flip += [DeleteFlow(flow) for flow in sorted(uncovering, key=lambda flow: flow.priority)]
    clean: list[Message] = [DeleteFlow(flow) for flow in unused]
    clean += [DeleteGroup(group_id) for group_id in sorted(has_groups, reverse=True) if group_id not in desired.groups]
    return tuple(prepare), tuple(flip), tuple(clean)


def _is_own(flow: FlowRule) -> bool:
    return Cookie.unpack(flow.cookie) is not None


def _check_free(dpid: int, installed: RuleSet, desired: RuleSet) -> None:
    for key in desired.flows:
        if key in installed.flows and not _is_own(installed.flows[key]):
            cookie = installed.flows[key].cookie
            raise TransactionError(
                f"switch {dpid}: a flow with cookie {cookie:#x} of somebody else stands in table {key.table} at "
                f"priority {key.priority} where one of ours belongs; remove it or move it to another priority"
            )


def _classifies(flow: FlowRule) -> bool:
    return flow.table == 0 and flow.match.mpls_label is None


def _decides(flow: FlowRule, has: Mapping[FlowKey, FlowRule]) -> bool:
    """Whether packets that work now may meet the flow as soon as it is there: all it leads to must be there before.

    A label's flow that stands there and is wrong only breaks packets until it is put right.
    """
    return _classifies(flow) or (flow.table > 0 and flow.key in has)


def _flip_order(flow: FlowRule) -> tuple[bool, int]:
    """Demands before what classifies into them, and that from the highest priority down."""
    return flow.table == 0, -flow.priority


def _used_groups(rules: RuleSet) -> frozenset[int]:
    users: list[FlowRule | GroupRule] = [*rules.flows.values(), *rules.groups.values()]
    return frozenset(group_id for user in users for group_id in user.groups())


def _opposite(message: Message, installed: RuleSet) -> Message:
    match message:
        case AddFlow(flow):
            before = installed.flows.get(flow.key)
            return DeleteFlow(flow) if before is None else AddFlow(before)
        case DeleteFlow(flow):
            return AddFlow(flow)
        case AddGroup(group):
            return DeleteGroup(group.group_id)
        case ModifyGroup(group):
            return ModifyGroup(installed.groups[group.group_id])
        case DeleteGroup(group_id):
            return AddGroup(installed.groups[group_id])
