"""The optimizer process: the loop and the operator's API in one asyncio program that ends cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from gnn_model.predictor import Predictor
from optimizer.api import make_api
from optimizer.closed_loop import ClosedLoop
from optimizer.controller_client import ControllerClient
from optimizer.exact.warm_up import warm_up
from optimizer.history import History
from optimizer.metrics import Metrics
from optimizer.planning import make_predictor
from optimizer.settings import OptimizerSettings
from topology_sync.errors import UnavailableError

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0


def run(settings: OptimizerSettings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code.  Raises ConfigurationError, UnavailableError."""
    predictor = make_predictor(settings)
    warm_up()
    listener = _listen(settings.api_host, settings.api_port)
    history = History(Path(settings.state_directory))
    try:
        asyncio.run(serve(settings, ControllerClient(settings.controller), history, listener, predictor))
    finally:
        history.close()
        listener.close()
    return 0


async def serve(
    settings: OptimizerSettings,
    client: ControllerClient,
    history: History,
    listener: socket.socket,
    predictor: Predictor,
    stop: asyncio.Event | None = None,
) -> None:
    """Run loop and API on ``listener`` until ``stop`` is set or a signal comes."""
    stop = stop or asyncio.Event()
    events = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            events.add_signal_handler(number, stop.set)
    loop = ClosedLoop(settings, client, history, predictor, Metrics())
    config = uvicorn.Config(
        make_api(loop, settings.api_token, stop),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=int(STOP_TIMEOUT_S),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    looping = asyncio.create_task(loop.run(stop))
    stopping = asyncio.create_task(stop.wait())
    log.info("optimizer of %s listens on %s", settings.controller, listener.getsockname())
    await asyncio.wait([serving, looping, stopping], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    server.should_exit = True
    await asyncio.wait([serving, looping], timeout=2 * STOP_TIMEOUT_S)
    stopping.cancel()
    await client.close()
    for task in (serving, looping):
        if task.done() and not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        raise UnavailableError(f"api.listen {host}:{port}: {error.strerror}; free the port or choose another") from None
    listener.setblocking(False)
    return listener
