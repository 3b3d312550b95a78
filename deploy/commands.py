"""Sub-commands that concern the operator's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this room's sub-commands."""
    app.command("check-config")(check_config)


def check_config(
    file: Annotated[Path | None, typer.Argument(help="The configuration (YAML).", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the complete configuration as JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the format.")] = False,
) -> None:
    """Check a configuration: exit 0 if it can be used, 2 with the reason in one line if not."""
    import json

    from deploy.configuration import json_schema, read_configuration

    if schema and file is None:
        typer.echo(json.dumps(json_schema(), indent=2))
        return
    if file is None:
        raise typer.BadParameter("name a configuration file, or give --schema")
    configuration = read_configuration(file)
    if schema:
        typer.echo(json.dumps(json_schema(), indent=2))
    elif as_json:
        typer.echo(configuration.model_dump_json(indent=2))
    else:
        promised = sum(
            any(goal is not None for goal in (entry.sla.delay_ms, entry.sla.jitter_ms, entry.sla.loss_percent))
            for entry in configuration.classes
        )
        typer.echo(
            f"{file}: good; mode {configuration.mode}, classes {len(configuration.classes)}, with promises {promised}"
        )
