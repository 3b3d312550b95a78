"""Bodies without end and changes asked for by pages of other sites do not reach the operator's API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from optimizer.api_guard import LARGEST_BODY_BYTES, RequestGuard

LOCAL = "http://127.0.0.1:8080"


def post(
    content: bytes | AsyncIterator[bytes] = b"{}", at: str = LOCAL, origin: str | None = None, token: bool = False
) -> httpx.Response:
    app = FastAPI()

    @app.post("/change")
    async def change(body: dict[str, int]) -> dict[str, int]:
        return body

    app.add_middleware(RequestGuard, token=token)

    async def ask() -> httpx.Response:
        headers = {"content-type": "application/json"} | ({} if origin is None else {"origin": origin})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=at) as client:
            return await client.post("/change", content=content, headers=headers)

    return asyncio.run(ask())


def test_what_is_allowed_gets_through() -> None:
    assert post(b'{"a": 1}').json() == {"a": 1}
    assert post(b"{" + b" " * (LARGEST_BODY_BYTES - 2) + b"}").status_code == 200


async def endless() -> AsyncIterator[bytes]:
    for _ in range(10 * LARGEST_BODY_BYTES // 1024):
        yield b" " * 1024


@pytest.mark.parametrize("content", [b" " * (LARGEST_BODY_BYTES + 1), endless()])
def test_large_bodies_are_refused(content: bytes | AsyncIterator[bytes]) -> None:
    answer = post(content)
    assert answer.status_code == 413
    assert "larger than" in answer.text


@pytest.mark.parametrize(
    ("at", "origin", "token", "status"),
    [
        (LOCAL, LOCAL, False, 200),  # a page of ours
        ("http://[::1]:8080", "http://[::1]:8080", False, 200),
        ("http://localhost:8080", "http://localhost:8080", False, 200),
        (LOCAL, "http://evil.example", False, 403),
        (LOCAL, "null", False, 403),
        (LOCAL, "http://[", False, 403),
        (LOCAL, "http://127.0.0.1:9000", False, 403),  # another program of this machine
        ("http://evil.example:8080", "http://evil.example:8080", False, 403),  # a name made to lead here
        ("http://routes.example", "http://routes.example", True, 200),  # a proxy with a name; the token protects
        ("http://routes.example", "http://evil.example", True, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(at: str, origin: str, token: bool, status: int) -> None:
    assert post(at=at, origin=origin, token=token).status_code == status
