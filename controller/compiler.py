"""From intent to rules: a pure function that writes the forwarding pipeline of ARCHITECTURE.md for every switch."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Set

from controller.arp_answers import arp_flows
from controller.intent import DemandKey, IntentBypass, IntentDemand, IntentHost, IntentRoute, NetworkIntent
from controller.labels import Hop
from controller.rules import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_LLDP,
    ETHERTYPE_MPLS,
    Action,
    Bucket,
    FlowRule,
    ForgetInPort,
    GroupRule,
    Match,
    Output,
    PopMpls,
    PushMpls,
    RuleSet,
    SetMplsLabel,
    SetMplsTc,
    SetQueue,
    ToController,
    ToGroup,
    demand_group_id,
    link_group_id,
)
from topology_sync.cookies import PROTECTION_DEMAND, STATIC_DEMAND, Cookie
from topology_sync.errors import PlanError

CLASSIFIER_TABLE, DEMAND_TABLE, DELIVERY_TABLE = 0, 1, 2

LLDP_PRIORITY = 300
ARP_OVER_LINK_PRIORITY = 253
ARP_PRIORITY = 250  # between these two: arp_answers
QUEUED_BYPASS_PRIORITY = 201
LABEL_PRIORITY = 200
CLASSIFIER_PRIORITY = 100  # + 3 x prefix length + rank: at most 198
UNKNOWN_PRIORITY = 10
DEMAND_PRIORITY = 100
PROBE_PRIORITY = 150
DELIVERY_PRIORITY = 100  # + prefix length: at most 132

# Within one prefix: a host of this very switch goes before a class named by DSCP, and that before all the rest.
_ANY_DSCP, _NAMED_DSCP, _HERE = 0, 1, 2

PROBE_ADDRESS = "169.254.82.87"
PROBE_PROTOCOL = 253  # for experiments, RFC 3692

STATIC_COOKIE = Cookie(0, STATIC_DEMAND, 0).pack()


def compile_rules(intent: NetworkIntent, answering: Set[int] = frozenset()) -> dict[int, RuleSet]:
    """The rules that every switch of the intent should have, by datapath id.

    The switches ``answering`` answer ARP for known hosts themselves.  Raises PlanError when a route or bypass of the
    intent is no loop-free way over known links.
    """
    intent.check()
    flows: dict[int, list[FlowRule]] = {dpid: list(_static_flows()) for dpid in intent.switches}
    groups: dict[int, list[GroupRule]] = {dpid: [] for dpid in intent.switches}
    for link in intent.links:
        for dpid, port in (link.hop, Hop(link.target_dpid, link.target_port)):
            flows[dpid].append(_drop_arp(port))
        groups[link.source_dpid].append(_link_group(link.hop, intent.bypass_of.get(link.hop)))
    queues = sorted(set(intent.queue_of.values()))
    for bypass in intent.bypasses:
        for dpid, flow in _bypass_flows(bypass, queues):
            flows[dpid].append(flow)
    hosts = {_prefix(host): host for host in intent.hosts}
    covered = frozenset(prefix for prefix in hosts if _is_covered(prefix, hosts))
    for dpid in intent.switches:
        flows[dpid] += _classifier_flows(intent, hosts, covered, dpid)
        if dpid in answering:
            flows[dpid] += arp_flows(intent.hosts, dpid)
    for prefix, host in hosts.items():
        if host.dpid in flows:
            flows[host.dpid].append(_delivery(prefix, host.port))
    for demand in intent.demands:
        queue = intent.queue_of.get(demand.traffic_class)
        flow, group = _demand_flow(demand, queue)
        flows[demand.source_dpid].append(flow)
        groups[demand.source_dpid] += [group] if group else []
        for route in demand.routes:
            for dpid, flow in _route_flows(demand, route, queue):
                flows[dpid].append(flow)
    return {dpid: RuleSet.of(flows[dpid], groups[dpid]) for dpid in intent.switches}


def _static_flows() -> Iterator[FlowRule]:
    """On every switch LLDP, ARP, IPv4 for nobody we know and, where their path ends, probes go to the controller."""
    up = (ToController(),)
    yield _static(CLASSIFIER_TABLE, LLDP_PRIORITY, Match(eth_type=ETHERTYPE_LLDP), up)
    yield _static(CLASSIFIER_TABLE, ARP_PRIORITY, Match(eth_type=ETHERTYPE_ARP), up)
    yield _static(CLASSIFIER_TABLE, UNKNOWN_PRIORITY, Match(eth_type=ETHERTYPE_IPV4), up)
    probe = Match(ipv4_dst=(PROBE_ADDRESS, 32), ip_proto=PROBE_PROTOCOL)
    yield _static(DELIVERY_TABLE, PROBE_PRIORITY, probe, up)


def _static(table: int, priority: int, match: Match, actions: tuple[Action, ...]) -> FlowRule:
    return FlowRule(table, priority, match, actions, cookie=STATIC_COOKIE)


def _drop_arp(port: int) -> FlowRule:
    """The controller answers ARP at the edge: what comes over a link is no host asking."""
    match = Match(in_port=port, eth_type=ETHERTYPE_ARP)
    return _static(CLASSIFIER_TABLE, ARP_OVER_LINK_PRIORITY, match, ())


def _prefix(host: IntentHost) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(host.prefix, strict=False)
    except ValueError as error:
        raise PlanError(f"host {host.prefix}", "is no IPv4 address or prefix", "write it like 10.0.0.1/32") from error


def _delivery(prefix: ipaddress.IPv4Network, port: int) -> FlowRule:
    return _static(DELIVERY_TABLE, DELIVERY_PRIORITY + prefix.prefixlen, _to(prefix), (Output(port),))


def _to(prefix: ipaddress.IPv4Network, dscp: int | None = None) -> Match:
    return Match(eth_type=ETHERTYPE_IPV4, ipv4_dst=(str(prefix.network_address), prefix.prefixlen), ip_dscp=dscp)


def _classifier_flows(
    intent: NetworkIntent,
    hosts: dict[ipaddress.IPv4Network, IntentHost],
    covered: Set[ipaddress.IPv4Network],
    dpid: int,
) -> Iterator[FlowRule]:
    """IPv4 that enters at ``dpid``: to its own hosts, else into a demand, longest prefix first.

    ``covered`` are the prefixes that lie within another one.
    """
    for prefix, host in hosts.items():
        if host.dpid == dpid:
            yield _classifier(prefix, _HERE, None, goto_table=DELIVERY_TABLE, cookie=STATIC_COOKIE)
            continue
        demands = {entry.name: intent.demand_of.get(DemandKey(dpid, host.dpid, entry.name)) for entry in intent.classes}
        rest = next((demands[entry.name] for entry in intent.classes if not entry.dscp), None)
        for entry in intent.classes:
            demand = demands[entry.name]
            for dscp in entry.dscp:
                if demand is not None:
                    yield _into(prefix, _NAMED_DSCP, dscp, demand)
                elif rest is not None:
                    yield _unknown(prefix, _NAMED_DSCP, dscp)
        if rest is not None:
            yield _into(prefix, _ANY_DSCP, None, rest)
        elif prefix in covered:
            yield _unknown(prefix, _ANY_DSCP, None)


def _is_covered(prefix: ipaddress.IPv4Network, hosts: dict[ipaddress.IPv4Network, IntentHost]) -> bool:
    return any(prefix.supernet(new_prefix=length) in hosts for length in range(prefix.prefixlen))


def _classifier(
    prefix: ipaddress.IPv4Network,
    rank: int,
    dscp: int | None,
    actions: tuple[Action, ...] = (),
    write_metadata: int | None = None,
    goto_table: int | None = None,
    cookie: int = STATIC_COOKIE,
) -> FlowRule:
    priority = CLASSIFIER_PRIORITY + 3 * prefix.prefixlen + rank
    return FlowRule(CLASSIFIER_TABLE, priority, _to(prefix, dscp), actions, write_metadata, goto_table, cookie)


def _into(prefix: ipaddress.IPv4Network, rank: int, dscp: int | None, demand: IntentDemand) -> FlowRule:
    cookie = Cookie(0, demand.number, 0).pack()
    return _classifier(prefix, rank, dscp, (), demand.number, DEMAND_TABLE, cookie)


def _unknown(prefix: ipaddress.IPv4Network, rank: int, dscp: int | None) -> FlowRule:
    """A class that has no demand yet must not fall into another class or a shorter prefix."""
    return _classifier(prefix, rank, dscp, (ToController(),))


def _demand_flow(demand: IntentDemand, queue: int | None) -> tuple[FlowRule, GroupRule | None]:
    """Where the packets of a demand get their path: one label, or by hash one of several; no route drops them."""
    group = None
    version, label = demand.version, 0
    actions: tuple[Action, ...] = ()
    if len(demand.routes) == 1:
        (route,) = demand.routes
        version, label = route.version, route.label
        actions = _push(route, queue)
    elif demand.routes:
        group_id = demand_group_id(demand.number, demand.version)
        buckets = tuple(Bucket(_push(route, queue), route.weight) for route in demand.routes)
        group = GroupRule(group_id, "select", buckets)
        actions = (ToGroup(group_id),)
    cookie = Cookie(version, demand.number, label).pack()
    match = Match(metadata=demand.number)
    return FlowRule(DEMAND_TABLE, DEMAND_PRIORITY, match, actions, cookie=cookie, send_removed=True), group


def _push(route: IntentRoute, queue: int | None) -> tuple[Action, ...]:
    onward = ToGroup(link_group_id(route.links[0].port))
    if queue is None:
        return PushMpls(), SetMplsLabel(route.label), onward
    return PushMpls(), SetMplsLabel(route.label), SetMplsTc(queue), SetQueue(queue), onward


def _route_flows(demand: IntentDemand, route: IntentRoute, queue: int | None) -> Iterator[tuple[int, FlowRule]]:
    """The label's rules after the ingress: on to the next link's group, and at the egress off with the label."""
    cookie = Cookie(route.version, demand.number, route.label).pack()
    match = Match(mpls_label=route.label)
    waits: tuple[Action, ...] = () if queue is None else (SetQueue(queue),)
    for hop in route.links[1:]:
        actions = (*waits, ToGroup(link_group_id(hop.port)))
        yield hop.dpid, FlowRule(CLASSIFIER_TABLE, LABEL_PRIORITY, match, actions, cookie=cookie)
    yield (
        demand.target_dpid,
        FlowRule(
            CLASSIFIER_TABLE,
            LABEL_PRIORITY,
            match,
            (PopMpls(ETHERTYPE_IPV4),),
            goto_table=DELIVERY_TABLE,
            cookie=cookie,
            send_removed=True,
        ),
    )


def _link_group(hop: Hop, bypass: IntentBypass | None) -> GroupRule:
    """Out of the link while its port is up, else around it.

    Both ways may lead back over the link that the packet came by: a bypass that starts with it, and a path whose next
    link was the last one of the bypass before.
    """
    buckets = [Bucket((ForgetInPort(), Output(hop.port)), watch_port=hop.port)]
    if bypass is not None:
        first = bypass.hops[0].port
        push: tuple[Action, ...] = () if bypass.label is None else (PushMpls(), SetMplsLabel(bypass.label))
        buckets.append(Bucket((*push, ForgetInPort(), Output(first)), watch_port=first))
    return GroupRule(link_group_id(hop.port), "fast_failover", tuple(buckets))


def _bypass_flows(bypass: IntentBypass, queues: Iterable[int]) -> Iterator[tuple[int, FlowRule]]:
    """The bypass label's rules after the link's own switch; the last one but the end takes the label off.

    A bypass serves paths of all classes, so the queue is told by the traffic class that its label took over from the
    label below.  The rule without one stays beneath, for packets that got their label before there were queues.
    """
    if bypass.label is None:
        return
    cookie = Cookie(0, PROTECTION_DEMAND, bypass.label).pack()
    for hop in bypass.hops[1:]:
        pop: tuple[Action, ...] = (PopMpls(ETHERTYPE_MPLS),) if hop == bypass.hops[-1] else ()
        out: tuple[Action, ...] = (*pop, Output(hop.port))
        yield hop.dpid, FlowRule(CLASSIFIER_TABLE, LABEL_PRIORITY, Match(mpls_label=bypass.label), out, cookie=cookie)
        for queue in queues:
            match = Match(mpls_label=bypass.label, mpls_tc=queue)
            yield (
                hop.dpid,
                FlowRule(CLASSIFIER_TABLE, QUEUED_BYPASS_PRIORITY, match, (SetQueue(queue), *out), cookie=cookie),
            )
