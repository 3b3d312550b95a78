"""The operator's HTTP API: status, history, approval, roll back, mode, metrics.  Bind it to loopback.

Reading is free, changing anything needs the bearer token where one is configured.  Errors are
``{"error": "one line"}``: 400 for what cannot be read, 401 without the token, 403 for pages of other sites, 404 for a
decision that is not there, 409 for what cannot be done now, 413 for too large a body, 503 while the loop does not
answer.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from optimizer.api_guard import RequestGuard
from optimizer.closed_loop import ClosedLoop
from optimizer.loop_values import Command
from topology_sync.errors import TransactionError, UnavailableError

KEEP_ALIVE_S = 15.0
DecisionNumber = Annotated[int, Path(ge=1, le=2**63 - 1)]  # what SQLite can hold


class ModeChange(BaseModel):
    """Body of ``POST /api/v1/mode``."""

    model_config = ConfigDict(extra="forbid")
    mode: Literal["advise", "auto", "paused"]


def make_api(loop: ClosedLoop, token: str | None = None, stop: asyncio.Event | None = None) -> FastAPI:
    """The application around a running loop.  ``stop`` ends the event streams."""
    api = FastAPI(
        title="Routewright", description="Closed-loop SLA optimizer", version="1", docs_url=None, redoc_url=None
    )
    api.add_middleware(RequestGuard, token=token is not None)
    history = loop.history

    def authorised(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise HTTPException(401, "the bearer token is missing or wrong")

    protected = [Depends(authorised)]

    @api.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @api.exception_handler(RequestValidationError)
    async def reject(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first.get("loc", ()))
        return JSONResponse({"error": " ".join(f"{place}: {first.get('msg', 'is wrong')}".split())}, 400)

    @api.exception_handler(Exception)
    async def apologise(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"this is a bug: {type(error).__name__}; the log has more"}, 500)

    async def obey(command: Command) -> dict[str, Any]:
        try:
            await loop.submit(command)
        except TransactionError as error:
            raise HTTPException(409, str(error)) from error
        except UnavailableError as error:
            raise HTTPException(503, str(error)) from error
        return {"done": True, "state": loop.state.name, "mode": loop.state.mode}

    def known(decision: int) -> None:
        if history.get(decision) is None:
            raise HTTPException(404, f"there is no decision {decision}")

    @api.get("/api/v1/status")
    async def status() -> dict[str, Any]:
        """Mode, state of the loop, SLA per class and demand, last decision."""
        return loop.status()

    @api.get("/api/v1/history")
    async def decisions(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
        """Decisions, newest first."""
        return {
            "format": "routewright-history/1",
            "decisions": [decision.to_json() for decision in history.latest(limit)],
        }

    @api.get("/api/v1/history/{decision}")
    async def decision(decision: DecisionNumber, state: bool = False) -> dict[str, Any]:
        """One decision with prediction, plan and measurement; ``state=true`` adds the snapshot it was made on."""
        found = history.get(decision)
        if found is None:
            raise HTTPException(404, f"there is no decision {decision}")
        data = {"format": "routewright-decision/1", **found.to_json(full=True)}
        return {**data, "state": history.state_of(decision)} if state else data

    @api.post("/api/v1/plans/{decision}/approve", dependencies=protected)
    async def approve(decision: DecisionNumber) -> dict[str, Any]:
        """Apply a plan that awaits approval."""
        known(decision)
        return await obey(Command("approve", decision))

    @api.post("/api/v1/rollback", dependencies=protected)
    async def roll_back_last() -> dict[str, Any]:
        """Put the routes from before the last plan back."""
        return await obey(Command("rollback"))

    @api.post("/api/v1/rollback/{decision}", dependencies=protected)
    async def roll_back(decision: DecisionNumber) -> dict[str, Any]:
        """Put the routes from before a plan back, or reject it while it awaits approval."""
        known(decision)
        return await obey(Command("rollback", decision))

    @api.post("/api/v1/mode", dependencies=protected)
    async def change_mode(change: ModeChange) -> dict[str, Any]:
        """Switch between advise, auto and paused; kept across restarts until the configured mode changes."""
        return await obey(Command("mode", mode=change.mode))

    @api.get("/api/v1/stream")
    async def stream(request: Request) -> StreamingResponse:
        """Server-sent events: every decision as it changes."""
        return StreamingResponse(_events(loop, request, stop), media_type="text/event-stream")

    @api.get("/healthz")
    async def alive() -> dict[str, str]:
        """Liveness: the process answers."""
        return {"status": "ok"}

    @api.get("/readyz")
    async def ready() -> JSONResponse:
        """Readiness: a snapshot of the network is known and fresh."""
        if loop.problem is not None:
            return JSONResponse({"status": "waiting", "error": loop.problem}, 503)
        return JSONResponse({"status": "ok"})

    @api.get("/metrics")
    async def metrics() -> Response:
        """Prometheus text."""
        return Response(loop.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return api


async def _events(loop: ClosedLoop, request: Request, stop: asyncio.Event | None) -> AsyncIterator[str]:
    queue = loop.journal.subscribe()
    try:
        quiet_s = 0.0
        yield ": decisions of the loop\n\n"
        while not (stop is not None and stop.is_set()) and not await request.is_disconnected():
            try:
                decision = await asyncio.wait_for(queue.get(), 1.0)
            except TimeoutError:
                quiet_s += 1.0
                if quiet_s >= KEEP_ALIVE_S:
                    quiet_s = 0.0
                    yield ": still here\n\n"
                continue
            yield f"event: decision\nid: {decision['id']}\ndata: {json.dumps(decision)}\n\n"
    finally:
        loop.journal.unsubscribe(queue)
