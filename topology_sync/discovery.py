"""Which switches, links and hosts there are: folds events into a frozen state, without a switch or a clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from topology_sync.events import (
    ClockTicked,
    Event,
    HostSeen,
    LldpReceived,
    Port,
    PortChanged,
    SwitchConnected,
    SwitchDisconnected,
)


class PortKey(NamedTuple):
    """A port in the network."""

    dpid: int
    port: int


class LinkEnds(NamedTuple):
    """A directed link by its ports; parallel links have different ones."""

    source: PortKey
    target: PortKey


@dataclass(frozen=True)
class SwitchRecord:
    """A switch ever seen (or seeded).  ``since_s``: when the channel last came or went; ``ports`` by number."""

    connected: bool
    since_s: float
    ports: Mapping[int, Port] = field(default_factory=dict)


@dataclass(frozen=True)
class LinkRecord:
    """Liveness of one direction.  ``confirmed``: LLDP came over it since both its switches are connected."""

    up: bool
    seen_s: float
    confirmed: bool


@dataclass(frozen=True)
class HostAttachment:
    """Where a host is."""

    ip: str
    mac: str
    dpid: int
    port: int


@dataclass(frozen=True)
class DiscoverySettings:
    """Times in seconds.

    ``link_timeout_s``: silence that makes a link dead.  ``confirm_s``: how long a link known from before may stay
    silent once both its switches are connected.  ``switch_timeout_s``: how long links of a switch count as up after
    its channel went.  ``stall_s``: a larger gap between ticks is our own standstill and extends every deadline.
    ``recable_s``: a port whose links are all down for so long may be learnt as a host's port.
    """

    link_timeout_s: float = 1.5
    confirm_s: float = 3.0
    switch_timeout_s: float = 10.0
    settle_s: float = 1.0
    stall_s: float = 0.5
    recable_s: float = 15.0


@dataclass(frozen=True)
class DiscoveryState:
    """What is known now.  ``hosts`` by IP address.

    ``topology_version`` grows with every change of nodes, links or their liveness, at ``changed_s``; hosts and the
    passing of time leave it.
    """

    switches: Mapping[int, SwitchRecord] = field(default_factory=dict)
    links: Mapping[LinkEnds, LinkRecord] = field(default_factory=dict)
    hosts: Mapping[str, HostAttachment] = field(default_factory=dict)
    topology_version: int = 0
    changed_s: float | None = None
    ticked_s: float | None = None

    def is_link_port(self, dpid: int, port: int) -> bool:
        """True for an end of a known link, up or down."""
        return any((dpid, port) in ends for ends in self.links)

    def settled(self, now_s: float, settings: DiscoverySettings) -> bool:
        """True when no news is expected: something is known, nothing changed for ``settle_s``, every link that counts
        as up was heard of since its switches connected."""
        if self.changed_s is None or now_s - self.changed_s < settings.settle_s:
            return False
        return all(link.confirmed for link in self.links.values() if link.up)


def seed_links(state: DiscoveryState, links: Iterable[LinkEnds], time_s: float) -> DiscoveryState:
    """The state with links known from an earlier run: they count as up until confirmed, or found dead.

    Links that the state knows already stay as they are.  Their switches are entered as not connected.
    """
    switches, known = dict(state.switches), dict(state.links)
    for ends in links:
        if ends not in known:
            known[ends] = LinkRecord(up=True, seen_s=time_s, confirmed=False)
            for end in ends:
                switches.setdefault(end.dpid, SwitchRecord(connected=False, since_s=time_s))
    return _changed(state, time_s, switches=switches, links=known)


def reduce_discovery(state: DiscoveryState, event: Event, settings: DiscoverySettings) -> DiscoveryState:
    """The state after the event; the very same object when it changes nothing.

    - A link appears with the first LLDP whose ports are up at both ends.  LLDP over a port from another peer than
      before is a moved cable: it replaces what was known of both ports.
    - A port that goes down or away takes its links down at once, both directions.
    - A direction without LLDP for ``link_timeout_s`` goes down while both switches are connected.
    - A switch whose channel is gone still forwards: its links go down only after ``switch_timeout_s``.
    - Hosts are never learnt on the end of a link; a host seen elsewhere moves.
    """
    match event:
        case SwitchConnected():
            return _connect(state, event)
        case SwitchDisconnected():
            return _disconnect(state, event)
        case PortChanged():
            return _change_port(state, event)
        case LldpReceived():
            return _hear(state, event)
        case HostSeen():
            return _learn(state, event, settings)
        case ClockTicked():
            return _tick(state, event.time_s, settings)
        case _:
            return state


def _connect(state: DiscoveryState, event: SwitchConnected) -> DiscoveryState:
    ports = {port.number: port for port in event.ports}
    switches = {**state.switches, event.dpid: SwitchRecord(connected=True, since_s=event.time_s, ports=ports)}
    links = {
        ends: replace(
            link,
            up=link.up and all(end.dpid != event.dpid or _is_up(ports, end.port) for end in ends),
            confirmed=False,
        )
        if event.dpid in (ends.source.dpid, ends.target.dpid)
        else link
        for ends, link in state.links.items()
    }
    return _changed(state, event.time_s, switches=switches, links=links)


def _disconnect(state: DiscoveryState, event: SwitchDisconnected) -> DiscoveryState:
    switch = state.switches.get(event.dpid)
    if switch is None or not switch.connected:
        return state
    gone = replace(switch, connected=False, since_s=event.time_s)
    links = {
        ends: replace(link, confirmed=False) if event.dpid in (ends.source.dpid, ends.target.dpid) else link
        for ends, link in state.links.items()
    }
    return _changed(state, event.time_s, switches={**state.switches, event.dpid: gone}, links=links)


def _change_port(state: DiscoveryState, event: PortChanged) -> DiscoveryState:
    switch = state.switches.get(event.dpid)
    if switch is None:
        return state
    ports = dict(switch.ports)
    if event.removed:
        ports.pop(event.port.number, None)
    else:
        ports[event.port.number] = event.port
    if ports == switch.ports:
        return state
    switches = {**state.switches, event.dpid: replace(switch, ports=ports)}
    links = state.links
    if event.removed or not event.port.up:
        end = PortKey(event.dpid, event.port.number)
        links = {ends: _down(link, event.time_s) if end in ends else link for ends, link in links.items()}
    return _changed(state, event.time_s, switches=switches, links=links)


def _hear(state: DiscoveryState, event: LldpReceived) -> DiscoveryState:
    ends = LinkEnds(PortKey(event.source_dpid, event.source_port), PortKey(event.dpid, event.port))
    if event.source_dpid == event.dpid:
        return state  # a cable between two ports of one switch carries nothing anywhere
    for end in ends:
        switch = state.switches.get(end.dpid)
        if switch is None or not _is_up(switch.ports, end.port):
            return state
    confirmed = all(state.switches[end.dpid].connected for end in ends)
    heard = LinkRecord(up=True, seen_s=event.time_s, confirmed=confirmed)
    known = state.links.get(ends)
    if known is not None and known.up:  # nearly every frame, so without comparing states
        return replace(state, links={**state.links, ends: heard})
    if known is not None:
        return _changed(state, event.time_s, links={**state.links, ends: heard})
    back = LinkEnds(ends.target, ends.source)
    links = {
        other: link for other, link in state.links.items() if other == back or not (set(ends) & set(other))
    }  # whatever else was known of these two ports was another cable
    hosts = {ip: host for ip, host in state.hosts.items() if PortKey(host.dpid, host.port) not in ends}
    return _changed(state, event.time_s, links={**links, ends: heard}, hosts=hosts)


def _learn(state: DiscoveryState, event: HostSeen, settings: DiscoverySettings) -> DiscoveryState:
    switch = state.switches.get(event.dpid)
    if switch is None or not _is_up(switch.ports, event.port):
        return state
    here = HostAttachment(event.ip, event.mac, event.dpid, event.port)
    if state.hosts.get(event.ip) == here:
        return state
    end = PortKey(event.dpid, event.port)
    old = {ends: link for ends, link in state.links.items() if end in ends}
    if any(link.up or event.time_s - link.seen_s < settings.recable_s for link in old.values()):
        return state
    links = {ends: link for ends, link in state.links.items() if ends not in old}
    return _changed(state, event.time_s, links=links, hosts={**state.hosts, event.ip: here})


def _tick(state: DiscoveryState, now_s: float, settings: DiscoverySettings) -> DiscoveryState:
    gap_s = 0.0 if state.ticked_s is None else now_s - state.ticked_s
    if gap_s > settings.stall_s:
        state = _postponed(state, gap_s, now_s)
    links = {ends: _aged(state, ends, link, now_s, settings) for ends, link in state.links.items()}
    return replace(_changed(state, now_s, links=links), ticked_s=now_s)


def _aged(
    state: DiscoveryState, ends: LinkEnds, link: LinkRecord, now_s: float, settings: DiscoverySettings
) -> LinkRecord:
    if not link.up:
        return link
    switches = [state.switches[end.dpid] for end in ends]
    gone_s = [switch.since_s for switch in switches if not switch.connected]
    if gone_s:
        deadline_s = min(gone_s) + settings.switch_timeout_s
    elif link.confirmed:
        deadline_s = link.seen_s + settings.link_timeout_s
    else:
        deadline_s = max(switch.since_s for switch in switches) + settings.confirm_s
    return _down(link, link.seen_s) if now_s > deadline_s else link


def _postponed(state: DiscoveryState, gap_s: float, now_s: float) -> DiscoveryState:
    """We stood still for ``gap_s``: what was heard or happened before counts as that much later."""
    return replace(
        state,
        switches={
            dpid: replace(switch, since_s=min(switch.since_s + gap_s, now_s)) for dpid, switch in state.switches.items()
        },
        links={
            ends: replace(link, seen_s=min(link.seen_s + gap_s, now_s)) if link.up else link
            for ends, link in state.links.items()
        },
    )


def _is_up(ports: Mapping[int, Port], number: int) -> bool:
    return number in ports and ports[number].up


def _down(link: LinkRecord, time_s: float) -> LinkRecord:
    return LinkRecord(up=False, seen_s=time_s, confirmed=False) if link.up else link


def _changed(
    state: DiscoveryState,
    time_s: float,
    switches: Mapping[int, SwitchRecord] | None = None,
    links: Mapping[LinkEnds, LinkRecord] | None = None,
    hosts: Mapping[str, HostAttachment] | None = None,
) -> DiscoveryState:
    """The state with new contents, its version one higher if nodes, links or their liveness differ."""
    switches = state.switches if switches is None else switches
    links = state.links if links is None else links
    hosts = state.hosts if hosts is None else hosts
    if (switches, links, hosts) == (state.switches, state.links, state.hosts):
        return state
    differs = _liveness(switches, links) != _liveness(state.switches, state.links)
    return replace(
        state,
        switches=switches,
        links=links,
        hosts=hosts,
        topology_version=state.topology_version + differs,
        changed_s=time_s if differs else state.changed_s,
    )


def _liveness(
    switches: Mapping[int, SwitchRecord], links: Mapping[LinkEnds, LinkRecord]
) -> tuple[dict[int, bool], dict[LinkEnds, bool]]:
    return (
        {dpid: switch.connected for dpid, switch in switches.items()},
        {ends: link.up for ends, link in links.items()},
    )
