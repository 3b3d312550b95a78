"""Transactions on simulated switches: whatever fails, and whenever the process dies, the network ends consistent."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ryu.lib import hub

from controller.channel import BatchOutcome
from controller.compiler import compile_rules
from controller.intent import NetworkIntent
from controller.journal import Journal
from controller.labels import LabelTable
from controller.metrics import Metrics
from controller.rules import RuleSet
from controller.store import Store, StoredIntent
from controller.transactions import Transactions
from controller.update_steps import Message
from tests.controller import random_networks as nets
from topology_sync.errors import PlanError, UnavailableError
from topology_sync.plan import TransactionReport


class Fate:
    """How many more things happen before the process is dead; a dead process changes nothing any more."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps

    def alive(self) -> bool:
        """Take one step."""
        if self.steps is None:
            return True
        self.steps -= 1
        return self.steps >= 0


class SimulatedSwitches:
    """Stands where ``controller.switches.Switches`` stands, on the simulated OpenFlow pipeline."""

    def __init__(self, network: nets.SimulatedNetwork, fate: Fate | None = None) -> None:
        self.network = network
        self.fate = fate or Fate()
        self.rules: dict[int, RuleSet] = dict(network.installed)
        self.refusing: set[int] = set()
        self.watcher: nets.Watcher | None = None
        self.seen: list[tuple[nets.Visit, nets.Endings]] = []

    @property
    def answering(self) -> frozenset[int]:
        return frozenset(self.network.switches)

    @property
    def connected(self) -> tuple[int, ...]:
        return tuple(self.rules)

    def apply(self, dpid: int, messages: tuple[Message, ...], timeout_s: float, then: Any = None) -> BatchOutcome:
        """Carry out one message after the other, others in between."""
        if dpid not in self.rules:
            return BatchOutcome(False, ("the switch is not connected",))
        for place, message in enumerate(messages):
            if not self.fate.alive():
                return BatchOutcome(False, ("dead",))
            if dpid in self.refusing and place == len(messages) - 1:
                self.rules[dpid] = self.network.installed[dpid]
                return BatchOutcome(True, ("OFPET_FLOW_MOD_FAILED OFPFMFC_TABLE_FULL",))
            if self.watcher is not None:
                self.seen += self.watcher.apply(dpid, message)
            else:
                self.network.apply(dpid, message)
            hub.sleep(0)
        self.rules[dpid] = self.network.installed[dpid]
        return BatchOutcome(True)


class MortalStore(Store):
    """The real store of a process that may be dead."""

    def __init__(self, directory: Path, fate: Fate) -> None:
        super().__init__(directory)
        self.fate = fate

    def write(self, stored: StoredIntent) -> None:
        if self.fate.alive():
            super().write(stored)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def transactions(directory: Path, switches: Any, fate: Fate | None = None) -> Transactions:
    """A controller's transactions as they start from what is stored."""
    store = MortalStore(directory, fate or Fate())
    return Transactions(store.read(), store, switches, dict, lambda: 1, 1.0, Metrics(), Journal())


def desired(intent: NetworkIntent) -> dict[int, RuleSet]:
    """The rules of an intent where every switch answers ARP."""
    return compile_rules(intent, frozenset(intent.switches))


def started(directory: Path, sample: nets.Sample) -> tuple[nets.SimulatedNetwork, Transactions, SimulatedSwitches]:
    """A network that has the sample's rules."""
    network = sample.network()
    switches = SimulatedSwitches(network)
    running = transactions(directory, switches)
    report = running.run_own(lambda intent, labels: (sample.intent, sample.labels))
    assert report is not None
    assert report.ok, report
    assert network.installed == desired(sample.intent)
    return network, running, switches


def keep(intent: NetworkIntent, labels: LabelTable) -> tuple[NetworkIntent, LabelTable]:
    """Change nothing: only what is missing is sent."""
    return intent, labels


def upkept(running: Transactions) -> list[TransactionReport]:
    """Run upkeep until there is nothing left to do."""
    reports: list[TransactionReport] = []
    for _ in range(20):
        drained_s = running.next_drained_s()
        if drained_s is not None:
            hub.sleep(max(0.0, drained_s - time.monotonic()) + 0.001)
        report = running.run_own(keep)
        if report is None and running.next_drained_s() is None:
            return reports
        if report is not None:
            reports.append(report)
    raise AssertionError(f"upkeep never ends: {reports[-1]}")


def test_plan_goes_through_all_stages_and_gives_labels_back(directory: Path) -> None:
    chance = random.Random(3)
    sample = fixed_sample(chance)
    _, running, switches = started(directory, sample)
    after = next_different(sample, chance)
    report = running.run_plan("plan-1", lambda intent, labels: (after.intent, after.labels))
    assert report.ok, report
    assert report.plan_id == "plan-1"
    assert report.stage_s["drain"] >= 0.25
    assert list(report.stage_s) == ["compile", "prepare", "flip", "drain", "clean"]
    assert report.started_s <= report.flipped_s <= report.finished_s
    assert report.routing_version == 2
    assert switches.network.installed == desired(after.intent)
    assert running.labels == after.intent.labels()
    assert running.reports[0] == report
    assert upkept(running) == []


def test_refusal_in_prepare_is_undone(directory: Path) -> None:
    chance = random.Random(5)
    sample = fixed_sample(chance)
    network, running, switches = started(directory, sample)
    before = dict(network.installed)
    after = next_different(sample, chance)
    switches.refusing = set(switches.rules)
    report = running.run_plan("bad", lambda intent, labels: (after.intent, after.labels))
    assert not report.ok
    assert report.error is not None
    assert "TABLE_FULL" in report.error
    switches.refusing = set()
    upkept(running)
    assert network.installed == before
    assert running.intent == sample.intent
    assert running.labels == sample.intent.labels()
    assert Store(directory).read().intent == sample.intent


def test_change_that_raises_leaves_everything(directory: Path) -> None:
    sample = fixed_sample(random.Random(7))
    network, running, _ = started(directory, sample)
    before = dict(network.installed)

    def refuse(intent: NetworkIntent, labels: LabelTable) -> tuple[NetworkIntent, LabelTable]:
        raise PlanError("routes[0]", "is impossible")

    with pytest.raises(PlanError):
        running.run_plan("impossible", refuse)
    assert network.installed == before
    assert upkept(running) == []


def test_rules_of_an_unreachable_ingress_are_kept_for_its_packets(directory: Path) -> None:
    """A switch that cannot be asked now still sends with its old labels: their rules stay until it is back."""
    chance = random.Random(11)
    sample = fixed_sample(chance)
    network, running, switches = started(directory, sample)
    gone = next(demand.source_dpid for demand in sample.intent.demands if demand.routes)
    lost = switches.rules.pop(gone)
    after = next_different(sample, chance)
    running.run_own(lambda intent, labels: (after.intent, after.labels))
    upkept(running)
    watched = [visit for visit in nets.visits(sample.intent) if visit[0] == gone]
    for visit in watched:
        assert nets.endings(nets.trace(network, gone, 99, visit[1])) == nets.promised(sample.intent, visit)
    switches.rules[gone] = lost
    upkept(running)
    assert network.installed == desired(after.intent)
    assert running.labels == after.intent.labels()


def test_too_many_waiting_plans_are_refused(directory: Path) -> None:
    sample = fixed_sample(random.Random(13))
    _, running, _ = started(directory, sample)

    def slow(intent: NetworkIntent, labels: LabelTable) -> tuple[NetworkIntent, LabelTable]:
        hub.sleep(0.2)
        return intent, labels

    waiting = [hub.spawn(running.run_plan, f"plan-{number}", slow) for number in range(4)]
    hub.sleep(0.01)
    with pytest.raises(UnavailableError):
        running.run_plan("one-too-many", slow)
    assert all(greenlet.wait().ok for greenlet in waiting)


@given(nets.samples(), st.integers(0, 120))
@nets.searched(8)
def test_death_at_any_moment_converges_without_mixing_paths(drawn: Any, steps: int) -> None:
    """kill -9 after any number of messages and file writes: packets met the old or the new paths all the time, and the
    next process brings the switches to exactly one of the two intents."""
    sample, chance = drawn
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        network, _, _ = started(directory, sample)
        after = nets.next_plan(sample, chance)
        fate = Fate(steps)
        switches = SimulatedSwitches(network, fate)
        switches.watcher = nets.Watcher(network, nets.visits(sample.intent, after.intent))
        dying = transactions(directory, switches, fate)
        dying.run_own(lambda intent, labels: (after.intent, after.labels))
        fate.steps = 0
        assert_old_or_new(switches, sample.intent, after.intent)

        reborn = SimulatedSwitches(network)
        reborn.watcher = nets.Watcher(network, nets.visits(sample.intent, after.intent))
        running = transactions(directory, reborn)
        assert running.intent in (sample.intent, after.intent)
        upkept(running)
        assert_old_or_new(reborn, sample.intent, after.intent)
        assert network.installed == desired(running.intent)
        assert running.labels == running.intent.labels()


def assert_old_or_new(switches: SimulatedSwitches, before: NetworkIntent, after: NetworkIntent) -> None:
    """Every packet at every moment."""
    for visit, ending in switches.seen:
        assert ending in (nets.promised(before, visit), nets.promised(after, visit)), visit


def fixed_sample(chance: random.Random) -> nets.Sample:
    """A ring of five switches with a chord, hosts everywhere and all demands routed at random."""
    from controller.intent import IntentHost, IntentLink, with_plan
    from controller.protection import with_protection

    pairs = [(1, 2), (2, 3), (3, 4), (4, 5), (5, 1), (1, 3)]
    links = []
    next_port = dict.fromkeys(range(1, 6), 1)
    for first, second in pairs:
        ports = next_port[first], next_port[second]
        next_port[first] += 1
        next_port[second] += 1
        links += [IntentLink(first, ports[0], second, ports[1]), IntentLink(second, ports[1], first, ports[0])]
    hosts = tuple(IntentHost(f"10.0.0.{dpid}/32", "02:00:00:00:00:01", dpid, 100) for dpid in range(1, 6))
    ordered = tuple(sorted(links, key=lambda link: link.hop))
    intent, labels = with_protection(NetworkIntent((1, 2, 3, 4, 5), ordered, hosts, nets.CLASSES), LabelTable())
    intent, labels = with_plan(intent, labels, nets.random_routes(chance, intent, nets.all_keys(intent), 1.0))
    return nets.Sample(intent, labels)


def next_different(sample: nets.Sample, chance: random.Random) -> nets.Sample:
    """The same network with other paths for many demands."""
    from controller.intent import with_plan

    routes = nets.random_routes(chance, sample.intent, nets.all_keys(sample.intent), 0.6)
    return nets.Sample(*with_plan(sample.intent, sample.labels, routes))
