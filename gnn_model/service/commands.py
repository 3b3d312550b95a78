"""``routewright bench service``.  The server itself is ``routewright predictor`` (deploy), which knows the config."""

from __future__ import annotations

from typing import Annotated

import typer

from gnn_model.command_options import JsonOption

LARGEST_DIFFERENCE = 1e-5


def register_bench(group: typer.Typer) -> None:
    """Add this room's comparison to ``bench``."""
    group.command("service")(service)


def service(
    topology: Annotated[str, typer.Option(help="Scenario file or source.")] = "topohub:sndlib/nobel-us",
    clients: Annotated[int, typer.Option(min=1, max=1000, help="Callers at once.")] = 100,
    candidates: Annotated[int, typer.Option(min=1, help="Candidate predictions in all.")] = 10_000,
    per_call: Annotated[int, typer.Option(min=1, max=64, help="Candidates in a call.")] = 10,
    servers: Annotated[
        int, typer.Option(min=1, max=16, help="Server processes; one is killed where there are two.")
    ] = 2,
    kind: Annotated[str, typer.Option(help="gnn or analytic.")] = "gnn",
    seed: Annotated[int, typer.Option(min=0, help="Seed of loads and candidates.")] = 1,
    as_json: JsonOption = False,
) -> int:
    """Many callers against server processes, one of them killed on the way.

    Exit code 1 unless there was no error and every answer is the embedded predictor's to 1e-5.
    """
    import json
    import os

    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from gnn_model.predictor_choice import KINDS
    from gnn_model.service.bench import LoadSettings, bench_service
    from topology_sync.errors import InputError
    from topology_sync.sources import load_scenario

    if kind not in KINDS:
        raise InputError("--kind", f"is '{kind}'", f"give one of {', '.join(KINDS)}")
    settings = LoadSettings(clients, candidates, per_call, servers, kind, seed)
    found = bench_service(load_scenario(topology), settings, lambda text: typer.echo(text, err=True))
    loads = [load for load in (found["all_up"], found["one_killed"]) if load is not None]
    if as_json:
        typer.echo(json.dumps(found, allow_nan=False))
    else:
        for name, load in zip(("all up", "one killed"), loads, strict=False):
            latency = ", ".join(f"{key} {1e3 * value:.0f}" for key, value in load["latency_s"].items())
            typer.echo(
                f"{name:10} {load['calls']} calls, {load['errors']} errors, {load['candidates_per_s']:.0f} candidates/s"
                f", ms a call: {latency}; largest difference {load['largest_relative_difference']:.1e}"
            )
        alone = found["alone"]
        for name in ("remote", "embedded"):
            typer.echo(
                f"one caller, one candidate, {name}: {1e3 * alone[f'{name}_p50_s']:.2f} ms,"
                f" p99 {1e3 * alone[f'{name}_p99_s']:.2f} ms"
            )
        typer.echo(f"embedded, one thread: {found['embedded_candidates_per_s']:.0f} candidates/s")
    good = all(not load["errors"] and load["largest_relative_difference"] <= LARGEST_DIFFERENCE for load in loads)
    return 0 if good else 1
