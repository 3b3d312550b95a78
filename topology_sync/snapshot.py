"""The snapshot of the live network: discovery, telemetry and path delays put together as one ``NetworkState``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from topology_sync.composed_delays import ComposedDelays
from topology_sync.demand_traffic import DemandEnds, DemandTraffic, demand_rates, rate_window
from topology_sync.discovery import DiscoverySettings, DiscoveryState, LinkEnds, PortKey
from topology_sync.network_state import DemandMeasurements, Host, LinkMeasurements, NetworkState
from topology_sync.path_delays import DelayStatistics, PathDelays, link_queue
from topology_sync.path_delays import Link as DelayLink
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.telemetry import TelemetrySettings, TelemetryState, carried_bps
from topology_sync.topology import Link, Scheduler, Topology
from topology_sync.traffic import DEFAULT_PACKET_BITS, Demand, TrafficMatrix
from topology_sync.values import bool_array, float_array, int_array

_FULL = 0.8


@dataclass(frozen=True)
class InstalledPath:
    """A path as the switches have it: its label and, per hop, the switch and the port it leaves by."""

    label: int
    hops: tuple[tuple[int, int], ...]
    share: float = 1.0


@dataclass(frozen=True)
class DemandInstalled:
    """A demand as the switches have it.

    ``number`` is the one in its cookies, ``queue`` the one that its class waits in, None where ports have one for all.
    """

    number: int
    source_dpid: int
    target_dpid: int
    traffic_class: str
    paths: tuple[InstalledPath, ...]
    queue: int | None = None

    def links_of(self, path: InstalledPath) -> tuple[DelayLink, ...]:
        """The links of a path as delays are known of them."""
        return tuple(link_queue(dpid, port, self.queue) for dpid, port in path.hops)


def build_state(
    discovery: DiscoveryState,
    telemetry: TelemetryState,
    path_delays: PathDelays,
    *,
    now_s: float,
    wall_time_s: float,
    node_names: Mapping[int, str],
    inventory: Mapping[tuple[str, str], Link],
    default_capacity_bps: float,
    default_queue_packets: int,
    class_names: Sequence[str],
    demands: Sequence[DemandInstalled],
    routing_version: int,
    window_s: float,
    discovery_settings: DiscoverySettings | None = None,
    schedulers: Mapping[int, Scheduler] | None = None,
) -> NetworkState:
    """The state of the network at ``now_s`` by the clock of the events, ``wall_time_s`` since the epoch.

    The ``time_s`` of the state is that of the newest counters, where its window ends, and its ``window_s`` that from
    the first to the last counters that it is made of; without any they are ``wall_time_s`` and ``window_s``.  It is
    settled once discovery is and the window is (nearly) full: measured over less, rates are luck.

    Nodes are sorted by name and links by names and ports, so ids stay the same while the network does.  A link that an
    installed path uses but discovery has forgotten (its cable was moved) stays, down.  ``inventory`` gives rate, delay
    and queue by names of the ends; other links get the defaults.  ``schedulers`` are those of switches (by datapath id)
    that have a queue per class.
    """

    def name(dpid: int) -> str:
        return node_names.get(dpid, f"s{dpid}")

    links = known_links(discovery, demands, name)
    dpids = set(discovery.switches) | {end.dpid for ends in links for end in ends}
    dpids |= {dpid for demand in demands for dpid in (demand.source_dpid, demand.target_dpid)}
    known = {name(dpid): scheduler for dpid, scheduler in (schedulers or {}).items()}
    nodes = sorted(name(dpid) for dpid in dpids)
    topology = Topology.from_links(
        nodes,
        [
            inventory.get((name(ends.source.dpid), name(ends.target.dpid)))
            or Link(
                name(ends.source.dpid),
                name(ends.target.dpid),
                default_capacity_bps,
                queue_packets=default_queue_packets,
            )
            for ends in links
        ],
        [known.get(node, Scheduler()) for node in nodes],
    )
    settings = TelemetrySettings(window_s=window_s)
    order = sorted(demands, key=lambda one: (name(one.source_dpid), name(one.target_dpid), one.traffic_class))
    delays = _delays(path_delays, order, now_s)
    ends_of = [DemandEnds(one.number, one.source_dpid, one.target_dpid) for one in order]
    rates = demand_rates(telemetry, now_s, ends_of, settings, delays)
    window = rate_window(telemetry, now_s, settings)
    carried = carried_bps(telemetry, now_s, settings)
    link_ids = {ends: link for link, ends in enumerate(links)}
    return NetworkState(
        topology_version=discovery.topology_version,
        routing_version=routing_version,
        time_s=wall_time_s if window is None else wall_time_s + window.until_s - now_s,
        window_s=window_s if window is None else window.until_s - window.from_s,
        settled=discovery.settled(now_s, discovery_settings or DiscoverySettings())
        and (not demands or (window is not None and window.until_s - window.from_s >= _FULL * window_s)),
        scenario=Scenario(
            "live",
            topology,
            TrafficMatrix.from_demands(
                [
                    Demand(
                        name(one.source_dpid),
                        name(one.target_dpid),
                        _known(rates[one.number].offered_bps, 0.0),
                        one.traffic_class,
                        _known(rates[one.number].packet_bits_mean, DEFAULT_PACKET_BITS),
                    )
                    for one in order
                ],
                topology.node_index,
                class_names,
            ),
            Routing(
                tuple(
                    tuple(
                        PathShare(tuple(link_ids[ends] for ends in _path_links(discovery, one, path)), path.share)
                        for path in one.paths
                    )
                    for one in order
                )
            ),
        ),
        demands=_measurements(
            [rates[one.number] for one in order], [delays[one.number] for one in order], wall_time_s - now_s
        ),
        links=LinkMeasurements(
            up=bool_array([ends in discovery.links and discovery.links[ends].up for ends in links]),
            carried_bps=float_array([_carried(carried, discovery, ends) for ends in links]),
        ),
        hosts=tuple(
            Host(host.ip, host.mac, name(host.dpid), host.port)
            for host in sorted(discovery.hosts.values(), key=lambda host: host.ip)
        ),
    )


def _path_links(discovery: DiscoveryState, demand: DemandInstalled, path: InstalledPath) -> list[LinkEnds]:
    """The links of an installed path.  One that is forgotten ends at port 0, for its cable is no longer there."""
    onward = [dpid for dpid, _ in path.hops[1:]] + [demand.target_dpid]
    found = []
    for (dpid, port), target in zip(path.hops, onward, strict=True):
        known = (ends for ends in discovery.links if ends.source == (dpid, port) and ends.target.dpid == target)
        found.append(next(known, LinkEnds(PortKey(dpid, port), PortKey(target, 0))))
    return found


def known_links(
    discovery: DiscoveryState, demands: Sequence[DemandInstalled], name: Callable[[int], str]
) -> list[LinkEnds]:
    """All links known or in use, in the order of their ids."""
    links = set(discovery.links)
    for demand in demands:
        for path in demand.paths:
            links.update(_path_links(discovery, demand, path))
    return sorted(links, key=lambda ends: (name(ends.source.dpid), name(ends.target.dpid), ends))


def _carried(carried: Mapping[tuple[int, int], float], discovery: DiscoveryState, ends: LinkEnds) -> float:
    """What the port counters say of a link; the port of a forgotten one serves another cable by now."""
    return carried.get(ends.source, math.nan) if ends in discovery.links else math.nan


def _delays(path_delays: PathDelays, demands: Sequence[DemandInstalled], now_s: float) -> dict[int, DelayStatistics]:
    """By demand number: put together from the links of its paths, else from probes of the paths themselves."""
    single = {path.label: one.links_of(path)[0] for one in demands for path in one.paths if len(path.hops) == 1}
    composed = ComposedDelays(path_delays, now_s, single)
    return {
        one.number: composed.of(tuple((one.links_of(path), path.share) for path in one.paths))
        or path_delays.of({path.label: path.share for path in one.paths}, now_s)
        for one in demands
    }


def _measurements(
    traffic: Sequence[DemandTraffic], delays: Sequence[DelayStatistics], epoch_s: float
) -> DemandMeasurements:
    return DemandMeasurements(
        packets_sent=float_array([one.packets_sent for one in traffic]),
        packets_lost=float_array([one.packets_lost for one in traffic]),
        loss_ratio=float_array([one.loss_ratio for one in traffic]),
        delay_s=float_array([one.delay_s for one in delays]),
        delay_p99_s=float_array([one.delay_p99_s for one in delays]),
        jitter_s=float_array([one.jitter_s for one in delays]),
        delay_min_s=float_array([one.delay_min_s for one in delays]),
        probe_count=int_array([one.count for one in delays]),
        counted_from_s=float_array([epoch_s + one.counted_from_s for one in traffic]),
        counted_until_s=float_array([epoch_s + one.counted_until_s for one in traffic]),
    )


def _known(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value
