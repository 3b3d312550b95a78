"""Commands of the fully connected baseline: ``train --model fully-connected`` and ``bench fully-connected``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption

if TYPE_CHECKING:
    from gnn_model.evaluation import LabelledScenario
    from gnn_model.training.trainer import Report


def train_baseline(
    data: Sequence[Path],
    out: Path,
    weights: Path | None,
    epochs: int | None,
    seed: int | None,
    slots: int | None,
    report: Report,
) -> dict[str, Any]:
    """Train on data sets of ``routewright dataset generate``, all of one topology; what ``--json`` prints."""
    import dataclasses

    from gnn_model.analytic import AnalyticPredictor
    from gnn_model.evaluation import evaluate
    from gnn_model.fully_connected import FullyConnectedPredictor, save_fully_connected
    from gnn_model.fully_connected_training import FullyConnectedTraining, train_fully_connected

    config = FullyConnectedTraining(slots=slots)
    config = dataclasses.replace(
        config,
        epochs=config.epochs if epochs is None else epochs,
        seed=config.seed if seed is None else seed,
    )
    samples = [sample for root in data for sample in simulated_samples(root)]
    model, topology = train_fully_connected(samples, config, out / "fully_connected_training.safetensors", report)
    target = weights or out / "fully_connected.safetensors"
    save_fully_connected(target, model, topology)
    fit = evaluate(samples, FullyConnectedPredictor.of_model(model, topology), AnalyticPredictor())
    return {"weights": str(target), "samples": len(samples), "fit": fit}


def simulated_samples(root: Path) -> list[LabelledScenario]:
    """Samples of all data sets of our own below a folder.  Raises ScenarioError where there is none."""
    from gnn_model.dataset.reader import find_datasets, iterate_dataset
    from gnn_model.evaluation import LabelledScenario
    from topology_sync.errors import ScenarioError

    folders = find_datasets(root)
    if not folders:
        raise ScenarioError(str(root), "holds no data set", "make one with `routewright dataset generate`")
    return [LabelledScenario.of_simulated(sample) for folder in folders for sample in iterate_dataset(folder)]


def fully_connected_command(
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Data sets of `dataset generate` to judge on.")],
    weights: Annotated[list[Path], typer.Option(metavar="FILE", help="Networks of `train --model fully-connected`.")],
    as_json: JsonOption = False,
) -> None:
    """Judge fully connected networks beside the analytic and the learned predictor.

    Other topologies than the one trained on are fed all the same, nodes by their number; that is said in the table.
    """
    from gnn_model.analytic import AnalyticPredictor
    from gnn_model.evaluation import evaluate
    from gnn_model.fully_connected import FixedTopology, FullyConnectedPredictor
    from gnn_model.gnn_predictor import GnnPredictor
    from gnn_model.predictor import Predictor

    networks = {path.stem: FullyConnectedPredictor(path, any_topology=True) for path in weights}
    predictors: dict[str, Predictor] = {**networks, "gnn": GnnPredictor()}
    rows: list[dict[str, Any]] = []
    for root in data:
        samples = simulated_samples(root)
        topology = FixedTopology.of(samples[0].scenario.topology)
        analytic: dict[str, Any] = {}
        for name, predictor in predictors.items():
            figures = evaluate(samples, predictor, AnalyticPredictor())
            analytic = {**figures, **figures.pop("baseline")}
            known = name not in networks or networks[name].topology == topology
            rows.append({"data": root.name, "predictor": name, "topology_known": known, **figures})
        rows.append({"data": root.name, "predictor": "analytic", "topology_known": True, **analytic})
    typer.echo(json.dumps({"rows": rows}, allow_nan=False) if as_json else _table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| data | predictor | flows | delay MAPE % | median % | p99 % | jitter % | loss, points |"]
    lines.append("|---" * 8 + "|")
    for row in rows:
        name = row["predictor"] if row["topology_known"] else f"{row['predictor']}, forced on another topology"
        figures = [row["delay_mape"], row["delay_median_ape"], row.get("p99_mape"), row["jitter_mape"]]
        cells = [row["data"], name, str(row["flows"]), *("-" if value is None else f"{value:.1f}" for value in figures)]
        lines.append("| " + " | ".join(cells) + f" | {100 * row['loss_mae']:.3f} |")
    return "\n".join(lines)
