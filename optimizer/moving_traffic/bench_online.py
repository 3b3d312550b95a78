"""``routewright bench online``: a recorded series replayed, every interval decided from those before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption
from gnn_model.figure_files import check_figure, save_figure
from topology_sync.errors import InputError

if TYPE_CHECKING:
    from optimizer.moving_traffic.replay import Step


def online(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A network's JSON, tunnels.txt and the series.")],
    series: Annotated[str, typer.Option(metavar="NAME", help="Replay NAME.hist[.xz] against NAME.opt.")],
    first: Annotated[int, typer.Option(min=0, help="First interval to decide; those before it are its past.")] = 1,
    count: Annotated[int | None, typer.Option(min=1, help="How many intervals; all by default.")] = None,
    own_tunnels: Annotated[
        bool, typer.Option("--own-tunnels", help="Choose the tunnels ourselves, as where tunnels.txt is absent.")
    ] = False,
    last_optimum: Annotated[
        bool, typer.Option("--last-optimum", help="For comparison: apply the last matrix's optimum, without a budget.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw ratio and re-routed traffic.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Decide each interval's split ratios from past matrices alone and compare with the optimum known afterwards."""
    import sys
    from dataclasses import asdict
    from itertools import islice

    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from optimizer.moving_traffic.hedging import minimum_utilisation
    from optimizer.moving_traffic.recorded_series import read_series
    from optimizer.moving_traffic.replay import LastOptimum, OnlineController, replay

    if plot is not None:
        check_figure(plot)
    recorded = read_series(directory, series, own_tunnels=own_tunnels)
    total = len(recorded.matrices)
    if first >= total:
        raise InputError("--first", f"is {first}, the series has {total} matrices", f"give at most {total - 1}")
    wanted = min(count or total, total - first)
    optimum = recorded.optimum
    chosen = recorded.matrices[: first + wanted]
    if optimum is None:
        values = [minimum_utilisation(recorded.tunnels, matrix)[0] for matrix in chosen[first:]]
        optimum = np.array([float("nan")] * first + values)
    controller = LastOptimum(recorded.tunnels) if last_optimum else OnlineController(recorded.tunnels)
    steps: list[Step] = list(
        track(
            islice(replay(recorded.tunnels, chosen, optimum, first, wanted, controller), wanted),
            total=wanted,
            description="replaying",
            console=Console(stderr=True),
            transient=True,
            disable=as_json or not sys.stderr.isatty(),
        )
    )
    if plot is not None:
        _draw(plot, f"{directory.resolve().name} {series}", steps)
    if as_json:
        typer.echo(json.dumps({"steps": [asdict(step) for step in steps]}, allow_nan=False))
    else:
        _show(series, steps)


def draw_series(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write network and series to.")],
    topology: Annotated[str, typer.Option(help="Scenario file or source, e.g. topohub:sndlib/nobel-germany.")],
    series: Annotated[str, typer.Option(metavar="NAME", help="Name of the series.")] = "drawn",
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many intervals, 96 a day.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the traffic.")] = 1,
) -> None:
    """Write a series for `bench online`: gravity traffic with daily cycles, noise and bursts on any topology."""
    from optimizer.moving_traffic.drawn_series import draw_matrices, write_series
    from topology_sync.sources import load_scenario

    if not series or Path(series).name != series:
        raise InputError("--series", f"is {series!r}", "give the name of a file")
    network = load_scenario(topology).topology
    if network.node_count < 2 or not network.link_count:
        raise InputError("--topology", "has no two nodes with a link between them", "choose another")
    write_series(network, draw_matrices(network, count, seed), directory, series)
    typer.echo(f"{count} matrices of {network.node_count} nodes written to {directory}")


def summary(steps: Sequence[Step]) -> dict[str, Any]:
    """Mean, median, 99th percentile and maximum of max utilisation over optimum, and of what was re-routed."""
    import numpy as np

    ratio = np.array([step.max_utilisation / step.optimum for step in steps if step.optimum > 0])
    moved = np.array([step.traffic_rerouted_ratio for step in steps])
    seconds = np.array([step.seconds for step in steps])
    if not len(ratio):
        ratio = np.ones(1)
    return {
        "mean": float(ratio.mean()),
        "median": float(np.median(ratio)),
        "p99": float(np.percentile(ratio, 99)),
        "max": float(ratio.max()),
        "rerouted_mean": float(moved.mean()),
        "rerouted_max": float(moved.max()),
        "seconds_median": float(np.median(seconds)),
        "seconds_max": float(seconds.max()),
    }


def _show(series: str, steps: Sequence[Step]) -> None:
    figures = summary(steps)
    typer.echo(f"{series}: {len(steps)} intervals, from {steps[0].index} on")
    typer.echo(
        f"max utilisation / optimum  mean {figures['mean']:.4f}  median {figures['median']:.4f}"
        f"  p99 {figures['p99']:.4f}  max {figures['max']:.4f}"
    )
    typer.echo(f"traffic re-routed a step   mean {figures['rerouted_mean']:.1%}  max {figures['rerouted_max']:.1%}")
    typer.echo(
        f"time a step                median {figures['seconds_median']:.3f} s  max {figures['seconds_max']:.3f} s"
    )


def _draw(file: Path, title: str, steps: Sequence[Step]) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "routewright"
    figure, (upper, lower) = pyplot.subplots(2, 1, figsize=(9, 5), sharex=True, height_ratios=(2, 1))
    index = [step.index for step in steps]
    upper.plot(index, [step.max_utilisation / max(step.optimum, 1e-300) for step in steps], lw=1, color="tab:blue")
    upper.axhline(1.0, color="black", lw=0.5)
    upper.set_ylabel("max utilisation / optimum")
    upper.set_title(title)
    lower.plot(index, [100 * step.traffic_rerouted_ratio for step in steps], lw=1, color="tab:orange")
    lower.axhline(20, color="tab:red", lw=0.8, ls="--")
    lower.text(index[0], 20.5, "budget", color="tab:red", va="bottom", fontsize=8)
    lower.set_ylim(0, 24)
    lower.set_ylabel("traffic re-routed, %")
    lower.set_xlabel("interval")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    try:
        save_figure(figure, file)
    finally:
        pyplot.close(figure)
