"""Starts the controller process: checks that it may run, then Ryu, the loops and the HTTP API.

Ryu 4.34 starts with present versions of eventlet only when ``eventlet.wsgi.ALREADY_HANDLED`` exists, which they dropped
and merely iterated; so this module must be imported before anything of Ryu.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

import eventlet  # noqa: E402
import eventlet.wsgi  # noqa: E402

eventlet.wsgi.ALREADY_HANDLED = []

from ryu.base.app_manager import AppManager  # noqa: E402
from ryu.cfg import CONF  # noqa: E402
from ryu.controller import controller as ryu_controller  # noqa: E402
from ryu.lib import hub  # noqa: E402

from controller import flow_statistics, stamped_socket  # noqa: E402
from controller.application import ControllerApplication  # noqa: E402
from controller.control import Control  # noqa: E402
from controller.http_api import HttpApi  # noqa: E402
from controller.settings import ControllerSettings  # noqa: E402
from controller.stamped_socket import StampedSocket  # noqa: E402
from topology_sync.errors import RoutewrightError, UnavailableError  # noqa: E402

LOG = logging.getLogger(__name__)
LOCK_NAME = "lock"
ACCEPT_PAUSE_S = 0.5
BACKLOG = 128
REQUEST_TIMEOUT_S = 90.0
CONNECT_TIMEOUT_S = 2.0
THREAD_SWITCH_S = 0.001
"""Snapshots are made in a thread; switches must not wait for it any longer than this."""


def run(settings_path: Path) -> int:
    """Run the controller until SIGTERM or SIGINT; the exit code: 0 stopped, 1 may not run, 2 bad settings."""
    sys.setswitchinterval(THREAD_SWITCH_S)
    try:
        settings = ControllerSettings.read(settings_path)
    except RoutewrightError as error:
        print(f"controller: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("ryu").setLevel(logging.WARNING)
    try:
        directory = Path(settings.state_directory)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(directory)
        openflow = _listen_tcp(settings.openflow_host, settings.openflow_port, "OpenFlow")
        api = _listen_api(settings)
    except (OSError, UnavailableError) as error:
        print(f"controller: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    try:
        _serve(settings, openflow, api)
    finally:
        if settings.api_socket is not None:
            with suppress(OSError):
                os.unlink(settings.api_socket)
        lock.close()
    return 0


class HttpRequest(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]
    """A request over a Unix socket, whose callers have no address to put into the log."""

    def address_string(self) -> str:
        """Who calls."""
        return str(self.client_address[0]) if self.client_address else "a local process"


def _serve(settings: ControllerSettings, openflow: socket.socket, api: socket.socket) -> None:
    stop = hub.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    control = Control(settings)
    _start_ryu(settings, openflow, control)
    control.start()
    http = hub.spawn(
        eventlet.wsgi.server,
        api,
        HttpApi(control),
        log=logging.getLogger("controller.http"),
        log_output=False,
        protocol=HttpRequest,
        socket_timeout=REQUEST_TIMEOUT_S,
        max_size=256,
    )
    where = settings.api_socket or f"{settings.api_host}:{settings.api_port}"
    print(f"controller ready: OpenFlow {settings.openflow_host}:{settings.openflow_port}, API {where}", flush=True)
    stop.wait()
    LOG.info("stopping; the switches keep their rules")
    http.kill()
    control.stop()
    hub.sleep(0)


def _start_ryu(settings: ControllerSettings, openflow: socket.socket, control: Control) -> None:
    CONF(args=[], project="ryu", default_config_files=[])
    for name, value in (
        ("ofp_listen_host", settings.openflow_host),
        ("ofp_tcp_listen_port", settings.openflow_port),  # set: Ryu does not listen on 6633 too
        ("echo_request_interval", settings.echo_interval_s),
        ("maximum_unreplied_echo_requests", settings.echo_misses),
    ):
        CONF.set_override(name, value)
    flow_statistics.install()
    stamped_socket.install()

    class PreparedServer:
        """Ryu's StreamServer on the socket that we bound ourselves, without SO_REUSEPORT."""

        def __init__(self, _address: Any, handle: Any) -> None:
            self._handle = handle

        def serve_forever(self) -> None:
            while True:
                try:
                    connection, address = openflow.accept()
                except OSError as error:  # too many open files, or the caller has gone: others are to be served
                    LOG.warning("no connection was accepted: %s", error.strerror)
                    hub.sleep(ACCEPT_PAUSE_S)
                    continue
                hub.spawn(self._handle, StampedSocket(connection), address)

    ryu_controller.StreamServer = PreparedServer
    manager = AppManager.get_instance()
    application = manager.instantiate(ControllerApplication, control)
    manager.load_apps(["ryu.controller.ofp_handler"])
    manager.instantiate_apps()
    application.logger.propagate = True


def _lock(directory: Path) -> Any:
    """Hold the state directory for this process alone; the lock ends with the process, however it ends."""
    path = directory / LOCK_NAME
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UnavailableError(f"another controller runs with {directory}; stop it or use another directory") from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _listen_tcp(host: str, port: int, what: str) -> socket.socket:
    """Listen without SO_REUSEPORT: with it a second controller would start and take half of the switches."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"cannot listen on {host}:{port} for {what} ({error.strerror}); stop what uses it or choose another"
        ) from error
    return listener


def _listen_api(settings: ControllerSettings) -> socket.socket:
    if settings.api_socket is None:
        return _listen_tcp(settings.api_host, settings.api_port, "the API")
    path = Path(settings.api_socket)
    if path.is_socket() and _answers(path):
        raise UnavailableError(f"{path} is in use; stop the controller behind it or choose another socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(str(path))
    except OSError as error:
        raise UnavailableError(f"cannot listen on {path} ({error.strerror}); choose another socket") from error
    finally:
        os.umask(old)
    listener.listen(BACKLOG)
    return listener


def _answers(path: Path) -> bool:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(CONNECT_TIMEOUT_S)
    try:
        probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        return True
    finally:
        probe.close()
    return True
