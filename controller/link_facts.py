"""Names of switches and what the settings state about links that a switch cannot tell.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from controller.intent import IntentLink
from controller.labels import Hop
from controller.settings import ControllerSettings
from topology_sync.topology import Link


class Names:
    """Datapath ids to node names and back; a switch without a name is called ``s<dpid>``."""

    def __init__(self, settings: ControllerSettings) -> None:
        self._names = dict(settings.node_names)
        self._dpids = {name: dpid for dpid, name in self._names.items()}

    def name_of(self, dpid: int) -> str:
        """The switch's name."""
        return self._names.get(dpid, f"s{dpid}")

    def dpid_of(self, name: str) -> int | None:
        """The datapath id behind a name, None when there cannot be one."""
        if name in self._dpids:
            return self._dpids[name]
        return int(name[1:]) if name[:1] == "s" and name[1:].isdecimal() else None


def inventory(settings: ControllerSettings) -> dict[tuple[str, str], Link]:
    """What the settings state about links, by names of the ends; it holds for all parallel links of a pair."""
    return {(entry.source, entry.target): entry for entry in settings.links}


def link_facts(links: tuple[IntentLink, ...], names: Names, settings: ControllerSettings) -> Mapping[Hop, Link]:
    """Capacity, delay and queue of every link by the port it leaves by; what is not stated gets the defaults."""
    stated = inventory(settings)
    facts: dict[Hop, Link] = {}
    for link in links:
        pair = names.name_of(link.source_dpid), names.name_of(link.target_dpid)
        default = Link(*pair, settings.default_capacity_bps, queue_packets=settings.default_queue_packets)
        facts[link.hop] = stated.get(pair, default)
    return facts
