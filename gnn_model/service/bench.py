"""The service under load: many callers, real server processes, one of them killed; compared with the embedded model.

Servers are processes of their own; callers are threads of this one, each with its own connections.  Every caller asks
about its scenario (several callers share one) again and again, a few candidates a call, the next when the last is
answered: what is measured is the service at its limit.  The same questions are put to the embedded predictor after.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from gnn_model.predictor import Prediction, Predictor
from gnn_model.service.process import ServerSettings
from gnn_model.service.process import run as run_server
from gnn_model.service.remote_predictor import RemotePredictor
from topology_sync.errors import RoutewrightError, UnavailableError
from topology_sync.paths import shortest_path
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array

SCENARIOS = 8
CALL_TIMEOUT_S = 60.0
START_TIMEOUT_S = 60.0
ALONE_CALLS = 200
NEGLIGIBLE = 1e-6  # of the largest value of an array: below, differences are of rounding only
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class LoadSettings:
    """``candidates`` in all, ``per_call`` of them in each call of one of ``clients``."""

    clients: int = 100
    candidates: int = 10_000
    per_call: int = 10
    replicas: int = 2
    kind: str = "gnn"
    seed: int = 1


@dataclass(frozen=True)
class Call:
    """What one call asks."""

    scenario: Scenario
    routings: tuple[Routing, ...]


@dataclass
class LoadResult:
    """Answers by call (None where there was none), and how long each took."""

    seconds: float = 0.0
    latency_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answers: list[list[Prediction] | None] = field(default_factory=list)

    def figures(self, candidates: int) -> dict[str, Any]:
        """For people and machines."""
        quantiles = np.quantile(self.latency_s, [0.5, 0.95, 0.99, 1.0]).tolist() if self.latency_s else [None] * 4
        return {
            "calls": len(self.answers),
            "errors": len(self.errors),
            "first_error": self.errors[0] if self.errors else None,
            "seconds": self.seconds,
            "candidates_per_s": candidates / max(self.seconds, 1e-9),
            "latency_s": dict(zip(("p50", "p95", "p99", "max"), quantiles, strict=True)),
        }


def bench_service(source: Scenario, settings: LoadSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the whole comparison; ``errors`` and ``largest_relative_difference`` say whether it holds."""
    from gnn_model.predictor_choice import load_predictor

    calls = make_calls(source, settings)
    asked = sum(len(call.routings) for call in calls)
    embedded = load_predictor(settings.kind)
    embedded_alone_s = _times_alone(embedded, calls[0])
    say(f"{asked} candidates in {len(calls)} calls of {settings.clients} clients, {settings.replicas} servers")
    with servers(settings) as running:
        steady = put_load(calls, running.addresses, settings)
        say(f"all servers up: {asked / steady.seconds:.0f} candidates/s, {len(steady.errors)} errors")
        with RemotePredictor(running.addresses, settings.kind) as remote:
            remote_alone_s = _times_alone(remote, calls[0])
        killed = None
        if settings.replicas > 1:
            killed = put_load(calls, running.addresses, settings, _once(len(calls) // 3, lambda: running.kill(0)))
            say(f"one killed on the way: {asked / killed.seconds:.0f} candidates/s, {len(killed.errors)} errors")
    say("the same to the embedded predictor")
    began_s = time.perf_counter()
    expected = [embedded.predict_batch(call.scenario, call.routings) for call in calls]
    embedded_s = time.perf_counter() - began_s
    return {
        "scenario": source.name,
        "nodes": source.topology.node_count,
        "demands": source.traffic.demand_count,
        "predictor": settings.kind,
        "clients": settings.clients,
        "servers": settings.replicas,
        "candidates": asked,
        "candidates_per_call": settings.per_call,
        "all_up": {
            **steady.figures(asked),
            "largest_relative_difference": largest_difference(steady.answers, expected),
        },
        "one_killed": killed
        and {**killed.figures(asked), "largest_relative_difference": largest_difference(killed.answers, expected)},
        "alone": {**_quantiles("remote", remote_alone_s), **_quantiles("embedded", embedded_alone_s)},
        "embedded_candidates_per_s": asked / embedded_s,
    }


def _once(at: int, action: Callable[[], None]) -> Callable[[int], None]:
    """Carry out ``action`` when so many calls are done."""

    def progress(done: int) -> None:
        if done == at:
            action()

    return progress


def make_calls(source: Scenario, settings: LoadSettings) -> list[Call]:
    """Scenarios of different load and candidates that move one to four demands, by seed."""
    rng = np.random.default_rng(settings.seed)
    peak = max(source.routing.max_utilisation(source.traffic, source.topology), 1e-12)
    scenarios = [
        replace(
            source,
            name=f"{source.name} {number}",
            traffic=source.traffic.with_rates(float_array(source.traffic.rate_bps * (load / peak))),
        )
        for number, load in enumerate(np.linspace(0.5, 1.1, SCENARIOS))
    ]
    count = max(settings.candidates // settings.per_call, 1)
    return [
        Call(
            scenarios[number % SCENARIOS],
            tuple(_neighbour(scenarios[number % SCENARIOS], rng) for _ in range(settings.per_call)),
        )
        for number in range(count)
    ]


def _neighbour(scenario: Scenario, rng: np.random.Generator) -> Routing:
    topology, traffic = scenario.topology, scenario.traffic
    changes: dict[int, tuple[PathShare, ...]] = {}
    usable = np.ones(topology.link_count, dtype=np.bool_)
    for demand in rng.choice(
        traffic.demand_count, size=min(int(rng.integers(1, 5)), traffic.demand_count), replace=False
    ):
        weight = rng.exponential(1.0, topology.link_count).tolist()
        path = shortest_path(topology, int(traffic.source[demand]), int(traffic.target[demand]), weight, usable)
        if path is not None:
            changes[int(demand)] = (PathShare(path),)
    return scenario.routing.with_changes(changes)


def put_load(
    calls: Sequence[Call],
    addresses: Sequence[str],
    settings: LoadSettings,
    progress: Callable[[int], None] = lambda done: None,
) -> LoadResult:
    """All calls by ``settings.clients`` callers at once; ``progress`` gets the number of calls done."""
    result = LoadResult(answers=[None] * len(calls))
    lock = threading.Lock()
    start = threading.Barrier(settings.clients + 1)

    def client(number: int) -> None:
        with RemotePredictor(addresses, settings.kind, timeout_s=CALL_TIMEOUT_S) as remote:
            start.wait()
            for position in range(number, len(calls), settings.clients):
                began_s = time.perf_counter()
                try:
                    answer = remote.predict_batch(calls[position].scenario, calls[position].routings)
                except RoutewrightError as error:
                    with lock:
                        result.errors.append(str(error))
                    continue
                with lock:
                    result.answers[position] = answer
                    result.latency_s.append(time.perf_counter() - began_s)
                    progress(len(result.latency_s))

    with ThreadPoolExecutor(settings.clients) as pool:
        working = [pool.submit(client, number) for number in range(settings.clients)]
        start.wait()
        began_s = time.perf_counter()
        for work in working:
            work.result()
        result.seconds = time.perf_counter() - began_s
    return result


def largest_difference(
    answers: Sequence[Sequence[Prediction] | None], expected: Sequence[Sequence[Prediction]]
) -> float:
    """Largest relative difference of any value; values far below an array's largest count by that one."""
    largest = 0.0
    for found, right in zip(answers, expected, strict=True):
        for mine, theirs in zip(found or (), right if found is not None else (), strict=True):
            for name in (item.name for item in fields(Prediction)):
                largest = max(largest, _difference(getattr(mine, name), getattr(theirs, name)))
    return largest


def _difference(mine: FloatArray, theirs: FloatArray) -> float:
    if not np.array_equal(np.isnan(mine), np.isnan(theirs)):
        return float("inf")
    scale = np.maximum(np.abs(theirs), NEGLIGIBLE * np.nanmax(np.abs(theirs), initial=1e-300))
    return float(np.nanmax(np.abs(mine - theirs) / scale, initial=0.0))


def _times_alone(predictor: Predictor, call: Call) -> list[float]:
    """What one caller waits for one candidate when nobody else asks."""
    times = []
    for number in range(ALONE_CALLS):
        began_s = time.perf_counter()
        predictor.predict_batch(call.scenario, [call.routings[number % len(call.routings)]])
        times.append(time.perf_counter() - began_s)
    return times


def _quantiles(name: str, times_s: Sequence[float]) -> dict[str, float]:
    return {f"{name}_p{part}_s": float(np.quantile(times_s, part / 100)) for part in (50, 99)}


class Servers:
    """Server processes on loopback."""

    def __init__(self, settings: LoadSettings) -> None:
        context = multiprocessing.get_context("spawn")
        ports = [_free_port() for _ in range(settings.replicas)]
        self.addresses = [f"127.0.0.1:{port}" for port in ports]
        asked = [ServerSettings("127.0.0.1", port, settings.kind) for port in ports]
        ready = [context.Event() for _ in ports]
        self._processes = [
            context.Process(target=_serve, args=(each, event), daemon=True)
            for each, event in zip(asked, ready, strict=True)
        ]
        for process in self._processes:
            process.start()
        try:
            for event, address in zip(ready, self.addresses, strict=True):
                if not event.wait(START_TIMEOUT_S):
                    raise UnavailableError(f"the predictor server at {address} did not start")
        except BaseException:
            self.stop()
            raise

    def kill(self, number: int) -> None:
        """SIGKILL one."""
        process_id = self._processes[number].pid
        assert process_id is not None
        os.kill(process_id, signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM all, SIGKILL what does not end."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(15)
            process.kill()
            process.join(5)


@contextmanager
def servers(settings: LoadSettings) -> Iterator[Servers]:
    """Servers that run inside the context, one computing thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        running = Servers(settings)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    try:
        yield running
    finally:
        running.stop()


def _serve(settings: ServerSettings, ready: Any) -> None:
    run_server(settings, lambda port: ready.set())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
