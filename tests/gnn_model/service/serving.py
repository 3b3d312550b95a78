"""Predictor servers inside the test's process, and what tests ask them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gnn_model.analytic import AnalyticPredictor
from gnn_model.configurations import Configuration
from gnn_model.predictor import Prediction
from gnn_model.service.limits import ServiceLimits
from gnn_model.service.server import PredictionServer
from gnn_model.service.tls import TlsFiles
from topology_sync.paths import fewest_hops_routing
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Scheduler, Topology
from topology_sync.traffic import Demand, TrafficMatrix

TIMEOUT_S = 20.0


class RunningServer:
    """A server in a thread of its own.  ``drain`` as at SIGTERM; ``stop`` in any case."""

    def __init__(self, predictor: Any, limits: ServiceLimits | None, tls: TlsFiles | None, port: int) -> None:
        self.port = 0
        self._ready = threading.Event()
        self._grace_s = 0.0
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(predictor, limits, tls, port),))
        self._thread.start()
        assert self._ready.wait(TIMEOUT_S)
        assert self.port, "the server did not start"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def drain(self, grace_s: float, wait: bool = True) -> None:
        self._grace_s = grace_s
        self._loop.call_soon_threadsafe(self._stop.set)
        if wait:
            self.join()

    def join(self) -> None:
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()

    async def _serve(self, predictor: Any, limits: ServiceLimits | None, tls: TlsFiles | None, port: int) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = PredictionServer(predictor, limits)
            self.port = await server.start("127.0.0.1", port, None if tls is None else tls.server_credentials())
        finally:
            self._ready.set()
        await self._stop.wait()
        await server.drain(self._grace_s)


@dataclass
class SlowPredictor:
    """The analytic predictor behind a door: nothing is computed while ``closed``; ``asked`` counts candidates."""

    name: str = "analytic"
    asked: int = 0
    batches: list[int] = field(default_factory=list)
    door: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def closed(self) -> Iterator[None]:
        self.door.clear()
        try:
            yield
        finally:
            self.door.set()

    def predict(self, scenario: Scenario) -> Prediction:
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        self.begun.set()
        self.asked += len(candidates)
        self.batches.append(len(candidates))
        assert self.door.wait(TIMEOUT_S)
        return AnalyticPredictor().predict_batch(scenario, candidates)


def ring(nodes: int = 6, rate_bps: float = 1e6) -> Scenario:
    """Nodes in a ring, both ways; a demand from each to the next but one."""
    names = [f"n{node}" for node in range(nodes)]
    links = [Link(names[node], names[(node + step) % nodes], 1e7) for node in range(nodes) for step in (1, -1)]
    topology = Topology.from_links(names, links)
    demands = [Demand(names[node], names[(node + 2) % nodes], rate_bps * (1 + node / nodes)) for node in range(nodes)]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    return Scenario("ring", topology, traffic, fewest_hops_routing(topology, traffic))


def other_way(scenario: Scenario, demand: int, share: float = 1.0) -> Routing:
    """Send ``share`` of a demand of the ring the other way round."""
    topology, traffic = scenario.topology, scenario.traffic
    node, target = int(traffic.source[demand]), int(traffic.target[demand])
    (usual,) = scenario.routing.paths[demand]
    step = -1 if topology.link_target[usual.links[0]] == (node + 1) % topology.node_count else 1
    links = []
    while node != target:
        following = (node + step) % topology.node_count
        links.append(topology.links_between[node, following][0])
        node = following
    detour = PathShare(tuple(links), share)
    paths = (detour,) if share == 1.0 else (PathShare(usual.links, 1.0 - share), detour)
    return scenario.routing.with_changes({demand: paths})


def weighted_ring() -> Scenario:
    """The ring with a WFQ of two queues in every node but the last, which is FIFO."""
    scenario = ring()
    topology = scenario.topology
    queues = (("default", 1), ("other", 0))
    changes = {node: Scheduler("wfq", (3.0, 1.0), queues) for node in range(topology.node_count - 1)}
    return replace(scenario, topology=topology.with_schedulers(changes))


def other_weights_of(scenario: Scenario, count: int, seed: int = 1) -> list[Configuration]:
    """Random weights in some weighted nodes, with other routings."""
    random = np.random.default_rng(seed)
    topology = scenario.topology

    def drawn(scheduler: Scheduler) -> Scheduler:
        weights = random.uniform(0.1, 9.0, len(scheduler.weights)).tolist()
        return replace(scheduler, weights=tuple(weights)) if random.random() < 0.7 else scheduler

    return [
        Configuration(routing, tuple(drawn(scheduler) for scheduler in topology.schedulers))
        for routing in some_routings(scenario, count, seed)
    ]


def some_routings(scenario: Scenario, count: int, seed: int = 1) -> list[Routing]:
    """Candidates on the ring, splits among them."""
    rng = np.random.default_rng(seed)
    demands = scenario.traffic.demand_count
    return [
        other_way(scenario, int(rng.integers(demands)), 1.0 if rng.random() < 0.5 else float(rng.uniform(0.1, 0.9)))
        for _ in range(count)
    ]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll until something happens, at most TIMEOUT_S."""
    pause = threading.Event()
    for _ in range(round(TIMEOUT_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(f"never happened: {what}")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
