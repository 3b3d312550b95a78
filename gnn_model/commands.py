"""The sub-commands of this room: ``routewright predict`` and, with the packet simulator, ``routewright simulate``."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gnn_model.predictor import Predictor


class PredictorName(StrEnum):
    """What ``--predictor`` takes."""

    GNN = "gnn"
    ANALYTIC = "analytic"
    SIMULATOR = "simulator"


SCENARIO_HELP = "FILE.json[.gz|.xz], topohub:sndlib/NAME, X.graph, GraphML, SNDlib XML or a datanet directory"


def register(app: typer.Typer) -> None:
    """Add this room's commands to the program."""
    app.command("predict")(predict)


def predict(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help=SCENARIO_HELP)],
    predictor: Annotated[PredictorName, typer.Option(help="Who predicts.")] = PredictorName.ANALYTIC,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict delay, 99th percentile, jitter and loss of every demand, and load and loss of every link."""
    import time

    from topology_sync.sources import load_scenario

    chosen = predictor_named(predictor)
    question = load_scenario(scenario)
    started = time.perf_counter()
    prediction = chosen.predict(question)
    seconds = time.perf_counter() - started
    if as_json:
        from gnn_model.prediction_json import prediction_to_json

        typer.echo(json.dumps(prediction_to_json(question, prediction, chosen.name, seconds)))
        return
    from rich.console import Console

    from gnn_model.prediction_table import prediction_table

    title = f"{question.name}, predicted by {chosen.name} in {seconds * 1e3:.1f} ms"
    Console().print(prediction_table(question, prediction, title))


def predictor_named(name: PredictorName) -> Predictor:
    """Make the predictor.  Raises InputError where this build has none of that name."""
    from gnn_model.analytic import AnalyticPredictor
    from topology_sync.errors import InputError

    if name is PredictorName.ANALYTIC:
        return AnalyticPredictor()
    raise InputError("--predictor", f"{name.value} is not part of this version", "use analytic")
