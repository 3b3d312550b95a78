"""``routewright bench odd``: predictors on networks that nobody trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def odd_command(
    only: Annotated[str, typer.Option(help="Only networks whose kind or name holds this.")] = "",
    relative_error: Annotated[
        float, typer.Option(min=1e-3, max=0.5, help="Relative standard error wanted of the simulated mean delays.")
    ] = 0.01,
    max_hops: Annotated[int, typer.Option(min=1000, help="Most packet-hops simulated of a network.")] = 10_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 1,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of gnn; else those shipped.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Learned and analytic predictor beside the simulator on odd networks, and whether the envelope warns of them."""
    from gnn_model.analytic import AnalyticPredictor
    from gnn_model.bench_odd import judge_odd, summary, table
    from gnn_model.gnn_predictor import GnnPredictor
    from gnn_model.odd_networks import odd_networks
    from gnn_model.packet_simulator.simulator import PacketSimulator
    from topology_sync.errors import InputError

    chosen = [network for network in odd_networks() if only in f"{network.kind} {network.name}"]
    if not chosen:
        raise InputError("--only", f"no network is named {only!r}", "leave it out to see them all")
    predictor = GnnPredictor(weights) if weights else GnnPredictor()
    truth = PacketSimulator(relative_error, seed, max_hops)
    rows = []
    for row in judge_odd(chosen, (predictor, AnalyticPredictor()), predictor.envelope, truth):
        rows.append(row)
        if not as_json:
            typer.echo(f"{len(rows)} of {len(chosen)}: {row['name']}", err=True)
    answer = {"seed": seed, "max_hops": max_hops, "networks": rows, "summary": summary(rows)}
    typer.echo(json.dumps(answer, allow_nan=False) if as_json else table(rows))
