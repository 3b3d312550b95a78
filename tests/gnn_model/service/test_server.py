"""The server over real gRPC: the same answers as in-process, and one clear status for everything that is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gnn_model.analytic import AnalyticPredictor
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.service.candidates_wire import candidate_message
from gnn_model.service.limits import RETRY_HINT, ServiceLimits
from gnn_model.service.predictions_wire import read_prediction
from gnn_model.service.scenario_wire import pack_scenario
from gnn_model.service.server import SERVICES
from gnn_model.service.v1 import predictor_pb2 as pb
from gnn_model.service.v1 import predictor_pb2_grpc as pb_grpc
from tests.gnn_model.service.serving import (
    TIMEOUT_S,
    RunningServer,
    SlowPredictor,
    ring,
    some_routings,
    wait_for,
)
from topology_sync.errors import UnavailableError
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario

Serve = Callable[..., RunningServer]
METHOD = "/routewright.predictor.v1.Predictor/PredictBatch"


@pytest.fixture
def channel_to() -> Iterator[Callable[[RunningServer], grpc.Channel]]:
    channels: list[grpc.Channel] = []

    def connect(server: RunningServer) -> grpc.Channel:
        channels.append(grpc.insecure_channel(server.address))
        return channels[-1]

    yield connect
    for channel in channels:
        channel.close()


def question(scenario: Scenario, routings: list[Routing], **more: Any) -> pb.PredictBatchRequest:
    packed = pack_scenario(scenario)
    return pb.PredictBatchRequest(
        scenario=pb.Scenario(sha256=packed.sha256, content=packed.content),
        candidates=[candidate_message(scenario.routing, routing) for routing in routings],
        **more,
    )


def status_of(work: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    details = caught.value.details()
    assert "\n" not in details
    return caught.value.code(), details


def test_callers_of_different_scenarios_get_what_they_would_get_alone(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel], random_scenario: Callable[..., Scenario]
) -> None:
    """The learned model with its weights, many callers at once, one batch for all of them."""
    predictor = GnnPredictor()
    stub = pb_grpc.PredictorStub(channel_to(serve(predictor)))
    asked = [(ring(5 + number), some_routings(ring(5 + number), 6, number)) for number in range(6)]
    asked += [(scenario, [scenario.routing] * 2) for scenario in map(random_scenario, range(6))]
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda each: stub.PredictBatch(question(*each), timeout=TIMEOUT_S), asked))
    for (scenario, routings), answer in zip(asked, answers, strict=True):
        assert answer.model.name == "gnn"
        assert answer.model.card_id == predictor.card["sha256"]
        alone = predictor.predict_batch(scenario, routings)
        assert len(answer.predictions) == len(routings)
        for message, expected in zip(answer.predictions, alone, strict=True):
            found = read_prediction(message, scenario)
            for name in ("delay_s", "delay_p99_s", "jitter_s", "loss_ratio", "link_utilisation_ratio"):
                assert getattr(found, name) == pytest.approx(
                    getattr(expected, name), rel=1e-5, abs=1e-12, nan_ok=True
                ), name


def test_a_scenario_need_be_sent_only_once(serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]) -> None:
    stub = pb_grpc.PredictorStub(channel_to(serve()))
    request = question(ring(), [ring().routing])
    bare = pb.PredictBatchRequest(scenario=pb.Scenario(sha256=request.scenario.sha256), candidates=request.candidates)
    code, details = status_of(lambda: stub.PredictBatch(bare, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "send its content" in details
    whole = stub.PredictBatch(request, timeout=TIMEOUT_S)
    assert stub.PredictBatch(bare, timeout=TIMEOUT_S) == whole


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda request: request.ClearField("scenario"), "scenario.sha256: has 0 bytes"),
        (lambda request: request.ClearField("candidates"), "candidates: has 0 entries"),
        (
            lambda request: setattr(request, "predictor", "gnn"),
            "predictor: 'gnn' does not answer here",
        ),
        (lambda request: setattr(request.scenario, "content", b"no zlib"), "scenario.content: is not compressed"),
        (lambda request: setattr(request.scenario, "sha256", bytes(32)), "scenario.sha256: is not that of"),
        (lambda request: request.candidates[0].changes.add(demand=99), "candidates[0].changes[0].demand: is 99"),
    ],
)
def test_what_is_wrong_is_said_with_place_and_remedy(
    serve: Serve,
    channel_to: Callable[[RunningServer], grpc.Channel],
    damage: Callable[[pb.PredictBatchRequest], Any],
    expected: str,
) -> None:
    stub = pb_grpc.PredictorStub(channel_to(serve()))
    request = question(ring(), [ring().routing])
    damage(request)
    code, details = status_of(lambda: stub.PredictBatch(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(expected)
    assert ";" in details


def test_mutated_requests_are_answered_or_refused_and_the_server_lives(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]
) -> None:
    channel = channel_to(serve())
    raw = channel.unary_unary(METHOD)
    good = question(ring(), some_routings(ring(), 3)).SerializeToString()
    rng = np.random.default_rng(1)
    statuses = {grpc.StatusCode.OK: 0, grpc.StatusCode.INVALID_ARGUMENT: 0, grpc.StatusCode.NOT_FOUND: 0}
    for _ in range(400):
        mutated = bytearray(good)
        for _ in range(int(rng.integers(1, 8))):
            kind, at = int(rng.integers(3)), int(rng.integers(len(mutated)))
            if kind == 0:
                mutated[at] = int(rng.integers(256))
            elif kind == 1:
                del mutated[at : at + int(rng.integers(1, 20))]
            else:
                mutated[at:at] = rng.bytes(int(rng.integers(1, 20)))
        call = raw.future(bytes(mutated), timeout=TIMEOUT_S)
        statuses[call.code()] += 1  # any other status is a KeyError
        assert "\n" not in (call.details() or "")
    assert statuses[grpc.StatusCode.OK] > 5
    assert statuses[grpc.StatusCode.INVALID_ARGUMENT] > 200
    answer = pb.PredictBatchResponse.FromString(raw(good, timeout=TIMEOUT_S))
    expected = AnalyticPredictor().predict_batch(ring(), some_routings(ring(), 3))
    assert [read_prediction(message, ring()) for message in answer.predictions] == expected


def test_a_message_beyond_all_bounds_is_turned_away_without_being_read(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (("grpc.max_receive_message_length", 100_000),)
    monkeypatch.setattr("gnn_model.service.server.OPTIONS", options)
    stub = pb_grpc.PredictorStub(channel_to(serve()))
    request = question(ring(), [ring().routing])
    request.scenario.content += b" " * 200_000
    code, details = status_of(lambda: stub.PredictBatch(request, timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details


def test_work_that_cannot_be_in_time_is_dropped_before_it_is_computed(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]
) -> None:
    predictor = SlowPredictor()
    server = serve(predictor)
    stub = pb_grpc.PredictorStub(channel_to(server))
    scenario = ring()
    with predictor.closed():
        first = stub.PredictBatch.future(question(scenario, [scenario.routing]), timeout=TIMEOUT_S)
        assert predictor.begun.wait(TIMEOUT_S)
        late = stub.PredictBatch.future(question(scenario, [scenario.routing] * 7), timeout=0.1)
        gone = stub.PredictBatch.future(question(scenario, [scenario.routing] * 7), timeout=TIMEOUT_S)
        time.sleep(0.05)
        gone.cancel()
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        time.sleep(0.1)
    assert len(first.result().predictions) == 1
    after = stub.PredictBatch(question(scenario, [scenario.routing] * 2), timeout=TIMEOUT_S)
    assert len(after.predictions) == 2
    assert predictor.asked == 3


def test_a_full_queue_turns_callers_away_and_says_when_to_come_again(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]
) -> None:
    predictor = SlowPredictor()
    scenario = ring()
    hops = len(scenario.routing.flat.hop_link)
    stub = pb_grpc.PredictorStub(channel_to(serve(predictor, ServiceLimits(queue_hops=3 * hops))))
    request = question(scenario, [scenario.routing])
    with predictor.closed():
        waiting = [stub.PredictBatch.future(request, timeout=TIMEOUT_S) for _ in range(8)]
        wait_for(lambda: sum(call.done() for call in waiting) == 5, "five are turned away")
        turned_away = [call for call in waiting if call.done()]
        for call in turned_away:
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            hint = dict(call.trailing_metadata())[RETRY_HINT]
            assert 1 <= int(hint) <= 5000
    assert all(len(call.result().predictions) == 1 for call in waiting if call not in turned_away)


def test_too_many_open_calls_are_turned_away_before_they_are_read(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]
) -> None:
    predictor = SlowPredictor()
    stub = pb_grpc.PredictorStub(channel_to(serve(predictor, ServiceLimits(calls=2))))
    request = question(ring(), [ring().routing])
    with predictor.closed():
        waiting = [stub.PredictBatch.future(request, timeout=TIMEOUT_S) for _ in range(5)]
        wait_for(lambda: sum(call.done() for call in waiting) == 3, "three are turned away")
    codes = [call.code() for call in waiting]
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 3
    assert codes.count(grpc.StatusCode.OK) == 2


def test_an_error_of_the_model_is_one_line_and_not_the_end(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]
) -> None:
    class Broken(SlowPredictor):
        def predict_batch(self, scenario: Scenario, candidates: Any) -> Any:
            if len(candidates) == 2:
                raise ZeroDivisionError("two\nlines")
            return AnalyticPredictor().predict_batch(scenario, candidates)

    stub = pb_grpc.PredictorStub(channel_to(serve(Broken())))
    scenario = ring()
    code, details = status_of(lambda: stub.PredictBatch(question(scenario, [scenario.routing] * 2), timeout=TIMEOUT_S))
    assert (code, details) == (grpc.StatusCode.INTERNAL, "the computation failed: two lines")
    assert stub.PredictBatch(question(scenario, [scenario.routing]), timeout=TIMEOUT_S).predictions


def test_health_and_reflection_answer(serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]) -> None:
    channel = channel_to(serve())
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", *SERVICES):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S)
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {"routewright.predictor.v1.Predictor", "routewright.predictor.v1.Wireless", "grpc.health.v1.Health"}


def test_draining_finishes_what_is_open_and_takes_no_more(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]
) -> None:
    predictor = SlowPredictor()
    server = serve(predictor)
    channel = channel_to(server)
    stub, health = pb_grpc.PredictorStub(channel), health_pb2_grpc.HealthStub(channel)
    seen: list[int] = []
    watch = health.Watch(health_pb2.HealthCheckRequest(service=""))

    def follow() -> None:
        try:
            for answer in watch:
                seen.append(answer.status)
        except grpc.RpcError:
            pass

    threading.Thread(target=follow, daemon=True).start()
    scenario = ring()
    with predictor.closed():
        open_call = stub.PredictBatch.future(question(scenario, [scenario.routing]), timeout=TIMEOUT_S)
        assert predictor.begun.wait(TIMEOUT_S)
        server.drain(TIMEOUT_S, wait=False)
        wait_for(lambda: health_pb2.HealthCheckResponse.NOT_SERVING in seen, "NOT_SERVING")
        code, details = status_of(lambda: stub.PredictBatch(question(scenario, [scenario.routing]), timeout=TIMEOUT_S))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "draining" in details
        assert server.running
    assert len(open_call.result(TIMEOUT_S).predictions) == 1
    server.join()
    assert seen[0] == health_pb2.HealthCheckResponse.SERVING


def test_a_call_that_does_not_end_is_cut_off_when_the_grace_is_over(
    serve: Serve, channel_to: Callable[[RunningServer], grpc.Channel]
) -> None:
    predictor = SlowPredictor()
    server = serve(predictor)
    stub = pb_grpc.PredictorStub(channel_to(server))
    with predictor.closed():
        call = stub.PredictBatch.future(question(ring(), [ring().routing]), timeout=TIMEOUT_S)
        assert predictor.begun.wait(TIMEOUT_S)
        server.drain(0.1, wait=False)
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    server.join()


def test_a_port_that_is_taken_is_said_in_one_line(serve: Serve) -> None:
    import asyncio

    from gnn_model.service.server import PredictionServer

    port = serve().port

    async def second() -> None:
        await PredictionServer(AnalyticPredictor()).start("127.0.0.1", port)

    with pytest.raises(
        UnavailableError, match=rf"cannot listen on 127.0.0.1:{port} \(Address already in use\); free the port"
    ):
        asyncio.run(second())
