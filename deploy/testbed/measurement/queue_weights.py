"""Weights of queues change under traffic: what every class gets, what it costs, and what a killed controller leaves."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deploy.process_control import wait_until
from deploy.testbed.base_traffic import CLASSES
from deploy.testbed.live_network import LiveNetwork, live_network
from deploy.testbed.progress import Progress
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import make_scenario
from deploy.testbed.statistics import PacketTable, packet_table, window
from deploy.testbed.traffic import TrafficProcesses
from deploy.testbed.traffic_plan import RateStep, TrafficDemand
from topology_sync.class_queues import ClassQueues
from topology_sync.errors import UnavailableError
from topology_sync.plan import NodeScheduler, RoutingPlan, TransactionReport
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys
from topology_sync.topology import Topology
from topology_sync.traffic import PacketSize

NAMES = tuple(entry.name for entry in CLASSES)
ADDRESSES_PER_HOST = 1  # Open vSwitch keeps the order within an address pair, not among the several of a demand
FIRST, SECOND = (6.0, 3.0, 1.0), (1.0, 3.0, 6.0)
FRAME_BITS = 700 * 8.0
BELOW, BEYOND = 0.24, 0.75
"""What every class offers, in parts of the link's rate: together well below it, then twice as much as it carries."""
FIRST_FRAMES_PER_S = 5.0
WARM_UP_S = 4.0
PAUSE_S = 0.15
RESTART_S = 30.0
SETTLE_S, MEASURED_S = 4.0, 10.0
TOLERANCE = 0.02


def measure_queue_weights(
    source: Scenario, topology_name: str, seed: int, changes: int, progress: Progress
) -> dict[str, Any]:
    """Three demands, one per class, over one link of an otherwise idle network.

    First below the link's rate, in bursts, so that packets wait but none need be lost, while weights change
    ``changes`` times and the controller is killed and started again; then beyond it, with either weights for a while.
    """
    scenario = replace(
        make_scenario("steady", topology_name, source, seed), queues=ClassQueues("wfq", NAMES, FIRST, False)
    )
    topology = scenario.base.topology
    link = int(np.random.default_rng(seed).integers(topology.link_count))
    beyond_s = WARM_UP_S + changes * (PAUSE_S + 0.6) + RESTART_S
    demands = _demands(topology, link, beyond_s)
    with (
        RunDirectory() as directory,
        live_network(scenario, progress, directory, addresses_per_host=ADDRESSES_PER_HOST) as live,
    ):
        traffic = live.traffic(demands, beyond_s + 2 * (SETTLE_S + MEASURED_S) + 10.0, seed)
        traffic.start()
        try:
            time.sleep(WARM_UP_S)
            live.openvswitch.enlarge_send_buffer()
            before = live.control.statistics()
            with progress.step(f"{changes} changes of weights below the link's rate"):
                reports = [
                    _set_weights(live, SECOND if change % 2 == 0 else FIRST, f"weights-{change}")
                    for change in range(changes)
                ]
                time.sleep(1.0)
            sent = _difference(before, live.control.statistics())
            with progress.step("controller: kill -9, and a new one"):
                killed = _kill(live)
            if traffic.elapsed_s > beyond_s:
                raise UnavailableError(f"the changes took until {traffic.elapsed_s:.0f} s, later than {beyond_s:.0f} s")
            with progress.step("the link is offered twice what it carries"):
                spans = _overload(live, traffic, demands, beyond_s, progress)
        finally:
            traffic.stop(drain_s=1.0)
        table = packet_table(traffic.schedule, traffic.sent_ns(), traffic.received())
        begun_ns = traffic.start_ns + round((WARM_UP_S - 1.0) * 1e9)
        below = window(table, begun_ns, traffic.start_ns + round((beyond_s - 0.5) * 1e9))
    capacity_bps = float(topology.capacity_bps[link])
    parts = [
        _parts(window(table, *span), weights, capacity_bps) | _delays(window(table, *span), probed_s)
        for weights, span, probed_s in spans
    ]
    lost, duplicated = int((below.copies == 0).sum()), int(np.maximum(below.copies - 1, 0).sum())
    reordered = int(below.overtaken.sum())
    error = max(abs(row["part"] - row["wanted"]) for part in parts for row in part["classes"])
    return {
        "topology": topology_name,
        "seed": seed,
        "link": topology.link_name(link),
        "changes": changes,
        "queues_per_change": reports[0].queue_changes,
        "packets_sent": len(below.sent_ns),
        "packets_lost": lost,
        "packets_duplicated": duplicated,
        "packets_reordered": reordered,
        "delay_max_s": float(np.nanmax(below.delay_s)),
        "flow_mods": sent["flow_mods"],
        "queue_changes": sent["queue_changes"],
        "transaction_median_s": float(np.median([report.finished_s - report.started_s for report in reports])),
        "restart": killed,
        "parts": parts,
        "largest_error_of_a_part": error,
        "ok": lost == duplicated == reordered == 0 and bool(killed["ok"]) and error < TOLERANCE,
    }


def _demands(topology: Topology, link: int, beyond_s: float) -> list[TrafficDemand]:
    capacity_bps = float(topology.capacity_bps[link])
    return [
        TrafficDemand(
            source=topology.node_names[int(topology.link_source[link])],
            target=topology.node_names[int(topology.link_target[link])],
            traffic_class=entry.name,
            dscp=entry.dscp[0] if entry.dscp else 0,
            steps=(
                RateStep(0.0, FIRST_FRAMES_PER_S * FRAME_BITS),
                RateStep(WARM_UP_S / 2, BELOW * capacity_bps),
                RateStep(beyond_s, BEYOND * capacity_bps),
            ),
            packet_bits_mean=FRAME_BITS,
            packet_size=PacketSize("constant"),
        )
        for entry in CLASSES
    ]


def _set_weights(live: LiveNetwork, weights: tuple[float, ...], name: str) -> TransactionReport:
    """Give all nodes these weights."""
    state = live.control.state()
    present = state.scenario.topology
    changed = tuple(
        NodeScheduler(node, replace(scheduler, weights=weights))
        for node, scheduler in zip(present.node_names, present.schedulers, strict=True)
    )
    report = live.control.put_plan(RoutingPlan(name, state.topology_version, (), changed))
    if not report.ok:
        raise UnavailableError(f"{name} failed: {report.error}")
    time.sleep(PAUSE_S)
    return report


def _kill(live: LiveNetwork) -> dict[str, Any]:
    """kill -9 of the controller; what the next one sends once it knows everything again, and what weights it shows."""
    weights = _weights(live)
    live.control.kill("controller")
    time.sleep(0.5)
    live.control.start_controller(live.configuration)
    wait_until(live.is_complete, 20, "the network is not discovered again", 0.1)
    wait_until(lambda: live.control.statistics()["settled"], 20, "the network does not settle", 0.1)
    time.sleep(2.0)
    sent = live.control.statistics()
    kept = _weights(live) == weights
    sent = {name: int(sent[name]) for name in ("flow_mods", "group_mods", "queue_changes")}
    return {"weights_kept": kept, **sent, "ok": kept and not any(sent.values())}


def _weights(live: LiveNetwork) -> list[tuple[float, ...]]:
    return [scheduler.weights for scheduler in live.control.state().scenario.topology.schedulers]


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    return {name: int(after[name] - before[name]) for name in ("flow_mods", "queue_changes")}


def _overload(
    live: LiveNetwork,
    traffic: TrafficProcesses,
    demands: Sequence[TrafficDemand],
    beyond_s: float,
    progress: Progress,
) -> list[tuple[tuple[float, ...], tuple[int, int], list[float]]]:
    """Either weights, when they were measured, and what the controller's probes made of the delay of each class."""
    spans = []
    time.sleep(max(0.0, beyond_s - traffic.elapsed_s))
    for weights in (FIRST, SECOND):
        _set_weights(live, weights, f"overload-{weights[0]:g}")
        progress.note(f"weights {weights}")
        time.sleep(SETTLE_S)
        start_ns = time.time_ns()
        time.sleep(MEASURED_S)
        end_ns = time.time_ns()
        state = live.control.state()
        delay_s = dict(
            zip(
                demand_keys(state.scenario.topology, state.scenario.traffic),
                state.demands.delay_s.tolist(),
                strict=True,
            )
        )
        spans.append((weights, (start_ns, end_ns), [delay_s.get(demand.key, math.nan) for demand in demands]))
    return spans


def _parts(part: PacketTable, weights: Sequence[float], capacity_bps: float) -> dict[str, Any]:
    """What receivers got of each class, in parts of the link's rate, beside what its weight promises it."""
    seconds = (int(part.sent_ns.max()) - int(part.sent_ns.min())) / 1e9
    received = np.bincount(part.demand[part.copies > 0], part.frame_bits[part.copies > 0], len(weights))
    return {
        "weights": list(weights),
        "classes": [
            {
                "class": name,
                "wanted": min(weight / sum(weights), BEYOND),
                "part": float(bits / seconds / capacity_bps),
            }
            for name, weight, bits in zip(NAMES, weights, received, strict=True)
        ],
    }


def _delays(part: PacketTable, probed_s: Sequence[float]) -> dict[str, Any]:
    """Mean delay of each class as receivers saw it, and as the controller's probes did, over much the same time."""
    received = part.copies > 0
    return {
        "delays": [
            {
                "class": name,
                "received_s": float(part.delay_s[received & (part.demand == index)].mean()),
                "probed_s": None if math.isnan(probed_s[index]) else probed_s[index],
            }
            for index, name in enumerate(NAMES)
        ]
    }
