"""Options that several commands share: where predictor servers are, and the certificates towards them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnn_model.service.tls import TlsFiles
from topology_sync.errors import InputError

AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT[,...]", help="Ask the predictor servers there; else this process."),
]
TlsCaOption = Annotated[
    Path | None, typer.Option("--tls-ca", metavar="FILE", help="The authority of the other end (PEM).")
]
TlsCertificateOption = Annotated[
    Path | None, typer.Option("--tls-certificate", metavar="FILE", help="Own certificate (PEM).")
]
TlsKeyOption = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its key (PEM).")]


def tls_files(ca: Path | None, certificate: Path | None, key: Path | None) -> TlsFiles | None:
    """All three files, or None for none.  Raises InputError for some."""
    given = {"--tls-ca": ca, "--tls-certificate": certificate, "--tls-key": key}
    missing = [name for name, value in given.items() if value is None]
    if ca is not None and certificate is not None and key is not None:
        return TlsFiles(ca, certificate, key)
    if len(missing) < len(given):
        raise InputError(missing[0], "is missing", "give --tls-ca, --tls-certificate and --tls-key, or none of them")
    return None


def addresses_of(text: str | None) -> tuple[str, ...]:
    """The addresses in ``HOST:PORT,HOST:PORT``; none where there is no text."""
    return tuple(part.strip() for part in text.split(",")) if text else ()
