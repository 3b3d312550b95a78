"""The analytic predictor: a fixed point of finite queues along the paths, no learning, no simulation.

Per link: packet rates thinned by the losses before it, the queues of its port as in :mod:`gnn_model.analytic_queues`,
and again until the losses agree (Rosenblatt and others call this reduced load or Erlang fixed point).  A packet's
delay is the sum of its waits, of its own size over each capacity, and of the propagation delays.  Hops are taken as
independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnn_model.acceleration import COMPILED
from gnn_model.analytic_delay import path_statistics
from gnn_model.analytic_fixed_point import Shared, fixed_point
from gnn_model.analytic_layout import Layout, PathPool
from gnn_model.analytic_queues import NOTHING
from gnn_model.predictor import Prediction
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import float_array

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
        step = 1 if COMPILED else max(HOPS_AT_ONCE // hops, 1)
        shared = Shared.of(scenario, pool.queues)
        predictions: list[Prediction] = []
        for start in range(0, len(candidates), step):
            predictions += _predict(scenario, shared, pool.layout(candidates[start : start + step]))
        return predictions


def _predict(scenario: Scenario, shared: Shared, layout: Layout) -> list[Prediction]:
    traffic, state, waits, survival = fixed_point(shared, layout)
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
