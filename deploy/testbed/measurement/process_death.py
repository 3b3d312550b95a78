"""Controller and optimizer killed under load: the network must not notice, and nothing be sent to it afterwards."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from deploy.process_control import wait_until
from deploy.testbed.measurement.live_network import LiveNetwork, live_network
from deploy.testbed.progress import Progress
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import PRIMING_S, make_scenario
from deploy.testbed.statistics import packet_table, window
from topology_sync.scenario import Scenario

VICTIMS: dict[str, tuple[str, ...]] = {
    "controller": ("controller",),
    "optimizer": ("optimizer",),
    "both": ("controller", "optimizer"),
}
REST_S = 12.0
"""Nothing was changed for so long, though the loop was free to: then nothing is left to be changed."""
REST_TIMEOUT_S = 90.0
DEAD_S = 1.0
ALIVE_S = 2.5
RECOVERY_TIMEOUT_S = 30.0
LONGEST_CYCLE_S = 20.0
IDLE_TIMEOUT_S = 60.0
NANOSECONDS = 1_000_000_000


def measure_process_death(
    source: Scenario, topology_name: str, seed: int, times: int, progress: Progress
) -> dict[str, Any]:
    """Kill each of controller, optimizer and both ``times`` times while all demands send."""
    scenario = make_scenario("steady", topology_name, source, seed)
    with RunDirectory() as directory, live_network(scenario, progress, directory) as live:
        traffic = live.traffic(scenario.demands, REST_TIMEOUT_S + 3 * times * LONGEST_CYCLE_S, seed)
        traffic.start()
        rows = []
        try:
            time.sleep(PRIMING_S)
            live.openvswitch.enlarge_send_buffer()
            live.control.start_optimizer(live.configuration)
            with progress.step("every demand gets its rules, the loop comes to rest"):
                _wait_for_rest(live, len(scenario.demands))
            counted_ns = time.time_ns()
            for victim, names in VICTIMS.items():
                with progress.step(f"kill -9 of {victim}, {times} times"):
                    for number in range(times):
                        progress.note(f"{number + 1} of {times}")
                        rows.append({"victim": victim, **_kill_once(live, names)})
                        traffic.check()
            end_ns = time.time_ns()
        finally:
            traffic.stop(drain_s=1.0)
        table = window(packet_table(traffic.schedule, traffic.sent_ns(), traffic.received()), counted_ns, end_ns)
    for row in rows:
        row["packets_lost"] = int((window(table, row.pop("began_ns"), row.pop("ended_ns")).copies == 0).sum())
    lost = int((table.copies == 0).sum())
    duplicated = int(np.maximum(table.copies - 1, 0).sum())
    flow_mods = {victim: sum(row["flow_mods"] for row in rows if row["victim"] == victim) for victim in VICTIMS}
    recovery = [row["recovery_s"] for row in rows]
    return {
        "topology": topology_name,
        "seed": seed,
        "kills_of_each": times,
        "packets_sent": len(table.sent_ns),
        "packets_lost": lost,
        "packets_duplicated": duplicated,
        "flow_mods_after_restart": flow_mods,
        "flow_mods_of_new_decisions": sum(row["flow_mods_of_new_decisions"] for row in rows),
        "recovery_median_s": float(np.median(recovery)),
        "recovery_max_s": float(np.max(recovery)),
        "rows": rows,
        "ok": lost == 0 and not any(flow_mods.values()),
    }


def _wait_for_rest(live: LiveNetwork, demands: int) -> None:
    """Until all demands are routed, and neither switches were sent anything nor the loop was busy for REST_S."""
    sent, since = -1, time.monotonic()

    def at_rest() -> bool:
        nonlocal sent, since
        statistics = live.control.statistics()
        now_sent = int(statistics["flow_mods"] + statistics["group_mods"])
        routed = live.control.state().scenario.traffic.demand_count
        if now_sent != sent or routed < demands or live.control.status()["state"] != "observing":
            sent, since = now_sent, time.monotonic()
        return time.monotonic() - since > REST_S

    wait_until(at_rest, REST_TIMEOUT_S, "the network did not come to rest", 0.5)


def _kill_once(live: LiveNetwork, names: tuple[str, ...]) -> dict[str, Any]:
    """Kill, wait, start again, wait for recovery; returns the flow and group changes that the switches were sent.

    A decision that is being carried out is waited for: what it has not sent yet would be sent after the restart.
    """
    wait_until(lambda: live.control.status()["state"] == "observing", IDLE_TIMEOUT_S, "the loop does not come to rest")
    before = live.control.statistics()
    began_ns = time.time_ns()
    for name in names:
        live.control.kill(name)
    time.sleep(DEAD_S)
    began = time.monotonic()
    if "controller" in names:
        live.control.start_controller(live.configuration)
        wait_until(
            lambda: live.is_complete() and bool(live.control.statistics()["settled"]),
            RECOVERY_TIMEOUT_S,
            "the restarted controller does not know the network",
        )
    if "optimizer" in names:
        live.control.start_optimizer(live.configuration)
    recovery_s = time.monotonic() - began
    time.sleep(ALIVE_S)
    after = live.control.statistics()
    # A restarted controller counts from 0; one that lived on goes on counting.
    earlier = {"flow_mods": 0, "group_mods": 0} if "controller" in names else before
    changes = sum(int(after[kind] - earlier[kind]) for kind in ("flow_mods", "group_mods"))
    # What the loop decided anew in these seconds is its own doing, not the restart's.
    decided = [report for report in live.control.transactions() if report.started_s > began_ns / NANOSECONDS]
    decided = [report for report in decided if report.plan_id.startswith("decision-")]
    by_decisions = sum(report.flow_mods + report.group_mods for report in decided)
    return {
        "flow_mods": changes - by_decisions,
        "flow_mods_of_new_decisions": by_decisions,
        "recovery_s": recovery_s,
        "began_ns": began_ns,
        "ended_ns": time.time_ns(),
    }
