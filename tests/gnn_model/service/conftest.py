"""Predictor servers on loopback with ephemeral ports; certificates made by openssl."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.service.limits import ServiceLimits
from gnn_model.service.tls import TlsFiles
from tests.gnn_model.service.serving import RunningServer


@pytest.fixture
def serve() -> Iterator[Callable[..., RunningServer]]:
    """Starts servers: ``serve(predictor=None, limits=None, tls=None, port=0)``; all are stopped at the end."""
    started: list[RunningServer] = []

    def start(
        predictor: Any = None, limits: ServiceLimits | None = None, tls: TlsFiles | None = None, port: int = 0
    ) -> RunningServer:
        started.append(RunningServer(predictor or AnalyticPredictor(), limits, tls, port))
        return started[-1]

    yield start
    for server in started:
        if server.running:
            server.drain(0.0)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], TlsFiles]:
    """``certificates(authority, name)``: files of ``name``, signed by an authority of that name (made once)."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)

    def make(authority: str, name: str) -> TlsFiles:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        if not (directory / f"{authority}.pem").exists():
            openssl(
                "req", "-x509", *key, "-keyout", f"{authority}.key", "-out", f"{authority}.pem",
                "-subj", f"/CN={authority}",
            )  # fmt: skip
        stem = f"{authority}-{name}"
        if not (directory / f"{stem}.pem").exists():
            openssl("req", "-new", *key[:-2], "-keyout", f"{stem}.key", "-out", f"{stem}.csr", "-subj", f"/CN={name}")
            (directory / f"{stem}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            openssl(
                "x509", "-req", "-in", f"{stem}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                "-CAcreateserial", "-days", "2", "-extfile", f"{stem}.ext", "-out", f"{stem}.pem",
            )  # fmt: skip
        return TlsFiles(directory / f"{authority}.pem", directory / f"{stem}.pem", directory / f"{stem}.key")

    return make
