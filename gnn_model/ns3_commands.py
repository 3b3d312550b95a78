"""``routewright bench ns3``: our packet simulator beside ns-3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gnn_model.command_options import JsonOption


def ns3_command(
    hops: Annotated[
        float, typer.Option(min=1e4, help="Packet-hops of each ns-3 run (some 0.4 million a second).")
    ] = 4e6,
    seed: Annotated[int, typer.Option(min=1, help="Seed of both simulators.")] = 1,
    network: Annotated[list[str] | None, typer.Option(help="Only these of topohub's sndlib networks.")] = None,
    only: Annotated[str, typer.Option(help="Only rows that have all these words, such as 'fifo onoff'.")] = "",
    program: Annotated[Path | None, typer.Option(metavar="FILE", help="What deploy/ns3/build has built.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare our packet simulator with ns-3: delays, jitter and loss of every demand, and what their errors allow."""
    from gnn_model.ns3_check import HEAD, NETWORKS, cases, line, run_case

    rows = []
    if not as_json:
        typer.echo(HEAD)
    for case in cases(tuple(network) if network else NETWORKS):
        text = " ".join(str(value) for value in vars(case).values())
        if any(word not in text for word in only.split()):
            continue
        rows.append(run_case(case, hops, seed, program))
        if not as_json:
            typer.echo(line(rows[-1]))
    if as_json:
        typer.echo(json.dumps({"hops": hops, "seed": seed, "rows": rows}, allow_nan=False))
