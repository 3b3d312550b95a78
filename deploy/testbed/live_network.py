"""An emulated network with the real controller on it, ready for traffic: what every run and measurement starts from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.process_control import wait_until
from deploy.testbed.base_traffic import CLASSES
from deploy.testbed.control_processes import ControlProcesses
from deploy.testbed.emulated_network import EmulatedNetwork
from deploy.testbed.network_namespace import unshare_network
from deploy.testbed.operator_files import write_operator_files
from deploy.testbed.preconditions import check_machine
from deploy.testbed.private_openvswitch import PrivateOpenvSwitch
from deploy.testbed.progress import Progress
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import TestbedScenario
from deploy.testbed.traffic import TrafficProcesses
from deploy.testbed.traffic_plan import HostEntry, TrafficDemand, TrafficJob, make_schedule
from topology_sync.class_queues import ClassQueues

OPENFLOW_PORT = 6653  # in a namespace of our own, so it is always free
ADDRESSES_PER_HOST = 4
"""Open vSwitch spreads UDP over the paths of a split demand by addresses only, so measurements give hosts several."""
DISCOVERY_TIMEOUT_S = 20.0
HOSTS_TIMEOUT_S = 20.0
QUEUES_TIMEOUT_S = 20.0


@dataclass
class LiveNetwork:
    """What a run works with.  ``discover_s``: from the controller being up to all links being known."""

    directory: Path
    openvswitch: PrivateOpenvSwitch
    network: EmulatedNetwork
    control: ControlProcesses
    configuration: Path
    addresses_per_host: int
    discover_s: float = 0.0

    def traffic(self, demands: Sequence[TrafficDemand], end_s: float, seed: int) -> TrafficProcesses:
        """Sender and receiver for these demands, not started yet.  One set per network."""
        directory = self.directory / "traffic"
        directory.mkdir()
        schedule = make_schedule(demands, end_s, self.addresses_per_host**2, seed)
        hosts = [HostEntry(host.node, host.process_id, host.addresses) for host in self.network.hosts]
        return TrafficProcesses(TrafficJob.for_demands(hosts, demands, directory), schedule, directory)

    def is_complete(self, progress: Progress | None = None) -> bool:
        """Whether the controller knows every switch and has every link up; ``progress`` is told how many."""
        state = self.control.state()
        topology = self.network.topology
        switches, links = state.scenario.topology.node_count, int(state.links.up.sum())
        if progress is not None:
            progress.note(f"{switches} switches, {links} links")
        return (switches, links) == (topology.node_count, topology.link_count)

    def has_queues(self) -> bool:
        """Whether the controller has set up queues at every port of a link."""
        schedulers = self.control.state().scenario.topology.schedulers
        known = all(scheduler.discipline != "fifo" for scheduler in schedulers)
        return known and self.openvswitch.ports_with_queues() == self.network.topology.link_count


@contextmanager
def live_network(
    scenario: TestbedScenario,
    progress: Progress,
    keep_in: RunDirectory,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    addresses_per_host: int = ADDRESSES_PER_HOST,
) -> Iterator[LiveNetwork]:
    """Build the network of ``scenario``, start its controller, wait until links and hosts are known.

    On the way out everything is stopped in the opposite order.  ``settings`` are sections of the operator's
    configuration that differ from the testbed's own.  Call from the main thread of a process of its own: it leaves this
    process in another network namespace.
    """
    check_machine()
    topology = scenario.base.topology
    directory = keep_in.path
    original = unshare_network()
    with ExitStack() as stack:
        stack.callback(original.close)
        with progress.step(f"network: {topology.node_count} switches, {topology.link_count} directed links"):
            openvswitch = PrivateOpenvSwitch(directory / "ovs")
            stack.callback(openvswitch.stop)
            openvswitch.start()
            queued = scenario.queues is not None
            network = EmulatedNetwork(topology, openvswitch, OPENFLOW_PORT, addresses_per_host, queued)
            stack.callback(network.stop)
            network.start()
        control = ControlProcesses(directory, original)
        stack.callback(control.stop)
        configuration = write_operator_files(
            directory, scenario, OPENFLOW_PORT, control.api_port, ovsdb=openvswitch.ovsdb
        )
        _change_configuration(configuration, settings or {})
        live = LiveNetwork(directory, openvswitch, network, control, configuration, addresses_per_host)
        with progress.step("controller: discovers the network"):
            control.start_controller(configuration)
            began = time.monotonic()
            wait_until(lambda: live.is_complete(progress), DISCOVERY_TIMEOUT_S, "the network is not discovered", 0.05)
            live.discover_s = time.monotonic() - began
        if scenario.queues is not None:
            with progress.step("controller: sets up queues"):
                wait_until(live.has_queues, QUEUES_TIMEOUT_S, "the queues are not set up", 0.1)
                openvswitch.await_daemon()
                network.tell_apart(_dscp_of_queue(scenario.queues))
        with progress.step("hosts announce themselves"):
            _introduce_hosts(live)
        yield live


def _dscp_of_queue(queues: ClassQueues) -> list[tuple[int, ...]]:
    dscp = {entry.name: entry.dscp for entry in CLASSES}
    return [dscp[name] for name in queues.order]


def _change_configuration(file: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
    data = yaml.safe_load(file.read_text())
    for section, values in settings.items():
        data[section] = {**data.get(section, {}), **values}
    file.write_text(yaml.safe_dump(data, sort_keys=False, default_flow_style=None))


def _introduce_hosts(live: LiveNetwork) -> None:
    wanted = sum(len(host.addresses) for host in live.network.hosts)
    announced = 0.0

    def known() -> bool:
        nonlocal announced
        if time.monotonic() - announced > 2.0:
            live.network.announce_hosts()
            announced = time.monotonic()
        return len(live.control.state().hosts) >= wanted

    wait_until(known, HOSTS_TIMEOUT_S, f"not all of {wanted} host addresses are known", 0.2)
