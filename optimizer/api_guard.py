"""What is refused before the operator's API looks at it: bodies without end, and changes that a web page asks for.

A browser sends requests of any page to any address, loopback too, and says in ``Origin`` whose page asked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

LARGEST_BODY_BYTES = 65_536
READING = ("GET", "HEAD", "OPTIONS")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class RequestGuard:
    """ASGI middleware around the API.  ``token``: whether changes need one; then pages behind any name may ask too."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], token: bool) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with an error or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        length = headers.get(b"content-length", "0")
        if scope["method"] not in READING and self._is_foreign(headers):
            await JSONResponse({"error": "pages of other sites may change nothing here"}, 403)(scope, receive, send)
        elif not length.isdecimal() or int(length) > LARGEST_BODY_BYTES:
            await JSONResponse({"error": _too_large()}, 413)(scope, receive, send)
        else:
            await self._app(scope, _limited(receive), send)

    def _is_foreign(self, headers: dict[bytes, str]) -> bool:
        origin, host = headers.get(b"origin"), headers.get(b"host", "")
        if origin is None:
            return False  # no browser
        try:
            asked_by, here = urlsplit(origin).netloc, urlsplit(f"//{host}").hostname or ""
        except ValueError:  # brackets that hold no address
            return True
        return asked_by != host or not (self._token or _is_loopback(here))


def _is_loopback(name: str) -> bool:
    """Whether a Host header's name is this machine itself: any other name may have been made to lead here."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _limited(receive: Receive) -> Receive:
    """For bodies that come in chunks, without saying their length."""
    received = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > LARGEST_BODY_BYTES:
            raise HTTPException(413, _too_large())
        return message

    return limited


def _too_large() -> str:
    return f"the body is larger than {LARGEST_BODY_BYTES} bytes"
