"""What changed between two states of discovery, in words for the journal.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controller.journal import Kind
from topology_sync.discovery import DiscoveryState, LinkEnds


def news(before: DiscoveryState, after: DiscoveryState, name_of: Callable[[int], str]) -> Iterator[tuple[Kind, str]]:
    """Kind and text of every change that somebody may want to know."""
    for dpid, switch in after.switches.items():
        old = before.switches.get(dpid)
        if switch.connected != (old is not None and old.connected):
            yield "switch", f"{name_of(dpid)} {'connected' if switch.connected else 'disconnected'}"
    for ends, link in after.links.items():
        known = before.links.get(ends)
        if known is None or known.up != link.up:
            yield "topology", f"link {_name(ends, name_of)} {'up' if link.up else 'down'}"
    for ends in before.links.keys() - after.links.keys():
        yield "topology", f"link {_name(ends, name_of)} gone"
    for ip, host in after.hosts.items():
        if before.hosts.get(ip) != host:
            yield "host", f"{ip} at {name_of(host.dpid)} port {host.port}"


def _name(ends: LinkEnds, name_of: Callable[[int], str]) -> str:
    source, target = ends
    return f"{name_of(source.dpid)}:{source.port}->{name_of(target.dpid)}:{target.port}"
