"""A network of simulated OpenFlow 1.3 switches: carries out flow and group messages and traces packets.

For tests, and for people who want to see what rules do before any switch has them.  It follows the specification
(1.3.5, sections 5.1-5.12) as far as ``controller.rules`` goes: priorities, metadata, MPLS stacks, SELECT and
FAST_FAILOVER groups, no output to the ingress port, deletion of the flows of a deleted group, ARP fields written and
copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from controller.labels import Hop
from controller.rules import (
    Action,
    Bucket,
    CopyField,
    FlowKey,
    ForgetInPort,
    GroupRule,
    Output,
    OutputBack,
    PopMpls,
    PushMpls,
    RuleSet,
    SetField,
    SetMplsLabel,
    SetMplsTc,
    SetQueue,
    ToController,
    ToGroup,
)
from controller.simulated_switch import Packet, SimulatedSwitch
from controller.update_steps import Message, Stage

HOP_LIMIT = 64
GROUP_DEPTH = 4

OutcomeKind: TypeAlias = Literal["delivered", "controller", "dropped"]


@dataclass(frozen=True)
class Outcome:
    """Where one copy of a packet ended.

    ``delivered`` at host port ``port`` of switch ``dpid``, ``controller`` from there, or ``dropped`` there for
    ``reason``. ``hops`` are the links it was sent on, ``labels`` the MPLS stack on each of them, ``cookies`` the flows
    it met in order, ``queues`` per link the queue it was to wait in and the traffic class of its outer label (None:
    nobody said, no label).
    """

    kind: OutcomeKind
    dpid: int
    port: int
    packet: Packet
    hops: tuple[Hop, ...] = ()
    labels: tuple[tuple[int, ...], ...] = ()
    cookies: tuple[int, ...] = ()
    reason: str = ""
    queues: tuple[tuple[int | None, int | None], ...] = ()


@dataclass(frozen=True)
class Trace:
    """One way that a packet may go: SELECT groups send the ratio ``share`` of flows this way.

    ``outcomes`` are all its copies; a packet that is neither lost nor multiplied has one.
    """

    share: float
    outcomes: tuple[Outcome, ...]


class SimulatedNetwork:
    """Switches and cables.  ``cables`` maps each port to the port at the other end; any other port leads to a host."""

    def __init__(self, switches: Iterable[int], cables: Mapping[Hop, Hop]) -> None:
        self.switches = {dpid: SimulatedSwitch() for dpid in switches}
        self.cables = dict(cables)
        self.down_ports: set[Hop] = set()

    @property
    def installed(self) -> dict[int, RuleSet]:
        """The rules of all switches."""
        return {dpid: switch.rules for dpid, switch in self.switches.items()}

    def apply(self, dpid: int, message: Message) -> None:
        """Carry out one message at one switch.  Raises TransactionError where it would answer with an error."""
        self.switches[dpid].apply(message)

    def apply_stage(self, stage: Stage) -> None:
        """Carry out a whole stage, switch by switch."""
        for dpid, messages in stage.items():
            for message in messages:
                self.apply(dpid, message)

    def set_link(self, hop: Hop, up: bool) -> None:
        """Take a cable down or up: both of its ports see it."""
        ends = {Hop(*hop), self.cables[hop]}
        self.down_ports = self.down_ports - ends if up else self.down_ports | ends

    def is_up(self, dpid: int, port: int) -> bool:
        """Whether a port is live."""
        return Hop(dpid, port) not in self.down_ports


def trace(network: SimulatedNetwork, at_dpid: int, in_port: int, packet: Packet) -> list[Trace]:
    """Every way that the packet may go when it enters switch ``at_dpid`` by ``in_port``.  Counts nothing."""
    traces = []
    pending: list[tuple[int, ...]] = [()]
    while pending:
        run = _Run(network, pending.pop())
        outcomes = run.carry(at_dpid, in_port, packet)
        traces.append(Trace(run.share, outcomes))
        pending += run.untried
    return traces


def send(network: SimulatedNetwork, at_dpid: int, in_port: int, packet: Packet, flow_hash: int = 0) -> Trace:
    """The one way that a packet of a flow with this hash goes; the flows that it meets count it."""
    run = _Run(network, (), flow_hash)
    outcomes = run.carry(at_dpid, in_port, packet)
    for dpid, key in run.met:
        network.switches[dpid].packets[key] += 1
    return Trace(1.0, outcomes)


@dataclass
class _Copy:
    """A packet on its way through the switches."""

    dpid: int
    in_port: int
    packet: Packet
    hops: tuple[Hop, ...] = ()
    labels: tuple[tuple[int, ...], ...] = ()
    cookies: tuple[int, ...] = ()
    queues: tuple[tuple[int | None, int | None], ...] = ()
    queue: int | None = None


class _Run:
    """The way of one packet with fixed choices at SELECT groups; ``untried`` are those that other runs must make."""

    def __init__(self, network: SimulatedNetwork, choices: tuple[int, ...], flow_hash: int | None = None) -> None:
        self.network = network
        self.choices = choices
        self.flow_hash = flow_hash
        self.made: tuple[int, ...] = ()
        self.share = 1.0
        self.untried: list[tuple[int, ...]] = []
        self.met: list[tuple[int, FlowKey]] = []
        self._outcomes: list[Outcome] = []
        self._under_way: list[_Copy] = []

    def carry(self, dpid: int, in_port: int, packet: Packet) -> tuple[Outcome, ...]:
        self._under_way = [_Copy(dpid, in_port, packet)]
        while self._under_way:
            copy = self._under_way.pop()
            if len(copy.hops) > HOP_LIMIT:
                self._end(copy, "dropped", 0, "loop")
            else:
                self._pipeline(copy)
        return tuple(self._outcomes)

    def _pipeline(self, copy: _Copy) -> None:
        switch = self.network.switches[copy.dpid]
        before = len(self._outcomes) + len(self._under_way)
        table: int | None = 0
        metadata = 0
        while table is not None:
            flow = switch.lookup(table, copy.packet, copy.in_port, metadata)
            if flow is None:
                self._end(copy, "dropped", 0, f"no flow in table {table}")
                return
            self.met.append((copy.dpid, flow.key))
            copy.cookies = (*copy.cookies, flow.cookie)
            if not self._act(copy, flow.actions):
                return
            metadata = metadata if flow.write_metadata is None else flow.write_metadata
            table = flow.goto_table
        if len(self._outcomes) + len(self._under_way) == before:
            self._end(copy, "dropped", 0, "flow without output")

    def _act(self, copy: _Copy, actions: Iterable[Action], depth: int = 0) -> bool:
        """Carry out actions on ``copy`` itself; groups get a copy of their own.  False: it is lost already."""
        for action in actions:
            match action:
                case PushMpls():
                    labels, classes = copy.packet.labels, copy.packet.traffic_classes
                    outer = (labels[0], classes[0]) if labels else (0, 0)
                    stack = (outer[0], *labels), (outer[1], *classes)
                    copy.packet = replace(copy.packet, labels=stack[0], traffic_classes=stack[1])
                case SetMplsLabel(label):
                    copy.packet = replace(copy.packet, labels=(label, *copy.packet.labels[1:]))
                case SetMplsTc(traffic_class):
                    classes = (traffic_class, *copy.packet.traffic_classes[1:])
                    copy.packet = replace(copy.packet, traffic_classes=classes)
                case SetQueue(queue):
                    copy.queue = queue
                case PopMpls(ethertype):
                    classes = copy.packet.traffic_classes[1:]
                    copy.packet = replace(copy.packet, labels=copy.packet.labels[1:], traffic_classes=classes)
                    if copy.packet.eth_type != ethertype:
                        self._end(copy, "dropped", 0, f"popped to {ethertype:#x}, is {copy.packet.eth_type:#x}")
                        return False
                case ForgetInPort():
                    copy.in_port = 0
                case SetField(name, value):
                    copy.packet = copy.packet.with_field(name, value)
                case CopyField(source, target):
                    copy.packet = copy.packet.with_field(target, copy.packet.field(source))
                case OutputBack():
                    self._send(replace(copy, in_port=0), copy.in_port)
                case ToController():
                    self._end(copy, "controller", 0)
                case Output(port):
                    self._send(copy, port)
                case ToGroup(group_id):
                    self._group(replace(copy), group_id, depth)
        return True

    def _group(self, copy: _Copy, group_id: int, depth: int) -> None:
        group = self.network.switches[copy.dpid].groups.get(group_id)
        if group is None or depth >= GROUP_DEPTH:
            self._end(
                copy, "dropped", 0, f"group {group_id:#x} is not there" if group is None else "groups in a circle"
            )
            return
        bucket = self._live_bucket(copy.dpid, group) if group.kind == "fast_failover" else self._select(group)
        if bucket is None:
            self._end(copy, "dropped", 0, f"no live bucket in group {group_id:#x}")
        else:
            self._act(copy, bucket.actions, depth + 1)

    def _live_bucket(self, dpid: int, group: GroupRule) -> Bucket | None:
        for bucket in group.buckets:
            if bucket.watch_port is not None and self.network.is_up(dpid, bucket.watch_port):
                return bucket
        return None

    def _select(self, group: GroupRule) -> Bucket | None:
        buckets = [bucket for bucket in group.buckets if bucket.weight > 0]
        total = sum(bucket.weight for bucket in buckets)
        if not buckets:
            return None
        if self.flow_hash is not None:
            point = self.flow_hash % total
            for bucket in buckets:
                point -= bucket.weight
                if point < 0:
                    return bucket
        position = len(self.made)
        if position < len(self.choices):
            choice = self.choices[position]
        else:
            choice = 0
            self.untried += [(*self.made, other) for other in range(1, len(buckets))]
        self.made = (*self.made, choice)
        self.share *= buckets[choice].weight / total
        return buckets[choice]

    def _send(self, copy: _Copy, port: int) -> None:
        here = Hop(copy.dpid, port)
        there = self.network.cables.get(here)
        if port == copy.in_port:
            self._end(copy, "dropped", port, "output to the ingress port")
        elif not self.network.is_up(*here) or (there is not None and not self.network.is_up(*there)):
            self._end(copy, "dropped", port, "port down")
        elif there is None:
            self._end(copy, "delivered", port)
        else:
            hops, labels = (*copy.hops, here), (*copy.labels, copy.packet.labels)
            queues = (*copy.queues, (copy.queue, next(iter(copy.packet.traffic_classes), None)))
            self._under_way.append(_Copy(there.dpid, there.port, copy.packet, hops, labels, copy.cookies, queues))

    def _end(self, copy: _Copy, kind: OutcomeKind, port: int, reason: str = "") -> None:
        self._outcomes.append(
            Outcome(kind, copy.dpid, port, copy.packet, copy.hops, copy.labels, copy.cookies, reason, copy.queues)
        )
