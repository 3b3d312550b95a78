"""The fixed point of finite queues along the paths: packet rates thinned by losses, queues solved, until losses agree.

Rosenblatt and others call it reduced load or Erlang fixed point.  It is solved by ``analytic_kernel`` where numba is
installed, else by the array formulas of ``analytic_queues`` and ``analytic_hops``, which are its reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gnn_model.acceleration import COMPILED
from gnn_model.analytic_flows import Flows, flows_of
from gnn_model.analytic_hops import HopTraffic
from gnn_model.analytic_layout import Layout, ports_of
from gnn_model.analytic_queues import (
    SUBSETS_OF,
    Ports,
    QueueInput,
    QueueState,
    Waits,
    excursion_time,
    solve_queues,
    waiting_times,
)
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray

MAXIMUM_ROUNDS = 80
SLOW_PROGRESS = 0.95  # a candidate whose change does not shrink to this part takes half as large steps from then on
SMALLEST_STEP = 0.25
TOLERANCE = 1e-8
BURSTS_TOLERANCE = 1e-4  # relative changes of burstiness count this little: it is not known better


@dataclass(frozen=True)
class Shared:
    """What all candidates share: the ports with their number of queues, and the demands' packets."""

    ports: Ports
    queues: int
    flows: Flows

    @classmethod
    def of(cls, scenario: Scenario, queues: int) -> Shared:
        """What the routings of a scenario share."""
        return cls(ports_of(scenario, queues), queues, flows_of(scenario.traffic))

    def prepare(self) -> None:
        """Work out what is worked out when first asked for, before threads ask for it side by side."""
        for name in (*_FIRST_ASKED, "weighted_as_strict"):
            getattr(self, name)

    def rescheduled(self, scenario: Scenario, queues: int) -> Shared:
        """What the routings of the same scenario under other schedulers share."""
        result = replace(self, ports=ports_of(scenario, queues), queues=queues)
        for name in ("powers", "burst_rows"):  # of the demands alone
            result.__dict__[name] = getattr(self, name)
        return result

    @property
    def links(self) -> int:
        """Number of links."""
        return len(self.ports.capacity_bps)

    @cached_property
    def powers(self) -> FloatArray:
        """E[bits^n] of every demand, n = 1..4, [demands, 4]."""
        flows = self.flows
        ratios = (np.ones_like(flows.bits), flows.second, flows.third, flows.fourth)
        return np.stack([flows.bits**power * ratio for power, ratio in enumerate(ratios, start=1)], axis=1)

    @cached_property
    def burst_rows(self) -> FloatArray:
        """Packets/s, periodic (1 or 0), and weight and decay per packet of both terms, [6, demands]."""
        bursts = self.flows.bursts
        return np.stack(
            [
                bursts.packets_per_s,
                bursts.periodic.astype(np.float64),
                bursts.weight[:, 0],
                bursts.per_packet[:, 0],
                bursts.weight[:, 1],
                bursts.per_packet[:, 1],
            ]
        )

    @cached_property
    def weighted_as_strict(self) -> Shared:
        """The same with strict priority where ports are weighted."""
        ports = self.ports
        strict = replace(ports, strict=ports.strict | ports.weighted, weighted=np.zeros_like(ports.weighted))
        result = replace(self, ports=strict)
        for name in _FIRST_ASKED:  # none of them depends on the discipline
            result.__dict__[name] = getattr(self, name)
        return result

    @cached_property
    def share_values(self) -> FloatArray:
        """w / (w + weights of the backlogged others) by queue and subset of the others, [links, queues, subsets]."""
        weight = self.ports.weight
        others_known = min(self.queues - 1, SUBSETS_OF)
        subsets = np.arange(1 << others_known)
        values = np.empty((len(weight), self.queues, len(subsets)))
        for queue in range(self.queues):
            own = np.maximum(weight[:, queue], 1e-300)
            others = [other for other in range(self.queues) if other != queue]
            total = own[:, None] + weight[:, others[SUBSETS_OF:]].sum(axis=1)[:, None] + np.zeros(len(subsets))
            for bit, other in enumerate(others[:SUBSETS_OF]):
                total = total + np.where(subsets >> bit & 1, weight[:, other, None], 0.0)
            values[:, queue] = own[:, None] / total
        return values


_FIRST_ASKED = ("powers", "burst_rows", "share_values")


class Solution(NamedTuple):
    """Traffic, state and waits [candidates, links, queues], and the survival of whole paths [paths]."""

    traffic: QueueInput
    state: QueueState
    waits: Waits
    survival: FloatArray


def fixed_point(shared: Shared, layout: Layout) -> Solution:
    """Solve the candidates of a layout; the compiled form takes one candidate at a time."""
    if COMPILED and layout.candidates == 1:
        return compiled_fixed_point(shared, layout)
    return reference_fixed_point(shared, layout)


def compiled_fixed_point(shared: Shared, layout: Layout, path_rate: FloatArray | None = None) -> Solution:
    """Solve one candidate by the kernel.

    ``path_rate`` [paths]: packets/s that enter each path, where that is not what its demand sends.
    """
    from gnn_model import analytic_kernel

    ports, flows, demand = shared.ports, shared.flows, layout.path_demand
    count = shared.links * shared.queues
    traffic, state, waits = np.empty((count, 6)), np.empty((count, 7)), np.empty((count, 5))
    busy, survival = np.empty(shared.links), np.empty(len(demand))
    analytic_kernel.fixed_point(
        ports.capacity_bps,
        ports.room,
        ports.strict,
        ports.weighted,
        shared.share_values,
        layout.hop_pointer,
        layout.flat_queue,
        flows.packets_per_s[demand] * layout.share if path_rate is None else path_rate,
        shared.powers[demand],
        layout.share,
        shared.burst_rows[:, demand],
        flows.bursts.poisson,
        MAXIMUM_ROUNDS,
        TOLERANCE,
        BURSTS_TOLERANCE,
        SLOW_PROGRESS,
        SMALLEST_STEP,
        traffic,
        state,
        busy,
        waits,
        survival,
    )
    shape = (1, shared.links, shared.queues)

    def columns(table: FloatArray) -> list[FloatArray]:
        return [column.reshape(shape) for column in np.ascontiguousarray(table.T)]

    service, offered, share, ratio, variability, room, loss = columns(state)
    return Solution(
        QueueInput(*columns(traffic)),
        QueueState(service, offered, share, ratio, variability, room, busy.reshape(1, -1, 1), loss),
        Waits(*columns(waits)),
        survival,
    )


def reference_fixed_point(shared: Shared, layout: Layout) -> Solution:
    """The same by array formulas, for any number of candidates.

    A candidate that has converged is left alone, so that its result does not depend on the others.
    """
    shape = (layout.candidates, shared.links, shared.queues)
    hops = HopTraffic(layout, shared.flows, shape)
    poisson = shared.flows.bursts.poisson
    loss, bursts = np.zeros(shape), np.ones(shape)
    step = np.ones((layout.candidates, 1, 1))
    last_change = np.full(layout.candidates, np.inf)
    moving = np.ones(layout.candidates, dtype=np.bool_)
    for _ in range(MAXIMUM_ROUNDS):
        rate, _ = hops.thinned(loss)
        traffic = hops.queue_input(rate, bursts)
        state = solve_queues(shared.ports, traffic, loss)
        found = bursts if poisson else hops.bursts(rate, traffic, excursion_time(state, shared.ports))
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
    return Solution(traffic, state, waiting_times(state, traffic, shared.ports), survival)
