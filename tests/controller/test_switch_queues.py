"""Queues are set up and changed in place, all or none, and nothing is sent where nothing differs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.intent import NetworkIntent, with_queue_weights
from controller.journal import Journal
from controller.labels import Hop
from controller.link_facts import Names, link_facts
from controller.metrics import Metrics
from controller.queue_rows import QueueRates, port_queues
from controller.settings import ControllerSettings, TrafficClass
from controller.store import Store
from controller.switch_queues import SwitchQueues
from controller.transactions import Transactions
from controller.upkeep import valid_weights
from tests.controller import random_networks as nets
from tests.controller.fake_ovsdb import FakeOvsdb
from tests.controller.test_compiler import triangle
from tests.controller.test_transactions import SimulatedSwitches
from topology_sync.class_queues import ClassQueues
from topology_sync.topology import Scheduler

WEIGHTED = ClassQueues("wfq", ("voice", "default"), (3.0, 1.0), True)
SETTINGS = ControllerSettings(
    "/nowhere",
    classes=(TrafficClass("voice", (46,)), TrafficClass("default")),
    default_capacity_bps=2e6,
    queues=WEIGHTED,
    ovsdb="unix:/fake",
)


class Bench:
    """A controller's parts around the triangle of ``test_compiler``, its switches in one fake OVSDB."""

    def __init__(self, directory: Path, settings: ControllerSettings = SETTINGS, database: Any = None) -> None:
        sample = triangle()
        self.sample = nets.Sample(
            replace(sample.intent, classes=tuple(replace(entry, queue=1) for entry in sample.intent.classes)),
            sample.labels,
        )
        self.links = [link.hop for link in sample.intent.links]
        self.database = FakeOvsdb([*self.links, Hop(1, 100)]) if database is None else database
        store = Store(directory)
        self.network = self.sample.network()
        self.switches = SimulatedSwitches(self.network)
        self.journal = Journal()
        metrics, names = Metrics(), Names(settings)
        self.transactions = Transactions(
            store.read(), store, self.switches, dict, lambda: 1, 1.0, metrics, self.journal
        )
        if not self.transactions.intent.switches:
            self.transactions.run_own(lambda intent, labels: (self.sample.intent, self.sample.labels))
        self.queues = SwitchQueues(
            settings,
            names,
            self.switches,
            self.transactions,
            lambda: link_facts(self.transactions.intent.links, names, settings),
            metrics,
            self.journal,
            self.database.open,
        )
        self.transactions.set_weights = self.queues.set_weights

    def plan(self, weights: dict[int, tuple[float, ...]], moved: bool = False) -> Any:
        """A plan that changes weights, and the path of the one demand too if asked."""

        def change(intent: NetworkIntent, labels: Any) -> Any:
            if moved:
                following = nets.with_plan(intent, labels, {intent.demands[0].key: [nets.ExplicitPath((Hop(1, 2),))]})
                intent, labels = following
            return with_queue_weights(intent, weights, WEIGHTED.weights), labels

        return self.transactions.run_plan("p", change)

    def problems(self) -> list[str]:
        return [entry.detail for entry in self.journal.after(0) if entry.kind == "error"]


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_weights_become_least_rates_and_strict_order_becomes_priority() -> None:
    weighted = port_queues(Scheduler("wfq", (6.0, 3.0, 1.0)), 2e6)
    assert weighted.queues == tuple(QueueRates(rate, 2_000_000) for rate in (1_200_000, 600_000, 200_000))
    strict = port_queues(Scheduler("strict", (), (("a", 0), ("b", 1))), 2e6)
    assert strict.queues == (QueueRates(12_000, 2_000_000), QueueRates(12_000, 2_000_000, 1))
    assert port_queues(Scheduler("wfq", (1000.0, 1.0)), 2e6).queues[1].min_bps == 12_000


def test_ports_of_links_get_their_queues_once(directory: Path) -> None:
    bench = Bench(directory)
    bench.queues.step()
    assert all(bench.database.rates(hop) == [(1_500_000, 0), (500_000, 0)] for hop in bench.links)
    assert bench.database.tables["Port"]["p1-100"]["qos"] == ["set", []]  # a host's port is none of our business
    assert bench.transactions.intent.weights_of == {1: (3.0, 1.0), 2: (3.0, 1.0), 3: (3.0, 1.0)}
    written = len(bench.database.written)
    bench.queues.step()
    assert len(bench.database.written) == written


def test_weights_change_in_place_and_only_where_asked(directory: Path) -> None:
    bench = Bench(directory)
    bench.queues.step()
    bench.database.written.clear()
    report = bench.plan({2: (1.0, 1.0)})
    assert (report.ok, report.queue_changes, report.changed_demands, report.routing_version) == (True, 4, 0, 2)
    assert bench.database.written == ["update Queue"] * 4
    assert bench.database.rates(Hop(2, 1)) == [(1_000_000, 0), (1_000_000, 0)]
    assert bench.database.rates(Hop(1, 1)) == [(1_500_000, 0), (500_000, 0)]


def test_after_a_restart_only_differences_are_sent(directory: Path) -> None:
    bench = Bench(directory)
    bench.queues.step()
    bench.plan({2: (1.0, 1.0)})
    bench.database.written.clear()
    again = Bench(directory, database=bench.database)
    again.queues.step()
    assert again.database.written == []
    assert again.transactions.intent.weights_of[2] == (1.0, 1.0)
    queue = next(iter(bench.database.tables["Queue"].values()))
    queue["other_config"] = ["map", [["min-rate", "1"]]]
    Bench(directory, database=bench.database).queues.step()
    assert bench.database.written == ["update Queue"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_database_that_fails_leaves_weights_and_routing_as_they_were(directory: Path, after: int) -> None:
    bench = Bench(directory)
    bench.queues.step()
    rules = bench.network.installed
    before = bench.transactions.intent
    bench.database.broken = after
    report = bench.plan({1: (1.0, 1.0), 2: (1.0, 1.0)}, moved=True)
    assert not report.ok
    assert report.error == "weights of queues were not changed: the OVSDB at fake did not answer within 5 s"
    assert (report.queue_changes, report.changed_demands) == (0, 0)
    assert bench.network.installed == rules
    assert bench.transactions.intent == before
    bench.database.broken = None
    bench.queues.step()
    assert all(bench.database.rates(hop) == [(1_500_000, 0), (500_000, 0)] for hop in bench.links)
    assert bench.plan({1: (1.0, 1.0)}, moved=True).queue_changes == 4


def test_weights_that_cannot_be_stored_are_put_back(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(directory)
    bench.queues.step()

    def full(self: Store, stored: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Store, "write", full)
    report = bench.plan({1: (1.0, 1.0)})
    assert report.error == "the store cannot be written (disk full)"
    assert report.queue_changes == 0
    assert bench.database.rates(Hop(1, 1)) == [(1_500_000, 0), (500_000, 0)]


def test_weights_that_can_neither_be_stored_nor_put_back_are_put_back_later(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(directory)
    bench.queues.step()

    def full(self: Store, stored: object) -> None:
        bench.database.broken = 0
        raise OSError("disk full")

    monkeypatch.setattr(Store, "write", full)
    assert not bench.plan({1: (1.0, 1.0)}).ok
    assert bench.database.rates(Hop(1, 1)) == [(1_000_000, 0), (1_000_000, 0)]
    bench.database.broken = None
    bench.queues.step()
    assert bench.database.rates(Hop(1, 1)) == [(1_500_000, 0), (500_000, 0)]


def test_a_switch_taken_over_by_somebody_after_a_plan_does_not_stop_the_others(directory: Path) -> None:
    bench = Bench(directory, replace(SETTINGS, audit_period_s=0.0))
    bench.queues.step()
    assert bench.plan({2: (1.0, 1.0)}).ok
    bench.database.put_foreign_qos("p2-1")
    next(iter(bench.database.tables["Queue"].values()))["other_config"] = ["map", [["min-rate", "1"]]]
    bench.queues.step()
    assert bench.database.rates(Hop(1, 1)) == [(1_500_000, 0), (500_000, 0)]
    assert bench.problems() == ["weights of s2 are not supported: port eth2-1 has a QoS row of somebody else"]


def test_weights_that_the_intent_lost_are_entered_again_at_once(directory: Path) -> None:
    bench = Bench(directory)
    bench.queues.step()
    bench.transactions.run_own(lambda intent, labels: (replace(intent, queue_weights=()), labels))
    bench.queues.step()
    assert bench.transactions.intent.weights_of == {1: (3.0, 1.0), 2: (3.0, 1.0), 3: (3.0, 1.0)}


def test_switches_without_a_database_are_told_of_in_one_line(directory: Path) -> None:
    none = Bench(directory, replace(SETTINGS, ovsdb=None))
    none.queues.step()
    none.queues.step()
    assert none.problems() == [
        "queues.ovsdb is not set: weights are not supported, switches serve queues as they are",
    ]
    assert none.transactions.intent.weights_of == {}


def test_what_is_not_ours_is_left_alone_and_said_once(directory: Path) -> None:
    bench = Bench(directory)
    bench.database.put_foreign_qos("p1-1")
    del bench.database.tables["Bridge"]["b3"]
    bench.queues.step()
    bench.queues.step()
    assert bench.database.tables["QoS"]["theirs"]["type"] == "linux-hfsc"
    assert bench.transactions.intent.weights_of == {2: (3.0, 1.0)}
    assert bench.problems() == [
        "weights of s1 are not supported: port eth1-1 has a QoS row of somebody else",
        "weights of s3 are not supported: its OVSDB has no port 1 of datapath id 0x3",
    ]


def test_other_queues_in_the_configuration_count_from_the_next_start_on(directory: Path) -> None:
    bench = Bench(directory)
    classes = tuple(
        nets.IntentClass(name, queue=queue, dscp=dscp)
        for name, queue, dscp in (("voice", 0, (46,)), ("default", 1, ()))
    )
    intent = with_queue_weights(replace(bench.transactions.intent, classes=classes), {1: (2.0, 5.0)}, (3.0, 1.0))
    assert valid_weights(intent, WEIGHTED) == intent.queue_weights
    assert valid_weights(intent, replace(WEIGHTED, weights=(4.0, 1.0))) == ()
    assert valid_weights(intent, replace(WEIGHTED, order=("default", "voice"))) == ()
    assert valid_weights(intent, None) == ()
    assert NetworkIntent.from_json(intent.to_json()) == intent
    old = intent.to_json()
    del old["queue_weights"]
    for entry in old["classes"]:
        del entry["queue"]
    assert NetworkIntent.from_json(old).queue_of == {}
