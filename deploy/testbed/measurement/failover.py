"""Cables that break under fast flows: how long each flow is interrupted, and whether the routing follows."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np

from deploy.testbed.emulated_network import paired_links
from deploy.testbed.kernels import compile_kernels
from deploy.testbed.live_network import LiveNetwork, live_network
from deploy.testbed.progress import Progress
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import make_scenario
from deploy.testbed.statistics import PacketTable, packet_table, window
from deploy.testbed.traffic_plan import RateStep, TrafficDemand
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys
from topology_sync.topology import Topology
from topology_sync.traffic import PacketSize

PACKETS_PER_S = 1000.0
FIRST_PACKETS_PER_S = 20.0
FRAME_BITS = 100 * 8.0
TRIAL_S = 12.0
FIRST_PACKETS_S, FAST_S, BREAK_S, LOOK_S, REPAIR_S = 0.0, 1.5, 3.0, 8.0, 8.5
START_S = 2.0
MEDIAN_GOAL_S, LONGEST_GOAL_S = 0.020, 0.050
NANOSECONDS = 1_000_000_000


def measure_failover(
    source: Scenario, topology_name: str, seed: int, trials: int, progress: Progress
) -> dict[str, Any]:
    """Break one cable after the other; its two flows, one each way, tell how long nothing came through."""
    scenario = make_scenario("steady", topology_name, source, seed)
    topology = scenario.base.topology
    cables = _cables(topology, seed, trials)
    demands = [demand for trial, cable in enumerate(cables) for demand in _flows(topology, cable, trial)]
    rows: list[dict[str, Any]] = []
    compile_kernels(progress)
    with RunDirectory() as directory, live_network(scenario, progress, directory) as live:
        live.control.start_optimizer(live.configuration)
        traffic = live.traffic(demands, START_S + TRIAL_S * trials, seed)
        traffic.start()
        try:
            with progress.step(f"{trials} cables break, one after the other"):
                for trial, cable in enumerate(cables):
                    progress.note(f"{trial + 1} of {trials}: {topology.link_name(cable)}")
                    rows.append(_break_once(live, traffic.start_ns, trial, cable, demands))
                    traffic.check()
        finally:
            traffic.stop(drain_s=1.0)
        table = packet_table(traffic.schedule, traffic.sent_ns(), traffic.received())
    for trial, row in enumerate(rows):
        outages = [_outage_s(table, 2 * trial + way, row["broken_ns"]) for way in range(2)]
        row.update(outage_s=max(outages), outages_s=outages)
        del row["broken_ns"]
    outage_s = np.array([row["outage_s"] for row in rows])
    rerouted = sum(row["rerouted"] for row in rows)
    return {
        "topology": topology_name,
        "seed": seed,
        "trials": trials,
        "outage_median_s": float(np.median(outage_s)),
        "outage_p95_s": float(np.percentile(outage_s, 95)),
        "outage_max_s": float(outage_s.max()),
        "rerouted": rerouted,
        "rerouted_after_median_s": float(np.median([row["rerouted_s"] for row in rows if row["rerouted"]] or [0.0])),
        "rows": rows,
        "ok": bool(np.median(outage_s) < MEDIAN_GOAL_S and outage_s.max() < LONGEST_GOAL_S and rerouted == trials),
    }


def _cables(topology: Topology, seed: int, trials: int) -> list[int]:
    """Cables whose loss leaves the network connected, in random order, again from the start when there are too few."""
    pairs = paired_links(topology)
    graph = nx.MultiGraph()
    for forward, _ in pairs:
        graph.add_edge(int(topology.link_source[forward]), int(topology.link_target[forward]))
    bridges = set(nx.bridges(nx.Graph(graph)))
    fit = [
        forward
        for forward, _ in pairs
        if not {
            (int(topology.link_source[forward]), int(topology.link_target[forward])),
            (int(topology.link_target[forward]), int(topology.link_source[forward])),
        }
        & bridges
    ]
    order = np.random.default_rng(seed).permutation(len(fit))
    return [fit[int(order[trial % len(fit)])] for trial in range(trials)]


def _flows(topology: Topology, cable: int, trial: int) -> list[TrafficDemand]:
    """A flow each way between the ends of the cable, slow at first so that it has its rules when it grows fast."""
    one = topology.node_names[int(topology.link_source[cable])]
    two = topology.node_names[int(topology.link_target[cable])]
    begin = START_S + trial * TRIAL_S
    steps = (
        RateStep(begin + FIRST_PACKETS_S, FIRST_PACKETS_PER_S * FRAME_BITS),
        RateStep(begin + FAST_S, PACKETS_PER_S * FRAME_BITS),
        RateStep(begin + LOOK_S, 0.0),
    )
    return [
        TrafficDemand(source, target, "default", 0, steps, FRAME_BITS, PacketSize("constant"), "cbr")
        for source, target in ((one, two), (two, one))
    ]


def _break_once(
    live: LiveNetwork, start_ns: int, trial: int, cable: int, demands: list[TrafficDemand]
) -> dict[str, Any]:
    def wait(at_s: float) -> None:
        time.sleep(max(0.0, start_ns / NANOSECONDS + START_S + trial * TRIAL_S + at_s - time.time()))

    wait(BREAK_S)
    broken_ns = time.time_ns()
    live.network.set_link(cable, up=False)
    mine = {demand.key for demand in demands[2 * trial : 2 * trial + 2]}
    topology = live.network.topology
    ends = {
        topology.node_names[int(topology.link_source[cable])],
        topology.node_names[int(topology.link_target[cable])],
    }
    rerouted_s = None
    while rerouted_s is None and time.time() < start_ns / NANOSECONDS + START_S + trial * TRIAL_S + LOOK_S:
        if not _uses(live, mine, ends):
            rerouted_s = (time.time_ns() - broken_ns) / NANOSECONDS
        else:
            time.sleep(0.05)
    wait(REPAIR_S)
    live.network.set_link(cable, up=True)
    return {
        "link": topology.link_name(cable),
        "broken_ns": broken_ns,
        "rerouted": rerouted_s is not None,
        "rerouted_s": rerouted_s or 0.0,
    }


def _uses(live: LiveNetwork, keys: set[tuple[str, str, str]], ends: set[str]) -> bool:
    """Whether the installed routing of one of these demands still crosses the cable."""
    scenario = live.control.state().scenario
    names = scenario.topology.node_names
    for row, key in enumerate(demand_keys(scenario.topology, scenario.traffic)):
        if key not in keys:
            continue
        for path in scenario.routing.paths[row]:
            nodes = [names[node] for node in path.nodes(scenario.topology)]
            if any({one, two} == ends for one, two in pairwise(nodes)):
                return True
    return False


def _outage_s(table: PacketTable, demand: int, broken_ns: int) -> float:
    """Longest time between packets sent after the break that arrived, less the spacing of the flow.

    A flow that lost nothing had no outage.
    """
    part = window(table, broken_ns - NANOSECONDS // 2, broken_ns + 3 * NANOSECONDS)
    mine = part.demand == demand
    arrived = part.sent_ns[mine & (part.copies > 0)]
    if not (part.copies[mine] == 0).any():
        return 0.0
    if len(arrived) < 2:
        return 3.0
    return max(0.0, float(np.diff(arrived).max()) * 1e-9 - 1.0 / PACKETS_PER_S)
