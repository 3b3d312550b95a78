"""The controller's own measurements beside the truth of senders and receivers, window by window."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.testbed.live_network import LiveNetwork, live_network
from deploy.testbed.measurement.telemetry_comparison import LOSS_GOAL, RATE_GOAL, compare, figures
from deploy.testbed.progress import Progress
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import PRIMING_S, TestbedScenario, make_scenario
from deploy.testbed.statistics import packet_table
from deploy.testbed.traffic_plan import RateStep
from topology_sync.network_state import NetworkState
from topology_sync.scenario import Scenario

PROBES_PER_S = 600.0
POLL_S = 0.25
SETTLE_S = 3.0
NANOSECONDS = 1_000_000_000


def measure_telemetry(
    source: Scenario,
    topology_name: str,
    seed: int,
    seconds: int,
    window_s: float,
    progress: Progress,
    probes_per_s: float = PROBES_PER_S,
    poll_s: float = POLL_S,
) -> dict[str, Any]:
    """Compare ``seconds`` snapshots, one a second, under a hotspot that nobody repairs, so that queues lose.

    Also tells which part of a processor the controller took for it.
    """
    scenario = _from_the_start(make_scenario("hotspot", topology_name, source, seed))
    settings = {"telemetry": {"window_s": window_s, "probes_per_s": probes_per_s, "poll_s": poll_s}}
    first_s = PRIMING_S + SETTLE_S + window_s
    with RunDirectory() as directory, live_network(scenario, progress, directory, settings) as live:
        traffic = live.traffic(scenario.demands, first_s + seconds + 5.0, seed)
        traffic.start()
        try:
            _wait(live, traffic.start_ns, PRIMING_S)
            live.openvswitch.enlarge_send_buffer()
            with progress.step(f"{seconds} snapshots beside {len(scenario.demands)} demands"):
                _wait(live, traffic.start_ns, first_s)
                began_s, before_s = time.monotonic(), _processor_s(live.control.process_ids["controller"])
                states = [_state(live, traffic.start_ns, first_s + second) for second in range(seconds)]
                used_s = _processor_s(live.control.process_ids["controller"]) - before_s
                controller_ratio = used_s / (time.monotonic() - began_s)
        finally:
            traffic.stop(drain_s=1.0)
        table = packet_table(traffic.schedule, traffic.sent_ns(), traffic.received())
    result: dict[str, Any] = {
        "topology": topology_name,
        "seed": seed,
        "demands": len(scenario.demands),
        "snapshots": seconds,
        "window_s": window_s,
        "probes_per_s": probes_per_s,
        "poll_s": poll_s,
        "controller_processor_ratio": controller_ratio,
        **figures([compare(state, table, [demand.key for demand in scenario.demands]) for state in states]),
    }
    result["ok"] = bool(
        result["rate_median_per_demand"]["max"] <= RATE_GOAL
        and result["loss_median_per_demand_points"]["max"] <= 100 * LOSS_GOAL
        and result["delay_p99_within_20_percent_or_2_ms_ratio"] >= 0.9
    )
    return result


def _from_the_start(scenario: TestbedScenario) -> TestbedScenario:
    """The same hotspot, grown as soon as all demands have begun."""
    demands = tuple(
        replace(
            demand,
            steps=(demand.steps[0], RateStep(PRIMING_S, demand.steps[-1].rate_bps))
            if len(demand.steps) > 1
            else demand.steps,
        )
        for demand in scenario.demands
    )
    return replace(scenario, demands=demands)


def _state(live: LiveNetwork, start_ns: int, at_s: float) -> NetworkState:
    _wait(live, start_ns, at_s)
    return live.control.state()


def _wait(live: LiveNetwork, start_ns: int, at_s: float) -> None:
    live.control.check()
    time.sleep(max(0.0, start_ns / NANOSECONDS + at_s - time.time()))


def _processor_s(process_id: int) -> float:
    """Processor time that a process has used, all its threads (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
