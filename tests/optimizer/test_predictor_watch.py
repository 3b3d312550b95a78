"""A predictor that goes away and comes back: the network keeps its routing, and the loop goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.predictor import Prediction, Predictor
from gnn_model.service import replicas
from gnn_model.service.remote_predictor import RemotePredictor
from gnn_model.service.server import PredictionServer
from optimizer.api import make_api
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.closed_loop import ClosedLoop
from optimizer.controller_client import ControllerClient
from optimizer.goals import goal_table
from optimizer.history import History
from optimizer.local_search import SearchLimits, SearchResult, search
from optimizer.metrics import Metrics
from optimizer.planning import make_predictor
from optimizer.predictor_watch import REST_S, PredictorWatch
from optimizer.settings import OptimizerSettings, PredictorSettings
from tests.gnn_model.service.serving import RunningServer, free_port
from tests.optimizer.test_local_search import GOALS, random_scenario
from topology_sync.errors import UnavailableError
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario

TIMEOUT_S = 20.0


async def until(condition: Any, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + TIMEOUT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.02)


class Failing:
    """Seems to be up and does not answer while ``away``."""

    name = "analytic"
    away = True
    asked = 0

    def predict(self, scenario: Scenario) -> Prediction:
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        self.asked += 1
        if self.away:
            raise UnavailableError("the predictor at x:1 did not answer within 10 s")
        return AnalyticPredictor().predict_batch(scenario, candidates)


def test_the_loop_waits_for_its_predictor_server_and_goes_on_when_it_comes(
    controller: Any, settings: OptimizerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "CONNECT_S", 0.3)
    port = free_port()
    remote = replace(settings, predictor=PredictorSettings("analytic", (f"127.0.0.1:{port}",)))

    async def scenario() -> None:
        predictor = make_predictor(remote)
        assert isinstance(predictor, RemotePredictor)
        client, history = ControllerClient(remote.controller), History(Path(remote.state_directory))
        loop, stop = ClosedLoop(remote, client, history, predictor, Metrics()), asyncio.Event()
        task = asyncio.create_task(loop.run(stop))
        transport = httpx.ASGITransport(app=make_api(loop))
        async with controller.serving(), httpx.AsyncClient(transport=transport, base_url="http://optimizer") as api:
            await until(lambda: loop.view is not None and loop.state.violation_count > 5, "violations were seen")
            await asyncio.sleep(0.3)
            assert controller.plans == []
            assert loop.history.latest() == []
            status = (await api.get("/api/v1/status")).json()
            assert status["predictor"] == {
                "kind": "analytic",
                "addresses": [f"127.0.0.1:{port}"],
                "up": False,
                "problem": f"no predictor answers at 127.0.0.1:{port} without TLS; "
                "start one there (`routewright predictor`), or correct the address",
            }
            assert "routewright_predictor_up 0.0" in (await api.get("/metrics")).text
            server = PredictionServer(AnalyticPredictor())
            await server.start("127.0.0.1", port)
            await until(lambda: any(each.status == "kept" for each in loop.history.latest()), "a plan was kept")
            assert (await api.get("/api/v1/status")).json()["predictor"]["up"] is True
            assert "routewright_predictor_up 1.0" in (await api.get("/metrics")).text
            routing = controller.scenario.routing
            await server.drain(0.0)
            await until(lambda: loop.status()["predictor"]["up"] is False, "the loss was noticed")
            await asyncio.sleep(0.3)
            assert controller.scenario.routing == routing
            stop.set()
            await asyncio.wait_for(task, 10)
        predictor.close()
        await client.close()
        history.close()

    asyncio.run(scenario())


def test_a_question_that_fails_on_the_way_leaves_no_hold_down(
    controller: Any, settings: OptimizerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optimizer.predictor_watch.REST_S", 0.3)

    async def scenario() -> None:
        predictor = Failing()
        client, history = ControllerClient(settings.controller), History(Path(settings.state_directory))
        loop, stop = ClosedLoop(settings, client, history, predictor, Metrics()), asyncio.Event()
        task = asyncio.create_task(loop.run(stop))
        async with controller.serving():
            await until(lambda: predictor.asked > 1, "it was asked again")
            assert all(hold.count == 0 for hold in loop.state.hold_downs.values())
            assert "did not answer" in (loop.status()["predictor"]["problem"] or "did not answer")
            predictor.away = False
            await until(lambda: any(each.status == "kept" for each in loop.history.latest()), "a plan was kept")
            stop.set()
            await asyncio.wait_for(task, 10)
        await client.close()
        history.close()

    asyncio.run(scenario())


def test_the_watch_rests_after_a_failure() -> None:
    now = [0.0]
    watch = PredictorWatch(AnalyticPredictor(), (), lambda: now[0])
    watch.look()
    assert watch.status() == {"kind": "analytic", "addresses": [], "up": True, "problem": None}
    watch.failed("too slow")
    watch.look()
    assert watch.problem == "too slow"
    now[0] = REST_S + 0.1
    watch.look()
    assert watch.problem is None


def test_a_server_lost_in_the_middle_of_a_search_does_not_change_the_decision() -> None:
    """The learned model behind two servers, one of which goes after the third question; then the embedded model."""
    scenario = random_scenario(3)
    embedded = GnnPredictor()
    servers = [RunningServer(embedded, None, None, 0) for _ in range(2)]
    questions = 0

    class Watched(RemotePredictor):
        def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
            nonlocal questions
            questions += 1
            if questions == 3:
                servers[0].drain(0.0)
            return super().predict_batch(scenario, candidates)

    def decision(predictor: Predictor) -> SearchResult:
        table = goal_table(scenario.traffic, GOALS)
        candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
        return search(scenario, table, predictor, candidates, SearchLimits(60.0, max_changes=6))

    with Watched([server.address for server in servers], "gnn") as remote:
        found = decision(remote)
    servers[1].drain(0.0)

    class InFull:
        """As a server answers: without the embedded model's quick estimates, which order moves in another way."""

        name = "gnn"

        def predict(self, scenario: Scenario) -> Prediction:
            return embedded.predict(scenario)

        def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
            return embedded.predict_batch(scenario, candidates)

    expected = decision(InFull())
    assert questions > 3
    assert not servers[0].running
    assert found.changed == expected.changed != ()
    assert found.routing == expected.routing
    assert found.after.delay_s == pytest.approx(expected.after.delay_s, rel=1e-5)
