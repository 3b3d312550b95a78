"""One fast flow across many re-routings: what was lost, duplicated, reordered or sent over a mixture of two paths."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np

from deploy.process_control import start_child, stop_child
from deploy.testbed.live_network import LiveNetwork, live_network
from deploy.testbed.measurement.label_sniffer import read_sightings
from deploy.testbed.progress import Progress
from deploy.testbed.receiver_log import Records
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import make_scenario
from deploy.testbed.statistics import packet_table, window
from deploy.testbed.traffic_plan import RateStep, TrafficDemand
from topology_sync.errors import UnavailableError
from topology_sync.paths import k_shortest_paths
from topology_sync.plan import DemandRoute, NamedPath, RoutingPlan
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys
from topology_sync.traffic import PacketSize

PACKETS_PER_S = 1000.0
FRAME_BITS = 100 * 8.0
PATHS = 5
PAUSE_S = 0.1
WARM_UP_S = 4.0
COUNTED_S = 3.0
"""Packets sent from then on count: the demand has its rules since its first, slower packets."""
FIRST_PACKETS_PER_S = 20.0


def measure_update_safety(
    source: Scenario, topology_name: str, seed: int, changes: int, progress: Progress
) -> dict[str, Any]:
    """``changes`` consecutive re-routings under a flow of 1,000 packets/s on an otherwise idle network."""
    scenario = make_scenario("steady", topology_name, source, seed)
    topology = scenario.base.topology
    ends = _far_apart(scenario.base, seed)
    names = topology.node_names
    demand = TrafficDemand(
        source=names[ends[0]],
        target=names[ends[1]],
        traffic_class="default",
        dscp=0,
        steps=(RateStep(0.0, FIRST_PACKETS_PER_S * FRAME_BITS), RateStep(2.0, PACKETS_PER_S * FRAME_BITS)),
        packet_bits_mean=FRAME_BITS,
        packet_size=PacketSize("constant"),
        arrivals="cbr",
    )
    paths = k_shortest_paths(topology, *ends, PATHS, np.ones(topology.link_count))
    node_paths = [tuple(names[node] for node in PathShare(path).nodes(topology)) for path in paths]
    with RunDirectory() as directory, live_network(scenario, progress, directory) as live:
        sightings_file = directory.path / "sightings.bin"
        sniffer = start_child(
            [sys.executable, "-m", "deploy.testbed.measurement.label_sniffer", str(sightings_file)],
            stdout=subprocess.PIPE,
            errors=directory.path / "sniffer.log",
        )
        _expect_ready(sniffer.stdout)
        traffic = live.traffic([demand], WARM_UP_S + changes * 5.0 + 5.0, seed)
        traffic.start()
        try:
            time.sleep(WARM_UP_S)
            live.openvswitch.enlarge_send_buffer()
            with progress.step(f"{changes} re-routings of {PACKETS_PER_S:,.0f} packets/s over {len(paths)} paths"):
                before = live.control.statistics()
                seconds = _reroute(live, demand, node_paths, changes, progress)
                after = live.control.statistics()
        finally:
            traffic.stop(drain_s=1.0)
            stop_child(sniffer)
        sightings = read_sightings(sightings_file)
        interfaces = _interfaces(live, paths)
        everything = packet_table(traffic.schedule, traffic.sent_ns(), traffic.received())
        counted_ns = traffic.start_ns + round(COUNTED_S * 1e9)
        table = window(everything, counted_ns, int(everything.sent_ns.max()) + 1)
    mixed, unseen, labels = mixed_paths(sightings, table.sequence[table.copies > 0], interfaces)
    lost = int((table.copies == 0).sum())
    duplicated = int(np.maximum(table.copies - 1, 0).sum())
    return {
        "topology": topology_name,
        "seed": seed,
        "re_routings": changes,
        "paths": len(paths),
        "packets_sent": len(table.sequence),
        "packets_lost": lost,
        "packets_duplicated": duplicated,
        "packets_reordered": int(table.overtaken.sum()),
        "packets_on_mixed_path": mixed,
        "packets_not_followed": unseen,
        "labels_used": labels,
        "flow_mods": after["flow_mods"] - before["flow_mods"],
        "transaction_median_s": float(np.median(seconds)),
        "ok": lost == duplicated == mixed == 0 and labels == changes + 1,
    }


def mixed_paths(
    sightings: Records, delivered: np.ndarray[tuple[int, ...], np.dtype[np.int64]], paths: list[frozenset[int]]
) -> tuple[int, int, int]:
    """How many delivered packets were seen on a mixture, how many were not seen at all, and how many labels there were.

    A packet is on one path when all its sightings carry one same label, alone on the stack, and the interfaces that it
    arrived by are exactly those of one of ``paths``.
    """
    mixed, followed = 0, 0
    order = np.argsort(sightings["sequence"], kind="stable")
    sequence, label = sightings["sequence"][order], sightings["label"][order]
    depth, interface = sightings["labels"][order], sightings["interface"][order]
    wanted = set(delivered.tolist())
    bounds = np.flatnonzero(np.diff(sequence.astype(np.int64))) + 1
    for part in np.split(np.arange(len(sequence)), bounds):
        if not len(part) or int(sequence[part[0]]) not in wanted:
            continue
        followed += 1
        one_label = len(set(label[part].tolist())) == 1 and bool((depth[part] == 1).all())
        seen = interface[part].tolist()
        if not (one_label and len(seen) == len(set(seen)) and frozenset(seen) in paths):
            mixed += 1
    return mixed, len(wanted) - followed, len(set(label.tolist()))


def _reroute(
    live: LiveNetwork, demand: TrafficDemand, node_paths: list[tuple[str, ...]], changes: int, progress: Progress
) -> list[float]:
    seconds = []
    present = _present_path(live, demand)
    first = node_paths.index(present) if present in node_paths else -1
    for change in range(changes):
        nodes = node_paths[(first + change + 1) % len(node_paths)]
        route = DemandRoute(*demand.key, paths=(NamedPath(nodes),))
        plan = RoutingPlan(f"update-safety-{change}", live.control.state().topology_version, (route,))
        report = live.control.put_plan(plan)
        if not report.ok:
            raise UnavailableError(f"re-routing {change + 1} failed: {report.error}")
        seconds.append(report.finished_s - report.started_s)
        progress.note(f"{change + 1} of {changes}")
        time.sleep(PAUSE_S)
    return seconds


def _present_path(live: LiveNetwork, demand: TrafficDemand) -> tuple[str, ...]:
    """Node names along the path that the demand has now."""
    scenario = live.control.state().scenario
    row = demand_keys(scenario.topology, scenario.traffic).index(demand.key)
    nodes = scenario.routing.paths[row][0].nodes(scenario.topology)
    return tuple(scenario.topology.node_names[node] for node in nodes)


def _far_apart(scenario: Scenario, seed: int) -> tuple[int, int]:
    """Ends of a demand whose fewest-hops path has the most hops; among equals the seed chooses."""
    hops = np.array([len(paths[0].links) for paths in scenario.routing.paths])
    longest = np.flatnonzero(hops == hops.max())
    demand = int(np.random.default_rng(seed).choice(longest))
    return int(scenario.traffic.source[demand]), int(scenario.traffic.target[demand])


def _interfaces(live: LiveNetwork, paths: list[tuple[int, ...]]) -> list[frozenset[int]]:
    indices = {name: index for index, name in socket.if_nameindex()}
    receiving = [indices[link.receiving] for link in live.network.link_interfaces]
    return [frozenset(receiving[link] for link in path) for path in paths]


def _expect_ready(pipe: Any, timeout_s: float = 10.0) -> None:
    readable, _, _ = select.select([pipe], [], [], timeout_s)
    if not readable or pipe.readline().strip() != b"ready":
        raise UnavailableError("the label sniffer did not start")
