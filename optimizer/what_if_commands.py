"""``routewright whatif``: questions to a scenario that nobody has to live through."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption
from gnn_model.commands import DemandsOption, PredictorName, ScenarioArgument
from topology_sync.errors import InputError

if TYPE_CHECKING:
    from gnn_model.predictor import Predictor
    from optimizer.local_search import SearchLimits
    from optimizer.what_if import Changes
    from topology_sync.scenario import Scenario

FALLBACKS = ("bypass", "shortest")
Strings = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("whatif")(whatif)


def register_bench(group: typer.Typer) -> None:
    """Add the benchmark of re-optimisation after failures."""
    from optimizer.failure_benchmark import failure_reoptimisation

    group.command("failure-reoptimisation")(failure_reoptimisation)


def whatif(
    scenario: ScenarioArgument,
    fail_link: Annotated[Strings, typer.Option(metavar="A:B", help="A link breaks, in both directions.")] = None,
    fail_node: Annotated[Strings, typer.Option(metavar="A", help="A node dies with all its links.")] = None,
    drain_link: Annotated[Strings, typer.Option(metavar="A:B", help="A link is emptied for maintenance.")] = None,
    drain_node: Annotated[Strings, typer.Option(metavar="A", help="A node carries no transit traffic.")] = None,
    scale_traffic: Annotated[
        Strings, typer.Option(metavar="[CLASS=]K", help="Traffic grows to K times as much, all or one class.")
    ] = None,
    set_capacity: Annotated[Strings, typer.Option(metavar="A:B=BPS", help="Another capacity, e.g. 10G.")] = None,
    add_link: Annotated[
        Strings, typer.Option(metavar="A:B=BPS[,DELAY_S]", help="A new link; only new routings use it.")
    ] = None,
    all_link_failures: Annotated[
        bool, typer.Option("--all-link-failures", help="Every single link failure, as a survival table.")
    ] = False,
    rank_upgrades: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=1000, help="The N link upgrades that help most.")
    ] = None,
    upgrade_factor: Annotated[float, typer.Option(min=1.01, max=1000, help="Capacity after an upgrade.")] = 2.0,
    reoptimize: Annotated[bool, typer.Option("--reoptimize", help="Also search a new routing.")] = False,
    queue_weights: Annotated[
        bool, typer.Option("--queue-weights", help="The search may change the weights of weighted queues too.")
    ] = False,
    max_changes: Annotated[int | None, typer.Option(min=0, help="Demands the search may move.")] = None,
    time_limit: Annotated[float, typer.Option(min=0.01, max=86400.0, help="Seconds per search.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 1,
    fallback: Annotated[
        str, typer.Option(metavar="|".join(FALLBACKS), help="What the network does about a failure by itself.")
    ] = "bypass",
    predictor: Annotated[PredictorName, typer.Option(help="Who predicts.")] = PredictorName.GNN,
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes for --all-link-failures; one per core by default.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the survival table.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows shown of each table.")] = 20,
    demands: DemandsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict what failures, growth, drains, capacities and new links would do.  Exit code 1: a goal is missed."""
    from gnn_model.figure_files import check_figure
    from gnn_model.scenario_source import load_scenario
    from optimizer.exact.warm_up import warm_up
    from optimizer.local_search import SearchLimits
    from optimizer.what_if_changes import WrittenChanges, read_changes

    if fallback not in FALLBACKS:
        raise InputError("--fallback", f"'{fallback}' is unknown", f"choose {' or '.join(FALLBACKS)}")
    if all_link_failures and rank_upgrades is not None:
        raise InputError("--all-link-failures", "does not go with --rank-upgrades", "ask one at a time")
    if plot is not None and not all_link_failures:
        raise InputError("--plot", "draws --all-link-failures", "give both or neither")
    if plot is not None:
        check_figure(plot)
    _put_on_one_thread()
    question = load_scenario(scenario, demands=demands)
    written = WrittenChanges(
        fail_link or (),
        fail_node or (),
        drain_link or (),
        drain_node or (),
        scale_traffic or (),
        set_capacity or (),
        add_link or (),
    )
    changes = read_changes(question, written)
    if queue_weights and not reoptimize:
        raise InputError("--queue-weights", "is for the search", "give --reoptimize too")
    limits = None
    if reoptimize:
        limits = SearchLimits(time_limit, max_changes, seed=seed, from_balanced=True, queue_weights=queue_weights)
        warm_up()
    if all_link_failures:
        asked = _changed_for_good(question, changes, "--all-link-failures")
        _all_failures(asked, fallback, predictor, limits, processes or os.cpu_count() or 1, plot, rows, as_json)
    elif rank_upgrades is not None:
        asked = _changed_for_good(question, changes, "--rank-upgrades")
        _upgrades(asked, rank_upgrades, upgrade_factor, predictor, limits, as_json)
    else:
        _one_question(question, changes, fallback, predictor, limits, rows, as_json)


def predictors(name: PredictorName) -> tuple[Predictor, Predictor]:
    """Who judges, and who judges during a search: simulating thousands of routings would take hours."""
    from gnn_model.commands import predictor_named

    judge = predictor_named(name)
    return judge, judge if name is not PredictorName.SIMULATOR else predictor_named(PredictorName.ANALYTIC)


def _put_on_one_thread() -> None:
    """Small tensors gain nothing from more threads, and the processes of --all-link-failures share the cores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _changed_for_good(question: Scenario, changes: Changes, option: str) -> Scenario:
    """Growth and capacities are the ground on which ``option`` asks; failures and drains are not."""
    from optimizer.what_if import changed_network

    if changes.failed_links or changes.failed_nodes or changes.drained_links or changes.drained_nodes:
        raise InputError(
            option, "does not go with failures and drains", "combine it with growth, capacities, new links"
        )
    return changed_network(question, changes).scenario


def _one_question(
    question: Scenario,
    changes: Changes,
    fallback: Any,
    predictor: PredictorName,
    limits: SearchLimits | None,
    rows: int,
    as_json: bool,
) -> None:
    from optimizer.what_if_answer import answer_json, answer_question, situation_before, validity_json
    from optimizer.what_if_changes import changes_to_json
    from optimizer.what_if_tables import show_answer

    judge, searcher = predictors(predictor)
    began = time.perf_counter()
    before = situation_before(question, judge)
    answer = answer_question(before, changes, judge, fallback, limits, searcher)
    entries = changes_to_json(question, changes)
    data = answer_json(answer, entries, judge.name, time.perf_counter() - began)
    data |= validity_json(judge, before=answer.before, after=answer.after, reoptimized=answer.reoptimised)
    if as_json:
        typer.echo(json.dumps(data, allow_nan=False))
    else:
        show_answer(data, rows)
    if answer.final.violated.any() or (answer.final.lost_share > 0).any():
        raise typer.Exit(1)


def _all_failures(
    question: Scenario,
    fallback: Any,
    predictor: PredictorName,
    limits: SearchLimits | None,
    processes: int,
    plot: Path | None,
    rows: int,
    as_json: bool,
) -> None:
    from optimizer.what_if_answer import situation_before, situation_json, validity_json
    from optimizer.what_if_changes import all_cables
    from optimizer.what_if_failures import FailureQuestion, draw_survival, failure_rows, survival
    from optimizer.what_if_tables import show_failures

    began = time.perf_counter()
    asked = FailureQuestion(question, partial(predictors, predictor), fallback, limits)
    found = []
    total = len(all_cables(question.topology))
    with _progress("failures", as_json) as advance:
        for row in failure_rows(asked, processes):
            found.append(row)
            advance(len(found), total)
    judge = predictors(predictor)[0]
    before = situation_before(question, judge)
    data: dict[str, Any] = {
        "scenario": question.name,
        "predictor": judge.name,
        "before": situation_json(before),
        **validity_json(judge, before=before),
        **survival(found),
        "processes": processes,
        "links": found,
        "seconds": time.perf_counter() - began,
    }
    if plot is not None:
        draw_survival(found, f"{question.name}: each single link failure", plot)
    if as_json:
        typer.echo(json.dumps(data, allow_nan=False))
    else:
        show_failures(data, rows)
    if data["survived_reoptimized" if limits is not None else "survived"] < total:
        raise typer.Exit(1)


def _upgrades(
    question: Scenario,
    count: int,
    factor: float,
    predictor: PredictorName,
    limits: SearchLimits | None,
    as_json: bool,
) -> None:
    from optimizer.what_if_answer import situation_json, validity_json
    from optimizer.what_if_tables import show_upgrades
    from optimizer.what_if_upgrades import rank_upgrades, upgrade_json

    began = time.perf_counter()
    judge, searcher = predictors(predictor)
    with _progress("upgrades", as_json) as advance:
        before, found = rank_upgrades(question, count, judge, factor, limits, advance, searcher)
    data = {
        "scenario": question.name,
        "predictor": judge.name,
        "upgrade_factor": factor,
        "before": situation_json(before),
        **validity_json(judge, before=before),
        "upgrades": [upgrade_json(question, before, upgrade) for upgrade in found],
        "seconds": time.perf_counter() - began,
    }
    if as_json:
        typer.echo(json.dumps(data, allow_nan=False))
    else:
        show_upgrades(data)


class _progress:  # noqa: N801  (used like a function)
    """A bar on stderr where that is a terminal; gives a callable (done, total)."""

    def __init__(self, what: str, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=quiet or not console.is_terminal)
        self._what = what

    def __enter__(self) -> Callable[[int, int], None]:
        self._bar.start()
        task = self._bar.add_task(self._what, total=None)
        return lambda done, total: self._bar.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
