"""Talks to the controller's HTTP API over its Unix socket or loopback; every wait has an end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx

from topology_sync.errors import InputError, PlanError, UnavailableError
from topology_sync.network_state import NetworkState
from topology_sync.plan import RoutingPlan, TransactionReport
from topology_sync.plan_json import plan_to_json, transaction_from_json
from topology_sync.state_json import state_from_json

READ_TIMEOUT_S = 5.0
PLAN_TIMEOUT_S = 60.0
ATTEMPTS = 3
BACK_OFF_S = 0.2


class StalePlanError(PlanError):
    """The plan was made for an older topology."""


@dataclass
class ControllerClient:
    """One connection pool to the controller at ``unix:/path`` or ``http://host:port``."""

    address: str
    _client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        if self.address.startswith("unix:"):
            transport = httpx.AsyncHTTPTransport(uds=self.address.removeprefix("unix:"))
            self._client = httpx.AsyncClient(transport=transport, base_url="http://controller", timeout=READ_TIMEOUT_S)
        else:
            self._client = httpx.AsyncClient(base_url=self.address, timeout=READ_TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def state(self) -> NetworkState:
        """The present snapshot.  Raises UnavailableError."""
        data = await self._read("/api/v1/state")
        try:
            return await asyncio.to_thread(state_from_json, data)  # large, and the API must stay responsive
        except InputError as error:
            raise UnavailableError(f"controller {self.address} sends a state that cannot be read: {error}") from error

    async def events(self, after: int, wait_s: float) -> tuple[list[dict[str, Any]], int]:
        """Events numbered above ``after``, waiting up to ``wait_s`` for one, and the last number."""
        try:
            answer = await self._client.get(
                "/api/v1/events", params={"after": after, "wait_s": wait_s}, timeout=wait_s + READ_TIMEOUT_S
            )
            data = answer.raise_for_status().json()
            return list(data["events"]), int(data["last"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise self._unavailable(error) from error

    async def apply(self, plan: RoutingPlan) -> TransactionReport:
        """Send a plan and wait for its report.

        Raises StalePlanError (409), PlanError (refused) and UnavailableError: then nobody knows yet what became of it,
        ``report_of`` tells later.
        """
        try:
            answer = await self._client.put("/api/v1/routing", json=plan_to_json(plan), timeout=PLAN_TIMEOUT_S)
            if 400 <= answer.status_code < 500:
                kind = StalePlanError if answer.status_code == 409 else PlanError
                raise kind("", str(answer.json().get("error", "the controller refused the plan")))
            return transaction_from_json(answer.raise_for_status().json())
        except PlanError:
            raise
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            raise self._unavailable(error) from error

    async def report_of(self, plan_id: str) -> TransactionReport | None:
        """What became of a plan, None when the controller does not know it.  Raises UnavailableError."""
        data = await self._read("/api/v1/transactions")
        entries = data.get("transactions", []) if isinstance(data, dict) else data
        try:
            reports = [transaction_from_json(entry) for entry in entries]
        except (InputError, TypeError) as error:
            raise UnavailableError(f"controller {self.address} sends reports that cannot be read: {error}") from error
        return next((report for report in reports if report.plan_id == plan_id), None)

    async def _read(self, path: str) -> Any:
        problem: Exception | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(BACK_OFF_S * 2 ** (attempt - 1))
            try:
                return (await self._client.get(path)).raise_for_status().json()
            except (httpx.HTTPError, ValueError) as error:
                problem = error
        assert problem is not None
        raise self._unavailable(problem) from problem

    def _unavailable(self, error: Exception) -> UnavailableError:
        text = " ".join(str(error).split()) or type(error).__name__
        return UnavailableError(f"controller {self.address} does not answer: {text}")
