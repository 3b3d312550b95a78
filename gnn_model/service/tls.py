"""The certificates of either end: read, checked before anything listens or connects, one line where they do not fit.

Both ends show a certificate and both check the other's against the same authority (mutual TLS).
"""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topology_sync.errors import ConfigurationError

LARGEST_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the authority that signed the other end, the own certificate (chain) and its key."""

    ca: Path
    certificate: Path
    key: Path

    def server_credentials(self) -> Any:
        """For ``grpc.Server.add_secure_port``; callers without a certificate of the authority are refused."""
        import grpc

        ca, certificate, key = self._read(ssl.PROTOCOL_TLS_SERVER)
        return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)

    def channel_credentials(self) -> Any:
        """For ``grpc.secure_channel``."""
        import grpc

        ca, certificate, key = self._read(ssl.PROTOCOL_TLS_CLIENT)
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def check(self) -> None:
        """Raise ConfigurationError unless the files are there, readable and belong together."""
        self._read(ssl.PROTOCOL_TLS_CLIENT)

    def _read(self, purpose: int) -> tuple[bytes, bytes, bytes]:
        contents = tuple(_content(name, path) for name, path in self._named())
        context = ssl.SSLContext(purpose)
        try:
            context.load_verify_locations(self.ca)
        except (ssl.SSLError, OSError) as error:
            raise _unfit("ca", self.ca, error, "give the PEM file of the authority") from None
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise _unfit(
                "certificate", self.certificate, error, "give a PEM certificate and its own key, without password"
            ) from None
        if stat.S_IMODE(self.key.stat().st_mode) & stat.S_IRWXO:
            raise ConfigurationError("tls.key", f"{self.key} is open to others", "chmod 600")
        return contents[0], contents[1], contents[2]

    def _named(self) -> tuple[tuple[str, Path], ...]:
        return ("ca", self.ca), ("certificate", self.certificate), ("key", self.key)


def _content(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad path"
        raise ConfigurationError(f"tls.{name}", f"{path} cannot be read ({reason})", "give a PEM file") from None
    if len(content) > LARGEST_FILE_BYTES:
        raise ConfigurationError(f"tls.{name}", f"{path} is too large", "give a PEM file")
    return content


def _unfit(name: str, path: Path, error: Exception, remedy: str) -> ConfigurationError:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return ConfigurationError(f"tls.{name}", f"{path} does not fit ({str(reason).replace('_', ' ').lower()})", remedy)
