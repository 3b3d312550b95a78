"""What is known of the network now: events go in, frozen states come out, and whoever must act is called."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from controller.journal import Journal
from controller.link_facts import Names
from controller.metrics import Metrics
from controller.news import news
from controller.settings import ControllerSettings
from controller.store import StoredIntent
from topology_sync.discovery import (
    DiscoverySettings,
    DiscoveryState,
    HostAttachment,
    LinkEnds,
    PortKey,
    reduce_discovery,
    seed_links,
)
from topology_sync.events import (
    ClockTicked,
    Event,
    FlowCountersRead,
    FlowRemoved,
    LinkProbeReturned,
    PortCountersRead,
    ProbeLost,
    ProbeReturned,
)
from topology_sync.path_delays import PathDelays, reduce_path_delays
from topology_sync.probes import Calibration
from topology_sync.telemetry import TelemetrySettings, TelemetryState, reduce_telemetry

VERSIONS_SKIPPED = 1000
"""Added to the topology version at a restart: no plan made for the time before may seem to fit."""


class NetworkView:
    """The reducers' states.  ``on_change`` is called when switches, links or hosts changed; it must not block."""

    def __init__(
        self,
        settings: ControllerSettings,
        stored: StoredIntent,
        names: Names,
        metrics: Metrics,
        journal: Journal,
        on_change: Callable[[DiscoveryState, DiscoveryState], None],
    ) -> None:
        self.discovery_settings = DiscoverySettings(link_timeout_s=settings.link_timeout_s)
        self.telemetry_settings = TelemetrySettings(window_s=settings.window_s)
        self.discovery = seeded(stored)
        self.telemetry = TelemetryState()
        self.delays = PathDelays(window_s=settings.window_s)
        self.calibration = Calibration()
        self._names = names
        self._metrics = metrics
        self._journal = journal
        self._on_change = on_change

    def fold(self, event: Event) -> None:
        """Take one event."""
        match event:
            case FlowCountersRead() | FlowRemoved() | PortCountersRead():
                self.telemetry = reduce_telemetry(self.telemetry, event, self.telemetry_settings)
            case ProbeReturned() | LinkProbeReturned() | ProbeLost():
                self.delays = reduce_path_delays(self.delays, event)
            case _:
                self._discover(event)

    def calibrate(self, dpid: int, round_trip_s: float) -> None:
        """Take a measured time from the controller to a switch and back."""
        self.calibration = self.calibration.with_sample(dpid, round_trip_s)

    def settled(self) -> bool:
        """Whether discovery expects no news."""
        return self.discovery.settled(time.monotonic(), self.discovery_settings)

    def _discover(self, event: Event) -> None:
        before = self.discovery
        self.discovery = reduce_discovery(before, event, self.discovery_settings)
        after = self.discovery
        if after is before or (isinstance(event, ClockTicked) and after.links == before.links):
            return
        if (after.switches, after.hosts) == (before.switches, before.hosts) and (
            after.topology_version == before.topology_version
        ):
            return
        for kind, detail in news(before, after, self._names.name_of):
            self._journal.add(kind, detail)
        self._metrics.links_up.set(sum(link.up for link in after.links.values()))
        self._metrics.hosts_known.set(len(after.hosts))
        self._metrics.topology_version.set(after.topology_version)
        self._on_change(before, after)


def seeded(stored: StoredIntent) -> DiscoveryState:
    """Discovery as it starts: what the stored intent knows counts until it is found wrong."""
    now_s = time.monotonic()
    first = stored.topology_version + VERSIONS_SKIPPED if stored.intent.switches else 0
    links = (
        LinkEnds(PortKey(link.source_dpid, link.source_port), PortKey(link.target_dpid, link.target_port))
        for link in stored.intent.links
    )
    hosts = {
        address: HostAttachment(address, host.mac, host.dpid, host.port)
        for host in stored.intent.hosts
        for address, _, length in (host.prefix.partition("/"),)
        if length == "32"
    }
    return replace(seed_links(DiscoveryState(topology_version=first), links, now_s), hosts=hosts)
