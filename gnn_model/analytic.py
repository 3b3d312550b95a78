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
from gnn_model.analytic_layout import Layout, PathPool, ports_of, third_moment_ratio
from gnn_model.analytic_queues import NOTHING, Ports, QueueInput, QueueState, Waits, solve_queues, waiting_times
from gnn_model.predictor import Prediction
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array

MAXIMUM_ROUNDS = 80
DAMPING = 0.5
TOLERANCE = 1e-8
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
        fixed = _Fixed.of(scenario, pool)
        predictions: list[Prediction] = []
        for start in range(0, len(candidates), step):
            predictions += _predict(scenario, fixed, pool.layout(candidates[start : start + step]))
        return predictions


@dataclass(frozen=True)
class _Fixed:
    """What all candidates share: ports, and per demand packet rate, size moments and mean, [demands]."""

    ports: Ports
    queues: int
    packets_per_s: FloatArray
    bits: FloatArray
    second: FloatArray
    third: FloatArray

    @classmethod
    def of(cls, scenario: Scenario, pool: PathPool) -> _Fixed:
        traffic = scenario.traffic
        return cls(
            ports=ports_of(scenario, pool.queues),
            queues=pool.queues,
            packets_per_s=traffic.packets_per_s,
            bits=traffic.packet_bits_mean,
            second=traffic.second_moment_ratio,
            third=third_moment_ratio(traffic.packet_size),
        )


def _predict(scenario: Scenario, fixed: _Fixed, layout: Layout) -> list[Prediction]:
    traffic, state, waits, survival = _fixed_point(fixed, layout, scenario.topology.link_count)
    paths = path_statistics(
        layout,
        waits=waits,
        load=np.minimum(state.ratio, 1 / state.ratio),
        survival=survival,
        capacity_bps=scenario.topology.capacity_bps,
        propagation_s=scenario.topology.delay_s,
        packets_per_s=fixed.packets_per_s,
        bits=fixed.bits,
        second=fixed.second,
        third=fixed.third,
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
    """Iterate queues and losses.  Returns traffic, state and waits [candidates, links, queues], survival [paths]."""
    shape = (layout.candidates, links, fixed.queues)
    queue_count = layout.candidates * links * fixed.queues
    demand = layout.path_demand
    path_rate = fixed.packets_per_s[demand] * layout.share
    path_bits, path_second, path_third = fixed.bits[demand], fixed.second[demand], fixed.third[demand]
    hop_queue = np.concatenate([*layout.hop_queue, np.zeros(0, dtype=np.int64)])
    bounds = np.concatenate([[0], np.cumsum([len(queue) for queue in layout.hop_queue], dtype=np.int64)])

    def spread(per_path: FloatArray) -> FloatArray:
        return np.concatenate([*(per_path[: len(queue)] for queue in layout.hop_queue), np.zeros(0)])

    def collect(per_hop: FloatArray) -> FloatArray:
        return np.bincount(hop_queue, weights=per_hop, minlength=queue_count).astype(np.float64)

    hop_rate = spread(path_rate)
    hop_bits = spread(path_bits)
    hop_second = spread(path_bits**2 * path_second)
    hop_third = spread(path_bits**3 * path_third)
    members = collect(np.ones_like(hop_rate))
    used = np.maximum(members, 1.0)
    # What a packet would look like in queues that nothing is offered to.
    unloaded = [np.where(members > 0, collect(moment) / used, 1.0) for moment in (hop_bits, hop_second, hop_third)]

    def thin(loss: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Packet rate that reaches each hop, [hops], and survival of whole paths, [paths]."""
        survival = np.ones(len(demand))
        if not loss.any():
            return hop_rate, survival
        rate = np.empty_like(hop_rate)
        through = (1 - loss).reshape(-1)
        for position, queue in enumerate(layout.hop_queue):
            count = len(queue)
            part = slice(int(bounds[position]), int(bounds[position + 1]))
            rate[part] = hop_rate[part] * survival[:count]
            survival[:count] *= through[queue]
        return rate, survival

    loss = np.zeros(shape)
    open_candidates = np.ones(layout.candidates, dtype=np.bool_)
    for _ in range(MAXIMUM_ROUNDS):
        rate, _ = thin(loss)
        packets = collect(rate)
        moments = []
        for moment, without in zip((hop_bits, hop_second, hop_third), unloaded, strict=True):
            total = collect(rate * moment)
            moments.append(np.where(packets > NOTHING, total / np.where(packets > NOTHING, packets, 1.0), without))
        bits = moments[0]
        traffic = QueueInput(
            packets_per_s=packets.reshape(shape),
            bits=bits.reshape(shape),
            second=(moments[1] / bits**2).reshape(shape),
            third=(moments[2] / bits**3).reshape(shape),
            dispersion=np.ones(shape),
        )
        state = solve_queues(fixed.ports, traffic, loss)
        change = np.abs(state.loss - loss).reshape(layout.candidates, -1).max(axis=-1, initial=0.0)
        open_candidates &= change > TOLERANCE
        if not open_candidates.any():
            break
        damped = loss + (1 - DAMPING) * (state.loss - loss)
        loss = np.where(open_candidates[:, None, None], damped, loss)
    _, survival = thin(state.loss)
    return traffic, state, waiting_times(state, traffic, fixed.ports), survival
