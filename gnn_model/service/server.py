"""The gRPC server: reads and checks what comes in, hands it to the batches, and says in one line what is wrong."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gnn_model.predictor import Prediction, Predictor
from gnn_model.service.batching import BatchWorker, DeadlinePassedError, QueueFullError
from gnn_model.service.candidates_wire import Question, read_candidates
from gnn_model.service.computing import installed_version, model_message, predict_questions
from gnn_model.service.limits import MESSAGE_BYTES, RETRY_HINT, ServiceLimits
from gnn_model.service.predictions_wire import prediction_message
from gnn_model.service.scenario_wire import PackedScenario, ScenarioStore, UnknownScenarioError
from gnn_model.service.v1 import predictor_pb2 as pb
from topology_sync.errors import InputError, UnavailableError
from topology_sync.strict_json import shown

log = logging.getLogger(__name__)

Read = TypeVar("Read")
Message = TypeVar("Message")
PREDICTOR_SERVICE = "routewright.predictor.v1.Predictor"
WIRELESS_SERVICE = "routewright.predictor.v1.Wireless"
SERVICES = (PREDICTOR_SERVICE, WIRELESS_SERVICE)
READERS = 2
CLOSING_S = 0.3
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # two servers on one port are an accident
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),  # clients ask a silent server whether it lives
    ("grpc.http2.max_ping_strikes", 0),
)


class PredictionServer:
    """Both services with health and reflection on one port.  ``start``, then ``drain``; on one asyncio loop."""

    def __init__(
        self,
        predictor: Predictor,
        limits: ServiceLimits | None = None,
        recommend: Callable[[Sequence[Any]], Sequence[Any]] | None = None,
    ) -> None:
        """``recommend`` answers (layout, method) pairs; None: the models of :mod:`gnn_model.wireless`."""
        limits = limits or ServiceLimits()
        self._gate = _Gate(limits)
        self._readers = ThreadPoolExecutor(READERS, "reading")
        queue = limits.queue_hops, limits.batch_hops
        self._batches: BatchWorker[Question, Prediction] = BatchWorker(
            lambda questions: predict_questions(predictor, questions), *queue, "predicting"
        )
        self._powers: BatchWorker[Any, Any] = BatchWorker(recommend or _recommend, *queue, "recommending")
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=OPTIONS)
        predicting = _PredictorService(predictor, self._batches, self._gate, self._readers, limits)
        recommending = _WirelessService(self._powers, self._gate, self._readers, limits)
        self._server.add_generic_rpc_handlers(
            (
                _handlers(PREDICTOR_SERVICE, {"PredictBatch": predicting.predict_batch}),
                _handlers(WIRELESS_SERVICE, {"RecommendPowers": recommending.recommend_powers}),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self, host: str, port: int, credentials: Any = None) -> int:
        """Listen and serve; returns the port (``port`` 0: any free one).  Raises UnavailableError."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:  # first without gRPC, which would print a line of its own and not say why
            socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
                raise UnavailableError(_cannot_listen(address, f" ({os.strerror(error.errno)})")) from None
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            bound = 0
        if not bound:
            raise UnavailableError(_cannot_listen(address))
        await self._server.start()
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return int(bound)

    async def drain(self, grace_s: float) -> None:
        """Say NOT_SERVING, send new callers elsewhere, finish what was begun within ``grace_s``, and end."""
        self._gate.draining = True
        await self._health.enter_graceful_shutdown()
        await self._gate.wait_until_empty(grace_s)
        await self._server.stop(CLOSING_S)
        await asyncio.to_thread(self._batches.close)
        await asyncio.to_thread(self._powers.close)
        self._readers.shutdown(wait=False, cancel_futures=True)


class _Gate:
    """Counts open calls, turns away those beyond the limit and, while draining, all new ones."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._open = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    @asynccontextmanager
    async def admitted(self, context: Any) -> AsyncIterator[float]:
        """Holds a place for a call; gives its deadline (``time.monotonic``).  Errors end the call with a status."""
        if self.draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this server is draining; ask another")
        if self._open >= self._limits.calls:
            await _turn_away(context, QueueFullError(0.1))
        self._open += 1
        self._empty.clear()
        left_s = context.time_remaining()
        allowed_s = self._limits.longest_wait_s if left_s is None else min(left_s, self._limits.longest_wait_s)
        try:
            yield time.monotonic() + allowed_s
        except InputError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except UnknownScenarioError:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this scenario is not kept here; send its content")
        except QueueFullError as error:
            await _turn_away(context, error)
        except DeadlinePassedError as error:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, str(error))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            log.exception("a call failed")
            text = " ".join(str(error).split()) or type(error).__name__
            await context.abort(grpc.StatusCode.INTERNAL, f"the computation failed: {text[:500]}")
        finally:
            self._open -= 1
            if not self._open:
                self._empty.set()

    async def wait_until_empty(self, timeout_s: float) -> None:
        """Until no call is open, at most ``timeout_s``."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            if not self._open:
                return
            log.warning("%d calls were not done within %g s of draining", self._open, timeout_s)


async def _turn_away(context: Any, error: QueueFullError) -> None:
    hint = ((RETRY_HINT, str(max(round(error.retry_after_s * 1000), 1))),)
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), hint)


def _handlers(service: str, methods: Mapping[str, Callable[[bytes, Any], Any]]) -> Any:
    """Handlers that get and give bytes: reading messages is work for the readers, and bad bytes are an InputError."""
    return grpc.method_handlers_generic_handler(
        service, {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    )


def _read(kind: type[Message], data: bytes) -> Message:
    try:
        return kind.FromString(data)  # type: ignore[attr-defined, no-any-return]
    except DecodeError:
        name = kind.__name__
        raise InputError("the request", f"is no {name}", f"send a message of {pb.DESCRIPTOR.package}") from None


class _PredictorService:
    def __init__(
        self,
        predictor: Predictor,
        batches: BatchWorker[Question, Prediction],
        gate: _Gate,
        readers: ThreadPoolExecutor,
        limits: ServiceLimits,
    ) -> None:
        self._model = model_message(predictor)
        self._batches = batches
        self._gate = gate
        self._readers = readers
        self._limits = limits
        self._store = ScenarioStore(limits)

    async def predict_batch(self, data: bytes, context: Any) -> bytes:
        async with self._gate.admitted(context) as deadline_s:
            questions = await _in(self._readers, self._questions, data)
            submitted = self._batches.submit(questions, [question.hops for question in questions], deadline_s)
            return await _in(self._readers, self._answer, await asyncio.wrap_future(submitted))
        raise AssertionError("the gate answers or raises")

    def _questions(self, data: bytes) -> tuple[Question, ...]:
        request = _read(pb.PredictBatchRequest, data)
        if request.predictor and request.predictor != self._model.name:
            raise InputError(
                "predictor",
                f"{shown(request.predictor)} does not answer here, '{self._model.name}' does",
                "ask for that or start this server with the other --kind",
            )
        known = self._store.get(PackedScenario(request.scenario.sha256, request.scenario.content))
        return read_candidates(known, request.candidates, self._limits)

    def _answer(self, predictions: Sequence[Prediction]) -> bytes:
        messages = [prediction_message(prediction) for prediction in predictions]
        answer: bytes = pb.PredictBatchResponse(
            model=self._model, predictions=messages, queue_weights=True
        ).SerializeToString()
        return answer


class _WirelessService:
    def __init__(
        self, worker: BatchWorker[Any, Any], gate: _Gate, readers: ThreadPoolExecutor, limits: ServiceLimits
    ) -> None:
        self._worker = worker
        self._gate = gate
        self._readers = readers
        self._limits = limits

    async def recommend_powers(self, data: bytes, context: Any) -> bytes:
        async with self._gate.admitted(context) as deadline_s:
            units, weights = await _in(self._readers, self._units, data)
            submitted = self._worker.submit(units, weights, deadline_s)
            return await _in(self._readers, self._answer, await asyncio.wrap_future(submitted))
        raise AssertionError("the gate answers or raises")

    def _units(self, data: bytes) -> tuple[list[Any], list[int]]:
        read_layouts, read_method, _ = _wireless()
        request = _read(pb.RecommendPowersRequest, data)
        method = read_method(request.method)
        layouts = read_layouts(request.layouts, self._limits)
        return [(layout, method) for layout in layouts], [len(layout.links) ** 2 for layout in layouts]

    def _answer(self, found: Sequence[Any]) -> bytes:
        _, _, powers_message = _wireless()
        messages = [powers_message(item) for item in found]
        answer: bytes = pb.RecommendPowersResponse(powers=messages, version=installed_version()).SerializeToString()
        return answer


def _wireless() -> tuple[Any, Any, Any]:
    """The wireless part is loaded when it is first asked for: a server of the analytic predictor needs no torch."""
    try:
        from gnn_model.service.powers_wire import powers_message, read_layouts, read_method
    except ModuleNotFoundError as missing:
        raise InputError("wireless", f"this server lacks {missing.name}", "ask one with routewright[model]") from None
    return read_layouts, read_method, powers_message


def _recommend(units: Sequence[Any]) -> list[Any]:
    from gnn_model.wireless.recommend import recommend

    return [recommend(layout, method, at_once=True) for layout, method in units]


async def _in(readers: ThreadPoolExecutor, work: Callable[[Any], Read], argument: Any) -> Read:
    """Work off the event loop, so that health checks and other calls are answered meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(readers, work, argument)


def _cannot_listen(address: str, why: str = "") -> str:
    return f"cannot listen on {address}{why}; free the port or choose another address"
