"""Several servers that do the same, as one: turn by turn, those that are up, and again elsewhere when one fails.

Each address has a channel of its own, so that certificates are checked against the name the operator wrote; within a
name that stands for several machines gRPC's own round_robin goes round.  Channels watch the servers' health, so one
that drains is left out before it goes.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gnn_model.service.limits import MESSAGE_BYTES, RETRY_HINT
from gnn_model.service.scenario_wire import UnknownScenarioError
from gnn_model.service.tls import TlsFiles
from topology_sync.addresses import split_address
from topology_sync.errors import InputError, UnavailableError

Answer = TypeVar("Answer")

CONNECT_S = 3.0  # how long is waited for any server to be up
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
HEALTH_PAUSE_S = 0.1
_SERVICE = "routewright.predictor.v1.Predictor"
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": _SERVICE},
}
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 0),  # which server comes next is decided here
    ("grpc.keepalive_time_ms", 2000),  # a server that hangs or is cut off is noticed while a call waits for it
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


# A server that ends in the middle of a call cancels it; connections that break there may say UNKNOWN.
_SERVER_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


class _Replica:
    """One address: a channel, and a thread that follows the server's health."""

    def __init__(self, address: str, credentials: Any, changed: threading.Condition) -> None:
        host, port = split_address(address, "predictor address")
        self.address = address
        self.up = False
        target = f"dns:///[{host}]:{port}" if ":" in host else f"dns:///{host}:{port}"
        self.channel = (
            grpc.insecure_channel(target, _OPTIONS)
            if credentials is None
            else grpc.secure_channel(target, credentials, _OPTIONS)
        )
        self._changed = changed
        self._closed = threading.Event()
        threading.Thread(target=self._follow_health, name=f"health of {address}", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self.channel.close()

    def _follow_health(self) -> None:
        question = health_pb2.HealthCheckRequest(service=_SERVICE)
        while not self._closed.is_set():
            try:
                answers = health_pb2_grpc.HealthStub(self.channel).Watch(question, wait_for_ready=True)
                for answer in answers:
                    self._set(answer.status == health_pb2.HealthCheckResponse.SERVING)
                    if not self.up:  # a name may stand for another machine that serves
                        answers.cancel()
                        break
            except (grpc.RpcError, ValueError):  # ValueError: the channel was closed
                pass
            self._set(False)
            self._closed.wait(HEALTH_PAUSE_S)

    def _set(self, up: bool) -> None:
        with self._changed:
            self.up = up
            self._changed.notify_all()


class Replicas:
    """The servers at ``addresses`` ("host:port"); may be used from any thread.  ``close`` when done."""

    def __init__(self, addresses: Sequence[str], tls: TlsFiles | None = None) -> None:
        """Connects in the background.  Raises ConfigurationError for addresses or certificates that cannot be."""
        credentials = None if tls is None else tls.channel_credentials()
        self._security = "without TLS" if tls is None else "with TLS, as its certificate names it"
        self._changed = threading.Condition()
        self._replicas = [_Replica(address, credentials, self._changed) for address in addresses]
        self._turn = random.randrange(max(len(self._replicas), 1))

    def __len__(self) -> int:
        return len(self._replicas)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the servers are."""
        return tuple(replica.address for replica in self._replicas)

    @property
    def problem(self) -> str | None:
        """None while a server is up, else one line."""
        if any(replica.up for replica in self._replicas):
            return None
        where = f"{', '.join(self.addresses)} {self._security}"
        return f"no predictor answers at {where}; start one there (`routewright predictor`), or correct the address"

    def call(self, method: Callable[[grpc.Channel], Callable[..., Answer]], request: Any, timeout_s: float) -> Answer:
        """The answer of the next server that can give one within ``timeout_s``.

        A server that fails or has too much to do is followed by the others at once, and when all were tried by a pause
        (as long as a server asked for, else growing).  Raises UnavailableError, and at once InputError for a question
        that is refused or UnknownScenarioError.
        """
        deadline_s = time.monotonic() + timeout_s
        tried: set[_Replica] = set()
        pause_s, hint_s = FIRST_PAUSE_S, None
        last = "no answer"
        while True:
            replica = self._next(tried, deadline_s)
            left_s = deadline_s - time.monotonic()
            if replica is None or left_s <= 0:
                raise UnavailableError(self.problem or f"the predictor did not answer within {timeout_s:g} s ({last})")
            try:
                return method(replica.channel)(request, timeout=left_s)
            except grpc.RpcError as error:
                last = _one_line(error)
                asked_s = _hint_s(error)
                if asked_s is not None:
                    hint_s = asked_s if hint_s is None else min(hint_s, asked_s)
                elif error.code() not in _SERVER_GONE:
                    raise _meaning(error, replica.address, timeout_s) from None
            tried.add(replica)
            if len(tried) == len(self._replicas):
                wait_s = (pause_s if hint_s is None else hint_s) * random.uniform(0.75, 1.25)
                if time.monotonic() + wait_s >= deadline_s:
                    raise UnavailableError(f"the predictor cannot answer within {timeout_s:g} s ({last})")
                time.sleep(wait_s)
                pause_s, hint_s = min(2 * pause_s, LONGEST_PAUSE_S), None
                tried.clear()

    def close(self) -> None:
        """Close all connections; calls under way fail."""
        for replica in self._replicas:
            replica.close()

    def _next(self, tried: set[_Replica], deadline_s: float) -> _Replica | None:
        """The next server that is up, those not tried yet first; None when none comes up in time."""
        patience_s = min(deadline_s, time.monotonic() + CONNECT_S)
        with self._changed:
            while True:
                up = [replica for replica in self._replicas if replica.up]
                fresh = [replica for replica in up if replica not in tried]
                if up:
                    self._turn += 1
                    choice = fresh or up
                    return choice[self._turn % len(choice)]
                left_s = patience_s - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)


def _hint_s(error: grpc.RpcError) -> float | None:
    """When the server said to come again, in seconds."""
    for key, value in error.trailing_metadata() or ():
        if key == RETRY_HINT and str(value).isdigit():
            return min(int(value) / 1000, LONGEST_PAUSE_S)
    return None


def _one_line(error: grpc.RpcError) -> str:
    return " ".join(str(error.details() or error.code().name.lower()).split())[:500]


def _meaning(error: grpc.RpcError, address: str, timeout_s: float) -> Exception:
    """What a status says that another attempt would not change."""
    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            return UnknownScenarioError()
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InputError("", f"the predictor refuses: {_one_line(error)}", "")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(f"the predictor at {address} did not answer within {timeout_s:g} s")
    return UnavailableError(f"the predictor at {address} failed: {_one_line(error)}")
