"""The report for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

MOST_ROUTES = 12


def print_summary(report: Mapping[str, Any], console: Console, most_routes: int = MOST_ROUTES) -> None:
    """Tables and sentences from a report; at most so many of the moved demands."""
    console.print()
    console.print(_class_table(report))
    _print_plan(report, console, most_routes)
    lines = [
        _prediction_line(report),
        _update_line(report),
        _failure_line(report),
        _time_line(report),
        _load_line(report),
    ]
    for line in lines:
        if line:
            console.print(line, highlight=False)
    if report["ok"]:
        console.print("[bold green]Every promise is kept.[/bold green]")
    else:
        console.print("[bold red]Not every promise is kept, or nothing was shown.[/bold red]")


def _class_table(report: Mapping[str, Any]) -> Table:
    seconds = report["windows_s"]
    table = Table(
        title=f"{report['topology']}, {report['scenario']}, seed {report['seed']}: "
        f"worst demand of each class, as the receivers measured it",
        caption=f"before: {seconds['before']:.1f} s of traffic; after: {seconds['after']:.1f} s",
    )
    for name in ("class", "promise", "goal", "before", "after"):
        table.add_column(name, justify="left" if name in ("class", "promise") else "right")
    for row in report["classes"]:
        goal = row["sla"]
        percentile = goal["percentile"]
        what = "mean delay" if percentile is None else f"p{percentile:g} delay"
        values = (
            (what, goal["delay_s"], "delay_p99_s", _milliseconds),
            ("jitter", goal["jitter_s"], "jitter_s", _milliseconds),
            ("loss", goal["loss_ratio"], "loss_ratio", _percent),
        )
        first = f"{row['class']} ({row['demands']})"
        for label, limit, key, show in values:
            if limit is not None:
                cells = [_coloured(row[when][key], limit, show) for when in ("before", "after")]
                table.add_row(first, label, show(limit), *cells)
                first = ""
        counts = [f"{row[when]['violated_demands']} of {row['demands']}" for when in ("before", "after")]
        table.add_row("", "demands with a missed goal", "0", *counts, end_section=True)
    return table


def _print_plan(report: Mapping[str, Any], console: Console, most_routes: int) -> None:
    _print_queues(report, console)
    plan = report["plan"]
    if not plan:
        console.print("The routing was not changed.")
        return
    table = Table(title=f"{len(plan)} demands were moved")
    for name in ("demand", "class", "from", "to"):
        table.add_column(name, overflow="fold")
    for row in plan[:most_routes]:
        table.add_row(
            f"{row['source']} -> {row['target']}", row["class"], _paths(row["old_paths"]), _paths(row["new_paths"])
        )
    console.print(table)
    if len(plan) > most_routes:
        console.print(f"... and {len(plan) - most_routes} more (in the report)")


def _print_queues(report: Mapping[str, Any], console: Console) -> None:
    queues = report.get("queues")
    if queues is None:
        return
    changed = [rows for rows in zip(queues["before"], queues["after"], strict=True) if rows[0] != rows[1]]
    if not changed:
        console.print("No weights of queues were changed.")
        return
    table = Table(title=f"Weights of queues of {len(changed)} switches were changed")
    for name in ("switches", "from", "to"):
        table.add_column(name, overflow="fold")
    alike: dict[tuple[str, str], list[str]] = {}
    for old, new in changed:
        alike.setdefault((_weights(old), _weights(new)), []).append(new["id"])
    for (before, after), names in alike.items():
        table.add_row("all" if len(names) == len(queues["after"]) else ", ".join(names), before, after)
    console.print(table)


def _weights(row: Mapping[str, Any]) -> str:
    """Each class's weight in percent of all."""
    if not row.get("weights"):
        return "one queue for all"
    total = sum(row["weights"])
    return ", ".join(f"{name} {row['weights'][queue] / total:.0%}" for name, queue in row["class_queues"].items())


def _paths(paths: list[Mapping[str, Any]]) -> str:
    shown = []
    for path in paths:
        share = "" if path.get("share", 1.0) == 1.0 else f"{path['share']:.0%} "
        shown.append(share + " > ".join(path["nodes"]))
    return "\n".join(shown)


def _prediction_line(report: Mapping[str, Any]) -> str:
    errors = report["predicted_vs_measured"]
    if errors["delay_median_relative_error"] is None:
        return ""
    return (
        f"Predicted ({errors['predictor']}) against measured delay: median error "
        f"{errors['delay_median_relative_error']:.0%} over {errors['demands_compared']} demands "
        f"with at least {errors['least_packets']} packets."
    )


def _update_line(report: Mapping[str, Any]) -> str:
    update = report["update"]
    if not update["transactions"]:
        return ""
    return (
        f"Packets lost by the update: {update['packets_lost']}; duplicated: {update['packets_duplicated']} "
        f"({update['packets_checked']:,} packets; {update['demands_moved']} demands moved; {update['flow_mods']} flow, "
        f"{update['group_mods']} group and {update['queue_changes']} queue changes; of "
        f"{update['demands_judged_after_flip_only']} demands that a full queue was losing before only packets sent "
        "after the flip can tell)."
    )


def _failure_line(report: Mapping[str, Any]) -> str:
    failure = report.get("failure")
    if failure is None:
        return ""
    return (
        f"{failure['link']} broke: the {failure['affected_demands']} demands over it lost "
        f"{failure['packets_lost']} packets, "
        f"{failure['outage_s'] * 1e3:.0f} ms of their traffic."
    )


def _time_line(report: Mapping[str, Any]) -> str:
    times = report["times_s"]
    discovered = f"Discovered in {times['discover']:.1f} s."
    if times.get("total") is None:
        return discovered
    return (
        f"{discovered} From a goal missed to the new routing carrying traffic: {times['total']:.1f} s "
        f"(detect {times['detect']:.1f} s, decide {times['decide']:.2f} s, install {times['install']:.2f} s)."
    )


def _load_line(report: Mapping[str, Any]) -> str:
    late = report["sender"].get("lateness_p99_s")
    sender = "" if late is None else f" 99 % of packets left within {late * 1e3:.2f} ms of their time."
    return f"Load of the emulator: {report['emulator_load_ratio']:.0%} of what it can carry.{sender}"


def _milliseconds(value: float) -> str:
    return f"{value * 1e3:.1f} ms"


def _percent(value: float) -> str:
    return f"{value:.2%}"


def _coloured(value: float | None, limit: float, show: Any) -> str:
    if value is None:
        return "[red]nothing received[/red]"
    return f"[{'green' if value <= limit else 'red'}]{show(value)}[/]"
