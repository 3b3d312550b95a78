"""Real predictor processes: options, signals, and a decision that a killed server does not spoil."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.predictor import Prediction
from gnn_model.service.remote_predictor import RemotePredictor
from gnn_model.service.tls import TlsFiles
from tests.gnn_model.service.serving import TIMEOUT_S, free_port, ring, some_routings, wait_for
from topology_sync.scenario_json import write_scenario


class ServerProcess:
    def __init__(self, log: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "predictor", "--listen", self.address, *options],
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_until_it_listens(self) -> None:
        wait_for(lambda: "listens on" in self.log.read_text() or self.process.poll() is not None, "the server listens")
        assert self.process.poll() is None, self.log.read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts analytic servers, which need no torch; ``start(*options)``."""
    started: list[ServerProcess] = []

    def begin(*options: str, kind: str = "analytic", port: int | None = None) -> ServerProcess:
        started.append(ServerProcess(tmp_path / f"{len(started)}.log", "--kind", kind, *options, port=port))
        return started[-1]

    yield begin
    for server in started:
        server.process.kill()
        server.process.wait(TIMEOUT_S)


def routewright(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def alike(one: Prediction, other: Prediction) -> bool:
    """The same but for the last digits, which depend on who compiled the kernels."""
    return all(
        np.allclose(getattr(one, field.name), getattr(other, field.name), rtol=1e-9, atol=1e-15)
        for field in fields(Prediction)
    )


def test_a_killed_server_spoils_no_answer(start: Callable[..., ServerProcess]) -> None:
    """kill -9 of one of two real processes while eight callers ask."""
    scenario = ring()
    routings = some_routings(scenario, 12)
    expected = AnalyticPredictor().predict_batch(scenario, routings)
    servers = [start(), start()]
    failures: list[str] = []
    counts = [0] * 8
    stop = threading.Event()
    for server in servers:
        server.wait_until_it_listens()
    with RemotePredictor([server.address for server in servers], "analytic") as remote:
        wait_for(lambda: all(replica.up for replica in remote._replicas._replicas), "both are up")

        def caller(number: int) -> None:
            while not stop.is_set():
                try:
                    if not all(map(alike, remote.predict_batch(scenario, routings), expected)):
                        failures.append("another answer")
                except Exception as error:
                    failures.append(repr(error))
                counts[number] += 1

        threads = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        wait_for(lambda: min(counts) > 3, "some answers")
        os.kill(servers[0].process.pid, signal.SIGKILL)
        after = list(counts)
        wait_for(lambda: all(now > then + 5 for now, then in zip(counts, after, strict=True)), "answers afterwards")
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
    assert failures == []


def test_sigterm_ends_the_process_in_good_order(start: Callable[..., ServerProcess]) -> None:
    server = start("--drain", "5")
    server.wait_until_it_listens()
    with RemotePredictor([server.address]) as remote:
        assert alike(remote.predict(ring()), AnalyticPredictor().predict(ring()))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(TIMEOUT_S) == 0
    text = server.log.read_text()
    assert text.index("predictor analytic on cpu listens on") < text.index("draining") < text.index("done")
    assert "Traceback" not in text


def test_a_port_that_is_taken_ends_the_process_with_one_line(start: Callable[..., ServerProcess]) -> None:
    first = start()
    first.wait_until_it_listens()
    second = start(port=first.port)
    assert second.process.wait(TIMEOUT_S) == 1
    line = f"cannot listen on {first.address} (Address already in use); free the port or choose another address"
    assert second.log.read_text() == f"routewright: {line}\n"
    assert "Traceback" not in second.log.read_text()


def test_commands_ask_the_server_that_they_are_told(
    start: Callable[..., ServerProcess], certificates: Callable[[str, str], TlsFiles], tmp_path: Path
) -> None:
    def tls(files: TlsFiles) -> list[str]:
        return ["--tls-ca", str(files.ca), "--tls-certificate", str(files.certificate), "--tls-key", str(files.key)]

    server = start(*tls(certificates("ours", "server")))
    write_scenario(ring(), tmp_path / "ring.json")
    server.wait_until_it_listens()
    assert "mutual TLS" in server.log.read_text()
    asked = ("predict", str(tmp_path / "ring.json"), "--predictor", "analytic", "--json")
    remote = routewright(*asked, "--address", server.address, *tls(certificates("ours", "optimizer")))
    assert remote.returncode == 0, remote.stderr
    embedded = routewright(*asked)
    assert remote.stdout.rsplit('"seconds"', 1)[0] == embedded.stdout.rsplit('"seconds"', 1)[0]


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        ([], 2, "needs --config FILE or --listen HOST:PORT"),
        (["--listen", "127.0.0.1:5", "--config", "x.yaml"], 2, "needs --config FILE or --listen HOST:PORT"),
        (["--listen", "0.0.0.0:50051"], 2, "0.0.0.0:50051: can be reached by others and there is no TLS"),
        (["--listen", "50051"], 2, "--listen: "),
        (["--listen", "127.0.0.1:5", "--kind", "oracle"], 2, "there is no 'oracle'; give one of gnn, analytic"),
        (["--listen", "127.0.0.1:5", "--tls-ca", "ca.pem"], 2, "--tls-certificate: is missing"),
        (
            ["--listen", "127.0.0.1:5", "--tls-ca", "no", "--tls-certificate", "no", "--tls-key", "no"],
            2,
            "tls.ca: no cannot be read",
        ),
        (["--listen", "127.0.0.1:5", "--kind", "analytic", "--weights", "w"], 2, "the analytic predictor has none"),
        (["--listen", "127.0.0.1:5", "--weights", "nothing.safetensors"], 2, "nothing.safetensors: cannot be read"),
        (["--listen", "127.0.0.1:5", "--device", "abacus"], 2, "--device: is 'abacus'; give one of auto, cpu, cuda"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(options: list[str], status: int, expected: str) -> None:
    """In this process: starting Python ten times would cost more than it shows."""
    from contextlib import redirect_stderr
    from io import StringIO

    from deploy.cli import run

    with redirect_stderr(StringIO()) as said:
        assert run(["predictor", *options]) == status
    assert expected in said.getvalue()
    assert said.getvalue().count("\n") == 1
