"""The optimizer's side-by-side figures under ``routewright bench``."""

from __future__ import annotations

import typer


def register_bench(group: typer.Typer) -> None:
    """Add this room's figures to the shared group."""
    from optimizer.moving_traffic.bench_online import online

    group.command("online")(online)
