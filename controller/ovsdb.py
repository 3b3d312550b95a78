"""Transactions with the OVSDB of a switch (RFC 7047), by the JSON-RPC of Open vSwitch's own Python library.

One connection per errand: weights change rarely, and so there is no session to keep alive.  The library waits by
``select``, which eventlet has replaced, so only the calling greenlet waits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ovs.jsonrpc import Connection, Message
from ovs.stream import Stream
from ryu.lib import hub

from controller.queue_rows import SCHEMA, Operation
from topology_sync.errors import UnavailableError

CONNECT_TIMEOUT_S = 2.0


class OvsdbConnection:
    """A connection for a few transactions: ``with OvsdbConnection("unix:/run/db.sock", 5.0) as database: ...``

    ``timeout_s`` is for all of them together.  Raises UnavailableError in one line when there is no answer by then.
    """

    def __init__(self, remote: str, timeout_s: float) -> None:
        self._remote = remote
        self._timeout_s = timeout_s
        self._timer: Any = None
        self._connection: Any = None

    def __enter__(self) -> OvsdbConnection:
        late = UnavailableError(f"the OVSDB at {self._remote} did not answer within {self._timeout_s:g} s")
        self._timer = hub.Timeout(self._timeout_s, late)
        try:
            limit_ms = round(1000 * min(CONNECT_TIMEOUT_S, self._timeout_s))
            error, stream = Stream.open_block(Stream.open(self._remote), limit_ms)
            if error:
                raise UnavailableError(f"the OVSDB at {self._remote} cannot be reached ({os.strerror(error)})")
            self._connection = Connection(stream)
        except BaseException:
            self._timer.cancel()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._connection.close()

    def transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        """The results of the operations, which are carried out all or not at all.  Raises UnavailableError."""
        request = Message.create_request("transact", [SCHEMA, *operations])
        error, reply = self._connection.transact_block(request)
        if error or reply is None:
            reason = os.strerror(error) if isinstance(error, int) and error > 0 else "it closed the connection"
            raise UnavailableError(f"the OVSDB at {self._remote} does not answer ({reason})")
        if reply.type == Message.T_ERROR:
            raise UnavailableError(f"the OVSDB at {self._remote} refuses the request ({str(reply.error)[:200]})")
        results: list[dict[str, Any]] = reply.result
        for result in results:
            if isinstance(result, dict) and "error" in result:
                detail = f"{result['error']}: {result.get('details', '')}"
                raise UnavailableError(f"the OVSDB at {self._remote} refuses it ({' '.join(detail.split())[:200]})")
        return results
