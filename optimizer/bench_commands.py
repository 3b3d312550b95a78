"""The optimizer's part of ``routewright bench``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Annotated, Any

import typer

from gnn_model.command_options import JsonOption

EXACT_TIME_S = 10.0
SINGLE_PATH_TIME_S = 1.0


def register_bench(group: typer.Typer) -> None:
    """Add the commands to the group."""
    from optimizer.moving_traffic.bench_online import draw_series, online

    group.command()(repetita)
    group.command()(scale)
    group.command()(online)
    group.command("draw-series")(draw_series)


def repetita(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder (or archive) with X.graph and X.NNNN.demands somewhere below.")
    ],
    matrix: Annotated[str, typer.Option(help="Which traffic matrix of each graph.")] = "0000",
    single_path: Annotated[bool, typer.Option("--single-path", help="Split no demand.")] = False,
    realisable: Annotated[
        bool, typer.Option("--realisable", help="Only shares that switches realise exactly.")
    ] = False,
    time_limit: Annotated[
        float | None, typer.Option(min=0.01, max=86400.0, help="Seconds per instance [10; single paths 1].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 1,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a line per instance to this file, too.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what the CSV file has and do the rest.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help="Just this instance (repeatable).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Least maximum utilisation of REPETITA instances, each with a proven lower bound.

    Exit code 2 where an instance could not be read or routed; the others are answered all the same.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from optimizer.exact.least_utilisation import UtilisationLimits
    from optimizer.exact.warm_up import warm_up
    from optimizer.repetita import Failure, ScoreFile, find_instances, scored, unpacked
    from topology_sync.errors import InputError
    from topology_sync.output_files import check_output

    if csv_file is not None:
        check_output(csv_file)

    if resume and csv_file is None:
        raise InputError("--resume", "has nothing to go on from", "give --csv FILE with it")
    limit_s = time_limit or (SINGLE_PATH_TIME_S if single_path else EXACT_TIME_S)
    limits = UtilisationLimits(limit_s, seed, single_path, realisable, near_present=False)
    console = Console(stderr=True)
    failures: list[Failure] = []
    with unpacked(folder) as below:
        instances = find_instances(below, matrix)
        if only:
            unknown = [name for name in only if name not in {instance.name for instance in instances}]
            if unknown:
                raise InputError("--only", f"no instance is called {unknown[0]}", "give a name as the answer has it")
            instances = [instance for instance in instances if instance.name in only]
        table = None if csv_file is None else ScoreFile(csv_file, resume)
        names = {instance.name for instance in instances}
        entries = [entry for entry in table.known if entry["name"] in names] if table is not None else []
        there = {entry["name"] for entry in entries}
        instances = [instance for instance in instances if instance.name not in there]
        warm_up(single_path)
        columns = (TextColumn("{task.description:24}"), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("starting", total=len(instances))
            for entry in scored(instances, limits):
                if isinstance(entry, Failure):
                    failures.append(entry)
                    continue
                entries.append(entry)
                if table is not None:
                    table.add(entry)
                progress.update(task, advance=1, description=entry["name"])
    entries.sort(key=lambda entry: str(entry["name"]))
    if as_json:
        typer.echo(json.dumps({"instances": entries}))
    elif entries:
        _show(entries)
    if failures:
        raise InputError(
            failures[0].name,
            f"{failures[0].problem} ({len(failures)} of {len(failures) + len(entries)} instances have no answer)",
        )


def scale(
    nodes: Annotated[list[int] | None, typer.Option("--nodes", min=4, max=5000, help="A size (repeatable).")] = None,
    edges_per_node: Annotated[
        list[float] | None, typer.Option("--edges-per-node", min=1.0, max=3.0, help="A density (repeatable).")
    ] = None,
    time_limit: Annotated[float, typer.Option(min=1.0, max=86400.0, help="Wall seconds per size.")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of networks and search.")] = 1,
    results: Annotated[
        Path | None, typer.Option(help="JSON file of results: sizes in it are not measured again, new ones are added.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw processor seconds over nodes into this SVG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """How processor time to a proven optimum grows with size: random backbones, traffic between all pairs."""
    from optimizer.exact.warm_up import warm_up
    from optimizer.scale_bench import as_json as entries_json
    from optimizer.scale_bench import draw, measure, read_entries, write_entries
    from topology_sync.errors import InputError
    from topology_sync.output_files import check_output

    for path in (results, plot):
        if path is not None:
            check_output(path)

    known = read_entries(results) if results is not None else []
    if not known and not nodes:
        raise InputError("--nodes", "names no size", "give --nodes N, or --results of sizes measured before")
    if results is not None:
        write_entries(known, results)  # it had better fail before hours of work than after
    there = {(density, entry.nodes) for density, entry in known}
    warm_up()
    for count in nodes or ():
        for density in edges_per_node or (1.2, 2.0):
            if (density, count) in there:
                continue
            entry = measure(count, density, seed, time_limit)
            known.append((density, entry))
            if results is not None:
                write_entries(known, results)
            if not as_json:
                typer.echo(
                    f"{count} nodes, {entry.links} links, {entry.demands} demands: utilisation"
                    f" {entry.max_utilisation:.6f}, gap {entry.gap:.1e} after {entry.seconds:.1f} processor seconds"
                )
    if plot is not None:
        draw(known, plot)
    if as_json:
        typer.echo(json.dumps(entries_json(known)))


def _show(entries: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("instance", "nodes", "demands", "max util", "bound", "gap", "split", "seconds")
    gaps = []
    for entry in entries:
        value, bound = entry["max_utilisation"], entry["lower_bound"]
        gaps.append(value / bound - 1.0 if bound > 0 else 0.0)
        table.add_row(
            entry["name"],
            str(entry["nodes"]),
            str(entry["demands"]),
            f"{value:.6f}",
            f"{bound:.6f}",
            f"{gaps[-1]:.4%}",
            str(entry["split_demands"]),
            f"{entry['seconds']:.3f}",
        )
    Console().print(table)
    seconds = [entry["seconds"] for entry in entries]
    typer.echo(
        f"{len(entries)} instances; within 0.1 % of the bound: {sum(gap <= 1e-3 for gap in gaps)},"
        f" within 1 %: {sum(gap <= 1e-2 for gap in gaps)};"
        f" seconds: median {statistics.median(seconds):.3f}, largest {max(seconds):.3f}"
    )
