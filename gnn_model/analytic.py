"""The analytic predictor: a fixed point of finite queues along the paths, no learning, no simulation.

Per link: packet rates thinned by the losses before it, the queues of its port as in :mod:`gnn_model.analytic_queues`,
and again until the losses agree (Rosenblatt and others call this reduced load or Erlang fixed point).  A packet's
delay is the sum of its waits, of its own size over each capacity, and of the propagation delays.  Hops are taken as
independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnn_model.analytic_delay import path_statistics
from gnn_model.analytic_flows import Flows, flows_of
from gnn_model.analytic_hops import HopTraffic
from gnn_model.analytic_layout import Layout, PathPool, ports_of
from gnn_model.analytic_queues import (
    NOTHING,
    Ports,
    QueueInput,
    QueueState,
    Waits,
    excursion_time,
    solve_queues,
    waiting_times,
)
from gnn_model.predictor import Prediction
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array

MAXIMUM_ROUNDS = 80
SLOW_PROGRESS = 0.95  # a candidate whose change does not shrink to this part takes half as large steps from then on
SMALLEST_STEP = 0.25
TOLERANCE = 1e-8
BURSTS_TOLERANCE = 1e-4  # relative changes of burstiness count this little: it is not known better
HOPS_AT_ONCE = 200_000  # candidates are worked on in groups whose arrays stay within the processor's cache


class AnalyticPredictor:
    """M/G/1/K fixed point.  Stateless: one instance may be used from any thread."""

    name = "analytic"

    def predict(self, scenario: Scenario) -> Prediction:
        """Predict one scenario as it stands.  Demands with rate 0 get what a packet of theirs would see."""
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Predict each candidate; candidates made by ``scenario.routing.with_changes`` share most of the work."""
        pool = PathPool(scenario)
        hops = max(len(scenario.routing.flat.hop_link), 1)
        step = max(HOPS_AT_ONCE // hops, 1)
        fixed = _Fixed(ports_of(scenario, pool.queues), pool.queues, flows_of(scenario.traffic))
        predictions: list[Prediction] = []
        for start in range(0, len(candidates), step):
            predictions += _predict(scenario, fixed, pool.layout(candidates[start : start + step]))
        return predictions


@dataclass(frozen=True)
class _Fixed:
    """What all candidates share: the ports with their number of queues, and the demands' packets."""

    ports: Ports
    queues: int
    flows: Flows


def _predict(scenario: Scenario, fixed: _Fixed, layout: Layout) -> list[Prediction]:
    traffic, state, waits, survival = _fixed_point(fixed, layout, scenario.topology.link_count)
    paths = path_statistics(
        layout,
        waits=waits,
        load=np.minimum(state.ratio, 1 / state.ratio),
        survival=survival,
        capacity_bps=scenario.topology.capacity_bps,
        propagation_s=scenario.topology.delay_s,
        flows=fixed.flows,
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


def _fixed_point(fixed: _Fixed, layout: Layout, links: int) -> tuple[QueueInput, QueueState, Waits, FloatArray]:
    """Iterate queues and losses.  Returns traffic, state and waits [candidates, links, queues], survival [paths].

    A candidate that has converged is left alone, so that its result does not depend on the others.
    """
    shape = (layout.candidates, links, fixed.queues)
    hops = HopTraffic(layout, fixed.flows, shape)
    poisson = fixed.flows.bursts.poisson
    loss, bursts = np.zeros(shape), np.ones(shape)
    step = np.ones((layout.candidates, 1, 1))
    last_change = np.full(layout.candidates, np.inf)
    moving = np.ones(layout.candidates, dtype=np.bool_)
    for _ in range(MAXIMUM_ROUNDS):
        rate, _ = hops.thinned(loss)
        traffic = hops.queue_input(rate, bursts)
        state = solve_queues(fixed.ports, traffic, loss)
        found = bursts if poisson else hops.bursts(rate, traffic, excursion_time(state, fixed.ports))
        change = np.maximum(np.abs(state.loss - loss), np.abs(found - bursts) / (1 + bursts) * BURSTS_TOLERANCE)
        change = change.reshape(layout.candidates, -1).max(axis=-1, initial=0.0)
        moving &= change > TOLERANCE
        if not moving.any():
            break
        slow = (change > SLOW_PROGRESS * last_change)[:, None, None]
        step = np.where(slow, np.maximum(step / 2, SMALLEST_STEP), step)
        last_change = change
        stride = step * moving[:, None, None]
        loss = loss + stride * (state.loss - loss)
        bursts = bursts + stride * (found - bursts)
    _, survival = hops.thinned(state.loss)
    return traffic, state, waiting_times(state, traffic, fixed.ports), survival
