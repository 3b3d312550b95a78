"""The analytic predictor: a fixed point of finite queues along the paths, no learning, no simulation.

Per link: packet rates thinned by the losses before it, the queues of its port as in :mod:`gnn_model.analytic_queues`,
and again until the losses agree (Rosenblatt and others call this reduced load or Erlang fixed point).  A packet's
delay is the sum of its waits, of its own size over each capacity, and of the propagation delays.  Hops are taken as
independent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from gnn_model.acceleration import COMPILED
from gnn_model.analytic_delay import path_statistics
from gnn_model.analytic_fixed_point import Shared, Solution, fixed_point
from gnn_model.analytic_layout import Layout, PathPool
from gnn_model.analytic_queues import NOTHING
from gnn_model.configurations import Configuration, in_parts, predict_as_scenarios, rescheduled
from gnn_model.incremental import Held, RoutingJudge
from gnn_model.predictor import Prediction
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler
from topology_sync.values import float_array

Item = TypeVar("Item")
HOPS_AT_ONCE = 200_000  # candidates are worked on in groups whose arrays stay within the processor's cache


class AnalyticPredictor:
    """M/G/1/K fixed point.  Stateless: one instance may be used from any thread.

    Batches and moves are shared among ``threads`` (default: as many as there are processors), which changes no result.
    """

    name = "analytic"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))

    def predict(self, scenario: Scenario) -> Prediction:
        """Predict one scenario as it stands.  Demands with rate 0 get what a packet of theirs would see."""
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Predict each candidate; candidates made by ``scenario.routing.with_changes`` share most of the work."""
        pool = PathPool(scenario)
        shared = Shared.of(scenario, pool.queues)
        if COMPILED:
            shared.prepare()
            return self._each(lambda candidate: _predict(scenario, shared, pool.layout([candidate]))[0], candidates)
        step = max(HOPS_AT_ONCE // max(len(scenario.routing.flat.hop_link), 1), 1)
        predictions: list[Prediction] = []
        for start in range(0, len(candidates), step):
            predictions += _predict(scenario, shared, pool.layout(candidates[start : start + step]))
        return predictions

    def predict_configurations(self, scenario: Scenario, candidates: Sequence[Configuration]) -> list[Prediction]:
        """Predict each candidate; what does not depend on schedulers is worked out once."""
        if not COMPILED:
            return predict_as_scenarios(self, scenario, candidates)
        pool = PathPool(scenario)
        shared = Shared.of(scenario, pool.queues)
        return in_parts(lambda part: self._rescheduled(scenario, pool, shared, part), candidates)

    def _rescheduled(
        self, scenario: Scenario, pool: PathPool, shared: Shared, candidates: Sequence[Configuration]
    ) -> list[Prediction]:
        places: dict[tuple[Scheduler, ...], tuple[Scenario, PathPool, Shared]] = {}
        for schedulers in dict.fromkeys(candidate.schedulers for candidate in candidates):
            other = rescheduled(scenario, schedulers)
            other_pool = pool.rescheduled(other)
            places[schedulers] = other, other_pool, shared.rescheduled(other, other_pool.queues)
            places[schedulers][2].prepare()

        def one(candidate: Configuration) -> Prediction:
            other, other_pool, other_shared = places[candidate.schedulers]
            return _predict(other, other_shared, other_pool.layout([candidate.routing]))[0]

        return self._each(one, candidates)

    def _each(self, predict: Callable[[Item], Prediction], candidates: Sequence[Item]) -> list[Prediction]:
        if min(self._threads, len(candidates)) < 2:
            return [predict(candidate) for candidate in candidates]
        with ThreadPoolExecutor(self._threads) as threads:
            return list(threads.map(predict, candidates))

    def judge_of(self, scenario: Scenario) -> RoutingJudge | None:
        """A judge of moves that follows the fixed point as far as a move changes it."""
        return RoutingJudge(scenario, hold, self._threads) if COMPILED else None


def hold(scenario: Scenario) -> Held:
    """The scenario's routing, predicted in full, for a judge."""
    pool = PathPool(scenario)
    shared = Shared.of(scenario, pool.queues)
    layout = pool.layout([scenario.routing])
    solution = fixed_point(shared, layout)
    (prediction,) = _predictions(scenario, shared, layout, solution)
    return Held(scenario, shared, layout, solution, prediction, prediction, np.ones(len(layout.flat_queue)))


def _predict(scenario: Scenario, shared: Shared, layout: Layout) -> list[Prediction]:
    return _predictions(scenario, shared, layout, fixed_point(shared, layout))


def _predictions(scenario: Scenario, shared: Shared, layout: Layout, solution: Solution) -> list[Prediction]:
    traffic, state, waits, survival = solution
    paths = path_statistics(
        layout,
        waits=waits,
        load=np.minimum(state.ratio, 1 / state.ratio),
        survival=survival,
        capacity_bps=scenario.topology.capacity_bps,
        propagation_s=scenario.topology.delay_s,
        flows=shared.flows,
    )
    demands = paths.demands(layout, scenario.traffic.demand_count)
    carried = (state.offered * (1 - state.loss)).sum(axis=-1)
    arriving = traffic.packets_per_s.sum(axis=-1)
    lost = (traffic.packets_per_s * state.loss).sum(axis=-1)
    link_loss = np.where(arriving > NOTHING, lost / np.where(arriving > NOTHING, arriving, 1.0), 0.0)
    return [
        Prediction(
            delay_s=float_array(demands.mean_s[index]),
            delay_p99_s=float_array(demands.p99_s[index]),
            jitter_s=float_array(demands.jitter_s[index]),
            loss_ratio=float_array(demands.loss_ratio[index]),
            link_utilisation_ratio=float_array(np.minimum(carried[index], 1.0)),
            link_loss_ratio=float_array(link_loss[index]),
        )
        for index in range(layout.candidates)
    ]
