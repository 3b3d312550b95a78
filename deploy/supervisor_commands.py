"""Sub-commands that run the processes of one machine, together or each alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnn_model.service.options import TlsCaOption, TlsCertificateOption, TlsKeyOption

ConfigurationFile = Annotated[Path, typer.Option("--config", help="The operator's configuration (YAML).")]


def register(app: typer.Typer) -> None:
    """Add this room's sub-commands."""
    app.command("run")(run)
    app.command("controller")(controller)
    app.command("optimizer")(optimizer)
    app.command("predictor")(predictor)


def run(config: ConfigurationFile) -> int:
    """Run and supervise all that one machine needs: controller, optimizer, and the predictor where it is asked for."""
    import sys

    from deploy.configuration import read_configuration
    from deploy.supervisor import Service, Supervisor

    configuration = read_configuration(config)  # refuse a bad file once and here, not in every child
    own = (sys.executable, "-u", "-m", "deploy.cli")
    names = (*(("predictor",) if configuration.predictor.start else ()), "controller", "optimizer")
    services = [Service(name, (*own, name, "--config", str(config))) for name in names]
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


def predictor(
    config: Annotated[
        Path | None, typer.Option("--config", help="The operator's configuration; listens at its predictor.address.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Instead of --config: where to listen.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="gnn (default) or analytic.")] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of gnn; else those shipped.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    tls_ca: TlsCaOption = None,
    tls_certificate: TlsCertificateOption = None,
    tls_key: TlsKeyOption = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen without TLS where others can reach it.")] = False,
    drain: Annotated[float, typer.Option(min=0, max=3600, help="Seconds that open calls get when it ends.")] = 10.0,
) -> int:
    """Run a predictor server alone: optimizers, commands and other programs ask it by gRPC."""
    import logging
    from dataclasses import replace

    from gnn_model.service.options import tls_files
    from gnn_model.service.process import ServerSettings
    from gnn_model.service.process import run as run_server
    from topology_sync.addresses import split_address
    from topology_sync.errors import InputError

    if (config is None) == (listen is None):
        raise InputError("predictor", "needs --config FILE or --listen HOST:PORT", "give one of them")
    if config is not None:
        from deploy.configuration import read_configuration

        if insecure or any(option is not None for option in (kind, weights, tls_ca, tls_certificate, tls_key)):
            raise InputError("--config", "holds kind, weights and certificates already", "leave the other options out")
        settings = replace(read_configuration(config).predictor_server_settings(), device=device, drain_s=drain)
    else:
        tls = tls_files(tls_ca, tls_certificate, tls_key)
        host, port = split_address(listen or "", "--listen")
        settings = ServerSettings(host, port, kind or "gnn", weights, device, tls, insecure, drain)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return run_server(settings)


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
