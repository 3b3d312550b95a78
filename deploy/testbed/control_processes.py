"""The real controller and optimizer of a run, and how the run talks to them."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import httpx

from deploy.process_control import Child, last_lines, start_child, stop_child, wait_until
from deploy.testbed.network_namespace import NetworkNamespace
from topology_sync.errors import UnavailableError
from topology_sync.network_state import NetworkState
from topology_sync.plan import RoutingPlan, TransactionReport
from topology_sync.plan_json import plan_to_json, transaction_from_json
from topology_sync.state_json import state_from_json

_TIMEOUT_S = 10.0
_TRANSACTION_TIMEOUT_S = 40.0
_OPTIMIZER_START_S = 90.0
"""Kernels are compiled by then (deploy.testbed.kernels); loading them takes seconds, longer beside other work."""


class ControlProcesses:
    """Starts ``routewright controller`` beside the switches, ``routewright optimizer`` in the machine's own namespace.

    They meet on a Unix socket in the run's directory, which no network namespace hides.
    """

    def __init__(self, directory: Path, original: NetworkNamespace) -> None:
        self._directory = directory
        self._original = original
        self._children: dict[str, Child] = {}
        self._controller = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(directory / "state" / "controller.sock")),
            base_url="http://controller",
            timeout=_TIMEOUT_S,
        )
        self.api_port = self._free_port()

    @property
    def process_ids(self) -> dict[str, int]:
        """Process id of each by name."""
        return {name: child.pid for name, child in self._children.items()}

    def log_of(self, name: str) -> Path:
        """Where the process ``name`` writes its log."""
        return self._directory / f"{name}.log"

    def start_controller(self, configuration: Path) -> None:
        """Start the controller and wait until it answers."""
        # What takes the place of a whole machine should not wait for whatever else runs on this one.
        self._start("controller", configuration, before_exec=lambda: os.setpriority(os.PRIO_PROCESS, 0, -10))
        self._wait("controller", lambda: self._controller.get("/healthz").status_code == 200, 20)

    def start_optimizer(self, configuration: Path) -> None:
        """Start the optimizer and wait until it has a snapshot of the network."""
        self._start("optimizer", configuration, before_exec=self._original.enter)
        self._wait("optimizer", lambda: self._get_optimizer("/readyz").status_code == 200, _OPTIMIZER_START_S)

    def state(self) -> NetworkState:
        """The controller's present snapshot."""
        self.check()
        return state_from_json(self._ask_controller("GET", "/api/v1/state"))

    def statistics(self) -> dict[str, Any]:
        """The controller's own counts, flow modifications among them."""
        return self._ask_controller("GET", "/api/v1/statistics")

    def put_plan(self, plan: RoutingPlan) -> TransactionReport:
        """Have the controller carry out a plan, as the optimizer would."""
        return transaction_from_json(
            self._ask_controller("PUT", "/api/v1/routing", json=plan_to_json(plan), timeout=_TRANSACTION_TIMEOUT_S)
        )

    def transactions(self) -> list[TransactionReport]:
        """The controller's last transactions, newest first."""
        data = self._ask_controller("GET", "/api/v1/transactions")
        return [transaction_from_json(report) for report in data["transactions"]]

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would be; the process can be started again."""
        child = self._children.pop(name)
        child.kill()
        child.wait(10)

    def decisions(self) -> list[dict[str, Any]]:
        """The optimizer's decisions, oldest first, short form."""
        self.check()
        data = self._json(self._get_optimizer("/api/v1/history?limit=100"))
        return list(reversed(data["decisions"]))

    def decision(self, number: int) -> dict[str, Any]:
        """One decision with everything that explains it, the snapshot it was made on included."""
        return self._json(self._get_optimizer(f"/api/v1/history/{number}?state=true"))

    def status(self) -> dict[str, Any]:
        """The optimizer's status."""
        return self._json(self._get_optimizer("/api/v1/status"))

    def check(self) -> None:
        """Raise UnavailableError when one of them has died."""
        for name, child in self._children.items():
            if child.poll() is not None:
                raise UnavailableError(f"the {name} ended ({child.returncode}): {last_lines(self.log_of(name), 3)}")

    def stop(self) -> None:
        """Optimizer first, then controller."""
        for name in ("optimizer", "controller"):
            child = self._children.pop(name, None)
            if child is not None:
                stop_child(child)
        self._controller.close()

    def _start(self, name: str, configuration: Path, before_exec: Any = None) -> None:
        self._children[name] = start_child(
            [sys.executable, "-m", "deploy.cli", name, "--config", str(configuration)],
            log=self.log_of(name),
            before_exec=before_exec,
            environment={"PYTHONUNBUFFERED": "1"},
        )

    def _wait(self, name: str, answers: Any, timeout_s: float) -> None:
        def ready() -> bool:
            self.check()
            try:
                return bool(answers())
            except httpx.HTTPError:
                return False

        try:
            wait_until(ready, timeout_s, f"the {name} is not ready", 0.1)
        except UnavailableError as error:
            raise UnavailableError(f"{error} ({last_lines(self.log_of(name), 2)})") from error

    def _ask_controller(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            return self._json(self._controller.request(method, path, **options))
        except httpx.HTTPError as error:
            last = last_lines(self.log_of("controller"), 2)
            raise UnavailableError(f"the controller did not answer {method} {path}: {error} ({last})") from error

    def _get_optimizer(self, path: str) -> httpx.Response:
        with self._original.entered():
            return httpx.get(f"http://127.0.0.1:{self.api_port}{path}", timeout=_TIMEOUT_S, trust_env=False)

    def _free_port(self) -> int:
        with self._original.entered(), socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        try:
            data: dict[str, Any] = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError(f"{answer.request.url.path} did not answer well: {error}") from error
        return data
