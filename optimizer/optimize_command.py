"""``routewright optimize``: a better routing for a scenario in a file, by the search that suits the question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption, LoopPredictor
from gnn_model.commands import DemandsOption, ScenarioArgument
from gnn_model.service.options import (
    AddressOption,
    TlsCaOption,
    TlsCertificateOption,
    TlsKeyOption,
    addresses_of,
    tls_files,
)
from topology_sync.errors import InputError

if TYPE_CHECKING:
    from gnn_model.predictor import Predictor
    from optimizer.local_search import Search, SearchLimits
    from topology_sync.scenario import Scenario

BOUND_TIME_SHARE = 0.05  # of the time limit, on top of it


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


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(optimize)


def optimize(
    scenario: ScenarioArgument,
    objective: Annotated[
        Objective | None, typer.Option(help="What to minimise; without it: the SLA where the scenario has one.")
    ] = None,
    single_path: Annotated[bool, typer.Option("--single-path", help="Split no demand.")] = False,
    max_changes: Annotated[
        int | None, typer.Option(min=0, help="Change at most this many demands; new queue weights count, too.")
    ] = None,
    optimizer: Annotated[Optimizer, typer.Option(help="How to search.")] = Optimizer.auto,
    predictor: Annotated[
        LoopPredictor | None, typer.Option(help="Who judges routings; gnn where promises are judged.")
    ] = None,
    address: AddressOption = None,
    tls_ca: TlsCaOption = None,
    tls_certificate: TlsCertificateOption = None,
    tls_key: TlsKeyOption = None,
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
    queue_weights: Annotated[
        bool, typer.Option("--queue-weights", help="Change the weights of weighted queues too (sla).")
    ] = False,
    demands: DemandsOption = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find a better routing for a scenario.  Exit code 1 when SLAs are still violated.

    Ctrl-C ends the search for SLA goals early with the best plan so far.
    """
    from gnn_model.predictor_choice import open_predictor
    from gnn_model.scenario_source import load_scenario
    from topology_sync.output_files import check_output, write_output

    if out is not None:
        check_output(out)
    question = load_scenario(scenario, demands=demands)
    goal = objective or (
        Objective.sla if question.sla and optimizer is not Optimizer.exact else Objective.max_utilisation
    )

    def judge() -> Predictor:
        # without promises no prediction changes the plan, so the quick one does
        kind = predictor or (LoopPredictor.gnn if question.sla or address else LoopPredictor.analytic)
        return open_predictor(kind.value, addresses_of(address), tls_files(tls_ca, tls_certificate, tls_key))

    free_changes = _free_changes(question, max_changes) if single_path else max_changes
    if queue_weights and (goal is not Objective.sla or optimizer is Optimizer.rl):
        problem = "move no load" if goal is not Objective.sla else "are not the policy's to change"
        remedy = "use it with --objective sla and goals" if goal is not Objective.sla else "use --optimizer auto"
        raise InputError("--queue-weights", f"weights {problem}", remedy)
    with _working(f"searching for up to {time_limit:g} s", not as_json):
        if _is_exact(optimizer, goal, single_path, max_changes):
            from optimizer.delay_limits import delay_limits
            from optimizer.exact.least_utilisation import UtilisationLimits
            from optimizer.exact_answers import answer_exactly

            limit_s = delay_limits(question, max_delay or (), max_stretch)
            bounds = UtilisationLimits(time_limit, seed, single_path, realisable, max_changes, limit_s)
            # as many promises are counted as broken as any other command would count
            answer, plan = answer_exactly(question, bounds, judge() if question.sla else None)
        elif realisable or max_delay or max_stretch is not None:
            raise InputError(
                "--realisable, --max-delay, --max-stretch",
                "do not go with this search",
                "use --objective max-utilisation, and --max-changes without --single-path",
            )
        else:
            from optimizer.local_search import SearchLimits

            limits = SearchLimits(
                time_limit,
                free_changes,
                single_path=single_path,
                seed=seed,
                from_balanced=True,
                queue_weights=queue_weights,
            )
            answer, plan = _search(question, goal, judge(), optimizer, limits)
    if out is not None:
        write_output(out, json.dumps(plan, indent=1) + "\n")
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


def _free_changes(question: Scenario, max_changes: int | None) -> int | None:
    """Changes left of those allowed once no demand is split any more, which the search does not count itself."""
    split = sum(len(paths) > 1 for paths in question.routing.paths)
    if max_changes is None:
        return None
    if split > max_changes:
        problem = f"is {max_changes}, and --single-path must change what is split now"
        raise InputError("--max-changes", problem, f"allow at least {split}")
    return max_changes - split


def _search(
    question: Scenario,
    objective: Objective,
    predictor: Predictor,
    optimizer: Optimizer,
    limits: SearchLimits,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer of ``optimize --json`` and the plan's JSON by local search, with or without learned proposals."""
    from gnn_model.configurations import rescheduled
    from gnn_model.validity import validity_of_change
    from optimizer.bounds import utilisation_lower_bound
    from optimizer.candidates import CandidatePaths, UsableLinks
    from optimizer.exact.warm_up import warm_up
    from optimizer.exact_answers import answer_json
    from optimizer.goals import class_goals, goal_table
    from optimizer.interruption import stopped_by_interrupt
    from optimizer.prediction_error import allowing_for_error

    goals = class_goals(question.sla) if objective is Objective.sla else ()
    table = allowing_for_error(goal_table(question.traffic, goals), predictor)
    candidates = CandidatePaths(question.topology, UsableLinks.all_of(question.topology))
    warm_up()
    search, name = _search_of(optimizer)
    with stopped_by_interrupt() as stop:
        result = search(question, table, predictor, candidates, replace(limits, stop=stop))
        bound_s = max(0.1, BOUND_TIME_SHARE * limits.time_s)
        bound = utilisation_lower_bound(question.topology, question.traffic, time_s=0.1 if stop.is_set() else bound_s)
    answer, plan = answer_json(
        question,
        result.routing,
        bound,
        result.seconds,
        name,
        objective.value,
        (result.before, result.after),
        result.schedulers if limits.queue_weights else None,
    )
    planned = rescheduled(question, result.schedulers).with_routing(result.routing)
    return {**answer, "predictor": predictor.name, **validity_of_change(predictor, question, planned)}, plan


def _search_of(optimizer: Optimizer) -> tuple[Search, str]:
    """The search that ``--optimizer`` names, ready to run, and its name in the answer."""
    if optimizer is Optimizer.rl:
        from optimizer.rl.proposer import shipped_policy_search

        return shipped_policy_search(), "rl"
    from optimizer.local_search import search

    return search, "local-search"


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
    for node in answer.get("nodes", ()):
        weights = " ".join(f"{weight:g}" for weight in node["weights"])
        typer.echo(f"queue weights       {node['id']}: {weights}")
    typer.echo(f"changed demands     {answer['changed_demands']}, {answer['seconds']:.1f} s, {answer['optimizer']}")
    validity = answer.get("validity", {}).get("after")
    if validity is not None and not validity["inside"]:
        said = f"{validity['outside_demands']} of the demands, {validity['reasons'][0]}"
        typer.echo(f"outside training    {said}: compare with simulate")
    if out is not None:
        typer.echo(f"plan written to     {out}")
