"""This room's part of ``routewright bench``."""

from __future__ import annotations

import typer

from gnn_model.fully_connected_commands import fully_connected_command
from gnn_model.ns3_commands import ns3_command
from gnn_model.real_routers.commands import real_routers_command


def register_bench(group: typer.Typer) -> None:
    """Add the commands to the group ``bench``."""
    group.command("fully-connected")(fully_connected_command)
    group.command("ns3")(ns3_command)
    group.command("testbed2023")(real_routers_command)
