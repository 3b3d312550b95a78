"""A predictor in a process of its own: loads the model once, listens, and drains on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gnn_model.service.limits import ServiceLimits
from gnn_model.service.tls import TlsFiles
from topology_sync.addresses import is_loopback
from topology_sync.errors import ConfigurationError

log = logging.getLogger(__name__)

GPU_BATCH_HOPS = 1_000_000
GPU_QUEUE_HOPS = 40_000_000


@dataclass(frozen=True)
class ServerSettings:
    """What a predictor process needs to know.

    Without ``tls`` it listens on loopback only, unless ``insecure`` says that the network is trusted.  ``device`` is
    auto, cpu or cuda.  ``drain_s``: how long calls that are open at SIGTERM may take to end.
    """

    host: str
    port: int
    kind: str = "gnn"
    weights: Path | None = None
    device: str = "auto"
    tls: TlsFiles | None = None
    insecure: bool = False
    drain_s: float = 10.0
    limits: ServiceLimits = field(default_factory=ServiceLimits)

    def check(self) -> None:
        """Raise ConfigurationError or InputError unless this can be served safely."""
        if self.tls is not None:
            self.tls.check()
        elif not self.insecure and not is_loopback(self.host):
            raise ConfigurationError(
                f"{self.host}:{self.port}",
                "can be reached by others and there is no TLS",
                "give --tls-ca, --tls-certificate and --tls-key, listen on 127.0.0.1, or say --insecure",
            )


def run(settings: ServerSettings, ready: Callable[[int], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.  ``ready`` gets the port once it listens.

    Raises ConfigurationError, UnavailableError, InputError.
    """
    from gnn_model.predictor_choice import load_predictor
    from gnn_model.service.computing import model_message

    settings.check()
    limits = settings.limits
    predictor = load_predictor(settings.kind, settings.weights, settings.device)
    device = getattr(predictor, "device", "cpu")
    if device == "cuda":
        limits = replace(limits, batch_hops=GPU_BATCH_HOPS, queue_hops=GPU_QUEUE_HOPS)
    credentials = None if settings.tls is None else settings.tls.server_credentials()

    async def serve() -> None:
        from gnn_model.service.server import PredictionServer

        server = PredictionServer(predictor, limits)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        port = await server.start(settings.host, settings.port, credentials)
        card = model_message(predictor).card_id
        log.info(
            "predictor %s%s on %s listens on %s:%d, %s",
            predictor.name,
            f" ({card[:12]})" if card else "",
            device,
            settings.host,
            port,
            "mutual TLS" if credentials is not None else "without TLS",
        )
        if ready is not None:
            ready(port)
        await stop.wait()
        log.info("draining")
        await server.drain(settings.drain_s)
        log.info("done")

    asyncio.run(serve())
    return 0
