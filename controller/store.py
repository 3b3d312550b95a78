"""What the controller must know again after a crash: one JSON file, replaced atomically.

Order of writing and sending, and what a restart finds when the process dies in between:

    labels of the next intent written   nothing sent          desired = old intent, nothing to do
    prepare sent                        old intent stored     desired = old intent, new labels are cleaned away
    next intent written                 nothing flipped       desired = next intent, only the flips are missing
    flip, clean sent                    next intent stored    desired = next intent, the rest of clean is missing
    labels given back, written          all done              nothing to do
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.intent import NetworkIntent
from controller.labels import LabelTable
from topology_sync.errors import InputError

LOG = logging.getLogger(__name__)
FORMAT = "routewright-controller-store/1"
FILE_NAME = "intent.json"
SECRET_NAME = "secret"
SECRET_BYTES = 32


@dataclass(frozen=True)
class StoredIntent:
    """``intent`` is what the switches should do; ``labels`` holds every label that some switch may still know."""

    intent: NetworkIntent = field(default_factory=NetworkIntent)
    labels: LabelTable = field(default_factory=LabelTable)
    routing_version: int = 0
    topology_version: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` takes."""
        return {
            "format": FORMAT,
            "routing_version": self.routing_version,
            "topology_version": self.topology_version,
            "intent": self.intent.to_json(),
            "labels": self.labels.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any) -> StoredIntent:
        """Read what ``to_json`` gave.  Raises InputError when it is something else."""
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r}")
            stored = cls(
                NetworkIntent.from_json(data["intent"]),
                LabelTable.from_json(data["labels"]),
                int(data["routing_version"]),
                int(data["topology_version"]),
            )
            stored.intent.check()
            return stored
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("store", f"is no controller store ({error!r})", "restore the file or remove it") from error


class Store:
    """The file in the state directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME

    def read(self) -> StoredIntent:
        """What was stored last; empty, with a line in the log, when there is nothing that can be read."""
        try:
            return StoredIntent.from_json(json.loads(self._path.read_text()))
        except FileNotFoundError:
            LOG.info("%s: not there yet, starting with an empty intent", self._path)
        except (OSError, ValueError, InputError, RecursionError) as error:
            reason = " ".join(str(error).split())
            LOG.error("%s: cannot be used (%s); starting with an empty intent", self._path, reason)
            self._set_aside()
        return StoredIntent()

    def write(self, stored: StoredIntent) -> None:
        """Replace the file; returns when it is on the disk.  Raises OSError when that fails."""
        replace_file(self._path, json.dumps(stored.to_json(), separators=(",", ":")).encode())

    def _set_aside(self) -> None:
        try:
            self._path.replace(self._path.with_suffix(".unreadable"))
        except OSError as error:
            LOG.error("%s: cannot be set aside (%s)", self._path, error)


def read_or_make_secret(directory: Path) -> bytes:
    """The key of LLDP and probe nonces, made at the first start and readable by the owner alone."""
    path = directory / SECRET_NAME
    try:
        secret = path.read_bytes()
        if len(secret) == SECRET_BYTES:
            return secret
        LOG.error("%s: has %d bytes instead of %d; making a new one", path, len(secret), SECRET_BYTES)
    except FileNotFoundError:
        pass
    secret = secrets.token_bytes(SECRET_BYTES)
    replace_file(path, secret)
    return secret


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` so that after a crash at any instant the file holds all of the old or all of the new."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
