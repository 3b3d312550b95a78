"""``routewright bench testbed2023``: delays measured on real routers, from flow-level features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption

if TYPE_CHECKING:
    from gnn_model.real_routers.training import Report


def real_routers_command(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the .npz files of the 2023 set.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the run is kept; the same again resumes it.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the usual number.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same models.")] = 1,
    fold: Annotated[list[int] | None, typer.Option(min=0, help="Only these folds.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the training.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train and judge by the official cross-validation of the 2023 set; interrupted, the same command goes on."""
    import dataclasses

    import torch

    from gnn_model.real_routers.cross_validation import cross_validate, read_graphs
    from gnn_model.real_routers.training import RouterTraining

    torch.set_num_threads(threads)
    config = RouterTraining(seed=seed)
    if epochs is not None:
        config = dataclasses.replace(config, epochs=epochs)
    answer = cross_validate(read_graphs(data), config, out, fold, _progress)
    typer.echo(json.dumps(answer, allow_nan=False) if as_json else _table(answer))


def _progress(fold: int) -> Report:
    import time

    last = time.monotonic()

    def report(step: int, steps: int, error: float) -> None:
        nonlocal last
        if time.monotonic() - last > 20 or step == steps:
            last = time.monotonic()
            typer.echo(f"fold {fold}: step {step} of {steps}, mean error of the logarithm {error:.3f}", err=True)

    return report


def _table(answer: dict[str, Any]) -> str:
    lines = [f"| {'flows of':24} | {'flows':>7} | MAPE % | median % | simple queue MAPE % |", "|---|---|---|---|---|"]
    for name, figures in answer["learned"].items():
        if figures["flows"]:
            other = answer["baseline"][name]["delay_mape"]
            cells = f"{figures['delay_mape']:6.2f} | {figures['delay_median_ape']:8.2f} | {other:6.2f}"
            lines.append(f"| {name:24} | {figures['flows']:7} | {cells} |")
    return "\n".join(lines)
