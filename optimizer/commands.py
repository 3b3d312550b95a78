"""The commands that talk to a running optimizer: what it does, what it decided, what an operator tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gnn_model.command_options import JsonOption
from topology_sync.errors import InputError, UnavailableError

DEFAULT_API = "http://127.0.0.1:8080"
API_TIMEOUT_S = 35.0

ApiOption = Annotated[str, typer.Option("--api", envvar="ROUTEWRIGHT_API", help="Where the optimizer listens.")]
TokenOption = Annotated[Path | None, typer.Option("--token-file", help="File with the bearer token.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(status)
    app.command()(history)
    app.command()(approve)
    app.command()(rollback)


def status(api: ApiOption = DEFAULT_API, token_file: TokenOption = None, as_json: JsonOption = False) -> None:
    """What the loop is doing and whether the SLAs are met.  Exit code 1 when one is not."""
    data = _call("GET", api, "/api/v1/status", token_file)
    if as_json:
        typer.echo(json.dumps(data))
    else:
        _show_status(data)
    if not all(entry["met"] for entry in data["sla"]["classes"]):
        raise typer.Exit(1)


def history(
    decision: Annotated[int | None, typer.Argument(help="One decision in full.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many decisions.")] = 20,
    api: ApiOption = DEFAULT_API,
    token_file: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decisions, newest first, or one with everything that explains it."""
    if decision is None:
        data = _call("GET", api, f"/api/v1/history?limit={limit}", token_file)
    else:
        data = _call("GET", api, f"/api/v1/history/{decision}", token_file)
    if as_json:
        typer.echo(json.dumps(data))
    elif decision is None:
        _show_history(data["decisions"])
    else:
        _show_decision(data)


def approve(
    decision: Annotated[int, typer.Argument(help="Number of the decision.")],
    api: ApiOption = DEFAULT_API,
    token_file: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply a plan that awaits approval."""
    _command(api, f"/api/v1/plans/{decision}/approve", token_file, as_json, f"plan {decision} is being applied")


def rollback(
    decision: Annotated[int | None, typer.Argument(help="Number of the decision; without it the last kept.")] = None,
    api: ApiOption = DEFAULT_API,
    token_file: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the routes from before a plan back, or reject one that awaits approval."""
    path = "/api/v1/rollback" if decision is None else f"/api/v1/rollback/{decision}"
    _command(api, path, token_file, as_json, "going back")


def _command(api: str, path: str, token_file: Path | None, as_json: bool, done: str) -> None:
    data = _call("POST", api, path, token_file)
    typer.echo(json.dumps(data) if as_json else done)


def _call(method: str, api: str, path: str, token_file: Path | None) -> Any:
    import httpx

    headers = {}
    if token_file is not None:
        try:
            headers["authorization"] = f"Bearer {token_file.read_text().strip()}"
        except (OSError, UnicodeDecodeError) as error:
            problem = f"{token_file} cannot be read ({getattr(error, 'strerror', None) or 'no text'})"
            raise InputError("--token-file", problem, "name a readable file") from None
    try:
        answer = httpx.request(method, api.rstrip("/") + path, headers=headers, timeout=API_TIMEOUT_S, trust_env=False)
        data = answer.json()
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise InputError("--api", f"'{api}' is no address", f"give one like {DEFAULT_API}") from None
    except httpx.ConnectError as error:
        remedy = "start it with `routewright run --config FILE`, or say with --api where it listens"
        raise UnavailableError(f"optimizer {api} does not answer ({error}); {remedy}") from None
    except (httpx.HTTPError, ValueError) as error:
        raise UnavailableError(f"optimizer {api} does not answer: {error}") from None
    if not isinstance(data, dict):
        raise UnavailableError(f"what answers at {api} is no optimizer")
    if answer.status_code in (400, 401, 403, 404, 413):
        raise InputError("", str(data.get("error", answer.reason_phrase)), "")
    if answer.status_code >= 400:
        raise UnavailableError(str(data.get("error", answer.reason_phrase)))
    if method == "GET" and not data.keys() & {"sla", "decisions", "demands"}:
        raise UnavailableError(f"what answers at {api} is no optimizer")
    return data


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e3:.1f} ms"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _show_status(data: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    network = data["network"] or {}
    console.print(f"mode [bold]{data['mode']}[/], state [bold]{data['state']}[/]")
    if not data["controller"]["up"]:
        console.print(f"[red]{data['controller']['problem']}[/]")
    if not data["predictor"]["up"]:
        console.print(f"[red]{data['predictor']['problem']}[/]")
    if network and not network["nodes"]:
        console.print("no switch has connected yet; point switches at the address of southbound.listen")
    elif network:
        console.print(
            f"{network['nodes']} nodes, {network['links']} links, {len(network['links_down'])} down, "
            f"fullest link {_percent(network['max_utilisation'])}, routing version {network['routing_version']}"
        )
        for row in network.get("queues", ()):
            console.print(f"queues {_queues(row)}")
    if data["awaiting_approval"] is not None:
        console.print(f"[yellow]plan {data['awaiting_approval']} awaits approval[/]")
    table = Table("class", "worst delay", "goal", "worst jitter", "goal", "worst loss", "goal", "violated", "met")
    for entry in data["sla"]["classes"]:
        worst, goal = entry["worst"], entry["sla"]
        table.add_row(
            entry["class"],
            _milliseconds(worst["delay_s"]),
            _milliseconds(goal["delay_s"]),
            _milliseconds(worst["jitter_s"]),
            _milliseconds(goal["jitter_s"]),
            _percent(worst["loss_ratio"]),
            _percent(goal["loss_ratio"]),
            f"{entry['violated_demands']} of {entry['demands']}",
            "-" if not entry["demands"] else "[green]yes[/]" if entry["met"] else "[red]no[/]",
        )
    console.print(table)
    for entry in data["sla"]["demands"]:
        if entry["state"] != "up":
            console.print(f"{entry['source']}-{entry['target']} {entry['class']}: {'; '.join(entry['reasons'])}")


def _queues(row: dict[str, Any]) -> str:
    """One line of how some nodes serve their queues."""
    weights = " ".join(f"{name} {weight:g}" for name, weight in row["weights"].items())
    nodes = row["nodes"]
    where = ", ".join(nodes) if len(nodes) <= 4 else f"{len(nodes)} nodes"
    return f"{row['scheduler']} {weights} ({where})"


def _show_history(decisions: list[dict[str, Any]]) -> None:
    from datetime import datetime

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not decisions:
        Console().print("no decisions yet")
        return
    # two lines a decision, so that the reason has room on a terminal of 100 characters
    table = Table("id", "time", "why, what became of it")
    table.add_column("predicted", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for entry in decisions:
        before, after = entry["predicted"]["before"], entry["predicted"]["after"]
        violation = f"{before['violation'] or 0:.2f} -> {after['violation'] or 0:.2f}"
        fullest = f"{before['max_utilisation'] or 0:.0%} -> {after['max_utilisation'] or 0:.0%}"
        table.add_row(
            str(entry["id"]),
            datetime.fromtimestamp(entry["time_s"]).isoformat("\n", "seconds"),
            f"{entry['trigger']}\n[bold]{entry['status']}[/], {_changes(entry)}",
            f"violation {violation}\nfullest link {fullest}",
            escape(entry["reason"]),
        )
    Console().print(table)


def _changes(entry: dict[str, Any]) -> str:
    nodes = entry.get("changed_nodes", 0)
    return f"{entry['changed_demands']} paths" + (f", weights of {nodes} nodes" if nodes else "")


def _show_decision(data: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    _show_history([data])
    for name, value in data["times_s"].items():
        console.print(f"  {name:28} {value - data['times_s'].get('violation_first_measured', value):+.2f} s")
    queues = data.get("queues", {"before": [], "after": []})
    if queues["before"] != queues["after"]:
        for when, rows in queues.items():
            for row in rows:
                console.print(f"  queues {when:6} {_queues(row)}")
    table = Table("demand", "class", title="99th percentiles of delay of the demands that move")
    for column in ("predicted\nbefore", "predicted\nafter", "measured\nafter"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("new path", overflow="fold")
    routes = {(r["source"], r["target"], r["class"]): r for r in data["plan"]["routes"]}
    for row in data["demands"]:
        route = routes.get((row["source"], row["target"], row["class"]))
        if route is None:
            continue
        table.add_row(
            escape(f"{row['source']} -> {row['target']}"),
            escape(row["class"]),
            _milliseconds(row["predicted_before"]["delay_p99_s"]),
            _milliseconds(row["predicted_after"]["delay_p99_s"]),
            _milliseconds(row.get("measured_after", {}).get("delay_p99_s")),
            escape(" | ".join(" > ".join(path["nodes"]) for path in route["paths"])),
        )
    console.print(table)
