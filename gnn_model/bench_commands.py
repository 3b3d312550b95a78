"""This room's part of ``routewright bench``; its own command is ``inference``: how fast predictions are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnn_model.command_options import JsonOption
from gnn_model.fully_connected_commands import fully_connected_command
from gnn_model.ns3_commands import ns3_command
from gnn_model.odd_commands import odd_command
from gnn_model.real_routers.commands import real_routers_command


def register_bench(group: typer.Typer) -> None:
    """Add to the ``bench`` group, which other rooms share."""
    group.command("inference")(inference)
    group.command("fully-connected")(fully_connected_command)
    group.command("ns3")(ns3_command)
    group.command("odd")(odd_command)
    group.command("testbed2023")(real_routers_command)


def inference(
    nodes: Annotated[list[int] | None, typer.Option(help="50, 100, 200 or 300; may be repeated.")] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, max=256, help="Threads; may be repeated.")] = None,
    simulate_hops: Annotated[
        int, typer.Option(min=0, max=10**10, help="Packet-hops of the run taken as the truth; 0: no simulation.")
    ] = 100_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 1,
    report: Annotated[Path | None, typer.Option(help="JSON file that the figures are added to.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write time against size here (SVG).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Predictors side by side: one and two threads, alone and in a batch, by size, against the simulator, on CUDA."""
    import json

    from gnn_model import bench_inference
    from gnn_model.bench_scenarios import NETWORK_OF
    from topology_sync.errors import InputError
    from topology_sync.output_files import check_output, write_output

    for file in (report, plot):
        if file is not None:
            check_output(file)
    sizes = nodes or list(NETWORK_OF)
    unknown = [size for size in sizes if size not in NETWORK_OF]
    if unknown:
        raise InputError("--nodes", f"{unknown[0]} is no size of this bench", f"give some of {list(NETWORK_OF)}")
    figures = bench_inference.report(
        sizes, threads or [1, 2], simulate_hops, seed, lambda line: typer.echo(line, err=True)
    )
    if report is not None:
        before = json.loads(report.read_text("utf-8")) if report.exists() else {}
        figures = bench_inference.merged(before, figures)
        write_output(report, json.dumps(figures, indent=1) + "\n")
    if plot is not None:
        bench_inference.draw(figures, plot)
    typer.echo(json.dumps(figures) if as_json else bench_inference.table(figures))
