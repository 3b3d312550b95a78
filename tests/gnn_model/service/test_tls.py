"""Mutual TLS with real certificates: who has none of the authority's gets no answer, on either side."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.service import replicas
from gnn_model.service.remote_predictor import RemotePredictor
from gnn_model.service.tls import TlsFiles
from tests.gnn_model.service.serving import RunningServer, ring
from topology_sync.errors import ConfigurationError, UnavailableError

Serve = Callable[..., RunningServer]
Certificates = Callable[[str, str], TlsFiles]


def test_both_ends_with_certificates_of_the_authority_understand_each_other(
    serve: Serve, certificates: Certificates
) -> None:
    server = serve(tls=certificates("ours", "server"))
    with RemotePredictor([server.address], tls=certificates("ours", "optimizer")) as remote:
        assert remote.predict(ring()) == AnalyticPredictor().predict(ring())
    with RemotePredictor([f"localhost:{server.port}"], tls=certificates("ours", "optimizer")) as remote:
        assert remote.predict(ring()) == AnalyticPredictor().predict(ring())


@pytest.mark.parametrize("stranger", ["without TLS", "of another authority", "that trusts another authority"])
def test_a_stranger_gets_no_answer(
    serve: Serve, certificates: Certificates, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "CONNECT_S", 0.7)
    server = serve(tls=certificates("ours", "server"))
    own = certificates("ours", "optimizer")
    foreign = certificates("theirs", "optimizer")
    tls = {
        "without TLS": None,
        "of another authority": replace(own, certificate=foreign.certificate, key=foreign.key),
        "that trusts another authority": replace(own, ca=foreign.ca),
    }[stranger]
    with (
        RemotePredictor([server.address], tls=tls, timeout_s=2.0) as remote,
        pytest.raises(UnavailableError, match="no predictor answers at"),
    ):
        remote.predict(ring())


def test_files_that_do_not_fit_are_refused_in_one_line(certificates: Certificates, tmp_path: Path) -> None:
    good, other = certificates("ours", "optimizer"), certificates("theirs", "optimizer")
    garbage, key = tmp_path / "garbage.pem", tmp_path / "open.key"
    garbage.write_text("no certificate\n")
    shutil.copy(good.key, key)
    key.chmod(0o644)
    cases = {
        "tls.ca: ": replace(good, ca=tmp_path / "none.pem"),
        "tls.ca: .*does not fit": replace(good, ca=garbage),
        "tls.certificate: .*cannot be read": replace(good, certificate=tmp_path),
        "tls.certificate: .*does not fit": replace(good, certificate=garbage),
        "tls.certificate: .*key values mismatch": replace(good, key=other.key),
        "tls.key: .*is open to others; chmod 600": replace(good, key=key),
    }
    for expected, files in cases.items():
        for use in (files.check, files.server_credentials, files.channel_credentials):
            with pytest.raises(ConfigurationError, match=expected) as caught:
                use()
            assert "\n" not in str(caught.value)
    good.check()
