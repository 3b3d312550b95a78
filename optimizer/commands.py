"""The optimizer's commands: ``optimize`` works on a file, the others talk to a running optimizer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from topology_sync.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from topology_sync.scenario import Scenario

DEFAULT_API = "http://127.0.0.1:8080"
API_TIMEOUT_S = 35.0


class Objective(StrEnum):
    """What ``optimize`` minimises."""

    max_utilisation = "max-utilisation"
    sla = "sla"


class Optimizer(StrEnum):
    """How it searches."""

    auto = "auto"
    exact = "exact"
    local_search = "local-search"
    rl = "rl"


ApiOption = Annotated[str, typer.Option("--api", envvar="ROUTEWRIGHT_API", help="Where the optimizer listens.")]
TokenOption = Annotated[Path | None, typer.Option("--token-file", help="File with the bearer token.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for machines.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(optimize)
    app.command()(status)
    app.command()(history)
    app.command()(approve)
    app.command()(rollback)


def optimize(
    scenario: Annotated[str, typer.Argument(help="Scenario file or source, e.g. topohub:sndlib/nobel-us.")],
    objective: Annotated[
        Objective | None, typer.Option(help="What to minimise; without it: the SLA where the scenario has one.")
    ] = None,
    single_path: Annotated[bool, typer.Option("--single-path", help="Split no demand.")] = False,
    max_changes: Annotated[int | None, typer.Option(min=0, help="Change at most this many demands.")] = None,
    optimizer: Annotated[Optimizer, typer.Option(help="How to search.")] = Optimizer.auto,
    time_limit: Annotated[float, typer.Option(min=0.01, max=86400.0, help="Seconds to search.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 1,
    realisable: Annotated[
        bool, typer.Option("--realisable", help="Only shares that switches realise exactly (max-utilisation).")
    ] = False,
    max_delay: Annotated[
        list[str] | None,
        typer.Option("--max-delay", metavar="CLASS=MS", help="Bound on the propagation delay (max-utilisation)."),
    ] = None,
    max_stretch: Annotated[
        float | None, typer.Option(min=1.0, help="Bound on delay over a demand's least delay (max-utilisation).")
    ] = None,
    demands: Annotated[Path | None, typer.Option(help="Demands file of a REPETITA graph.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find a better routing for a scenario.  Exit code 1 when SLAs are still violated."""
    if optimizer is Optimizer.rl:
        raise InputError("--optimizer", "'rl' is not available", "use auto, exact or local-search")
    from topology_sync.sources import load_scenario

    question = load_scenario(scenario, demands=demands)
    goal = objective or (
        Objective.sla if question.sla and optimizer is not Optimizer.exact else Objective.max_utilisation
    )
    with _working(f"searching for up to {time_limit:g} s", not as_json):
        if _is_exact(optimizer, goal, single_path, max_changes):
            from optimizer.delay_limits import delay_limits
            from optimizer.exact.least_utilisation import UtilisationLimits
            from optimizer.exact_answers import answer_exactly

            limit_s = delay_limits(question, max_delay or (), max_stretch)
            limits = UtilisationLimits(time_limit, seed, single_path, realisable, max_changes, limit_s)
            answer, plan = answer_exactly(question, limits)
        elif realisable or max_delay or max_stretch is not None:
            raise InputError(
                "--realisable, --max-delay, --max-stretch",
                "do not go with this search",
                "use --objective max-utilisation, and --max-changes without --single-path",
            )
        else:
            answer, plan = _optimize(question, goal, single_path, max_changes, time_limit, seed)
    if out is not None:
        try:
            out.write_text(json.dumps(plan, indent=1) + "\n")
        except OSError as error:
            raise InputError(str(out), f"cannot be written ({error.strerror})", "choose another file") from None
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        _show_answer(answer, out)
    if goal is Objective.sla and answer["sla"]["violated_after"]:
        raise typer.Exit(1)


def _is_exact(optimizer: Optimizer, goal: Objective, single_path: bool, max_changes: int | None) -> bool:
    """Whether the exact search answers; InputError where it was asked for and cannot."""
    can = goal is Objective.max_utilisation and not (single_path and max_changes is not None)
    if optimizer is Optimizer.exact and not can:
        problem = "searches for no SLA goals" if goal is Objective.sla else "does not bound changes of single paths"
        raise InputError("--optimizer", f"'exact' {problem}", "use auto or local-search")
    return can and optimizer in (Optimizer.auto, Optimizer.exact)


def _optimize(
    question: Scenario,
    objective: Objective,
    single_path: bool,
    max_changes: int | None,
    time_limit_s: float,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer of ``optimize --json`` and the plan's JSON by local search."""
    from gnn_model.analytic import AnalyticPredictor
    from optimizer.bounds import utilisation_lower_bound
    from optimizer.candidates import CandidatePaths, UsableLinks
    from optimizer.exact_answers import answer_json
    from optimizer.goals import class_goals, goal_table
    from optimizer.local_search import SearchLimits, search

    table = goal_table(question.traffic, class_goals(question.sla))
    searched = table if objective is Objective.sla else goal_table(question.traffic, ())
    candidates = CandidatePaths(question.topology, UsableLinks.all_of(question.topology))
    limits = SearchLimits(time_limit_s, max_changes, single_path=single_path, seed=seed)
    result = search(question, searched, AnalyticPredictor(), candidates, limits)
    bound = utilisation_lower_bound(question.topology, question.traffic, time_s=max(0.1, 0.1 * time_limit_s))
    return answer_json(
        question,
        result.routing,
        bound,
        result.seconds,
        "local-search",
        objective.value,
        (result.before, result.after),
    )


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
            raise InputError("--token-file", f"{token_file} cannot be read ({error})", "name a readable file") from None
    try:
        answer = httpx.request(method, api.rstrip("/") + path, headers=headers, timeout=API_TIMEOUT_S, trust_env=False)
        data = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UnavailableError(f"optimizer {api} does not answer: {error}") from None
    if answer.status_code in (400, 401, 404):
        raise InputError("", str(data.get("error", answer.reason_phrase)), "")
    if answer.status_code >= 400:
        raise UnavailableError(str(data.get("error", answer.reason_phrase)))
    return data


@contextmanager
def _working(what: str, shown: bool) -> Iterator[None]:
    """Show on a terminal that something is being done."""
    from rich.console import Console

    if not shown:
        yield
        return
    with Console(stderr=True).status(what, refresh_per_second=4):
        yield


def _show_answer(answer: dict[str, Any], out: Path | None) -> None:
    bound = f"{answer['lower_bound']:.4f}, gap {answer['gap']:.1%}" if answer["gap"] is not None else "-"
    typer.echo(
        f"maximum utilisation {answer['max_utilisation_before']:.4f} -> {answer['max_utilisation']:.4f}"
        f" (lower bound {bound})"
    )
    typer.echo(f"violated demands    {answer['sla']['violated_before']} -> {answer['sla']['violated_after']}")
    typer.echo(f"changed demands     {answer['changed_demands']}, {answer['seconds']:.1f} s, {answer['optimizer']}")
    if out is not None:
        typer.echo(f"plan written to     {out}")


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
    if network:
        console.print(
            f"{network['nodes']} nodes, {network['links']} links, {len(network['links_down'])} down, "
            f"fullest link {_percent(network['max_utilisation'])}, routing version {network['routing_version']}"
        )
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
            "[green]yes[/]" if entry["met"] else "[red]no[/]",
        )
    console.print(table)
    for entry in data["sla"]["demands"]:
        if entry["state"] != "up":
            console.print(f"{entry['source']}-{entry['target']} {entry['class']}: {'; '.join(entry['reasons'])}")


def _show_history(decisions: list[dict[str, Any]]) -> None:
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    table = Table("id", "time", "trigger", "status", "changed", "predicted violation", "max utilisation", "reason")
    for entry in decisions:
        before, after = entry["predicted"]["before"], entry["predicted"]["after"]
        table.add_row(
            str(entry["id"]),
            datetime.fromtimestamp(entry["time_s"]).isoformat(" ", "seconds"),
            entry["trigger"],
            entry["status"],
            str(entry["changed_demands"]),
            f"{before['violation'] or 0:.2f} -> {after['violation'] or 0:.2f}",
            f"{before['max_utilisation'] or 0:.2f} -> {after['max_utilisation'] or 0:.2f}",
            entry["reason"],
        )
    Console().print(table)


def _show_decision(data: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    _show_history([data])
    for name, value in data["times_s"].items():
        console.print(f"  {name:28} {value - data['times_s'].get('violation_first_measured', value):+.2f} s")
    table = Table("demand", "class", "predicted before", "predicted after", "measured after", "path")
    routes = {(r["source"], r["target"], r["class"]): r for r in data["plan"]["routes"]}
    for row in data["demands"]:
        route = routes.get((row["source"], row["target"], row["class"]))
        if route is None:
            continue
        table.add_row(
            f"{row['source']}-{row['target']}",
            row["class"],
            _milliseconds(row["predicted_before"]["delay_p99_s"]),
            _milliseconds(row["predicted_after"]["delay_p99_s"]),
            _milliseconds(row.get("measured_after", {}).get("delay_p99_s")),
            " | ".join("-".join(path["nodes"]) for path in route["paths"]),
        )
    console.print(table)
