"""The client is a predictor: same answers, several servers as one, and one line where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.configurations import Configuration, predict_configurations
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.predictor import Prediction, problem_of
from gnn_model.service import replicas, server
from gnn_model.service.candidates_wire import read_candidates
from gnn_model.service.limits import ChunkLimits, ServiceLimits
from gnn_model.service.predictions_wire import prediction_message
from gnn_model.service.remote_predictor import RemotePredictor
from gnn_model.service.v1 import predictor_pb2 as pb
from gnn_model.without_transmission import WithoutTransmission
from tests.gnn_model.service.serving import (
    TIMEOUT_S,
    RunningServer,
    SlowPredictor,
    other_weights_of,
    ring,
    some_routings,
    wait_for,
    weighted_ring,
)
from topology_sync.errors import ConfigurationError, InputError, UnavailableError
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler

Serve = Callable[..., RunningServer]


class Counting(SlowPredictor):
    """Never slow."""

    def __init__(self) -> None:
        super().__init__()
        self.door.set()


def one_line(work: Callable[[], object], error: type[Exception] = UnavailableError) -> str:
    with pytest.raises(error) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_remote_and_embedded_say_the_same(serve: Serve, random_scenario: Callable[..., Scenario]) -> None:
    """Alone in its batch the learned model even computes the same bits."""
    embedded = GnnPredictor()
    with RemotePredictor([serve(embedded).address], "gnn") as remote:
        for scenario in [ring(), *map(random_scenario, range(6))]:
            assert remote.predict(scenario) == embedded.predict(scenario)
        routings = some_routings(ring(), 20)
        assert remote.predict_batch(ring(), routings) == embedded.predict_batch(ring(), routings)
        assert remote.predict_batch(ring(), []) == []
        assert (remote.name, remote.card_id) == ("gnn", embedded.card["sha256"])
        without = WithoutTransmission(remote)
        assert without.predict(ring()) == WithoutTransmission(embedded).predict(ring())
        assert without.problem is None


def test_candidates_with_other_weights_are_judged_as_in_this_process(serve: Serve) -> None:
    scenario = weighted_ring()
    asked = [*other_weights_of(scenario, 9), Configuration(scenario.routing, scenario.topology.schedulers)]
    strict = tuple(Scheduler("strict", (), (("default", 0),)) for _ in scenario.topology.schedulers)
    for embedded in (GnnPredictor(), AnalyticPredictor()):
        with RemotePredictor([serve(embedded).address], chunks=ChunkLimits(candidates=4)) as remote:
            assert predict_configurations(remote, scenario, asked) == embedded.predict_configurations(scenario, asked)
            other = [*asked, Configuration(scenario.routing, strict)]
            assert predict_configurations(remote, scenario, other) == embedded.predict_configurations(scenario, other)


def test_a_server_that_knows_no_weights_gets_scenarios_instead(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = weighted_ring()
    asked = other_weights_of(scenario, 3)

    def blind(known: Any, candidates: Sequence[pb.Candidate], limits: ServiceLimits) -> Any:
        for candidate in candidates:
            candidate.ClearField("queue_weights")
        return read_candidates(known, candidates, limits)

    def silent(self: Any, predictions: Sequence[Prediction]) -> bytes:
        messages = [prediction_message(prediction) for prediction in predictions]
        answer: bytes = pb.PredictBatchResponse(model=self._model, predictions=messages).SerializeToString()
        return answer

    monkeypatch.setattr(server, "read_candidates", blind)
    monkeypatch.setattr(server._PredictorService, "_answer", silent)
    with RemotePredictor([serve(AnalyticPredictor()).address]) as remote:
        found = predict_configurations(remote, scenario, asked)
    assert found == AnalyticPredictor().predict_configurations(scenario, asked)


def test_long_lists_are_cut_into_calls_and_come_back_in_order(serve: Serve) -> None:
    scenario = ring()
    routings = some_routings(scenario, 50)
    counting = Counting()
    with RemotePredictor([serve(counting).address], chunks=ChunkLimits(candidates=7)) as remote:
        assert remote.predict_batch(scenario, routings) == AnalyticPredictor().predict_batch(scenario, routings)
    assert counting.asked == 50
    hops = len(scenario.routing.flat.hop_link)
    for chunks, size in ((ChunkLimits(hops=5 * hops), 5), (ChunkLimits(values=2 * (24 + 24)), 2), (ChunkLimits(), 64)):
        with RemotePredictor(["127.0.0.1:1"], chunks=chunks) as remote:
            assert remote._chunk_size(scenario) == size


def test_servers_take_turns_and_learn_the_scenario_once_each(serve: Serve) -> None:
    scenario = ring()
    counts = [Counting(), Counting()]
    with RemotePredictor([serve(each).address for each in counts]) as remote:
        wait_for(lambda: all(replica.up for replica in remote._replicas._replicas), "both are up")
        expected = AnalyticPredictor().predict(scenario)
        for _ in range(40):
            assert remote.predict(scenario) == expected
        assert [each.asked for each in counts] == [20, 20]


def test_a_server_that_has_forgotten_the_scenario_is_told_again(serve: Serve) -> None:
    """A restarted server, or one whose store is full."""
    questions = [ring(rate_bps=rate) for rate in (1e6, 2e6, 3e6)]
    with RemotePredictor([serve(limits=ServiceLimits(scenarios_kept=1)).address]) as remote:
        for _ in range(12):
            for scenario in questions:
                assert remote.predict(scenario) == AnalyticPredictor().predict(scenario)


def test_when_a_server_goes_its_callers_go_to_the_other(serve: Serve) -> None:
    scenario = ring()
    expected = AnalyticPredictor().predict(scenario)
    servers = [serve(), serve()]
    failures: list[Exception] = []
    stop = threading.Event()
    with RemotePredictor([server.address for server in servers]) as remote:

        def caller() -> None:
            while not stop.is_set():
                try:
                    assert remote.predict(scenario) == expected
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=caller) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        servers[0].drain(0.0)
        time.sleep(0.3)
        again = serve(port=servers[0].port)
        servers[1].drain(0.0)
        wait_for(lambda: remote.problem is None, "the restarted server is found")
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert again.running
    assert failures == [], [repr(failure) for failure in failures[:3]]


def test_what_a_server_turns_away_is_asked_again_as_it_said(serve: Serve) -> None:
    """Sixteen callers, room for two of them at a time: all are served."""
    scenario = ring()
    hops = len(scenario.routing.flat.hop_link)
    server = serve(limits=ServiceLimits(queue_hops=2 * hops))
    with RemotePredictor([server.address]) as remote, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: remote.predict(scenario), range(64)))
    assert answers == [AnalyticPredictor().predict(scenario)] * 64


def test_no_server_is_one_line_and_soon(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    monkeypatch.setattr(replicas, "CONNECT_S", 0.3)
    server = serve()
    server.drain(0.0)
    with RemotePredictor([server.address, "127.0.0.1:1"]) as remote:
        began = time.monotonic()
        text = one_line(lambda: remote.predict(ring()))
        assert time.monotonic() - began < 3
        assert text.startswith(f"no predictor answers at {server.address}, 127.0.0.1:1 without TLS; start one there")
        assert problem_of(remote) == text
        assert problem_of(AnalyticPredictor()) is None
        serve(port=server.port)
        wait_for(lambda: problem_of(remote) is None, "the server is found")
        assert remote.predict(ring()) == AnalyticPredictor().predict(ring())


def test_a_server_too_busy_or_too_slow_is_one_line(serve: Serve) -> None:
    slow = SlowPredictor()
    scenario = ring()
    hops = len(scenario.routing.flat.hop_link)
    server = serve(slow, ServiceLimits(queue_hops=hops))
    with (
        RemotePredictor([server.address], timeout_s=0.5) as remote,
        RemotePredictor([server.address], timeout_s=TIMEOUT_S) as patient,
        ThreadPoolExecutor(1) as pool,
        slow.closed(),
    ):
        waiting = pool.submit(patient.predict, scenario)
        assert slow.begun.wait(TIMEOUT_S)
        assert "cannot answer within 0.5 s (too much waits already" in one_line(lambda: remote.predict(scenario))
        slow.door.set()
        waiting.result(TIMEOUT_S)
        slow.door.clear()
        assert "did not answer within 0.5 s" in one_line(lambda: remote.predict(scenario))


def test_a_server_of_another_model_is_refused(serve: Serve) -> None:
    with RemotePredictor([serve().address], "gnn") as remote:
        text = one_line(lambda: remote.predict(ring()), InputError)
        assert "'gnn' does not answer here, 'analytic' does" in text


def test_a_server_that_answers_nonsense_is_refused(serve: Serve) -> None:
    class Short(Counting):
        def predict_batch(self, scenario: Scenario, candidates: Sequence[object]) -> list[object]:  # type: ignore[override]
            return list(AnalyticPredictor().predict_batch(ring(5), [ring(5).routing] * len(candidates)))

    with RemotePredictor([serve(Short()).address]) as remote:
        assert "does not fit the question" in one_line(lambda: remote.predict(ring(6)))


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.1:0", "::1:5", "a b:1", "127.0.0.1:99999"])
def test_addresses_that_cannot_be_are_refused(address: str) -> None:
    assert "predictor address" in one_line(lambda: RemotePredictor([address]), ConfigurationError)
