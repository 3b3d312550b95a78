"""Sub-commands that run the processes of one machine, together or each alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigurationFile = Annotated[Path, typer.Option("--config", help="The operator's configuration (YAML).")]


def register(app: typer.Typer) -> None:
    """Add this room's sub-commands."""
    app.command("run")(run)
    app.command("controller")(controller)
    app.command("optimizer")(optimizer)
    app.command("predictor")(predictor)


def run(config: ConfigurationFile) -> int:
    """Run and supervise all that one machine needs: controller and optimizer."""
    import sys

    from deploy.configuration import read_configuration
    from deploy.supervisor import Service, Supervisor

    read_configuration(config)  # refuse a bad file once and here, not in every child
    own = (sys.executable, "-u", "-m", "deploy.cli")
    services = [Service(name, (*own, name, "--config", str(config))) for name in ("controller", "optimizer")]
    return Supervisor(services).run()


def controller(config: ConfigurationFile) -> None:
    """Run the controller alone: it speaks OpenFlow with the switches and HTTP with the optimizer."""
    import os
    import sys

    from deploy.configuration import read_configuration

    configuration = read_configuration(config)
    settings = configuration.controller_settings()
    file = write_private(Path(settings.state_directory) / "settings.json", settings.to_json())
    # The controller's own program imports nothing of this one: eventlet changes a whole process.
    os.execv(sys.executable, [sys.executable, "-m", "controller", "--settings", str(file)])


def optimizer(config: ConfigurationFile) -> int:
    """Run the optimizer alone: it watches the promises, searches, decides, and serves the operator's API."""
    import logging

    from deploy.configuration import read_configuration

    settings = read_configuration(config).optimizer_settings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    from optimizer.process import run as run_optimizer

    return run_optimizer(settings)


def predictor(config: ConfigurationFile) -> int:
    """A predictor of its own process; this version has it inside the optimizer."""
    from deploy.configuration import read_configuration

    read_configuration(config)
    typer.echo("the predictor of this version runs inside the optimizer; there is nothing to start", err=True)
    return 1


def write_private(file: Path, text: str) -> Path:
    """Write a file that only its owner can read, whole or not at all.  Raises UnavailableError."""
    import os

    from topology_sync.errors import UnavailableError

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(text)
        fresh.replace(file)
    except OSError as error:
        raise UnavailableError(f"{file}: cannot be written ({error.strerror})") from error
    return file
