"""What enters every queue when the paths of a layout are walked: rates thinned by losses, mixed sizes, bursts."""

from __future__ import annotations

import numpy as np

from gnn_model.analytic_bursts import reference_dispersion
from gnn_model.analytic_flows import Flows
from gnn_model.analytic_layout import Layout
from gnn_model.analytic_queues import NOTHING, QueueInput
from topology_sync.values import FloatArray


class HopTraffic:
    """All hops of a layout as flat arrays [hops], position by position; queues have the shape given."""

    def __init__(self, layout: Layout, flows: Flows, shape: tuple[int, int, int]) -> None:
        self._layout = layout
        self._flows = flows
        self._shape = shape
        self._queue = np.concatenate([*layout.hop_queue, np.zeros(0, dtype=np.int64)])
        self._bounds = [0, *np.cumsum([len(queue) for queue in layout.hop_queue], dtype=np.int64).tolist()]
        demand = layout.path_demand
        bits = flows.bits[demand]
        self._offered = self._spread(flows.packets_per_s[demand] * layout.share)
        # E[bits^n] of each path, n = 1..4: what mixes in a queue.
        self._powers = [
            self._spread(bits**power * ratio[demand])
            for power, ratio in enumerate((np.ones_like(flows.bits), flows.second, flows.third, flows.fourth), start=1)
        ]
        members = self._collect(np.ones_like(self._offered))
        used = np.maximum(members, 1.0)
        # What a packet would look like in queues that nothing is offered to.
        self._unloaded = [np.where(members > 0, self._collect(power) / used, 1.0) for power in self._powers]
        self._demand = self._spread(demand.astype(np.float64)).astype(np.int64)
        self._share = self._spread(layout.share)

    def _spread(self, per_path: FloatArray) -> FloatArray:
        return np.concatenate([*(per_path[: len(queue)] for queue in self._layout.hop_queue), np.zeros(0)])

    def _collect(self, per_hop: FloatArray) -> FloatArray:
        return np.bincount(self._queue, weights=per_hop, minlength=int(np.prod(self._shape))).astype(np.float64)

    def thinned(self, loss: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Packets/s that reach each hop, [hops], and survival of whole paths, [paths], under losses [queues]."""
        survival = np.ones(len(self._layout.path_demand))
        if not loss.any():
            return self._offered, survival
        rate = np.empty_like(self._offered)
        through = (1 - loss).reshape(-1)
        for position, queue in enumerate(self._layout.hop_queue):
            count = len(queue)
            part = slice(self._bounds[position], self._bounds[position + 1])
            rate[part] = self._offered[part] * survival[:count]
            survival[:count] *= through[queue]
        return rate, survival

    def queue_input(self, rate: FloatArray, bursts: FloatArray) -> QueueInput:
        """What is offered to each queue when ``rate`` [hops] reaches the hops with this dispersion [queues]."""
        packets = self._collect(rate)
        some = packets > NOTHING
        divisor = np.where(some, packets, 1.0)
        moments = [
            np.where(some, self._collect(rate * power) / divisor, without)
            for power, without in zip(self._powers, self._unloaded, strict=True)
        ]
        bits = moments[0]
        return QueueInput(
            packets_per_s=packets.reshape(self._shape),
            bits=bits.reshape(self._shape),
            second=(moments[1] / bits**2).reshape(self._shape),
            third=(moments[2] / bits**3).reshape(self._shape),
            fourth=(moments[3] / bits**4).reshape(self._shape),
            dispersion=bursts,
        )

    def bursts(self, rate: FloatArray, traffic: QueueInput, time_s: FloatArray) -> FloatArray:
        """Dispersion of what enters each queue over ``time_s`` [queues]; a random part of a flow is smoother."""
        hop_time = time_s.reshape(-1)[self._queue]
        excess = (reference_dispersion(self._flows.bursts, self._demand, hop_time) - 1) * self._share
        total = self._collect(rate * excess).reshape(self._shape)
        some = traffic.packets_per_s > NOTHING
        result: FloatArray = 1 + np.where(some, total / np.where(some, traffic.packets_per_s, 1.0), 0.0)
        return result
