"""How many packets the emulated switches can carry before they themselves, not the links' queues, delay and lose."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from deploy.testbed.live_network import live_network
from deploy.testbed.progress import Progress
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import make_scenario
from deploy.testbed.statistics import packet_table, window
from deploy.testbed.traffic_plan import RateStep, TrafficDemand
from topology_sync.scenario import Scenario
from topology_sync.topology import Topology
from topology_sync.traffic import PacketSize

FRAME_BITS = 100 * 8.0
LINE_RATE_BPS = 1e9  # no queue in the way
PAIRS = 60
FIRST_PACKETS_S = 5.0
FIRST_PACKETS_PER_S = 300.0
STEP_S = 4.0
STEPS_PACKETS_PER_S = (1000, 2000, 4000, 8000, 12000, 16000, 20000, 24000)
GOOD_P99_S = 0.002
NANOSECONDS = 1_000_000_000


def measure_emulator_capacity(source: Scenario, topology_name: str, seed: int, progress: Progress) -> dict[str, Any]:
    """Raise the load step by step on links that are no limit; capacity is the highest step that loses nothing.

    ``punctual_hops_per_s`` is the highest step that also keeps 99 % of the packets within 2 ms.
    """
    scenario = make_scenario("steady", topology_name, source, seed)
    topology = scenario.base.topology
    fast = Topology.from_links(
        topology.node_names,
        [replace(link, capacity_bps=LINE_RATE_BPS, queue_packets=1000) for link in topology.links_of()],
    )
    scenario = replace(scenario, base=replace(scenario.base, topology=fast))
    chosen = np.random.default_rng(seed).choice(len(scenario.demands), PAIRS, replace=False)
    rates = (FIRST_PACKETS_PER_S, *STEPS_PACKETS_PER_S)
    starts = (0.0, *(FIRST_PACKETS_S + STEP_S * step for step in range(len(STEPS_PACKETS_PER_S))))
    steps = tuple(RateStep(start, rate * FRAME_BITS / PAIRS) for start, rate in zip(starts, rates, strict=True))
    demands = [
        TrafficDemand(
            scenario.demands[index].source,
            scenario.demands[index].target,
            scenario.demands[index].traffic_class,
            scenario.demands[index].dscp,
            steps,
            FRAME_BITS,
            PacketSize("constant"),
        )
        for index in chosen.tolist()
    ]
    switches = np.array([len(scenario.base.routing.paths[index][0].links) + 1 for index in chosen.tolist()])
    end_s = FIRST_PACKETS_S + STEP_S * len(STEPS_PACKETS_PER_S)
    with RunDirectory() as directory, live_network(scenario, progress, directory) as live:
        traffic = live.traffic(demands, end_s, seed)
        traffic.start()
        try:
            time.sleep(FIRST_PACKETS_S - 1.0)
            live.openvswitch.enlarge_send_buffer()
            with progress.step(f"{len(STEPS_PACKETS_PER_S)} steps up to {STEPS_PACKETS_PER_S[-1]:,} packets/s"):
                traffic.wait_sent(3 * end_s)
        finally:
            traffic.stop(drain_s=2.0)
        table = packet_table(traffic.schedule, traffic.sent_ns(), traffic.received())
    rows = []
    for step, rate in enumerate(STEPS_PACKETS_PER_S):
        begin = traffic.start_ns + round((FIRST_PACKETS_S + STEP_S * step + 0.5) * NANOSECONDS)
        part = window(table, begin, begin + round((STEP_S - 0.5) * NANOSECONDS))
        delays = part.delay_s[np.isfinite(part.delay_s)]
        hops = float(switches[part.demand].sum()) / (STEP_S - 0.5)
        rows.append(
            {
                "packets_per_s": rate,
                "switch_hops_per_s": hops,
                "lost": int((part.copies == 0).sum()),
                "delay_p50_s": float(np.median(delays)),
                "delay_p99_s": float(np.percentile(delays, 99)),
            }
        )
    whole = [row["switch_hops_per_s"] for row in rows if row["lost"] == 0]
    punctual = [row["switch_hops_per_s"] for row in rows if row["lost"] == 0 and row["delay_p99_s"] < GOOD_P99_S]
    return {
        "topology": topology_name,
        "seed": seed,
        "lossless_hops_per_s": max(whole, default=0.0),
        "punctual_hops_per_s": max(punctual, default=0.0),
        "rows": rows,
        "ok": bool(punctual),
    }
