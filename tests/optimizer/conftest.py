"""A controller that speaks the real HTTP contract on a Unix socket, with a network behind it that obeys a predictor."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from gnn_model.analytic import AnalyticPredictor
from optimizer.settings import ClassGoal, OptimizerSettings, SafetySettings
from topology_sync.class_queues import ClassQueues
from topology_sync.errors import PlanError
from topology_sync.network_state import DemandMeasurements, LinkMeasurements, NetworkState
from topology_sync.paths import fewest_hops_routing
from topology_sync.plan import TransactionReport
from topology_sync.plan_json import plan_from_json, routing_with_plan, topology_with_plan, transaction_to_json
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.state_json import state_to_json
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, PacketSize, TrafficMatrix
from topology_sync.values import bool_array, float_array, int_array

WINDOW_S = 0.2
CLASSES = (
    ClassGoal("voice", 1, SlaGoal("voice", delay_s=0.015, percentile=99.0, loss_ratio=0.001)),
    ClassGoal("bulk", 3, SlaGoal("bulk", delay_s=None, percentile=None, loss_ratio=0.01)),
)


def hotspot() -> Scenario:
    """Five nodes; the link a-b is overloaded while the ways over c, d and e are nearly empty."""
    names = ("a", "b", "c", "d", "e")
    pairs = [("a", "b"), ("a", "c"), ("c", "b"), ("a", "d"), ("d", "b"), ("d", "e"), ("e", "b")]
    links = [Link(x, y, 1e7, 0.0005) for pair in pairs for x, y in (pair, pair[::-1])]
    topology = Topology.from_links(names, links)
    constant = PacketSize("constant")
    demands = [
        Demand("a", "b", 3.0e6, "voice", 8000, constant),
        Demand("a", "b", 6.0e6, "bulk", 8000, constant),
        Demand("d", "b", 1.0e6, "bulk", 8000, constant),
        Demand("a", "e", 1.0e6, "voice", 8000, constant),
        Demand("c", "b", 3.0e6, "bulk", 8000, constant),
        Demand("b", "a", 1.0e6, "voice", 8000, constant),
    ]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, ("voice", "bulk"))
    direct = fewest_hops_routing(topology, traffic)
    # c sends over a although it has a link of its own, as weights set by hand sometimes have it
    over_a = tuple(topology.links_between[hop][0] for hop in ((2, 0), (0, 1)))
    return Scenario("hotspot", topology, traffic, direct.with_changes({4: [PathShare(over_a)]}))


QUEUES = ClassQueues("wfq", ("voice", "bulk"), (10.0, 90.0), change_weights=True)


def shared_link() -> Scenario:
    """Two classes that no path can part: a-b-c with a full link b-c, whose weights at the start favour bulk."""
    names = ("a", "b", "c")
    links = [Link(x, y, 1e7, 0.0005) for pair in (("a", "b"), ("b", "c")) for x, y in (pair, pair[::-1])]
    topology = Topology.from_links(names, links, [QUEUES.scheduler()] * len(names))
    constant = PacketSize("constant")
    demands = [
        Demand("a", "c", 1.5e6, "voice", 8000, constant),
        Demand("b", "c", 1.5e6, "voice", 8000, constant),
        Demand("b", "c", 6.8e6, "bulk", 8000, constant),
    ]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, ("voice", "bulk"))
    return Scenario("shared link", topology, traffic, fewest_hops_routing(topology, traffic))


@dataclass
class SimulatedController:
    """Serves ``routewright-state/1`` as measured on a network whose truth is the analytic predictor.

    ``poison`` [links] adds hidden load in bit/s that only the truth knows of; ``up`` [links] is what is alive.
    """

    scenario: Scenario
    socket: Path
    up: list[bool] = field(init=False)
    poison: dict[int, float] = field(default_factory=dict)
    plans: list[dict[str, Any]] = field(default_factory=list)
    reports: list[TransactionReport] = field(default_factory=list)
    topology_version: int = 1
    routing_version: int = 1
    settled: bool = True
    answer_after_s: float = 0.0
    poison_after_plan: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.up = [True] * self.scenario.topology.link_count

    def fail(self, link: int) -> None:
        """Take a link and its reverse down."""
        topology = self.scenario.topology
        ends = int(topology.link_source[link]), int(topology.link_target[link])
        for pair in (ends, ends[::-1]):
            self.up[topology.links_between[pair][0]] = False
        self.topology_version += 1

    def state(self) -> NetworkState:
        """What would be measured now."""
        scenario = self.scenario
        topology = scenario.topology
        capacity = topology.capacity_bps.copy()
        for link, load in self.poison.items():
            capacity[link] = max(capacity[link] - load, 1e5)
        truth = AnalyticPredictor().predict(
            replace(scenario, topology=replace(topology, capacity_bps=float_array(capacity)))
        )
        count = scenario.traffic.demand_count
        dead = np.array([any(not self.up[n] for path in paths for n in path.links) for paths in scenario.routing.paths])
        loss = np.where(dead, 1.0, truth.loss_ratio)
        sent = np.full(count, 10_000.0)
        unknown = np.where(dead, np.nan, 1.0)
        return NetworkState(
            topology_version=self.topology_version,
            routing_version=self.routing_version,
            time_s=time.time(),
            window_s=WINDOW_S,
            settled=self.settled,
            scenario=scenario,
            demands=DemandMeasurements(
                packets_sent=float_array(sent),
                packets_lost=float_array(sent * loss),
                loss_ratio=float_array(loss),
                delay_s=float_array(truth.delay_s * unknown),
                delay_p99_s=float_array(truth.delay_p99_s * unknown),
                jitter_s=float_array(truth.jitter_s * unknown),
                delay_min_s=float_array(np.minimum(truth.delay_s, 0.001) * unknown),
                probe_count=int_array(np.where(dead, 0, 100)),
            ),
            links=LinkMeasurements(bool_array(self.up), float_array(truth.link_utilisation_ratio * capacity)),
        )

    def install(self, body: Any) -> JSONResponse:
        """Carry a plan out like the real controller."""
        now = time.time()
        try:
            plan = plan_from_json(body)
            if plan.topology_version != self.topology_version:
                return JSONResponse({"error": "the topology has changed"}, 409)
            routing = routing_with_plan(self.scenario, plan)
            topology = topology_with_plan(self.scenario.topology, plan)
        except PlanError as error:
            return JSONResponse({"error": str(error)}, 400)
        self.plans.append(body)
        changed = len(routing.changed_demands(self.scenario.routing))
        self.scenario = replace(self.scenario, routing=routing, topology=topology)
        self.routing_version += 1
        self.poison.update(self.poison_after_plan)
        report = TransactionReport(
            plan.plan_id, True, self.routing_version, changed, 2 * changed, 0, 1, now, now + 0.001, now + 0.002
        )
        self.reports.insert(0, report)
        return JSONResponse(transaction_to_json(report))

    def application(self) -> FastAPI:
        """The HTTP side."""
        app = FastAPI()

        @app.get("/api/v1/state")
        async def state() -> dict[str, Any]:
            return state_to_json(self.state())

        @app.get("/api/v1/events")
        async def events(after: int = 0, wait_s: float = 0.0) -> dict[str, Any]:
            deadline = time.monotonic() + min(wait_s, 1.0)
            while self.topology_version <= after and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            numbers = range(after + 1, self.topology_version + 1)
            news = [{"number": n, "time_s": 0.0, "kind": "topology", "detail": {}} for n in numbers]
            return {"events": news, "last": self.topology_version}

        @app.put("/api/v1/routing")
        async def install(request: Request) -> JSONResponse:
            answer = self.install(await request.json())
            await asyncio.sleep(self.answer_after_s)
            return answer

        @app.get("/api/v1/transactions")
        async def transactions() -> dict[str, Any]:
            return {"transactions": [transaction_to_json(report) for report in self.reports]}

        return app

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve on the Unix socket."""
        server = uvicorn.Server(
            uvicorn.Config(self.application(), uds=str(self.socket), log_config=None, lifespan="off")
        )
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            server.should_exit = server.force_exit = True
            await asyncio.wait_for(task, 5)
            self.socket.unlink(missing_ok=True)


@pytest.fixture
def hotspot_scenario() -> Scenario:
    """A network whose first link is overloaded and need not be."""
    return hotspot()


@pytest.fixture
def controller(tmp_path: Path) -> SimulatedController:
    """A simulated controller of the hotspot network, not yet serving."""
    return SimulatedController(hotspot(), tmp_path / "controller.sock")


@pytest.fixture
def shared_link_scenario() -> Scenario:
    """A network where only other queue weights keep the promises."""
    return shared_link()


@pytest.fixture
def settings(tmp_path: Path) -> OptimizerSettings:
    """Settings for that controller with times short enough for a test."""
    return OptimizerSettings(
        controller=f"unix:{tmp_path / 'controller.sock'}",
        state_directory=str(tmp_path / "state"),
        mode="auto",
        classes=CLASSES,
        safety=SafetySettings(
            hold_s=0.15, violations_to_act=2, min_interval_s=2.0, verify_s=0.2, better_plan_interval_s=0.2
        ),
        tick_s=0.03,
        search_time_s=0.3,
    )
