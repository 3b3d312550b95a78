"""This room's part of ``routewright bench``."""

from __future__ import annotations

import typer

from gnn_model.ns3_commands import ns3_command


def register_bench(group: typer.Typer) -> None:
    """Add the commands to the group ``bench``."""
    group.command("ns3")(ns3_command)
