"""``routewright bench accuracy`` and ``bench envelope``: the figures of the documentation on sets of our own."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gnn_model.command_options import JsonOption


class Kind(StrEnum):
    """What ``--by`` takes."""

    ARRIVALS = "arrivals"
    SCHEDULER = "scheduler"
    ROUTING = "routing"
    SIZES = "sizes"


def register_bench(group: typer.Typer) -> None:
    """Add the commands to the group ``bench``."""
    group.command("accuracy")(accuracy_command)
    group.command("envelope")(envelope_command)


def accuracy_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data sets are searched for below it.")],
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of gnn; else those shipped.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw error over size (.svg or .png).")] = None,
    trained_up_to: Annotated[int | None, typer.Option(help="Largest network trained on, marked in the plot.")] = None,
    by: Annotated[
        Kind | None, typer.Option(help="A row for each kind of samples of all sets, instead of one for each set.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the learned model beside the analytic predictor on every data set below DIR, one row each."""
    from gnn_model.accuracy import accuracy_table, judge_sets, plot_sizes
    from gnn_model.analytic import AnalyticPredictor
    from gnn_model.figure_files import check_figure
    from gnn_model.gnn_predictor import GnnPredictor

    if plot is not None:
        check_figure(plot)
    predictor = GnnPredictor(weights) if weights else GnnPredictor()
    rows: list[dict[str, Any]] = []
    for row in judge_sets(folder, predictor, AnalyticPredictor(), by.value if by else None):
        rows.append(row)
        typer.echo(f"{row['set']}: {row['samples']} samples judged", err=True)
    if plot is not None:
        plot_sizes(rows, predictor.name, plot, trained_up_to)
    typer.echo(json.dumps({"sets": rows}, allow_nan=False) if as_json else accuracy_table(rows, predictor.name))


def envelope_command(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Data sets are searched for below them.")],
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of gnn; else those shipped.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Errors of the learned model on flows inside and outside its envelope, on every data set below DIR."""
    from gnn_model.bench_envelope import envelope_table, judge_envelope
    from gnn_model.gnn_predictor import GnnPredictor
    from topology_sync.errors import InputError

    predictor = GnnPredictor(weights) if weights else GnnPredictor()
    if predictor.envelope is None:
        raise InputError("--weights", "have a card without ranges", "write them with `routewright envelope`")
    answer = judge_envelope(folders, predictor, predictor.envelope)
    typer.echo(json.dumps(answer, allow_nan=False) if as_json else envelope_table(answer))
