"""A predictor whose model is in other processes: the same questions, the same answers, by gRPC."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc

from gnn_model.configurations import Configuration, predict_as_scenarios
from gnn_model.predictor import Prediction
from gnn_model.service.candidates_wire import candidate_message, other_weights
from gnn_model.service.limits import ChunkLimits
from gnn_model.service.predictions_wire import read_prediction
from gnn_model.service.replicas import Replicas
from gnn_model.service.scenario_wire import PackedScenario, UnknownScenarioError, pack_scenario
from gnn_model.service.tls import TlsFiles
from gnn_model.service.v1 import predictor_pb2 as pb
from gnn_model.service.v1 import predictor_pb2_grpc as pb_grpc
from topology_sync.errors import UnavailableError
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario

TIMEOUT_S = 10.0
SCENARIOS_REMEMBERED = 8
CALLS_AT_ONCE = 2  # per server: one is computed while the next is on its way


class RemotePredictor:
    """Asks the predictor servers at ``addresses``; implements the ``Predictor`` protocol, from any thread.

    ``kind`` is the predictor that must answer ("" accepts any).  ``timeout_s`` is for each call; long lists of
    candidates are cut into several.  Errors are UnavailableError, or InputError for a scenario that servers refuse.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        kind: str = "",
        tls: TlsFiles | None = None,
        timeout_s: float = TIMEOUT_S,
        chunks: ChunkLimits | None = None,
    ) -> None:
        self.card_id = ""
        self.version = ""
        self._kind = kind
        self._name = kind or "remote"
        self._timeout_s = timeout_s
        self._chunks = chunks or ChunkLimits()
        self._replicas = Replicas(addresses, tls)
        self._scenarios = _SentScenarios(2 * max(len(addresses), 2))
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE * len(addresses), "asking")

    @property
    def name(self) -> str:
        """Name of the predictor behind."""
        return self._name

    @property
    def problem(self) -> str | None:
        """None while a server is up, else one line; asks nobody."""
        return self._replicas.problem

    def predict(self, scenario: Scenario) -> Prediction:
        """Predict one scenario as it stands."""
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Predict the same scenario under each candidate routing."""
        return self._predict(scenario, [candidate_message(scenario.routing, routing) for routing in candidates])

    def predict_configurations(self, scenario: Scenario, candidates: Sequence[Configuration]) -> list[Prediction]:
        """Predict the same traffic under candidates with other routings and schedulers.

        Weights travel with the candidates; what else differs, and all of it for a server that does not know of weights
        yet, travels as scenarios of their own.
        """
        present = scenario.topology.schedulers
        weights = [other_weights(present, candidate.schedulers) for candidate in candidates]
        messages = [
            candidate_message(scenario.routing, candidate.routing, changed)
            for candidate, changed in zip(candidates, weights, strict=True)
            if changed is not None
        ]
        if len(messages) == len(candidates):
            try:
                return self._predict(scenario, messages)
            except _UnknownWeightsError:
                pass
        return predict_as_scenarios(self, scenario, candidates)

    def _predict(self, scenario: Scenario, candidates: Sequence[pb.Candidate]) -> list[Prediction]:
        size = self._chunk_size(scenario)
        chunks = [candidates[start : start + size] for start in range(0, len(candidates), size)]
        if len(chunks) == 1:
            return self._ask(scenario, chunks[0])
        answers = list(self._pool.map(lambda chunk: self._ask(scenario, chunk), chunks))
        return [prediction for answer in answers for prediction in answer]

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(cancel_futures=True)
        self._replicas.close()

    def __enter__(self) -> RemotePredictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chunk_size(self, scenario: Scenario) -> int:
        chunks = self._chunks
        hops = max(len(scenario.routing.flat.hop_link), 1)
        values = max(4 * scenario.traffic.demand_count + 2 * scenario.topology.link_count, 1)
        return max(min(chunks.candidates, chunks.hops // hops, chunks.values // values), 1)

    def _ask(self, scenario: Scenario, candidates: Sequence[pb.Candidate]) -> list[Prediction]:
        packed, with_content = self._scenarios.packed(scenario)
        request = pb.PredictBatchRequest(
            scenario=pb.Scenario(sha256=packed.sha256, content=packed.content if with_content else b""),
            candidates=candidates,
            predictor=self._kind,
        )
        try:
            answer = self._call(request)
        except UnknownScenarioError:
            self._scenarios.forgotten(scenario)
            request.scenario.content = packed.content
            answer = self._call(request)
        if len(answer.predictions) != len(candidates):
            raise UnavailableError(
                f"the predictor sent {len(answer.predictions)} predictions for {len(candidates)} candidates"
            )
        if not answer.queue_weights and any(candidate.queue_weights for candidate in candidates):
            raise _UnknownWeightsError
        if answer.model.name:
            self._name = answer.model.name
        self.card_id, self.version = answer.model.card_id, answer.model.version
        return [read_prediction(message, scenario) for message in answer.predictions]

    def _call(self, request: pb.PredictBatchRequest) -> pb.PredictBatchResponse:
        answer: pb.PredictBatchResponse = self._replicas.call(_predict_batch, request, self._timeout_s)
        return answer


class _UnknownWeightsError(Exception):
    """The server predicted candidates without a look at their queue weights."""


def _predict_batch(channel: grpc.Channel) -> Any:
    return pb_grpc.PredictorStub(channel).PredictBatch  # type: ignore[no-untyped-call]


class _SentScenarios:
    """Scenarios in their wire form, and whether their content need still go along.

    The first ``announcements`` calls carry the content, so that every server gets it; later ones only the hash.
    """

    def __init__(self, announcements: int) -> None:
        self._announcements = announcements
        self._kept: OrderedDict[int, tuple[Scenario, PackedScenario, int]] = OrderedDict()
        self._lock = threading.Lock()

    def packed(self, scenario: Scenario) -> tuple[PackedScenario, bool]:
        """The wire form, and whether to send the content with this call."""
        with self._lock:
            kept = self._kept.get(id(scenario))  # the scenario itself is kept too, so its id stays its own
            _, packed, left = kept if kept is not None else (scenario, pack_scenario(scenario), self._announcements)
            self._kept[id(scenario)] = (scenario, packed, max(left - 1, 0))
            self._kept.move_to_end(id(scenario))
            while len(self._kept) > SCENARIOS_REMEMBERED:
                self._kept.popitem(last=False)
            return packed, left > 0

    def forgotten(self, scenario: Scenario) -> None:
        """A server did not know it (any more): tell all of them again."""
        with self._lock:
            kept = self._kept.get(id(scenario))
            if kept is not None:
                self._kept[id(scenario)] = (scenario, kept[1], self._announcements)
