"""What-if answers as tables for people: the worst rows first, missed goals in red."""

from __future__ import annotations

import math
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show_answer(data: dict[str, Any], rows: int) -> None:
    """Print the answer of one question."""
    console = Console()
    console.print(f"[bold]{escape(data['scenario'])}[/], predicted by {data['predictor']}, {data['seconds']:.2f} s")
    for entry in data["changes"]:
        console.print("  " + _change(entry))
    if not data["changes"]:
        console.print("  nothing changes")
    names = [name for name in ("before", "after", "reoptimized") if data[name] is not None]
    console.print(_class_table(data, names))
    if data["cut_off"]:
        lost = sum(1 for row in data["cut_off"] if not row["reachable"])
        console.print(
            f"[red]{len(data['cut_off'])} demands are cut off[/], {lost} of them for any routing"
            + ("" if lost else "; a new routing can carry them all")
        )
    console.print(_demand_table(data["demands"], names, rows))
    _show_validity(console, data)
    if data["reoptimized"] is not None:
        found = data["reoptimized"]
        console.print(f"new routing: {found['changed_demands']} demands move, found in {found['search_s']:.2f} s")


def _show_validity(console: Console, data: dict[str, Any]) -> None:
    """Which situations the model was not trained for, and why."""
    for name, validity in data.get("validity", {}).items():
        if not validity["inside"]:
            count, reason = validity["outside_demands"], validity["reasons"][0]
            console.print(
                f"[yellow]{name}: {count} of the demands are outside training[/] ({reason}): compare with simulate"
            )


def _class_table(data: dict[str, Any], names: list[str]) -> Table:
    table = Table(title="per class, worst of its demands")
    table.add_column("class")
    table.add_column("", no_wrap=True)
    for column in ("violated", "cut off", "p99", "jitter", "loss"):
        table.add_column(column, justify="right", no_wrap=True)
    for index, first in enumerate(data["before"]["classes"]):
        goal = first["sla"]
        if goal is not None:
            cells = (_milliseconds(goal["delay_s"]), _milliseconds(goal["jitter_s"]), _percent(goal["loss_ratio"]))
            table.add_row(escape(first["class"]), "[bold]goal[/]", "", "", *cells)
        for name in names:
            entry = data[name]["classes"][index]
            table.add_row(
                escape(first["class"]) if goal is None and name == names[0] else "",
                name,
                _marked(f"{entry['violated']} of {entry['demands']}", entry["violated"] > 0),
                _marked(str(entry["cut_off"]), entry["cut_off"] > 0),
                _milliseconds(entry["worst_delay_p99_s"]),
                _milliseconds(entry["worst_jitter_s"]),
                _percent(entry["worst_loss_ratio"]),
            )
        table.add_section()
    table.caption = "fullest link: " + ", ".join(f"{name} {_percent(data[name]['max_utilisation'])}" for name in names)
    return table


def _demand_table(demands: list[dict[str, Any]], names: list[str], rows: int) -> Table:
    table = Table("demand", "class", title=f"{min(rows, len(demands))} of {len(demands)} demands, worst first")
    for name in names:
        table.add_column(f"{name}\np99, loss", justify="right", no_wrap=True)
    last = names[-1]
    for row in sorted(demands, key=lambda row: _badness(row, last), reverse=True)[:rows]:
        cells = []
        for name in names:
            entry = row[name]
            cells.append(
                _marked(f"{_milliseconds(entry['delay_p99_s'])} {_percent(entry['loss_ratio'])}", entry["violated"])
            )
        table.add_row(escape(f"{row['source']} -> {row['target']}"), escape(row["class"]), *cells)
    return table


def _badness(row: dict[str, Any], name: str) -> tuple[bool, float, float]:
    """Violated first, then what the change made worse, then the slowest."""
    entry = row[name]
    delay = math.inf if entry["delay_p99_s"] is None else entry["delay_p99_s"]
    before = row["before"]["delay_p99_s"] or 0.0
    return entry["violated"], delay - before if math.isfinite(delay) else math.inf, delay


def show_failures(data: dict[str, Any], rows: int) -> None:
    """Print the survival table."""
    console = Console()
    searched = data["reoptimized"] > 0
    title = f"{escape(data['scenario'])}, predicted by {data['predictor']}"
    # eight columns must fit a terminal of 80 characters
    table = Table(title=title, box=SIMPLE, padding=0, pad_edge=False)
    table.add_column("link that fails", no_wrap=True)
    for column in ("missed", "cut", "fullest", "detours"):
        table.add_column(column, justify="right", no_wrap=True)
    if searched:
        for column in ("| new\n| missed", "\nfullest", "\nmoved"):
            table.add_column(column, justify="right", no_wrap=True)
    worst = sorted(data["links"], key=lambda row: (-row["violated"], -row["max_utilisation"]))
    for row in worst[:rows]:
        cells = [
            escape(":".join(row["link"])),
            _marked(str(row["violated"]), row["violated"] > 0),
            _marked(str(row["cut_off"]), row["cut_off"] > 0),
            _marked(_percent(row["max_utilisation"]), row["max_utilisation"] > 1),
            str(row["detoured"]),
        ]
        found = row["reoptimized"]
        if searched and found is not None:
            cells += [
                _marked(str(found["violated"]), found["violated"] > 0),
                _marked(_percent(found["max_utilisation"]), found["max_utilisation"] > 1),
                str(found["changed_demands"]),
            ]
        table.add_row(*cells)
    console.print(table)
    promised = any(entry["sla"] is not None for entry in data["before"]["classes"])
    what = "every goal met" if promised else "no link overloaded (nothing is promised)"
    text = f"{data['survived']} of {data['failures']} failures leave {what}"
    if searched:
        text += f", {data['survived_reoptimized']} with a new routing"
    if len(worst) > rows:
        console.print(f"{rows} of {len(worst)} failures, worst first; --rows {len(worst)} shows all", style="dim")
    console.print("missed, cut: demands that miss a goal, that have no way left; new: after a search", style="dim")
    console.print(f"{text}; {data['seconds']:.1f} s on {data['processes']} processes")
    _show_validity(console, data)


def show_upgrades(data: dict[str, Any]) -> None:
    """Print the best upgrades."""
    before = data["before"]
    title = f"{data['scenario']}: links at {data['upgrade_factor']:g} times their capacity, best first"
    table = Table(title=title)
    table.add_column("link", no_wrap=True)
    for column in ("capacity", "used", "price", "violated", "fullest", "mean delay"):
        table.add_column(column, justify="right")
    for row in data["upgrades"]:
        table.add_row(
            escape(":".join(row["link"])),
            f"{row['capacity_bps'] / 1e6:g} Mb/s",
            _percent(row["utilisation"]),
            "-" if row["price"] is None else f"{row['price']:.3f}",
            _marked(str(row["violated"]), row["violated"] > 0),
            _percent(row["max_utilisation"]),
            _milliseconds(row["mean_delay_s"]),
        )
    table.caption = (
        f"now: {before['violated']} violated, fullest link {_percent(before['max_utilisation'])}, "
        f"mean delay {_milliseconds(before['mean_delay_s'])}; price: first-order fall of the optimum per doubling"
    )
    console = Console()
    console.print(table)
    _show_validity(console, data)


def _change(entry: dict[str, Any]) -> str:
    what = entry.get("node") or ":".join(entry.get("link", ())) or entry.get("class", "all traffic")
    text = f"{entry['change']} {escape(what)}"
    if "factor" in entry:
        text += f" x {entry['factor']:g}"
    if "capacity_bps" in entry:
        text += f" {entry['capacity_bps'] / 1e6:g} Mb/s"
    return text


def _marked(text: str, bad: bool) -> str:
    return f"[red]{text}[/red]" if bad else text


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e3:.2f} ms"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}" if value >= 0.1 else f"{value:.2%}"
