"""The report says what the receivers' packets say: before, after, plan, prediction, and what the update cost."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from deploy.testbed.report import Extras, Timeline, build_report
from deploy.testbed.scenarios import TestbedScenario, make_scenario
from deploy.testbed.statistics import PacketTable
from deploy.testbed.summary import print_summary
from topology_sync.sources import load_scenario
from topology_sync.values import bool_array, float_array, int_array

NSFNET = "topohub:sndlib/nobel-us"
SECOND = 1_000_000_000
START = 1_000 * SECOND
EVENT, FLIP, AFTER, END = START + 10 * SECOND, START + 20 * SECOND, START + 24 * SECOND, START + 34 * SECOND


@pytest.fixture(scope="module")
def scenario() -> TestbedScenario:
    return make_scenario("hotspot", NSFNET, load_scenario(NSFNET), 1)


def packets(scenario: TestbedScenario, lossy_until: dict[int, int], also_lost: tuple[tuple[int, int], ...] = ()) -> Any:
    """100 packets/s of every demand, 3 ms late, 150 ms late and every fourth lost while ``lossy`` until the given time.

    ``also_lost``: (demand, time) of single packets that are lost besides.
    """
    count = len(scenario.demands)
    times = START + np.arange(0, END - START, SECOND // 100)
    demand = np.tile(np.arange(count), len(times))
    sent_ns = np.repeat(times, count) + demand  # no two at the same time
    until = np.array([lossy_until.get(index, 0) for index in range(count)])[demand]
    hot = (sent_ns > EVENT) & (sent_ns < until)
    sequence = np.repeat(np.arange(len(times)), count)
    lost = hot & (sequence % 4 == 0)
    for index, when in also_lost:
        lost[np.nonzero((demand == index) & (sent_ns >= when))[0][0]] = True
    return PacketTable(
        demand=int_array(demand),
        sequence=int_array(sequence),
        sent_ns=int_array(sent_ns),
        frame_bits=int_array(np.full(len(demand), 4000)),
        delay_s=float_array(np.where(lost, np.nan, np.where(hot, 0.150, 0.003))),
        copies=int_array(np.where(lost, 0, 1)),
        arrival_rank=int_array(sequence),
        overtaken=bool_array(np.zeros(len(demand))),
    )


def decision(scenario: TestbedScenario, moved: tuple[int, ...], predicted_delay_s: float = 0.002) -> dict[str, Any]:
    """What the optimizer's history says of a plan that moved these demands."""

    def row(index: int) -> dict[str, str]:
        source, target, traffic_class = scenario.demands[index].key
        return {"source": source, "target": target, "class": traffic_class}

    def route(index: int, via: str) -> dict[str, Any]:
        return {**row(index), "paths": [{"nodes": [row(index)["source"], via, row(index)["target"]], "share": 1.0}]}

    predicted = {"delay_s": predicted_delay_s, "delay_p99_s": 0.005, "jitter_s": 0.001, "loss_ratio": 0.0}
    return {
        "id": 1,
        "trigger": "sla",
        "status": "kept",
        "reason": "every goal is met",
        "times_s": {
            "violation_first_measured": (EVENT + 2 * SECOND) / SECOND,
            "held": (FLIP - 2 * SECOND) / SECOND,
            "plan_found": (FLIP - SECOND) / SECOND,
            "transaction_sent": (FLIP - SECOND) / SECOND,
        },
        "transaction": {
            "ok": True,
            "flow_mods": 12,
            "group_mods": 0,
            "started_s": (FLIP - SECOND // 2) / SECOND,
            "flipped_s": FLIP / SECOND,
            "finished_s": (FLIP + SECOND) / SECOND,
        },
        "plan": {"routes": [route(index, "New") for index in moved]},
        "previous": {"routes": []},
        "state": {"scenario": {"routing": [route(index, "Old") for index in range(len(scenario.demands))]}},
        "demands": [{**row(index), "predicted_after": predicted} for index in range(len(scenario.demands))],
    }


TIMELINE = Timeline(EVENT, (EVENT + 3 * SECOND, FLIP - SECOND // 2), (AFTER, END))
EXTRAS = Extras(discover_s=2.0, emulator_load_ratio=0.05, routing_as_planned=True)


def build(scenario: TestbedScenario, table: PacketTable, applied: list[dict[str, Any]]) -> dict[str, Any]:
    return build_report(scenario, table, TIMELINE, applied, EXTRAS)


def test_a_repaired_hotspot_is_ok_and_everything_of_the_contract_is_there(scenario: TestbedScenario) -> None:
    hot = scenario.hot[0]
    report = build(scenario, packets(scenario, {hot: FLIP}), [decision(scenario, scenario.hot)])
    assert report["ok"]
    assert {"topology", "scenario", "seed", "classes", "demands", "predicted_vs_measured", "update", "times_s"} <= set(
        report
    )
    name = scenario.demands[hot].traffic_class
    row = next(row for row in report["classes"] if row["class"] == name)
    assert not row["before"]["met"]
    assert row["before"]["violated_demands"] == 1
    assert row["before"]["delay_p99_s"] == pytest.approx(0.150)
    assert row["before"]["loss_ratio"] == pytest.approx(0.25, abs=0.02)
    assert row["after"] == {
        "delay_p99_s": pytest.approx(0.003),
        "jitter_s": pytest.approx(0.0, abs=1e-9),
        "loss_ratio": 0.0,
        "met": True,
        "violated_demands": 0,
    }
    assert all(other["before"]["met"] for other in report["classes"] if other["class"] != name)
    compared = report["predicted_vs_measured"]
    assert compared["delay_median_relative_error"] == pytest.approx(1 / 3)
    assert compared["delay_offset_s"] > 0
    assert compared["delay_median_relative_error_without_offset"] < 1e-3
    assert report["times_s"]["discover"] == 2.0
    assert report["times_s"]["violated_after_event"] <= 1.0
    parts = sum(report["times_s"][part] for part in ("detect", "decide", "install"))
    assert parts == pytest.approx(report["times_s"]["total"])
    assert [entry["old_paths"][0]["nodes"][1] for entry in report["plan"]] == ["Old", "Old"]
    assert [entry["new_paths"][0]["nodes"][1] for entry in report["plan"]] == ["New", "New"]
    demand = report["demands"][hot]
    assert demand["moved"]
    assert demand["after"]["rate_bps"] == pytest.approx(400_000)
    assert demand["predicted"]["delay_s"] == 0.002
    json.dumps(report, allow_nan=False)


def test_what_is_still_missed_or_was_never_missed_is_not_ok(scenario: TestbedScenario) -> None:
    hot = scenario.hot[0]
    applied = [decision(scenario, scenario.hot)]
    assert not build(scenario, packets(scenario, {hot: END}), applied)["ok"]
    assert not build(scenario, packets(scenario, {}), applied)["ok"]
    unchanged = build(scenario, packets(scenario, {hot: FLIP}), [])
    assert not unchanged["ok"]
    assert unchanged["times_s"]["total"] is None
    assert unchanged["predicted_vs_measured"]["delay_median_relative_error"] is None


def test_packets_that_the_update_lost_are_counted_and_those_of_a_full_queue_are_not(scenario: TestbedScenario) -> None:
    full, calm = scenario.hot
    applied = [decision(scenario, scenario.hot)]
    lossless = build(scenario, packets(scenario, {full: FLIP}), applied)["update"]
    assert lossless["packets_lost"] == 0
    assert lossless["demands_judged_after_flip_only"] == 1
    assert lossless["flow_mods"] == 12
    assert lossless["packets_checked"] > 400
    bystander = next(index for index in range(len(scenario.demands)) if index not in scenario.hot)
    lost = ((calm, FLIP - SECOND // 10), (full, FLIP + SECOND // 10), (bystander, FLIP))
    with_loss = build(scenario, packets(scenario, {full: FLIP}, lost), applied)["update"]
    assert with_loss["packets_lost"] == 2


def test_a_demand_that_sent_nothing_is_neither_met_nor_missed(scenario: TestbedScenario) -> None:
    table = packets(scenario, {scenario.hot[0]: FLIP})
    silent = next(index for index in range(len(scenario.demands)) if index not in scenario.hot)
    keep = table.demand != silent
    names = ("demand", "sequence", "sent_ns", "frame_bits", "delay_s", "copies", "arrival_rank", "overtaken")
    report = build(scenario, PacketTable(*(getattr(table, name)[keep] for name in names)), [decision(scenario, (0,))])
    assert report["demands"][silent]["before"] is None
    assert report["ok"]


def test_the_summary_says_the_same_to_people(scenario: TestbedScenario) -> None:
    report = build(scenario, packets(scenario, {scenario.hot[0]: FLIP}), [decision(scenario, scenario.hot)])
    text = io.StringIO()
    print_summary(report, Console(file=text, width=160))
    shown = text.getvalue()
    for expected in (
        "voice",
        "150.0 ms",
        "2 demands were moved",
        "Packets lost by the update: 0",
        "Every promise is kept",
    ):
        assert expected in shown
    report["ok"] = False
    text.truncate(0)
    print_summary(report, Console(file=text, width=160))
    assert "Every promise is kept" not in text.getvalue()


def test_weights_that_changed_stand_beside_routes_and_all_demands_answer_for_them(scenario: TestbedScenario) -> None:
    entry = decision(scenario, scenario.hot)
    names = scenario.base.topology.node_names
    entry["plan"] |= {"routes": [], "nodes": [{"id": name} for name in names]}
    entry["transaction"]["queue_changes"] = 126
    bystander = next(index for index in range(len(scenario.demands)) if index not in scenario.hot)
    table = packets(scenario, {scenario.hot[0]: FLIP}, ((bystander, FLIP),))

    def rows(*weights: float) -> list[dict[str, Any]]:
        queues = {"voice": 0, "default": 1}
        return [{"id": name, "scheduler": "wfq", "weights": list(weights), "class_queues": queues} for name in names]

    def built(**queues: list[dict[str, Any]]) -> dict[str, Any]:
        return build_report(scenario, table, TIMELINE, [entry], replace(EXTRAS, queues=queues))

    report = built(before=rows(1, 9), after=rows(1, 1))
    assert report["ok"]
    assert report["queues"] == {"before": rows(1, 9), "after": rows(1, 1)}
    assert (report["update"]["queue_changes"], report["update"]["demands_moved"]) == (126, 0)
    assert report["update"]["packets_lost"] == 1
    assert not built(before=rows(1, 9), after=rows(1, 9))["ok"]
    text = io.StringIO()
    print_summary(report, Console(file=text, width=160))
    assert f"Weights of queues of {len(names)} switches were changed" in text.getvalue()
    assert "voice 10%, default 90%" in text.getvalue()
    assert "voice 50%, default 50%" in text.getvalue()
