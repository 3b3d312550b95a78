"""Addresses to listen on and to connect to, as operators write them."""

from __future__ import annotations

import ipaddress
import re

from topology_sync.errors import ConfigurationError
from topology_sync.strict_json import shown

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9-]{1,63})*\.?")


def split_address(text: str, place: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:6653``, ``[::1]:6653`` or ``name:6653``.  Raises ConfigurationError at ``place``."""
    host, _, port = text.rpartition(":")
    remedy = 'give "host:port" like "127.0.0.1:6653"'
    if not _is_port(port):
        raise ConfigurationError(place, f"{shown(text)} has no port from 1 to 65535", remedy)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare == host and _HOST_NAME.fullmatch(host) and not re.fullmatch(r"[0-9.]+", host):
        return host, int(port)
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        raise ConfigurationError(place, f"{shown(text)} has no valid host", remedy) from None
    if (address.version == 6) != (bare != host):
        raise ConfigurationError(place, f"{shown(text)} has no valid host", 'write IPv6 as "[::1]:6653"')
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Can only this machine reach a listener on ``host``?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def split_ovsdb(text: str, place: str) -> tuple[str, str, int]:
    """Where an OVSDB is: ("unix", path, 0), ("tcp", host, port), or host "" for the address a switch speaks from.

    Raises ConfigurationError at ``place``.

    >>> split_ovsdb("tcp:6640", "ovsdb"), split_ovsdb("unix:/run/openvswitch/db.sock", "ovsdb")
    (('tcp', '', 6640), ('unix', '/run/openvswitch/db.sock', 0))
    """
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("/") and rest.isprintable():
        return kind, rest, 0
    if kind == "tcp" and ":" in rest:
        return kind, *split_address(rest, place)
    if kind == "tcp" and _is_port(rest):
        return kind, "", int(rest)
    remedy = 'give "unix:/run/openvswitch/db.sock", "tcp:HOST:PORT" or "tcp:6640" for every switch\'s own'
    raise ConfigurationError(place, f"is {shown(text)}", remedy)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536
