"""Values of the configuration that are more than a number or a word, each refused with a one-line reason."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from topology_sync.errors import ConfigurationError
from topology_sync.strict_json import printable_path

MAX_DATAPATH_ID = 2**64 - 1
MAX_SECRET_BYTES = 4096
MAX_ADDRESSES = 64
_HEX_DATAPATH_ID = re.compile(r"0x[0-9a-fA-F]{1,16}|[0-9a-fA-F]{16}|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){7}")


def _datapath_id(value: Any) -> Any:
    if isinstance(value, str):
        if not _HEX_DATAPATH_ID.fullmatch(value):
            raise ValueError("give an integer, 0x... or 16 hexadecimal digits")
        return int(value.replace(":", ""), 16)
    return value


DatapathId = Annotated[
    int,
    Field(ge=1, le=MAX_DATAPATH_ID),
    BeforeValidator(_datapath_id),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^({_HEX_DATAPATH_ID.pattern})$"}]}
    ),
]
"""A datapath id: an integer, ``0x2a``, ``000000000000002a`` or ``00:00:00:00:00:00:00:2a``."""


def _link_ends(value: Any) -> Any:
    if isinstance(value, str):
        value = value.split(":")
    names = tuple(value) if isinstance(value, list) else ()
    if len(names) != 2 or not all(isinstance(name, str) and name and name.isprintable() for name in names):
        raise ValueError('give "A:B", or [A, B] where a name has a colon')
    if names[0] == names[1]:
        raise ValueError("give two different nodes")
    return names


LinkEnds = Annotated[
    tuple[str, str],
    BeforeValidator(_link_ends),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^[^:]+:[^:]+$"},
                {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            ]
        }
    ),
]
"""The two ends of a link by name."""


def _addresses(value: Any) -> Any:
    if value is None:
        return None
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ADDRESSES:
        raise ValueError(f'give null, "host:port" or a list of up to {MAX_ADDRESSES} of them')
    for entry in entries:
        if not isinstance(entry, str):
            raise ValueError('give "host:port" like "127.0.0.1:50051"')
        check_printable(entry)
    return tuple(entries)


Addresses = Annotated[
    tuple[str, ...] | None,
    BeforeValidator(_addresses),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "null"},
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_ADDRESSES},
            ]
        }
    ),
]
"""Nothing, one address or several."""


def check_printable(text: str) -> str:
    """Names and paths stand in messages and logs, so they hold nothing that moves a cursor or breaks a line."""
    if not text.isprintable():
        raise ValueError("give printable characters only")
    return text


def refuse_tls(value: Any) -> Any:
    """The format has room for TLS; a setting that would silently do nothing is refused."""
    if value is not None:
        raise ValueError("TLS is not part of this version, give null")
    return value


def resolve(directory: Path, text: str) -> Path:
    """A path of the configuration file: ``~`` is the user's home, relative ones start at ``directory``."""
    try:
        return directory / Path(text).expanduser()
    except RuntimeError:  # ~user of no user
        return directory / text


def read_secret(path: Path, place: str) -> str:
    """The secret in a file, blanks around it removed.  Raises ConfigurationError where it is no fit secret."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad path"
        problem = f"{printable_path(str(path))} cannot be read ({reason})"
        raise ConfigurationError(place, problem, "write a secret there") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(place, f"{printable_path(str(path))} is open to others", "chmod 600")
    secret = content.decode("ascii", "replace").strip()
    if len(content) > MAX_SECRET_BYTES or len(secret) < 16 or not re.fullmatch(r"[!-~]+", secret):
        raise ConfigurationError(
            place, f"{printable_path(str(path))} holds no token", "write 16 or more printable characters without blanks"
        )
    return secret
