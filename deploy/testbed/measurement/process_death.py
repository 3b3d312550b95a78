"""Controller and optimizer killed under load: the network must not notice, and nothing be sent to it afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy.process_control import wait_until
from deploy.testbed.kernels import compile_kernels
from deploy.testbed.live_network import LiveNetwork, live_network
from deploy.testbed.measurement.arp_watch import ArpLog, ArpWatch, Asking
from deploy.testbed.progress import Progress
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import PRIMING_S, make_scenario
from deploy.testbed.statistics import PacketTable, packet_table, window
from deploy.testbed.traffic_plan import Schedule, TrafficJob
from topology_sync.scenario import Scenario
from topology_sync.values import IntArray

VICTIMS: dict[str, tuple[str, ...]] = {
    "controller": ("controller",),
    "optimizer": ("optimizer",),
    "both": ("controller", "optimizer"),
}
REST_S = 12.0
"""Nothing was changed for so long, though the loop was free to: then nothing is left to be changed."""
REST_TIMEOUT_S = 90.0
AWAY_S = 1.0
ALIVE_S = 2.5
RECOVERY_TIMEOUT_S = 30.0
LONGEST_CYCLE_S = 20.0
IDLE_TIMEOUT_S = 60.0
NANOSECONDS = 1_000_000_000


def measure_process_death(
    source: Scenario,
    topology_name: str,
    seed: int,
    times: int,
    progress: Progress,
    away_s: float = AWAY_S,
    victims: Sequence[str] = tuple(VICTIMS),
) -> dict[str, Any]:
    """Kill each of ``victims`` ``times`` times while all demands send, and start it again ``away_s`` later."""
    scenario = make_scenario("steady", topology_name, source, seed)
    compile_kernels(progress)
    with (
        RunDirectory() as directory,
        live_network(scenario, progress, directory) as live,
        ArpWatch(live.network.hosts) as arp,
    ):
        cycle_s = LONGEST_CYCLE_S + away_s
        traffic = live.traffic(scenario.demands, REST_TIMEOUT_S + len(victims) * times * cycle_s, seed)
        traffic.start()
        rows: list[dict[str, Any]] = []
        try:
            time.sleep(PRIMING_S)
            live.openvswitch.enlarge_send_buffer()
            live.control.start_optimizer(live.configuration)
            with progress.step("every demand gets its rules, the loop comes to rest"):
                _wait_for_rest(live, len(scenario.demands))
            counted_ns = time.time_ns()
            for victim in victims:
                with progress.step(f"kill -9 of {victim}, {times} times"):
                    for number in range(times):
                        progress.note(f"{number + 1} of {times}")
                        rows.append({"victim": victim, **_kill_once(live, VICTIMS[victim], away_s)})
                        traffic.check()
            end_ns = time.time_ns()
        finally:
            traffic.stop(drain_s=1.0)
        sent_ns = traffic.sent_ns()
        table = window(packet_table(traffic.schedule, sent_ns, traffic.received()), counted_ns, end_ns)
        lost = table.copies == 0
        askings = askings_of(traffic.job, traffic.schedule, table.demand[lost], table.sequence[lost])
        waiting = arp.log().waiting(askings, table.sent_ns[lost])
        return {
            "topology": topology_name,
            "seed": seed,
            "kills_of_each": times,
            "away_s": away_s,
            **figures(rows, table, arp.log()),
            "packets_refused_by_the_sending_host": int((sent_ns < 0).sum()),
            "packets_lost_for_want_of_an_arp_answer": int(waiting.sum()),
        }


def askings_of(job: TrafficJob, schedule: Schedule, demand: IntArray, sequence: IntArray) -> list[Asking]:
    """For these packets, [packets] each: the node that sent it, and the address that its host had to ask for.

    Which addresses a flow uses: ``traffic_sender.open_sockets``.
    """
    counts = np.bincount(schedule.demand)
    first = np.concatenate([[0], np.cumsum(counts)])
    by_packet = np.argsort(schedule.demand, kind="stable")  # sequence numbers count from 0 in order of time
    askings = []
    for number, flow in zip(demand, schedule.flow[by_packet[first[demand] + sequence]], strict=True):
        source, target = job.hosts[job.source[number]], job.hosts[job.target[number]]
        askings.append((source.node, target.addresses[int(flow) // len(source.addresses)]))
    return askings


def figures(rows: list[dict[str, Any]], table: PacketTable, arp: ArpLog) -> dict[str, Any]:
    """What all kills together show.  ``table``: all packets sent while they went on; ``arp``: all that hosts asked.

    A row is what ``_kill_once`` tells, and who was killed.  ``flow_mods_after_restart`` must be 0; what the loop
    decided anew in these seconds is counted apart.
    """
    shown = []
    for row in rows:
        part = window(table, row["began_ns"], row["ended_ns"])
        kept = {name: value for name, value in row.items() if name not in ("began_ns", "ended_ns")}
        asked, unanswered = arp.unanswered(row["began_ns"], row["ended_ns"])
        shown.append(
            {
                **kept,
                "packets_lost": int((part.copies == 0).sum()),
                "arp_requests": asked,
                "arp_unanswered": unanswered,
            }
        )
    lost = int((table.copies == 0).sum())
    flow_mods = {victim: sum(row["flow_mods"] for row in rows if row["victim"] == victim) for victim in VICTIMS}
    recovery = [row["recovery_s"] for row in rows]
    return {
        "packets_sent": len(table.sent_ns),
        "packets_lost": lost,
        "packets_duplicated": int(np.maximum(table.copies - 1, 0).sum()),
        "flow_mods_after_restart": flow_mods,
        "flow_mods_of_new_decisions": sum(row["flow_mods_of_new_decisions"] for row in rows),
        "recovery_median_s": float(np.median(recovery)),
        "recovery_max_s": float(np.max(recovery)),
        "arp_requests": sum(row["arp_requests"] for row in shown),
        "arp_unanswered": sum(row["arp_unanswered"] for row in shown),
        "rows": shown,
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


def _kill_once(live: LiveNetwork, names: tuple[str, ...], away_s: float) -> dict[str, Any]:
    """Kill, wait, start again, wait for recovery; returns the flow and group changes that the switches were sent.

    A decision that is being carried out is waited for: what it has not sent yet would be sent after the restart.
    """
    wait_until(lambda: live.control.status()["state"] == "observing", IDLE_TIMEOUT_S, "the loop does not come to rest")
    before = live.control.statistics()
    began_ns = time.time_ns()
    for name in names:
        live.control.kill(name)
    time.sleep(away_s)
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
