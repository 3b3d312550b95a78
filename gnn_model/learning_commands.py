"""``routewright train`` and ``routewright evaluate``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.accuracy_commands import register_bench
from gnn_model.command_options import JsonOption

if TYPE_CHECKING:
    from gnn_model.evaluation import LabelledScenario
    from gnn_model.predictor import Predictor
    from gnn_model.training.config import TrainingConfig
    from gnn_model.training.labelled import LabelledGraph
    from gnn_model.training.trainer import Report


__all__ = ["register", "register_bench"]


class DatasetFormat(StrEnum):
    """What ``--format`` takes."""

    DATANET = "datanet"
    DATASET = "dataset"
    SCENARIO = "scenario"


class ModelName(StrEnum):
    """What ``train --model`` takes."""

    GNN = "gnn"
    FULLY_CONNECTED = "fully-connected"


class JudgedPredictor(StrEnum):
    """What ``evaluate --predictor`` takes."""

    GNN = "gnn"
    FULLY_CONNECTED = "fully-connected"
    ANALYTIC = "analytic"
    SIMULATOR = "simulator"


class RateName(StrEnum):
    """Which rates of a datanet sample are fed."""

    MEASURED = "measured"
    OFFERED = "offered"


VALIDITY = (
    "Networks of 5 to 300 nodes; FIFO, strict priority, WFQ and DRR (of our simulator, and of datanet's where the node "
    "says so) with up to 3 queues of 8 to 64 packets; Poisson, periodic, on-off (3 to 100 packets a period), "
    "autocorrelated and modulated sources (correlation up to 0.95, sigma up to 0.9); loads of the most loaded link of "
    "0.2 to 1.2; single paths and splits. `ranges` holds the range of every input that was trained on. Elsewhere "
    "corrections are extrapolated."
)
RateOption = Annotated[RateName, typer.Option(help="Rates the simulation measured, or those it was asked for.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("train")(train_command)
    app.command("evaluate")(evaluate_command)
    app.command("envelope")(envelope_command)


def evaluate_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Datanet directories are searched for below it.")],
    data_format: Annotated[
        DatasetFormat,
        typer.Option(
            "--format", help="dataset: of `dataset generate`; scenario: *.json[.gz|.xz], simulated while you wait."
        ),
    ] = DatasetFormat.DATANET,
    predictor: Annotated[JudgedPredictor, typer.Option(help="Who is judged.")] = JudgedPredictor.GNN,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights; else those of gnn shipped.")] = None,
    rate: RateOption = RateName.MEASURED,
    limit: Annotated[int, typer.Option(min=0, help="Judge only so many samples; 0: all.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare predictions with what was simulated or measured, beside the analytic predictor."""
    import itertools

    from gnn_model.analytic import AnalyticPredictor
    from gnn_model.evaluation import evaluate

    if data_format is DatasetFormat.DATANET:
        samples = _datanet(dataset, rate)
    else:
        samples = _own(dataset) if data_format is DatasetFormat.DATASET else _scenarios(dataset)
    chosen = _predictor(predictor, weights)
    answer = evaluate(itertools.islice(samples, limit) if limit else samples, chosen, AnalyticPredictor())
    if as_json:
        typer.echo(json.dumps(answer, allow_nan=False))
        return
    typer.echo(f"{answer['samples']} samples, {answer['flows']} flows")
    for name, figures in ((chosen.name, answer), ("analytic", answer["baseline"])):
        shown = {key: value for key, value in figures.items() if isinstance(value, float)}
        typer.echo(f"{name:10} " + "  ".join(f"{key} {value:.4g}" for key, value in shown.items()))


def train_command(
    data: Annotated[
        list[Path], typer.Argument(metavar="DATA...", help="Datanet directories and own data sets, searched for below.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the run is kept; the same again resumes it.")],
    model: Annotated[
        ModelName, typer.Option(help="fully-connected: the baseline, on own data sets of one topology.")
    ] = ModelName.GNN,
    slots: Annotated[
        int | None, typer.Option(min=2, help="Nodes that fully-connected has room for; else those of the topology.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON of the configuration.")] = None,
    graphs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Solved graphs, made once and used again; else OUT/graphs.")
    ] = None,
    cross_validate: Annotated[
        int, typer.Option(metavar="K", min=0, help="K folds by topology instead of one model of everything.")
    ] = 0,
    extra: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Data that is trained on and never judged with.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the model goes; else into OUT.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the configuration's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the configuration's.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each process.")] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write events for TensorBoard into OUT.")] = False,
    rate: RateOption = RateName.MEASURED,
    as_json: JsonOption = False,
) -> None:
    """Train the network model; interrupted, the same command goes on.  Under torchrun all processes take part."""
    import dataclasses

    import torch

    from gnn_model.training.config import TrainingConfig, read_config
    from gnn_model.training.cross_validation import cross_validate as run_folds
    from gnn_model.training.solved_graphs import solved_graphs

    torch.set_num_threads(threads)
    if model is ModelName.FULLY_CONNECTED:
        from gnn_model.fully_connected_commands import train_baseline

        write = _events(out) if tensorboard else None
        answer = train_baseline(data, out, weights, epochs, seed, slots, _progress("training", write))
        typer.echo(json.dumps(answer, allow_nan=False) if as_json else f"wrote {answer['weights']}")
        return
    settings = read_config(config) if config else TrainingConfig()
    settings = dataclasses.replace(
        settings,
        epochs=settings.epochs if epochs is None else epochs,
        seed=settings.seed if seed is None else seed,
    )
    folder = graphs or out / "graphs"
    judged = solved_graphs(data, folder, rate.value, _said)
    added = solved_graphs(extra, folder / "extra", rate.value, _said) if extra else []
    write = _events(out) if tensorboard else None
    if cross_validate:
        progress = lambda fold: _progress(f"fold {fold}", write)  # noqa: E731
        answer = run_folds(judged, settings, out, cross_validate, progress, added)
        typer.echo(json.dumps(answer) if as_json else _fold_table(answer))
        return
    named = [*(path.name for path in data), *(f"--extra {path.name}" for path in extra or [])]
    command = f"routewright train {' '.join(named)} --rate {rate.value} (configuration below)"
    answer = _train_all([*judged, *added], settings, out, weights or out / "routenet.safetensors", write, command)
    typer.echo(json.dumps(answer) if as_json else f"wrote {answer['weights']}")


def envelope_command(
    data: Annotated[
        list[Path], typer.Argument(metavar="DATA...", help="What the weights were trained on, --extra data included.")
    ],
    graphs: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Solved graphs, as `train` keeps them; made where there are none."),
    ],
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Whose card; else those shipped.")] = None,
    rate: RateOption = RateName.MEASURED,
) -> None:
    """Write into the card of weights what they were trained on: ranges of inputs, and values had together."""
    from gnn_model.model_file import KIND, SHIPPED, load_model
    from gnn_model.training.config import TrainingConfig
    from gnn_model.training.labelled import load
    from gnn_model.training.solved_graphs import solved_graphs
    from gnn_model.validity import Envelope

    path = weights or SHIPPED
    _, card = load_model(path)
    largest = TrainingConfig(**card.get("config", {})).largest_nodes
    found = solved_graphs(data, graphs, rate.value, _said)
    if any((graphs / "extra").glob("*.npz")):
        found += load(graphs / "extra")
    chosen = [labelled for labelled in found if labelled.nodes <= largest]
    KIND.rewrite_card(path, {**card, "ranges": Envelope.of(labelled.graph for labelled in chosen).to_json()})
    typer.echo(f"{path.with_suffix('.json')}: the envelope of {len(chosen)} networks")


def _said(line: str) -> None:
    typer.echo(line, err=True)


def _train_all(
    labelled: list[LabelledGraph],
    settings: TrainingConfig,
    out: Path,
    weights: Path,
    write: Report | None,
    command: str,
) -> dict[str, Any]:
    import dataclasses

    from gnn_model.model_file import save_model
    from gnn_model.training.judging import judge
    from gnn_model.training.processes import device, taking_part
    from gnn_model.training.trainer import train
    from gnn_model.validity import Envelope

    chosen = [graph for graph in labelled if graph.nodes <= settings.largest_nodes]
    with taking_part() as rank:
        model = train(chosen, settings, out / "training.safetensors", _progress("training", write), device())
        model = model.cpu()
        if rank:
            return {"weights": str(weights)}
    figures = judge(model, chosen)
    about = {
        "data": {
            name: sum(graph.collection == name for graph in chosen) for name in sorted({g.collection for g in chosen})
        },
        "command": command,
        "topologies": sorted({graph.topology_key for graph in chosen}),
        "config": dataclasses.asdict(settings),
        "seed": settings.seed,
        "fit": figures,
        "cross_validation": _judged(out, settings),
        "validity": VALIDITY,
        "ranges": Envelope.of(graph.graph for graph in chosen).to_json(),
    }
    save_model(weights, model, about)
    return {"weights": str(weights), "fit": figures}


def _judged(out: Path, settings: TrainingConfig) -> dict[str, Any] | None:
    """What cross-validation in the same folder found for the same configuration."""
    import dataclasses

    try:
        found = json.loads((out / "cross_validation.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if found.get("config") != dataclasses.asdict(settings):
        return None
    return {name: {key: found[key][name] for key in ("learned", "analytic")} for name in found["learned"]}


def _own(root: Path) -> Iterator[LabelledScenario]:
    from gnn_model.dataset.reader import find_datasets, iterate_dataset
    from gnn_model.evaluation import LabelledScenario
    from topology_sync.errors import ScenarioError

    folders = find_datasets(root)
    if not folders:
        raise ScenarioError(str(root), "holds no data set", "make one with `routewright dataset generate`")
    return (LabelledScenario.of_simulated(sample) for folder in folders for sample in iterate_dataset(folder))


def _datanet(root: Path, rate: RateName) -> Iterator[LabelledScenario]:
    from gnn_model.datanet import find_directories, iterate_samples
    from gnn_model.evaluation import LabelledScenario

    find_directories(root)
    return (LabelledScenario.of_datanet(sample) for sample in iterate_samples(root, rate=rate.value))


def _scenarios(root: Path) -> Iterator[LabelledScenario]:
    from gnn_model.evaluation import LabelledScenario
    from topology_sync.errors import ScenarioError
    from topology_sync.sources import load_scenario

    files = sorted(path for ending in ("json", "json.gz", "json.xz") for path in root.rglob(f"*.{ending}"))
    if root.is_file():
        files = [root]
    if not files:
        raise ScenarioError(str(root), "holds no scenario files", "give *.json, *.json.gz or *.json.xz")
    truth = _predictor(JudgedPredictor.SIMULATOR, None)
    for path in files:
        scenario = load_scenario(str(path))
        yield LabelledScenario.of_prediction(scenario, truth.predict(scenario))


def _predictor(name: JudgedPredictor, weights: Path | None) -> Predictor:
    if name is JudgedPredictor.FULLY_CONNECTED:
        from gnn_model.fully_connected import FullyConnectedPredictor
        from topology_sync.errors import InputError

        if weights is None:
            raise InputError("--weights", "is missing", "name a file of `routewright train --model fully-connected`")
        return FullyConnectedPredictor(weights)
    if name is JudgedPredictor.GNN:
        from gnn_model.gnn_predictor import GnnPredictor

        return GnnPredictor(weights) if weights else GnnPredictor()
    from gnn_model.commands import PredictorName, predictor_named

    return predictor_named(PredictorName(name.value))


def _progress(what: str, write: Report | None) -> Report:
    """A line on stderr every few seconds, and events where they are wanted."""
    import time

    last = time.monotonic()

    def report(step: int, steps: int, means: dict[str, float]) -> None:
        nonlocal last
        if write is not None:
            write(step, steps, means)
        if time.monotonic() - last > 10 or step == steps:
            last = time.monotonic()
            parts = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
            typer.echo(f"{what}: step {step} of {steps}  {parts}", err=True)

    return report


def _events(out: Path) -> Callable[[int, int, dict[str, float]], None]:
    from topology_sync.errors import UnavailableError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UnavailableError("--tensorboard needs the package tensorboard; install it") from None
    writer = SummaryWriter(str(out))

    def write(step: int, steps: int, means: dict[str, float]) -> None:
        for name, value in means.items():
            writer.add_scalar(f"training/{name}", value, step)

    return write


def _fold_table(answer: dict[str, Any]) -> str:
    lines = [f"{'data':34} {'flows':>8} {'delay MAPE %':>13} {'analytic':>9} {'loss points':>12} {'analytic':>9}"]
    for name, figures in answer["learned"].items():
        other = answer["analytic"][name]
        lines.append(
            f"{name:34} {figures['flows']:8} {100 * figures['delay_mape']:13.2f} {100 * other['delay_mape']:9.2f} "
            f"{100 * figures['loss_mae']:12.3f} {100 * other['loss_mae']:9.3f}"
        )
    return "\n".join(lines)
