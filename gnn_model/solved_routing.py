"""The analytic fixed point laid open: what every queue and path would see, for models that learn what it misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gnn_model.analytic import _Fixed, _fixed_point
from gnn_model.analytic_bursts import Burstiness
from gnn_model.analytic_delay import PathDelays, path_statistics
from gnn_model.analytic_flows import flows_of
from gnn_model.analytic_layout import Layout, PathPool, ports_of
from gnn_model.analytic_queues import Ports, QueueInput, QueueState, Waits
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.traffic import ARRIVAL_MODELS, Arrivals
from topology_sync.values import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class ArrivalTable:
    """Arrivals of each demand as arrays, [demands]: index into ARRIVAL_MODELS, and parameters (0 where not used)."""

    model: IntArray
    on_s: FloatArray
    off_s: FloatArray
    correlation: FloatArray
    sigma: FloatArray

    @classmethod
    def of(cls, arrivals: Sequence[Arrivals]) -> ArrivalTable:
        """The table of a traffic matrix's arrivals."""
        rows = [
            (
                ARRIVAL_MODELS.index(item.model),
                item.on_s if item.model == "onoff" else 0.0,
                item.off_s if item.model == "onoff" else 0.0,
                item.correlation if item.model in ("autocorrelated", "modulated") else 0.0,
                item.sigma if item.model == "modulated" else 0.0,
            )
            for item in arrivals
        ]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 5).T
        return cls(table[0].astype(np.int64), *table[1:])


@dataclass(frozen=True)
class SolvedRouting:
    """One routing of a scenario, solved.  Arrays of queues are [1, links, queues], of paths [paths] in layout order.

    ``fair_share`` [links * queues]: the part of the capacity that a queue may use if all shared it max-min fair by
    weight (1 where the port has no weights).

    ``ordered_`` [links * queues]: mean wait and loss if weighted ports served their queues by priority, the one with
    the least load per weight first, except that queues asking for more than their part share what is left.  A
    scheduler that balances what the queues were served so far comes close to that.
    """

    arrivals: ArrivalTable
    bursts: Burstiness
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

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._pool = PathPool(scenario)
        queues = self._pool.queues
        self._fixed = _Fixed(ports_of(scenario, queues), queues, flows_of(scenario.traffic))
        self._arrivals = ArrivalTable.of(scenario.traffic.arrivals)

    def solve(self, routing: Routing) -> SolvedRouting:
        """Solve one routing."""
        return _solve(self._scenario, self._fixed, self._arrivals, self._pool.layout([routing]))


def solve_routing(scenario: Scenario, routing: Routing) -> SolvedRouting:
    """Solve one routing of a scenario."""
    return RoutingSolver(scenario).solve(routing)


def _solve(scenario: Scenario, fixed: _Fixed, arrivals: ArrivalTable, layout: Layout) -> SolvedRouting:
    links = scenario.topology.link_count
    traffic, state, waits, survival = _fixed_point(fixed, layout, links)
    paths = path_statistics(
        layout,
        waits=waits,
        load=np.minimum(state.ratio, 1 / state.ratio),
        survival=survival,
        capacity_bps=scenario.topology.capacity_bps,
        propagation_s=scenario.topology.delay_s,
        flows=fixed.flows,
    )
    ordered = _by_load_per_weight(fixed, layout, links, state, waits)
    return SolvedRouting(
        arrivals, fixed.flows.bursts, fixed.queues, fixed.ports, layout, traffic, state, waits, paths, *ordered
    )


def _by_load_per_weight(
    fixed: _Fixed, layout: Layout, links: int, state: QueueState, waits: Waits
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Solve again with weighted ports as strict ones, queues numbered by load per weight, least first."""
    ports = fixed.ports
    offered = state.offered[0]
    if not ports.weighted.any():
        before = np.cumsum(offered, axis=-1) - offered
        return waits.mean_s.reshape(-1), state.loss.reshape(-1), before.reshape(-1), np.ones(offered.size)
    weighted: BoolArray = ports.weighted
    per_weight = np.where(ports.weight > 0, offered / np.where(ports.weight > 0, ports.weight, 1.0), np.inf)
    order = np.argsort(np.where(weighted[:, None], per_weight, np.arange(fixed.queues)), axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    number: IntArray = (np.arange(links)[:, None] * fixed.queues + rank).reshape(-1)
    renumbered = replace(layout, hop_queue=tuple(number[queue] for queue in layout.hop_queue))
    strict = replace(fixed, ports=replace(ports, strict=ports.strict | weighted, weighted=np.zeros_like(weighted)))
    _, other, other_waits, _ = _fixed_point(strict, renumbered, links)
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
