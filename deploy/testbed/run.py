"""One run of the testbed from nothing to the report, and nothing again."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.process_control import wait_until
from deploy.testbed.control_processes import ControlProcesses
from deploy.testbed.emulated_network import EmulatedNetwork
from deploy.testbed.link_shaping import queue_drops
from deploy.testbed.network_namespace import unshare_network
from deploy.testbed.operator_files import write_operator_files
from deploy.testbed.outage import outage
from deploy.testbed.preconditions import check_machine
from deploy.testbed.private_openvswitch import PrivateOpenvSwitch
from deploy.testbed.progress import Progress
from deploy.testbed.report import Decision, Extras, Timeline, build_report
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import PRIMING_S, RAMP_S, Kind, TestbedScenario, make_scenario
from deploy.testbed.statistics import packet_table
from deploy.testbed.traffic import TrafficProcesses
from deploy.testbed.traffic_plan import HostEntry, TrafficJob, make_schedule
from topology_sync.errors import UnavailableError
from topology_sync.network_state import NetworkState
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys

OPENFLOW_PORT = 6653  # in a namespace of our own, so it is always free
ADDRESSES_PER_HOST = 1  # more are needed only where demands are split, see EmulatedNetwork
DISCOVERY_TIMEOUT_S = 20.0
HOSTS_TIMEOUT_S = 20.0
CHANGE_TIMEOUT_S = 60.0  # from the event to a change of the routing
FILL_S = 1.0  # a queue needs this long to fill once the hotspot has grown
SETTLE_S = 3.0  # from the end of a change until queues have calmed down
MEASURE_S = 15.0
STEADY_S = 40.0
MOST_TRAFFIC_S = 110.0
OPTIMIZER_START_S = PRIMING_S + 7.0  # it then sees a network that has been carrying traffic, not one being born
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class RunOptions:
    """What to run.  ``duration_s`` None: as short as the scenario allows.  ``keep`` gets a copy of all files."""

    topology_name: str
    kind: Kind = "hotspot"
    seed: int = 1
    duration_s: float | None = None
    keep: Path | None = None


def run_testbed(options: RunOptions, source: Scenario, progress: Progress) -> dict[str, Any]:
    """Build the network, let the loop act on real traffic, measure, take everything away; returns the report.

    Call from the main thread of a process of its own: it leaves this process in another network namespace.  Raises
    UnavailableError when the machine cannot carry the testbed or a process fails.
    """
    check_machine()
    scenario = make_scenario(options.kind, options.topology_name, source, options.seed)
    with RunDirectory() as directory:
        try:
            return _Run(scenario, options, directory.path, progress).report()
        finally:
            if options.keep is not None:
                _copy(directory.path, options.keep)


class _Run:
    def __init__(self, scenario: TestbedScenario, options: RunOptions, directory: Path, progress: Progress) -> None:
        self._scenario = scenario
        self._options = options
        self._directory = directory
        self._progress = progress
        self._traffic_s = options.duration_s or (STEADY_S if options.kind == "steady" else MOST_TRAFFIC_S)
        self._discover_s = 0.0
        self._broken_ns: int | None = None
        self._affected: list[int] = []

    def report(self) -> dict[str, Any]:
        """Everything, in order; on the way out everything is stopped in the opposite order."""
        topology = self._scenario.base.topology
        original = unshare_network()
        with ExitStack() as stack:
            stack.callback(original.close)
            with self._progress.step(f"network: {topology.node_count} switches, {topology.link_count} directed links"):
                openvswitch = PrivateOpenvSwitch(self._directory / "ovs")
                stack.callback(openvswitch.stop)
                openvswitch.start()
                network = EmulatedNetwork(topology, openvswitch, OPENFLOW_PORT, ADDRESSES_PER_HOST)
                stack.callback(network.stop)
                network.start()
            control = ControlProcesses(self._directory, original)
            stack.callback(control.stop)
            configuration = self._start_controller(control, network)
            traffic = self._prepare_traffic(network)
            stack.callback(traffic.stop, 0.0)
            traffic.start()
            with self._progress.step("first packets of all demands, base traffic; optimizer connects"):
                self._wait_until(OPTIMIZER_START_S, control, traffic)
                openvswitch.enlarge_send_buffer()
                control.start_optimizer(configuration)
            applied, timeline = self._measure(control, network, traffic)
            traffic.stop()
            drops = queue_drops(link.sending for link in network.link_interfaces)
        schedule = traffic.schedule
        table = packet_table(schedule, traffic.sent_ns(), traffic.received())
        return build_report(
            self._scenario,
            table,
            timeline,
            applied,
            Extras(
                discover_s=self._discover_s,
                emulator_load_ratio=self._scenario.emulator_load_ratio,
                routing_as_planned=self._as_planned,
                sender={**traffic.summaries.get("sender", {}), **_lateness(traffic)},
                receiver=traffic.summaries.get("receiver", {}),
                queue_drops=drops,
                outage=self._outage(table),
            ),
        )

    def _start_controller(self, control: ControlProcesses, network: EmulatedNetwork) -> Path:
        topology = self._scenario.base.topology
        configuration = write_operator_files(self._directory, self._scenario, OPENFLOW_PORT, control.api_port)
        with self._progress.step("controller: discovers the network"):
            control.start_controller(configuration)
            began = time.monotonic()

            def complete() -> bool:
                state = control.state()
                found = state.scenario.topology
                up = int(state.links.up.sum())
                self._progress.note(f"{found.node_count} switches, {up} links")
                return found.node_count == topology.node_count and up == topology.link_count

            wait_until(complete, DISCOVERY_TIMEOUT_S, "the network is not discovered", 0.1)
            self._discover_s = time.monotonic() - began
        with self._progress.step("hosts announce themselves"):
            wanted = sum(len(host.addresses) for host in network.hosts)
            announced = 0.0

            def known() -> bool:
                nonlocal announced
                if time.monotonic() - announced > 2.0:
                    network.announce_hosts()
                    announced = time.monotonic()
                return len(control.state().hosts) >= wanted

            wait_until(known, HOSTS_TIMEOUT_S, f"not all of {wanted} host addresses are known", 0.2)
        return configuration

    def _prepare_traffic(self, network: EmulatedNetwork) -> TrafficProcesses:
        directory = self._directory / "traffic"
        directory.mkdir()
        demands = self._scenario.demands
        schedule = make_schedule(demands, self._traffic_s, ADDRESSES_PER_HOST**2, self._scenario.seed)
        hosts = [HostEntry(host.node, host.process_id, host.addresses) for host in network.hosts]
        return TrafficProcesses(TrafficJob.for_demands(hosts, demands, directory), schedule, directory)

    def _measure(
        self, control: ControlProcesses, network: EmulatedNetwork, traffic: TrafficProcesses
    ) -> tuple[list[Decision], Timeline]:
        scenario = self._scenario
        rate = scenario.base.traffic.packets_per_s.sum()
        with self._progress.step(
            f"traffic: {len(scenario.demands)} demands, {rate:,.0f} packets/s, "
            f"{scenario.emulator_load_ratio:.0%} of what the emulator can carry"
        ):
            if scenario.kind == "steady":
                return self._measure_steady(control, traffic)
            self._wait_until(scenario.event_s, control, traffic)
            state = control.state()
            self._as_planned = self._compare_routing(state)
        event_ns = traffic.start_ns + round(scenario.event_s * NANOSECONDS)
        if scenario.failed_link is not None:
            self._affected = self._demands_over(state, scenario.failed_link)
            self._broken_ns = event_ns = time.time_ns()
            network.set_link(scenario.failed_link, up=False)
            self._progress.say(f"event: {scenario.base.topology.link_name(scenario.failed_link)} goes down")
        else:
            names = ", ".join("{}->{} ({})".format(*scenario.demands[demand].key) for demand in scenario.hot)
            self._progress.say(f"event: {names} grow until the shortest path is overloaded")
        applied = self._wait_for_change(control, traffic, event_ns)
        grown_s = 0.0 if scenario.failed_link is not None else RAMP_S + FILL_S
        before_ns = event_ns + round(grown_s * NANOSECONDS)
        if not applied:
            self._progress.say("the routing was not changed")
            end_ns = time.time_ns()
            middle_ns = max(before_ns, end_ns - round(MEASURE_S * NANOSECONDS))
            return [], Timeline(event_ns, (before_ns, middle_ns), (middle_ns, end_ns))
        flipped_ns = round(applied[0]["transaction"]["started_s"] * NANOSECONDS)
        applied, after_ns, end_ns = self._measure_after(control, traffic, event_ns, applied)
        return applied, Timeline(event_ns, (min(before_ns, flipped_ns), flipped_ns), (after_ns, end_ns))

    def _measure_steady(self, control: ControlProcesses, traffic: TrafficProcesses) -> tuple[list[Decision], Timeline]:
        calm_s = PRIMING_S + 2.0
        self._wait_until(self._traffic_s, control, traffic)
        self._as_planned = self._compare_routing(control.state())
        start_ns = traffic.start_ns + round(calm_s * NANOSECONDS)
        end_ns = traffic.start_ns + round(self._traffic_s * NANOSECONDS)
        middle_ns = (start_ns + end_ns) // 2
        applied = self._applied(control, start_ns)
        return applied, Timeline(start_ns, (start_ns, middle_ns), (middle_ns, end_ns))

    def _wait_for_change(self, control: ControlProcesses, traffic: TrafficProcesses, event_ns: int) -> list[Decision]:
        """Until the loop has changed the routing; an empty list when it does not in time."""
        deadline = time.monotonic() + min(CHANGE_TIMEOUT_S, self._traffic_s - traffic.elapsed_s - SETTLE_S - 1.0)
        with self._progress.step("the loop sees it, decides and installs"):
            while time.monotonic() < deadline:
                applied = self._applied(control, event_ns)
                if applied:
                    return applied
                status = control.status()
                missed = [row["class"] for row in status["sla"]["classes"] if not row["met"]]
                self._progress.note(f"{status['state']}; goals missed: {', '.join(missed) or 'none'}")
                traffic.check()
                time.sleep(0.25)
        return []

    def _measure_after(
        self, control: ControlProcesses, traffic: TrafficProcesses, event_ns: int, applied: list[Decision]
    ) -> tuple[list[Decision], int, int]:
        """Measure for MEASURE_S, or to the end of a stated duration; begin again when the routing changes again."""
        with self._progress.step("receivers measure the new routing"):
            while True:
                after_ns = round((applied[-1]["transaction"]["finished_s"] + SETTLE_S) * NANOSECONDS)
                wanted_s = (after_ns - traffic.start_ns) / NANOSECONDS + MEASURE_S
                end_s = self._traffic_s if self._options.duration_s is not None else min(wanted_s, self._traffic_s)
                while traffic.elapsed_s < end_s:
                    traffic.check()
                    time.sleep(0.25)
                    now = self._applied(control, event_ns)
                    if len(now) > len(applied):
                        applied = now
                        break
                else:
                    end_ns = traffic.start_ns + round(end_s * NANOSECONDS)
                    return self._applied(control, event_ns), after_ns, end_ns

    def _applied(self, control: ControlProcesses, since_ns: int) -> list[Decision]:
        """Decisions whose transaction was committed since then, oldest first, in full."""
        found = []
        for entry in control.decisions():
            times = entry.get("times_s", {})
            if times.get("transaction_finished", 0.0) * NANOSECONDS > since_ns:
                full = control.decision(entry["id"])
                if full.get("transaction", {}).get("ok"):
                    found.append(full)
        return found

    def _wait_until(self, end_s: float, control: ControlProcesses, traffic: TrafficProcesses) -> None:
        while (left := end_s - traffic.elapsed_s) > 0:
            self._progress.note(f"{left:.0f} s left")
            control.check()
            traffic.check()
            time.sleep(min(0.25, left))

    def _compare_routing(self, state: NetworkState) -> bool:
        """Whether the network's own routing is the fewest-hops routing that the scenario was drawn for."""
        planned = {
            demand.key: self._scenario.base.routing.paths[index][0].nodes(self._scenario.base.topology)
            for index, demand in enumerate(self._scenario.demands)
        }
        found = state.scenario
        names = self._scenario.base.topology.node_names
        for index, key in enumerate(demand_keys(found.topology, found.traffic)):
            if key in planned:
                paths = found.routing.paths[index]
                actual = [
                    tuple(found.topology.node_names[node] for node in path.nodes(found.topology)) for path in paths
                ]
                if actual != [tuple(names[node] for node in planned[key])]:
                    return False
        return True

    def _demands_over(self, state: NetworkState, link: int) -> list[int]:
        """Our demands whose path crosses the cable of ``link`` now."""
        topology = self._scenario.base.topology
        ends = {
            topology.node_names[int(topology.link_source[link])],
            topology.node_names[int(topology.link_target[link])],
        }
        index = {demand.key: position for position, demand in enumerate(self._scenario.demands)}
        found = state.scenario
        over = []
        for position, key in enumerate(demand_keys(found.topology, found.traffic)):
            links = np.array([link for path in found.routing.paths[position] for link in path.links], dtype=int)
            names = found.topology.node_names
            cables = [
                {names[int(found.topology.link_source[one])], names[int(found.topology.link_target[one])]}
                for one in links
            ]
            if key in index and ends in cables:
                over.append(index[key])
        return over

    def _outage(self, table: Any) -> dict[str, Any] | None:
        if self._broken_ns is None or self._scenario.failed_link is None:
            return None
        name = self._scenario.base.topology.link_name(self._scenario.failed_link)
        return outage(table, self._broken_ns, self._affected, name)


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
