"""One run of the testbed from nothing to the report, and nothing again."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.testbed.control_processes import ControlProcesses
from deploy.testbed.emulated_network import EmulatedNetwork
from deploy.testbed.kernels import compile_kernels
from deploy.testbed.link_shaping import queue_drops
from deploy.testbed.live_network import LiveNetwork, live_network
from deploy.testbed.loop_watch import MEASURE_S, SETTLE_S, LoopWatch
from deploy.testbed.outage import outage
from deploy.testbed.progress import Progress
from deploy.testbed.report import SECOND_NS, Decision, Extras, Timeline, build_report
from deploy.testbed.routing_check import demands_over, routed_as_planned
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import PRIMING_S, RAMP_S, Kind, TestbedScenario, make_scenario
from deploy.testbed.statistics import PacketTable, packet_table
from deploy.testbed.traffic import TrafficProcesses
from deploy.testbed.traffic_plan import make_schedule
from topology_sync.errors import UnavailableError
from topology_sync.network_state import NetworkState
from topology_sync.node_json import node_to_json
from topology_sync.scenario import Scenario

ADDRESSES_PER_HOST = 1  # more are needed only where demands are split
OPTIMIZER_START_S = PRIMING_S + 7.0  # it then sees a network that has been carrying traffic, not one being born
CALM_BEFORE_EVENT_S = 5.0
CALM_TIMEOUT_S = 45.0
CHANGE_TIMEOUT_S = 60.0  # from the event to a change of the routing
FILL_S = 1.0  # a queue needs this long to fill once the hotspot has grown
STEADY_S = 40.0
MOST_TRAFFIC_S = 150.0
SURGE_SEED = 1_000_003


@dataclass(frozen=True)
class RunOptions:
    """What to run.  ``duration_s`` None: as short as the scenario allows.  ``keep`` gets a copy of all files.

    ``predictor`` is the kind that the optimizer embeds.
    """

    topology_name: str
    kind: Kind = "hotspot"
    seed: int = 1
    duration_s: float | None = None
    keep: Path | None = None
    predictor: str = "gnn"


def run_testbed(options: RunOptions, source: Scenario, progress: Progress) -> dict[str, Any]:
    """Build the network, let the loop act on real traffic, measure, take everything away; returns the report.

    Call from the main thread of a process of its own: it leaves this process in another network namespace.  Raises
    UnavailableError when the machine cannot carry the testbed or a process fails.
    """
    scenario = make_scenario(options.kind, options.topology_name, source, options.seed)
    with RunDirectory() as directory:
        try:
            return _Run(scenario, options, directory, progress).report()
        finally:
            if options.keep is not None:
                _copy(directory.path, options.keep)


class _Run:
    def __init__(
        self, scenario: TestbedScenario, options: RunOptions, directory: RunDirectory, progress: Progress
    ) -> None:
        self._scenario = scenario
        self._options = options
        self._directory = directory
        self._progress = progress
        self._traffic_s = options.duration_s or (STEADY_S if options.kind == "steady" else MOST_TRAFFIC_S)
        self._as_planned = False
        self._affected: list[int] = []
        self._queues: dict[str, list[dict[str, Any]]] | None = None

    def report(self) -> dict[str, Any]:
        """Everything, in order; on the way out everything is stopped in the opposite order."""
        scenario = self._scenario
        compile_kernels(self._progress, self._options.predictor)
        with ExitStack() as stack:
            live = stack.enter_context(
                live_network(
                    scenario,
                    self._progress,
                    self._directory,
                    {"predictor": {"kind": self._options.predictor}},
                    ADDRESSES_PER_HOST,
                )
            )
            traffic = live.traffic(scenario.calm_demands, self._traffic_s, scenario.seed)
            stack.callback(traffic.stop, 0.0)
            watch = LoopWatch(scenario, live.control, traffic, self._progress)
            traffic.start()
            with self._progress.step(
                f"traffic: {len(scenario.demands)} demands, {scenario.base.traffic.packets_per_s.sum():,.0f} packets/s"
            ):
                watch.wait_until(OPTIMIZER_START_S)
                live.openvswitch.enlarge_send_buffer()
            with self._progress.step("optimizer: connects"):
                live.control.start_optimizer(live.configuration)
            if scenario.kind == "steady":
                applied, timeline = self._measure_steady(live.control, watch, traffic)
            else:
                applied, timeline = self._measure_event(live, watch, traffic)
            if self._queues is not None:
                self._queues["after"] = _node_rows(live.control.state())
            traffic.stop()
            drops = queue_drops(link.sending for link in live.network.link_interfaces)
        table = packet_table(traffic.schedule, traffic.sent_ns(), traffic.received())
        return build_report(
            scenario,
            table,
            timeline,
            applied,
            Extras(
                discover_s=live.discover_s,
                emulator_load_ratio=scenario.emulator_load_ratio,
                routing_as_planned=self._as_planned,
                sender={**traffic.summaries.get("sender", {}), **_lateness(traffic)},
                receiver=traffic.summaries.get("receiver", {}),
                queue_drops=drops,
                outage=self._outage(table, timeline),
                queues=self._queues,
            ),
        )

    def _measure_event(
        self, live: LiveNetwork, watch: LoopWatch, traffic: TrafficProcesses
    ) -> tuple[list[Decision], Timeline]:
        with self._progress.step("calm before the event"):
            watch.wait_until(max(self._scenario.event_s, traffic.elapsed_s + CALM_BEFORE_EVENT_S))
            if not watch.wait_for_calm(CALM_TIMEOUT_S):
                self._progress.say("the loop does not come to rest; going on all the same")
        state = live.control.state()
        self._as_planned = routed_as_planned(self._scenario, state)
        if self._scenario.queues is not None:
            self._queues = {"before": _node_rows(state)}
        if self._scenario.failed_link is not None:
            self._affected = demands_over(self._scenario, state, self._scenario.failed_link)
        event_ns, before_ns = self._let_it_happen(live.network, traffic)
        with self._progress.step("the loop sees it, decides and installs"):
            changed = watch.wait_for_change(event_ns, 0, min(CHANGE_TIMEOUT_S, self._left_s(traffic)))
        if not changed:
            self._progress.say("the routing was not changed")
            end_ns = time.time_ns()
            middle_ns = max(before_ns, end_ns - round(MEASURE_S * SECOND_NS))
            return [], Timeline(event_ns, (before_ns, middle_ns), (middle_ns, end_ns))
        whole = self._options.duration_s is not None
        with self._progress.step("receivers measure the new routing"):
            after = watch.measure(event_ns, self._traffic_s, whole)
        while not watch.all_met(*after) and self._left_s(traffic) > 0:
            known = len(watch.changes(event_ns))
            with self._progress.step("goals are still missed; the loop may act once more"):
                if not watch.wait_for_change(event_ns, known, min(CHANGE_TIMEOUT_S, self._left_s(traffic))):
                    break
            with self._progress.step("receivers measure once more"):
                after = watch.measure(event_ns, self._traffic_s, whole)
        applied = watch.applied(event_ns)
        first_ns = round(applied[0]["transaction"]["started_s"] * SECOND_NS) if applied else after[0]
        return applied, Timeline(event_ns, (min(before_ns, first_ns), first_ns), after)

    def _let_it_happen(self, network: EmulatedNetwork, traffic: TrafficProcesses) -> tuple[int, int]:
        """The event; returns when it began and from when on it had its full effect, in ns."""
        scenario = self._scenario
        if scenario.failed_link is not None:
            event_ns = time.time_ns()
            network.set_link(scenario.failed_link, up=False)
            self._progress.say(f"event: {scenario.base.topology.link_name(scenario.failed_link)} goes down")
            return event_ns, event_ns
        names = ", ".join("{}->{} ({})".format(*scenario.demands[demand].key) for demand in scenario.hot)
        until = "the shortest path is overloaded" if scenario.queues is None else "all ways out of their node are busy"
        self._progress.say(f"event: {names} grow until {until}")
        at_s = traffic.elapsed_s + 1.0
        surge = make_schedule(
            scenario.surge_demands, self._traffic_s - at_s, ADDRESSES_PER_HOST**2, scenario.seed + SURGE_SEED
        )
        traffic.add(surge, at_s)
        event_ns = traffic.start_ns + round(at_s * SECOND_NS)
        return event_ns, event_ns + round((RAMP_S + FILL_S) * SECOND_NS)

    def _measure_steady(
        self, control: ControlProcesses, watch: LoopWatch, traffic: TrafficProcesses
    ) -> tuple[list[Decision], Timeline]:
        self._as_planned = routed_as_planned(self._scenario, control.state())
        with self._progress.step("receivers measure"):
            watch.wait_until(self._traffic_s)
        start_ns = traffic.start_ns + round((PRIMING_S + 2.0) * SECOND_NS)
        end_ns = traffic.start_ns + round(self._traffic_s * SECOND_NS)
        middle_ns = (start_ns + end_ns) // 2
        return watch.applied(start_ns), Timeline(start_ns, (start_ns, middle_ns), (middle_ns, end_ns))

    def _left_s(self, traffic: TrafficProcesses) -> float:
        """Time left for another change, so that it can still be measured."""
        return self._traffic_s - traffic.elapsed_s - SETTLE_S - MEASURE_S

    def _outage(self, table: PacketTable, timeline: Timeline) -> dict[str, Any] | None:
        if self._scenario.failed_link is None:
            return None
        name = self._scenario.base.topology.link_name(self._scenario.failed_link)
        return outage(table, timeline.event_ns, self._affected, name)


def _node_rows(state: NetworkState) -> list[dict[str, Any]]:
    topology = state.scenario.topology
    return [node_to_json(*node) for node in zip(topology.node_names, topology.schedulers, strict=True)]


def _lateness(traffic: TrafficProcesses) -> dict[str, float]:
    """How late the sender was against its schedule: this, not the network, would be seen as burstiness."""
    sent = traffic.sent_ns()
    was_sent = sent > 0
    if not was_sent.any():
        return {}
    late = (sent[was_sent] - traffic.start_ns) * 1e-9 - traffic.schedule.time_s[: len(sent)][was_sent]
    return {"lateness_p99_s": float(np.percentile(late, 99)), "lateness_max_s": float(late.max())}


def _copy(directory: Path, target: Path) -> None:
    """Keep what a person may want to look at: configuration, logs, history, packet logs."""

    def boring(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "lock" or (Path(folder) / name).is_socket()}

    try:
        shutil.copytree(directory, target, ignore=boring, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise UnavailableError(f"{target}: cannot keep the files of the run ({error})") from error
