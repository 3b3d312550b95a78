"""The report: what receivers measured before and after, the plan, the prediction, what the update cost.  Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from deploy.testbed.scenarios import TestbedScenario
from deploy.testbed.statistics import (
    DemandStatistics,
    Experience,
    PacketTable,
    demand_experiences,
    demand_statistics,
    window,
    worst_of,
)
from topology_sync.scenario import SlaGoal
from topology_sync.values import BoolArray

ENOUGH_PACKETS = 80  # below, the mean delay of a demand is itself too uncertain to judge a prediction by
UPDATE_MARGIN_S = 1.0
CALM_S = 3.0
ONSET_BIN_S = 0.5
ONSET_PACKETS = 10
SECOND_NS = 1_000_000_000

Decision = Mapping[str, Any]


@dataclass(frozen=True)
class Timeline:
    """When things happened, CLOCK_REALTIME in nanoseconds; windows are of sending times, ``end`` excluded."""

    event_ns: int
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True)
class Extras:
    """Figures about the run itself that go into the report beside what was measured."""

    discover_s: float
    emulator_load_ratio: float
    routing_as_planned: bool
    sender: Mapping[str, Any] = field(default_factory=dict)
    receiver: Mapping[str, Any] = field(default_factory=dict)
    queue_drops: int | None = None
    outage: Mapping[str, Any] | None = None
    queues: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    """Nodes with their schedulers ``before`` the event and ``after`` all changes, where ports have queues."""


def build_report(
    scenario: TestbedScenario,
    table: PacketTable,
    timeline: Timeline,
    applied: Sequence[Decision],
    extras: Extras,
) -> dict[str, Any]:
    """The report as plain JSON data.

    ``applied`` are the decisions that changed the routing after the event, oldest first, in full.  ``ok``: every class
    meets its goals afterwards; besides, the routing was changed after an event, and a hotspot did violate goals before;
    with queues it did so too, and their weights were changed.
    """
    goals = scenario.goals
    windows = {name: window(table, *span) for name, span in (("before", timeline.before), ("after", timeline.after))}
    seconds = {
        name: max((end - start) / SECOND_NS, 1e-9)
        for name, (start, end) in (("before", timeline.before), ("after", timeline.after))
    }
    experiences = {name: demand_experiences(part, goals, seconds[name]) for name, part in windows.items()}
    figures = {name: demand_statistics(part, len(goals), seconds[name]) for name, part in windows.items()}
    classes = _class_rows(scenario, experiences)
    violated_before = [row["class"] for row in classes if not row["before"]["met"]]
    all_met = all(row["after"]["met"] for row in classes)
    predicted = _predicted_after(applied)
    demands = _demand_rows(scenario, experiences, figures, predicted, _moved_paths(applied))
    report: dict[str, Any] = {
        "topology": scenario.topology_name,
        "scenario": scenario.kind,
        "seed": scenario.seed,
        "ok": all_met
        and (scenario.kind == "steady" or bool(applied))
        and (scenario.kind not in ("hotspot", "queues") or bool(violated_before))
        and (extras.queues is None or extras.queues["before"] != extras.queues["after"]),
        "classes": classes,
        "demands": demands,
        "predicted_vs_measured": {
            "predictor": applied[-1].get("search", {}).get("predictor") if applied else None,
            **_prediction_errors(figures["after"], scenario, predicted),
        },
        "update": _update(table, applied, scenario),
        "times_s": {"discover": extras.discover_s, **_times(scenario, table, timeline, applied)},
        "plan": _plan_rows(applied),
        "decisions": [{key: entry.get(key) for key in ("id", "trigger", "status", "reason")} for entry in applied],
        "windows_s": {name: round(value, 3) for name, value in seconds.items()},
        "packets": {
            "sent": len(table.sent_ns),
            "lost": int((table.copies == 0).sum()),
            "duplicated": int(np.maximum(table.copies - 1, 0).sum()),
            "reordered": int(table.overtaken.sum()),
            "dropped_in_queues": extras.queue_drops,
        },
        "emulator_load_ratio": extras.emulator_load_ratio,
        "routing_as_planned": extras.routing_as_planned,
        "sender": dict(extras.sender),
        "receiver": dict(extras.receiver),
    }
    if extras.outage is not None:
        report["failure"] = dict(extras.outage)
    if extras.queues is not None:
        report["queues"] = {name: [dict(row) for row in rows] for name, rows in extras.queues.items()}
    cleaned: dict[str, Any] = _without_nan(report)
    return cleaned


def _class_rows(
    scenario: TestbedScenario, experiences: Mapping[str, Sequence[Experience | None]]
) -> list[dict[str, Any]]:
    rows = []
    for goal in scenario.base.sla:
        members = [index for index, demand in enumerate(scenario.demands) if demand.traffic_class == goal.traffic_class]
        row: dict[str, Any] = {"class": goal.traffic_class, "sla": _goal(goal), "demands": len(members)}
        for name, all_of_them in experiences.items():
            own = [all_of_them[index] for index in members]
            missed = sum(1 for experience in own if experience is not None and not experience.met)
            row[name] = {**asdict(worst_of(own)), "violated_demands": missed}
        rows.append(row)
    return rows


def _goal(goal: SlaGoal) -> dict[str, float | None]:
    return {
        "delay_s": goal.delay_s,
        "percentile": goal.percentile,
        "jitter_s": goal.jitter_s,
        "loss_ratio": goal.loss_ratio,
    }


def _demand_rows(
    scenario: TestbedScenario,
    experiences: Mapping[str, Sequence[Experience | None]],
    figures: Mapping[str, DemandStatistics],
    predicted: Mapping[tuple[str, str, str], Mapping[str, Any]],
    moved: Mapping[tuple[str, str, str], Any],
) -> list[dict[str, Any]]:
    rows = []
    for index, demand in enumerate(scenario.demands):
        goal = scenario.goals[index]
        row: dict[str, Any] = {
            "source": demand.source,
            "target": demand.target,
            "class": demand.traffic_class,
            "sla": None if goal is None else _goal(goal),
            "moved": demand.key in moved,
            "predicted": predicted.get(demand.key),
        }
        for name, all_of_them in experiences.items():
            experience, counted = all_of_them[index], figures[name]
            row[name] = (
                None
                if experience is None
                else {
                    **asdict(experience),
                    "delay_s": float(counted.delay_mean_s[index]),
                    "rate_bps": float(counted.sent_rate_bps[index]),
                    "sent": int(counted.sent[index]),
                    "lost": int(counted.lost[index]),
                    "duplicated": int(counted.duplicated[index]),
                    "reordered": int(counted.reordered[index]),
                }
            )
        rows.append(row)
    return rows


def _predicted_after(applied: Sequence[Decision]) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    """What the last decision that was not taken back predicted for its routing, by demand."""
    standing = [entry for entry in applied if entry.get("status") not in ("rolled_back", "rollback_failed")]
    return {_key(row): row["predicted_after"] for row in standing[-1]["demands"]} if standing else {}


def _moved_paths(applied: Sequence[Decision]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Old (from the snapshot a decision was made on) and new paths of every demand that was moved."""
    moved: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in applied:
        snapshot = entry.get("state") or {}
        routes = snapshot.get("scenario", {}).get("routing") or entry["previous"]["routes"]
        old = {_key(route): route["paths"] for route in routes}
        for route in entry["plan"]["routes"]:
            key = _key(route)
            first = moved[key]["old_paths"] if key in moved else old.get(key, [])
            moved[key] = {"old_paths": first, "new_paths": route["paths"]}
    return moved


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["source"], row["target"], row["class"]


def _plan_rows(applied: Sequence[Decision]) -> list[dict[str, Any]]:
    return [
        {"source": key[0], "target": key[1], "class": key[2], **paths} for key, paths in _moved_paths(applied).items()
    ]


def _prediction_errors(
    after: DemandStatistics,
    scenario: TestbedScenario,
    predicted: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> dict[str, Any]:
    """Median over demands with enough packets of |predicted - measured| / measured.

    ``delay_offset_s`` is the median of measured minus predicted: what every packet spends outside the network's queues
    (hosts, forwarding) and no predictor can know; ``..._without_offset`` is the error once it is added.
    """
    errors: dict[str, list[float]] = {"delay": [], "delay_p99": [], "jitter": []}
    pairs: list[tuple[float, float]] = []
    compared = 0
    for index, demand in enumerate(scenario.demands):
        row = predicted.get(demand.key)
        if row is None or after.received[index] < ENOUGH_PACKETS:
            continue
        compared += 1
        for name, measured in (
            ("delay", after.delay_mean_s[index]),
            ("delay_p99", after.delay_p99_s[index]),
            ("jitter", after.jitter_s[index]),
        ):
            value = row.get(f"{name}_s")
            if value is not None and measured > 0:
                errors[name].append(abs(value - float(measured)) / float(measured))
                if name == "delay":
                    pairs.append((value, float(measured)))
    predicted_s, measured_s = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    offset_s = float(np.median(measured_s - predicted_s)) if pairs else None
    moved = np.abs(predicted_s + (offset_s or 0.0) - measured_s) / measured_s
    return {
        **{
            f"{name}_median_relative_error": float(np.median(found)) if found else None
            for name, found in errors.items()
        },
        "delay_offset_s": offset_s,
        "delay_median_relative_error_without_offset": float(np.median(moved)) if pairs else None,
        "demands_compared": compared,
        "least_packets": ENOUGH_PACKETS,
    }


def _update(table: PacketTable, applied: Sequence[Decision], scenario: TestbedScenario) -> dict[str, Any]:
    """What the changes of the routing cost, over all of them.

    Looked at are all packets of moved demands, or of all where weights of queues changed, sent from 1 s before a
    transaction began until 1 s after it ended.  A demand that lost packets in the 3 s before that window was losing
    them in a full queue, and a packet lost there cannot be told from one that the update lost: of such a demand only
    packets sent after the flip count, which no longer see that queue.  ``packets_checked`` says how many packets that
    leaves.
    """
    totals = {
        "flow_mods": 0,
        "group_mods": 0,
        "queue_changes": 0,
        "packets_checked": 0,
        "packets_lost": 0,
        "packets_duplicated": 0,
    }
    totals["packets_reordered"] = totals["demands_moved"] = totals["demands_judged_after_flip_only"] = 0
    index = {demand.key: position for position, demand in enumerate(scenario.demands)}
    for entry in applied:
        transaction = entry["transaction"]
        totals["flow_mods"] += int(transaction["flow_mods"])
        totals["group_mods"] += int(transaction["group_mods"])
        began, flipped, ended = (
            round(transaction[name] * SECOND_NS) for name in ("started_s", "flipped_s", "finished_s")
        )
        margin = round(UPDATE_MARGIN_S * SECOND_NS)
        around = window(table, began - margin, ended + margin)
        earlier = window(table, began - margin - round(CALM_S * SECOND_NS), began - margin)
        totals["packets_duplicated"] += int(np.maximum(around.copies - 1, 0).sum())
        moved = [index[_key(route)] for route in entry["plan"]["routes"] if _key(route) in index]
        totals["demands_moved"] += len(moved)
        totals["queue_changes"] += int(transaction.get("queue_changes", 0))
        concerned = range(len(scenario.demands)) if entry["plan"].get("nodes") else moved
        losing = set(np.unique(earlier.demand[earlier.copies == 0]).tolist())
        for demand in concerned:
            counted: BoolArray = around.demand == demand
            if demand in losing:
                counted = counted & (around.sent_ns >= flipped)
                totals["demands_judged_after_flip_only"] += 1
            totals["packets_checked"] += int(counted.sum())
            totals["packets_lost"] += int((around.copies[counted] == 0).sum())
            totals["packets_reordered"] += int(around.overtaken[counted].sum())
    return {**totals, "transactions": len(applied)}


def _times(
    scenario: TestbedScenario, table: PacketTable, timeline: Timeline, applied: Sequence[Decision]
) -> dict[str, Any]:
    """From the goal violated, as receivers saw it, to the new routing carrying traffic, and its parts.

    ``detect``: until the violation had lasted as long as the operator wants; ``decide``: search and prediction;
    ``install``: from sending the plan to the last demand flipped.
    """
    onset_ns = violation_onset(scenario, table, timeline)
    parts: dict[str, Any] = {"detect": None, "decide": None, "install": None, "total": None}
    if not applied or scenario.kind == "steady":
        return {"violated_after_event": _seconds_between(timeline.event_ns, onset_ns), **parts}
    times = applied[0]["times_s"]
    flipped_s = applied[0]["transaction"]["flipped_s"]
    sent_s = times.get("transaction_sent", flipped_s)
    held_s = times.get("held", times.get("plan_found", sent_s))
    began_s = (onset_ns if onset_ns is not None else timeline.event_ns) / SECOND_NS
    return {
        "violated_after_event": _seconds_between(timeline.event_ns, onset_ns),
        "detect": max(held_s - began_s, 0.0),
        "decide": max(sent_s - held_s, 0.0),
        "install": max(flipped_s - sent_s, 0.0),
        "total": max(flipped_s - began_s, 0.0),
    }


def violation_onset(scenario: TestbedScenario, table: PacketTable, timeline: Timeline) -> int | None:
    """When receivers first saw a goal missed after the event: the end of the first half second in which a demand did.

    Only demands that sent at least ONSET_PACKETS in it are asked.
    """
    step = round(ONSET_BIN_S * SECOND_NS)
    goals = scenario.goals
    for start in range(timeline.event_ns, timeline.before[1], step):
        part = window(table, start, start + step)
        sent = np.bincount(part.demand, minlength=len(goals))
        experiences = demand_experiences(part, goals, ONSET_BIN_S)
        if any(seen is not None and not seen.met for seen in np.array(experiences)[sent >= ONSET_PACKETS]):
            return start + step
    return None


def _seconds_between(start_ns: int, end_ns: int | None) -> float | None:
    return None if end_ns is None else (end_ns - start_ns) / SECOND_NS


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
