"""The whole loop over real HTTP: finds, applies, verifies, keeps; goes back; survives restarts and absences."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gnn_model.analytic import AnalyticPredictor
from optimizer.api import make_api
from optimizer.closed_loop import ClosedLoop
from optimizer.controller_client import ControllerClient
from optimizer.history import History
from optimizer.metrics import Metrics
from optimizer.settings import OptimizerSettings
from topology_sync.class_queues import ClassQueues
from topology_sync.errors import TransactionError
from topology_sync.scenario import Scenario

TIMEOUT_S = 20.0


@contextlib.asynccontextmanager
async def running(settings: OptimizerSettings) -> AsyncIterator[ClosedLoop]:
    client = ControllerClient(settings.controller)
    history = History(Path(settings.state_directory))
    loop = ClosedLoop(settings, client, history, AnalyticPredictor(), Metrics())
    stop = asyncio.Event()
    task = asyncio.create_task(loop.run(stop))
    try:
        yield loop
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)
        await client.close()
        history.close()


async def until(condition: Callable[[], Any], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + TIMEOUT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.02)


def ended(loop: ClosedLoop, status: str) -> Callable[[], bool]:
    return lambda: any(decision.status == status for decision in loop.history.latest())


def test_auto_mends_the_hotspot_and_keeps_the_plan(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        async with controller.serving(), running(settings) as loop:
            await until(ended(loop, "kept"), "a plan was kept")
            assert len(controller.plans) == 1
            decision = loop.history.latest()[0]
            assert decision.trigger == "sla"
            assert decision.summary["predicted"]["violated_demands_before"] > 0
            assert decision.summary["predicted"]["after"]["violation"] == 0
            assert decision.summary["measured"]["violation_after"] == 0
            times = decision.summary["times_s"]
            order = ["violation_first_measured", "held", "plan_found", "transaction_flipped", "verified"]
            assert [times[name] for name in order] == sorted(times[name] for name in order)
            # the network obeys the very predictor, so what was predicted is what is measured
            assert decision.summary["prediction_error_ratio"] < 0.01
            assert loop.history.state_of(decision.id)["format"] == "routewright-state/1"  # type: ignore[index]
            assert all(entry["met"] for entry in loop.status()["sla"]["classes"])
            await asyncio.sleep(0.5)
            assert len(controller.plans) == 1

    asyncio.run(scenario())


def test_a_plan_that_measures_worse_is_rolled_back_and_held_down(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        start = controller.scenario.routing
        # once any plan is in, load that no counter shows takes most of every link
        controller.poison_after_plan = dict.fromkeys(range(controller.scenario.topology.link_count), 9.8e6)
        async with controller.serving(), running(settings) as loop:
            await until(ended(loop, "rolled_back"), "the plan was rolled back")
            assert len(controller.plans) == 2
            assert controller.scenario.routing == start
            decision = next(d for d in loop.history.latest() if d.status == "rolled_back")
            assert "measured violation" in decision.reason
            assert decision.detail["rollback"]["ok"]
            assert loop.state.hold_downs["sla"].count == 1
            await asyncio.sleep(1.0)
            assert len(controller.plans) == 2

    asyncio.run(scenario())


def weighted(controller: Any, scenario: Scenario, settings: OptimizerSettings) -> OptimizerSettings:
    """The controller's network is another one, and queue weights may change."""
    controller.__init__(scenario, controller.socket)
    queues = ClassQueues("wfq", ("voice", "bulk"), (10.0, 90.0), change_weights=True)
    AnalyticPredictor().predict(scenario)  # loads its kernels, which may take longer than a search
    return replace(settings, queues=queues, search_time_s=1.0)


def test_where_paths_cannot_help_the_weights_are_changed(
    controller: Any, settings: OptimizerSettings, shared_link_scenario: Scenario
) -> None:
    async def scenario() -> None:
        chosen = weighted(controller, shared_link_scenario, settings)
        async with controller.serving(), running(chosen) as loop:
            await until(ended(loop, "kept"), "a plan was kept")
            (plan,) = controller.plans
            assert plan["routes"] == []
            assert {node["scheduler"] for node in plan["nodes"]} == {"wfq"}
            decision = loop.history.latest()[0]
            assert decision.summary["changed_nodes"] == len(plan["nodes"]) > 0
            assert decision.summary["predicted"]["after"]["changed_weights"] == 1
            assert decision.summary["measured"]["violation_after"] == 0
            (before,) = decision.detail["queues"]["before"]
            assert before["weights"] == {"voice": 10.0, "bulk": 90.0}
            assert decision.detail["queues"]["after"] == loop.status()["network"]["queues"]
            after = decision.detail["queues"]["after"][0]["weights"]
            assert after["voice"] > 10.0
            assert sum(after.values()) == pytest.approx(100.0)
            node = decision.detail["queues"]["after"][0]["nodes"][0]
            line = f'routewright_queue_weight_ratio{{class="voice",node="{node}"}} {after["voice"] / 100}'
            assert line in loop.metrics.render().decode()

    asyncio.run(scenario())


def test_weights_that_measure_worse_are_put_back(
    controller: Any, settings: OptimizerSettings, shared_link_scenario: Scenario
) -> None:
    async def scenario() -> None:
        chosen = weighted(controller, shared_link_scenario, settings)
        start = controller.scenario.topology
        controller.poison_after_plan = dict.fromkeys(range(start.link_count), 6e6)
        async with controller.serving(), running(chosen) as loop:
            await until(ended(loop, "rolled_back"), "the plan was rolled back")
            assert len(controller.plans) == 2
            assert controller.plans[1]["routes"] == []
            assert controller.scenario.topology == start

    asyncio.run(scenario())


def test_without_leave_weights_stay_as_they_are(
    controller: Any, settings: OptimizerSettings, shared_link_scenario: Scenario
) -> None:
    async def scenario() -> None:
        chosen = weighted(controller, shared_link_scenario, settings)
        chosen = replace(chosen, queues=replace(chosen.queues, change_weights=False))  # type: ignore[type-var]
        async with controller.serving(), running(chosen) as loop:
            await until(ended(loop, "no_better_plan"), "nothing better was found")
            assert controller.plans == []

    asyncio.run(scenario())


def test_advise_applies_only_what_is_approved(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        async with controller.serving(), running(replace(settings, mode="advise")) as loop:
            await until(lambda: loop.state.phase == "awaiting_approval", "a proposal")
            await asyncio.sleep(0.3)
            assert controller.plans == []
            number = loop.status()["awaiting_approval"]
            transport = httpx.ASGITransport(app=make_api(loop, "secret"))
            async with httpx.AsyncClient(transport=transport, base_url="http://optimizer") as api:
                assert (await api.post(f"/api/v1/plans/{number}/approve")).status_code == 401
                headers = {"authorization": "Bearer secret"}
                wrong = await api.post("/api/v1/plans/999/approve", headers=headers)
                assert wrong.status_code == 404
                right = await api.post(f"/api/v1/plans/{number}/approve", headers=headers)
                assert right.status_code == 200, right.text
                await until(ended(loop, "kept"), "the approved plan was kept")
                assert len(controller.plans) == 1
                again = await api.post(f"/api/v1/plans/{number}/approve", headers=headers)
                assert again.status_code == 409
                assert again.json()["error"].count("\n") == 0
                whole = (await api.get(f"/api/v1/history/{number}")).json()
                moved = [row for row in whole["demands"] if row["changed"]]
                assert moved
                assert all(row["predicted_after"]["delay_p99_s"] > 0 for row in moved)

    asyncio.run(scenario())


def test_the_operator_can_go_back(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        start = controller.scenario.routing
        async with controller.serving(), running(settings) as loop:
            await until(ended(loop, "kept"), "a plan was kept")
            transport = httpx.ASGITransport(app=make_api(loop))
            async with httpx.AsyncClient(transport=transport, base_url="http://optimizer") as api:
                answer = await api.post("/api/v1/rollback")
                assert answer.status_code == 200, answer.text
            await until(ended(loop, "rolled_back"), "the routes were put back")
            assert controller.scenario.routing == start

    asyncio.run(scenario())


def test_a_dead_link_is_routed_around_at_once(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        patient = replace(settings, safety=replace(settings.safety, hold_s=1000.0, min_interval_s=1000.0))
        async with controller.serving(), running(patient) as loop:
            await until(lambda: loop.view is not None, "a first snapshot")
            controller.fail(controller.scenario.topology.links_between[0, 1][0])
            began = asyncio.get_running_loop().time()
            await until(lambda: controller.plans, "a plan around the dead link")
            assert asyncio.get_running_loop().time() - began < 3.0
            crossing = [
                path
                for paths in controller.scenario.routing.paths
                for path in paths
                if not all(controller.up[link] for link in path.links)
            ]
            assert crossing == []
            await until(ended(loop, "kept"), "it was kept")
            assert loop.history.latest()[0].trigger == "topology"

    asyncio.run(scenario())


def test_restart_with_nothing_changed_sends_no_plan(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        async with controller.serving():
            async with running(settings) as loop:
                await until(ended(loop, "kept"), "a plan was kept")
            count = len(controller.plans)
            async with running(settings) as again:
                await until(lambda: again.view is not None, "a snapshot after the restart")
                await asyncio.sleep(0.8)
                assert len(controller.plans) == count
                assert again.status()["last_good_decision"] == 1

    asyncio.run(scenario())


def test_a_plan_under_verification_gets_its_verdict_after_a_restart(
    controller: Any, settings: OptimizerSettings
) -> None:
    async def scenario() -> None:
        async with controller.serving():
            slow = replace(settings, safety=replace(settings.safety, verify_s=5.0))
            async with running(slow) as loop:
                await until(lambda: loop.state.phase == "verifying", "verification began")
                await asyncio.sleep(0.1)
            async with running(settings) as again:
                assert again.state.phase == "verifying"
                await until(ended(again, "kept"), "the verdict")
                assert len(controller.plans) == 1

    asyncio.run(scenario())


def test_a_transaction_cut_off_by_a_restart_is_found_again(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        controller.answer_after_s = 1.0
        async with controller.serving():
            async with running(settings) as loop:
                await until(lambda: controller.plans, "the plan arrived")
                assert loop.state.phase == "applying"
            controller.answer_after_s = 0.0
            async with running(settings) as again:
                assert again.state.phase == "applying"
                await until(ended(again, "kept"), "the plan was found, verified and kept")
                assert len(controller.plans) == 1
                assert again.history.latest()[0].detail["transaction"]["ok"]

    asyncio.run(scenario())


def test_without_controller_it_says_so_and_carries_on(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        async with running(settings) as loop:
            await until(lambda: loop.problem and "does not answer" in loop.problem, "the absence was noticed")
            transport = httpx.ASGITransport(app=make_api(loop))
            async with httpx.AsyncClient(transport=transport, base_url="http://optimizer") as api:
                assert (await api.get("/healthz")).status_code == 200
                assert (await api.get("/readyz")).status_code == 503
                assert (await api.get("/api/v1/status")).json()["controller"]["up"] is False
                assert (await api.post("/api/v1/rollback")).status_code == 409
            async with controller.serving():
                await until(ended(loop, "kept"), "it went to work")

    asyncio.run(scenario())


def test_bad_requests_get_one_line(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        async with controller.serving(), running(replace(settings, mode="paused")) as loop:
            transport = httpx.ASGITransport(app=make_api(loop))
            async with httpx.AsyncClient(transport=transport, base_url="http://optimizer") as api:
                bad = [
                    await api.post("/api/v1/mode", json={"mode": "wild"}),
                    await api.post("/api/v1/mode", content=b"{"),
                    await api.post("/api/v1/mode", json={"mode": "auto", "more": 1}),
                    await api.get("/api/v1/history?limit=0"),
                    await api.get("/api/v1/history/first"),
                ]
                assert [answer.status_code for answer in bad] == [400] * 5
                assert all("\n" not in answer.json()["error"] for answer in bad)
                assert (await api.get("/api/v1/history/7")).status_code == 404
                assert (await api.get("/nowhere")).status_code == 404
                assert "/api/v1/status" in (await api.get("/openapi.json")).json()["paths"]
                await until(lambda: loop.view is not None, "a snapshot")
                metrics = (await api.get("/metrics")).text
                assert "routewright_controller_up 1.0" in metrics
                assert 'routewright_sla_violation{class="voice",goal="loss"}' in metrics
                assert (await api.post("/api/v1/mode", json={"mode": "auto"})).status_code == 200
                assert loop.state.mode == "auto"
            await until(lambda: controller.plans, "auto mode acts")

    asyncio.run(scenario())


def test_commands_that_make_no_sense_are_refused(controller: Any, settings: OptimizerSettings) -> None:
    async def scenario() -> None:
        from optimizer.loop_values import Command

        async with controller.serving(), running(replace(settings, mode="paused")) as loop:
            await until(lambda: loop.view is not None, "a snapshot")
            with pytest.raises(TransactionError, match="does not await approval"):
                await loop.submit(Command("approve", 3))
            with pytest.raises(TransactionError, match="no plan to roll back"):
                await loop.submit(Command("rollback"))

    asyncio.run(scenario())
