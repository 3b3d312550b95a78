"""Rules by which a switch answers ARP for known hosts on its own, so that hosts find each other without a controller.

Hosts ask again for whom they talk to every half minute or so, and drop packets when nobody answers.  A request for a
known host is turned into its answer and sent back (RFC 826), and goes to the controller besides, which learns the asker
from it.  These are left to the controller alone, they speak of the asker's own address:

- probes (sender address 0.0.0.0, RFC 5227): a host that tries out an address must not be told that it has it,
- announcements (sender and target the same): the host may have moved, or got another MAC,
- what comes by the very port behind which the host is: it answers itself, and its MAC must not be seen on our side.

A switch with hosts gets two rules for each known host of the network, one more for each of its own, and one for
probes: classification (``controller.compiler``) has one per host and DSCP value already.  Beyond
``ANSWERED_HOSTS_LIMIT`` hosts the controller answers, as it does for unknown ones and wherever a switch refuses such
rules: copying a field into another is no part of OpenFlow 1.3 but an extension that Open vSwitch has.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from functools import lru_cache

from controller.intent import IntentHost
from controller.packets import ARP_REPLY, ARP_REQUEST, CONTROLLER_MAC, NO_ADDRESS
from controller.rules import Action, CopyField, FlowRule, Match, OutputBack, SetField, ToController
from topology_sync.cookies import STATIC_DEMAND, Cookie
from topology_sync.probes import PROBE_TARGET

ANSWERED_HOSTS_LIMIT = 2000
ANSWER_COOKIE = Cookie(1, STATIC_DEMAND, 0).pack()
"""Tells a request that the switch has answered from one that the controller must answer."""

_TABLE = 0
_ASIDE_PRIORITY = 252
_ANSWER_PRIORITY = 251


def arp_flows(hosts: Sequence[IntentHost], dpid: int) -> Iterator[FlowRule]:
    """The rules of switch ``dpid``: but for the trial none where it has no host.  Of too many hosts the lowest ones."""
    yield trial_flow()
    known = _single_hosts(tuple(hosts))
    if all(host.dpid != dpid for _, host in known):
        return
    yield _aside(Match(arp_op=ARP_REQUEST, arp_spa=NO_ADDRESS))
    for ip, host in known[:ANSWERED_HOSTS_LIMIT]:
        yield _answer(ip, host.mac)
        yield _announcement_aside(ip)
        if host.dpid == dpid:
            yield _aside(Match(in_port=host.port, arp_op=ARP_REQUEST, arp_tpa=ip))


def trial_flow() -> FlowRule:
    """The rule by which a switch is asked whether it takes such rules: for the address of probes, which no host has.

    It stays, so that a restarted controller need not ask again.
    """
    return _answer(str(ipaddress.IPv4Address(PROBE_TARGET)), CONTROLLER_MAC)


@lru_cache(maxsize=2)
def _single_hosts(hosts: tuple[IntentHost, ...]) -> tuple[tuple[str, IntentHost], ...]:
    """Addresses with their hosts in ascending order; prefixes are none."""
    lengths = {"", "32"}
    parts = ((*host.prefix.partition("/"), host) for host in hosts)
    single = [(ipaddress.IPv4Address(address), host) for address, _, length, host in parts if length in lengths]
    return tuple((str(address), host) for address, host in sorted(single, key=lambda entry: entry[0]))


# All switches have the same ones, and every change of the network compiles them anew.
@lru_cache(maxsize=2 * ANSWERED_HOSTS_LIMIT)
def _announcement_aside(ip: str) -> FlowRule:
    return _aside(Match(arp_op=ARP_REQUEST, arp_spa=ip, arp_tpa=ip))


def _aside(match: Match) -> FlowRule:
    return FlowRule(_TABLE, _ASIDE_PRIORITY, match, (ToController(),), cookie=Cookie(0, STATIC_DEMAND, 0).pack())


@lru_cache(maxsize=2 * ANSWERED_HOSTS_LIMIT)
def _answer(ip: str, mac: str) -> FlowRule:
    turned_round: tuple[Action, ...] = (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", mac),
        SetField("arp_op", ARP_REPLY),
        CopyField("arp_sha", "arp_tha"),
        CopyField("arp_spa", "arp_tpa"),
        SetField("arp_sha", mac),
        SetField("arp_spa", ip),
    )
    match = Match(arp_op=ARP_REQUEST, arp_tpa=ip)
    return FlowRule(
        _TABLE, _ANSWER_PRIORITY, match, (ToController(), *turned_round, OutputBack()), cookie=ANSWER_COOKIE
    )
