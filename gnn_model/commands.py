"""The sub-commands of this room: ``routewright predict`` and ``routewright simulate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption
from gnn_model.service.options import (
    AddressOption,
    TlsCaOption,
    TlsCertificateOption,
    TlsKeyOption,
    addresses_of,
    tls_files,
)

if TYPE_CHECKING:
    from gnn_model.packet_simulator.simulator import PacketSimulator, Simulation
    from gnn_model.predictor import Prediction, Predictor
    from gnn_model.validity import Verdict
    from topology_sync.scenario import Scenario
    from topology_sync.values import FloatArray


class PredictorName(StrEnum):
    """What ``--predictor`` takes."""

    GNN = "gnn"
    ANALYTIC = "analytic"
    SIMULATOR = "simulator"


SOURCES = "FILE.json[.gz|.xz], topohub:GROUP/NAME, X.graph, GraphML, SNDlib or a datanet directory."
ScenarioArgument = Annotated[str, typer.Argument(metavar="SCENARIO", help=SOURCES)]
DemandsOption = Annotated[Path | None, typer.Option(metavar="FILE", help="The demands that go with X.graph.")]


def register(app: typer.Typer) -> None:
    """Add this room's commands to the program."""
    app.command("predict")(predict)
    app.command("simulate")(simulate)


def predict(
    scenario: ScenarioArgument,
    predictor: Annotated[PredictorName, typer.Option(help="Who predicts.")] = PredictorName.GNN,
    address: AddressOption = None,
    tls_ca: TlsCaOption = None,
    tls_certificate: TlsCertificateOption = None,
    tls_key: TlsKeyOption = None,
    demands: DemandsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict delay, 99th percentile, jitter and loss of every demand, and load and loss of every link."""
    import time

    from gnn_model.predictor_choice import open_predictor
    from gnn_model.scenario_source import load_scenario
    from gnn_model.validity import verdict_of
    from topology_sync.errors import InputError

    addresses, tls = addresses_of(address), tls_files(tls_ca, tls_certificate, tls_key)
    if addresses and predictor is PredictorName.SIMULATOR:
        raise InputError("--address", "is given, and no server simulates", "leave it out")
    question = load_scenario(scenario, demands=demands)  # first: a predictor takes seconds to load
    chosen = open_predictor(predictor.value, addresses, tls) if addresses else predictor_named(predictor)
    started = time.perf_counter()
    prediction = chosen.predict(question)
    seconds = time.perf_counter() - started
    _print(question, prediction, chosen.name, seconds, as_json, verdict=verdict_of(chosen, question))


def simulate(
    scenario: ScenarioArgument,
    relative_error: Annotated[
        float, typer.Option(help="Relative standard error wanted of the mean delay of 90 % of the demands.")
    ] = 0.01,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same packets.")] = 1,
    max_hops: Annotated[
        int, typer.Option(help="Cap on packet-hops (5 to 10 million take a second); then what is known is printed.")
    ] = 200_000_000,
    demands: DemandsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate every packet of a scenario and print what each demand experienced."""
    import time

    from gnn_model.scenario_source import load_scenario

    simulator = _simulator(relative_error=relative_error, seed=seed, max_hops=max_hops)
    question = load_scenario(scenario, demands=demands)
    started = time.perf_counter()
    simulation = _with_progress(lambda report: simulator.simulate(question, report))
    seconds = time.perf_counter() - started
    run = {
        "packet_hops": simulation.packet_hops,
        "packet_hops_cap": max_hops,
        "simulated_s": simulation.simulated_s,
        "relative_error": relative_error,
        "relative_error_reached": simulation.reached,
        "seed": seed,
    }
    _print(question, simulation.prediction, simulator.name, seconds, as_json, simulation.rse, run)


def predictor_named(name: PredictorName) -> Predictor:
    """Make the predictor.  Raises UnavailableError where a library that it needs is not installed."""
    from gnn_model.predictor_choice import load_predictor

    return _simulator() if name is PredictorName.SIMULATOR else load_predictor(name.value)


def _simulator(**settings: Any) -> PacketSimulator:
    from topology_sync.errors import UnavailableError

    try:
        from gnn_model.packet_simulator.simulator import PacketSimulator
    except ModuleNotFoundError as missing:
        if missing.name not in ("numba", "llvmlite"):
            raise
        raise UnavailableError("the simulator needs numba; install routewright[model]") from None
    return PacketSimulator(**settings)


def _with_progress(work: Callable[[Callable[[float], None] | None], Simulation]) -> Simulation:
    """Run ``work`` with a bar on stderr if that is a terminal."""
    import sys

    if not sys.stderr.isatty():
        return work(None)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("simulating", total=1.0)
        return work(lambda part: progress.update(task, completed=part))


def _print(
    question: Scenario,
    prediction: Prediction,
    predictor: str,
    seconds: float,
    as_json: bool,
    rse: FloatArray | None = None,
    run: dict[str, Any] | None = None,
    verdict: Verdict | None = None,
) -> None:
    if as_json:
        from gnn_model.prediction_json import prediction_to_json

        answer = prediction_to_json(question, prediction, predictor, seconds, rse)
        validity: dict[str, Any] = {}
        if verdict is not None:
            flows = answer["flows"]
            outside = [{key: flows[demand][key] for key in ("source", "target", "class")} for demand in verdict.demands]
            validity = {"validity": {**verdict.to_json(), "outside": outside}}
        typer.echo(json.dumps(answer | validity | (run or {}), allow_nan=False))
        return
    from rich.console import Console

    from gnn_model.prediction_table import idle_goals, link_table, prediction_table

    title = f"{question.name}: {predictor}, {seconds:.3g} s"
    if run is not None:
        reached = "reached" if run["relative_error_reached"] else "not reached within the cap"
        title += f", {run['packet_hops']:,} packet-hops, error of {run['relative_error']:.2g} {reached}"
    console = Console()
    console.print(prediction_table(question, prediction, title, rse))
    console.print(link_table(question, prediction))
    if idle := idle_goals(question):
        typer.echo(idle)
    if verdict is not None and verdict.text:
        typer.echo(verdict.text)
