"""The analytic fixed point laid open: what every queue and path would see, for models that learn what it misses."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from gnn_model.analytic_bursts import Burstiness
from gnn_model.analytic_delay import PathDelays, path_statistics
from gnn_model.analytic_fixed_point import Shared, fixed_point
from gnn_model.analytic_layout import Layout, PathPool
from gnn_model.analytic_queues import Ports, QueueInput, QueueState, Waits
from gnn_model.arrival_table import ArrivalTable
from gnn_model.size_atoms import SizeAtoms
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class SolvedRouting:
    """One routing of a scenario, solved.  Arrays of queues are [1, links, queues], of paths [paths] in layout order.

    ``size_third`` [demands]: E[bits^3] / E[bits]^3; ``atoms``: their sizes where these are few.
    ``fair_share`` [links * queues]: the part of the capacity that a queue may use if all shared it max-min fair by
    weight (1 where the port has no weights).

    ``ordered_`` [links * queues]: mean wait and loss if weighted ports served their queues by priority, the one with
    the least load per weight first, except that queues asking for more than their part share what is left.  A
    scheduler that balances what the queues were served so far comes close to that.
    """

    arrivals: ArrivalTable
    bursts: Burstiness
    size_third: FloatArray
    atoms: SizeAtoms
    queues: int
    ports: Ports
    layout: Layout
    traffic: QueueInput
    state: QueueState
    waits: Waits
    paths: PathDelays
    ordered_wait_s: FloatArray
    ordered_loss: FloatArray
    ordered_before: FloatArray
    fair_share: FloatArray


class RoutingSolver:
    """Solves routings of one scenario as :class:`gnn_model.analytic.AnalyticPredictor` does; keeps what they share."""

    def __init__(self, scenario: Scenario, pool: PathPool, shared: Shared, arrivals: ArrivalTable) -> None:
        self._scenario = scenario
        self._pool = pool
        self.shared = shared
        self.shared.prepare()
        self._arrivals = arrivals

    @classmethod
    def of(cls, scenario: Scenario) -> RoutingSolver:
        """A solver of any routing of the scenario."""
        pool = PathPool(scenario)
        return cls(scenario, pool, Shared.of(scenario, pool.queues), ArrivalTable.of(scenario.traffic.arrivals))

    def rescheduled(self, scenario: Scenario) -> RoutingSolver:
        """A solver of the same scenario under other schedulers; shares what does not depend on them."""
        pool = self._pool.rescheduled(scenario)
        return RoutingSolver(scenario, pool, self.shared.rescheduled(scenario, pool.queues), self._arrivals)

    def solve(self, routing: Routing, helpers: Executor | None = None) -> SolvedRouting:
        """Solve one routing; ``helpers`` may work beside this thread."""
        return _solve(self._scenario, self.shared, self._arrivals, self._pool.layout([routing]), helpers)


def solve_routing(scenario: Scenario, routing: Routing) -> SolvedRouting:
    """Solve one routing of a scenario."""
    return RoutingSolver.of(scenario).solve(routing)


def _solve(
    scenario: Scenario, shared: Shared, arrivals: ArrivalTable, layout: Layout, helpers: Executor | None
) -> SolvedRouting:
    traffic, state, waits, survival = fixed_point(shared, layout)
    waiting = helpers.submit(_by_load_per_weight, shared, layout, state, waits) if helpers is not None else None
    paths = path_statistics(
        layout,
        waits=waits,
        load=np.minimum(state.ratio, 1 / state.ratio),
        survival=survival,
        capacity_bps=scenario.topology.capacity_bps,
        propagation_s=scenario.topology.delay_s,
        flows=shared.flows,
    )
    ordered = _by_load_per_weight(shared, layout, state, waits) if waiting is None else waiting.result()
    return SolvedRouting(
        arrivals,
        shared.flows.bursts,
        shared.flows.third,
        shared.flows.atoms,
        shared.queues,
        shared.ports,
        layout,
        traffic,
        state,
        waits,
        paths,
        *ordered,
    )


def _by_load_per_weight(
    shared: Shared, layout: Layout, state: QueueState, waits: Waits
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Solve again with weighted ports as strict ones, queues numbered by load per weight, least first."""
    ports = shared.ports
    offered = state.offered[0]
    if not ports.weighted.any():
        before = np.cumsum(offered, axis=-1) - offered
        return waits.mean_s.reshape(-1), state.loss.reshape(-1), before.reshape(-1), np.ones(offered.size)
    weighted: BoolArray = ports.weighted
    per_weight = np.where(ports.weight > 0, offered / np.where(ports.weight > 0, ports.weight, 1.0), np.inf)
    order = np.argsort(np.where(weighted[:, None], per_weight, np.arange(shared.queues)), axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    number: IntArray = (np.arange(shared.links)[:, None] * shared.queues + rank).reshape(-1)
    renumbered = replace(layout, flat_queue=number[layout.flat_queue])
    _, other, other_waits, _ = fixed_point(shared.weighted_as_strict, renumbered)
    other_offered = other.offered[0]
    before = (np.cumsum(other_offered, axis=-1) - other_offered).reshape(-1)
    wait, loss = other_waits.mean_s.reshape(-1)[number], other.loss.reshape(-1)[number]
    # Queues that ask for more than their part share what the others leave, by weight: as in the first solution.
    fair = np.where(weighted[:, None], _max_min_fair(offered, ports.weight, order), 1.0)
    saturated = (weighted[:, None] & (offered > fair)).reshape(-1)
    wait = np.where(saturated, waits.mean_s.reshape(-1), wait)
    loss = np.where(saturated, state.loss.reshape(-1), loss)
    return wait, loss, before[number], fair.reshape(-1)


def _max_min_fair(offered: FloatArray, weight: FloatArray, order: IntArray) -> FloatArray:
    """Part of each port's capacity that each queue may use, [links, queues]; ``order``: by load per weight."""
    left = np.ones(len(offered))
    weights = weight.sum(axis=-1)
    result = np.ones(offered.shape)
    rows = np.arange(len(offered))
    for position in range(offered.shape[1]):
        queue = order[:, position]
        fair = left * weight[rows, queue] / np.maximum(weights, 1e-300)
        result[rows, queue] = fair
        left = np.maximum(left - np.minimum(offered[rows, queue], fair), 0.0)
        weights = weights - weight[rows, queue]
    return result
