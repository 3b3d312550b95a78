"""``routewright dataset generate`` and ``routewright dataset info``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gnn_model.command_options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from gnn_model.dataset.manifest import Manifest


class BackendName(StrEnum):
    """What ``--backend`` takes."""

    PROCESSES = "processes"
    RAY = "ray"


def register(app: typer.Typer) -> None:
    """Add the group ``dataset`` to the program."""
    group = typer.Typer(help="Simulated data sets for training and judging.", no_args_is_help=True)
    group.command("generate")(generate_command)
    group.command("info")(info_command)
    app.add_typer(group, name="dataset")


def generate_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where it goes; the same again resumes it.")],
    samples: Annotated[
        int | None, typer.Option(min=1, help="Number of scenarios, else 100; a larger one adds to a set.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Every sample follows from it and its number.")] = 1,
    preset: Annotated[
        str | None, typer.Option(help="Recipe, seed and number of a set of the documentation; what is drawn is fixed.")
    ] = None,
    topology: Annotated[
        list[str] | None,
        typer.Option(help="gabriel, waxman, barabasi, ring, powerlaw, topohub:GROUP/NAME, topohub:GROUP/* or a file."),
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="GROUP/NAME never drawn from topohub:GROUP/*.")] = None,
    nodes: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Sizes of random networks.")] = "8:50",
    arrivals: Annotated[
        str, typer.Option(help="Of poisson, cbr, onoff, autocorrelated, modulated, mixed, by commas.")
    ] = "",
    sizes: Annotated[str, typer.Option(help="Of exponential, constant, bimodal, discrete, mixed.")] = "",
    schedulers: Annotated[str, typer.Option(help="Of fifo, strict, wfq, drr, mixed.")] = "",
    classes: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Traffic classes, 1 to 3.")] = "1:3",
    routings: Annotated[str, typer.Option(help="Of hops, weights, alternatives, multipath.")] = "",
    capacities: Annotated[str, typer.Option(help="Of given, random, provisioned; a file's own: given.")] = "",
    load: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Load of the most loaded link.")] = "0.2:1.2",
    queue_packets: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Packets that can wait.")] = "8:64",
    burst_packets: Annotated[str, typer.Option(metavar="LOW:HIGH", help="Packets per period of onoff.")] = "3:100",
    demands: Annotated[int, typer.Option(help="At most so many in a sample.")] = 800,
    propagation: Annotated[float, typer.Option(help="Part of the samples with propagation delays.")] = 0.1,
    relative_error: Annotated[float, typer.Option(help="Of the mean delay of 90 % of the demands.")] = 0.02,
    max_hops: Annotated[int, typer.Option(help="Cap on packet-hops of a sample.")] = 20_000_000,
    longer: Annotated[float, typer.Option(help="Simulate so many times longer: less noise in the labels.")] = 1.0,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Shards at once: else 1, on Ray as many as it has processors.")
    ] = None,
    backend: Annotated[BackendName, typer.Option(help="Where they run.")] = BackendName.PROCESSES,
    as_json: JsonOption = False,
) -> None:
    """Draw scenarios and label them by simulating every packet."""
    from gnn_model.dataset.generate import generate
    from gnn_model.dataset.recipe import DatasetRecipe

    if preset is not None:
        from gnn_model.dataset.presets import preset as preset_named

        named = preset_named(preset)
        _done(
            generate(
                folder, named.recipe, named.seed, samples or named.samples, processes, backend.value, report=_progress()
            ),
            folder,
            as_json,
        )
        return
    usual = DatasetRecipe()
    recipe = DatasetRecipe(
        topologies=tuple(topology) if topology else usual.topologies,
        nodes=_whole("nodes", nodes),
        exclude=tuple(exclude or ()),
        arrivals=_names(arrivals) or usual.arrivals,
        sizes=_names(sizes) or usual.sizes,
        schedulers=_names(schedulers) or usual.schedulers,
        classes=_whole("classes", classes),
        routings=_names(routings) or usual.routings,
        capacities=_names(capacities) or usual.capacities,
        load=_range("load", load),
        queue_packets=_range("queue-packets", queue_packets),
        burst_packets=_range("burst-packets", burst_packets),
        demands=demands,
        propagation=propagation,
        relative_error=relative_error,
        max_hops=max_hops,
        longer=longer,
    )
    manifest = generate(folder, recipe, seed, samples or 100, processes, backend.value, report=_progress())
    _done(manifest, folder, as_json)


def _done(manifest: Manifest, folder: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"samples": manifest.done, "shards": len(manifest.shards), "folder": str(folder)}))
    else:
        typer.echo(f"{manifest.done} samples in {len(manifest.shards)} shards in {folder}")


def info_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set.")],
    as_json: JsonOption = False,
) -> None:
    """Verify the checksums of a data set and say what it holds."""
    from gnn_model.dataset.information import information, information_table

    answer = information(folder)
    typer.echo(json.dumps(answer, allow_nan=False) if as_json else information_table(answer))
    if answer["damaged"]:
        raise typer.Exit(1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _range(name: str, text: str) -> tuple[float, float]:
    from topology_sync.errors import ConfigurationError

    low, colon, high = text.partition(":")
    try:
        return float(low), float(high if colon else low)
    except ValueError:
        raise ConfigurationError(f"--{name}", f"is {text[:40]!r}", "give LOW:HIGH") from None


def _whole(name: str, text: str) -> tuple[int, int]:
    low, high = _range(name, text)
    return int(low), int(high)


def _progress() -> Callable[[Manifest], None]:
    """A line on stderr after every shard."""
    import time

    started = time.monotonic()
    before: int | None = None

    def report(manifest: Manifest) -> None:
        nonlocal before
        if before is None:  # what an earlier run left
            before = max(manifest.done - manifest.shard_samples, 0)
        spent = time.monotonic() - started
        left = spent / max(manifest.done - before, 1) * (manifest.samples - manifest.done)
        typer.echo(f"{manifest.done} of {manifest.samples} samples, about {left / 60:.0f} minutes left", err=True)

    return report
