"""A controller process for live tests, reached over its Unix socket."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from controller.settings import ControllerSettings
from tests.live.private_ovs import Namespace

REPOSITORY = Path(__file__).resolve().parents[2]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ControllerProcess:
    """Starts, asks, kills and restarts a controller inside a namespace."""

    def __init__(self, namespace: Namespace, settings: ControllerSettings, directory: Path) -> None:
        self._namespace = namespace
        self._settings = settings
        self._file = directory / "settings.json"
        self._file.write_text(settings.to_json())
        self.log = directory / "controller.log"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        with self.log.open("a") as log:
            self.process = self._namespace.start(
                sys.executable,
                "-m",
                "controller",
                "--settings",
                str(self._file),
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "ready" not in line:
            raise RuntimeError(f"the controller did not start: {line!r}, see {self.log}")

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)

    def ask(self, method: str, path: str, body: Any = None, timeout_s: float = 40) -> tuple[int, Any]:
        """A request; status and parsed answer."""
        connection = _UnixConnection(str(self._settings.api_socket), timeout_s)
        try:
            text = body if isinstance(body, str) or body is None else json.dumps(body)
            connection.request(method, path, body=text)
            response = connection.getresponse()
            data = response.read().decode()
            json_type = "json" in (response.getheader("Content-Type") or "")
            return response.status, json.loads(data) if json_type else data
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The answer to a GET that must work."""
        status, data = self.ask("GET", path)
        assert status == 200, data
        return data

    def wait_for(self, what: str, condition: Any, timeout_s: float = 20.0, path: str = "/api/v1/state") -> Any:
        """Poll ``path`` until ``condition(answer)``; the answer that met it."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            data = self.get(path)
            if condition(data):
                return data
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{what} did not happen within {timeout_s} s; see {self.log}")
            time.sleep(0.05)
