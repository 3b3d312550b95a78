"""From the waits of queues to the delays of paths and demands."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gnn_model.acceleration import COMPILED
from gnn_model.analytic_flows import Flows
from gnn_model.analytic_gamma import gamma_quantile, gamma_survival, normal_survival
from gnn_model.analytic_jitter import path_jitter
from gnn_model.analytic_layout import Layout
from gnn_model.analytic_queues import NOTHING, Waits
from topology_sync.values import BoolArray, FloatArray, IntArray

BISECTIONS = 40
LEAST_APART = 0.05  # deviations between mean and 99th percentile, to be stretched


@dataclass(frozen=True)
class DelayStatistics:
    """Mean, 99th percentile, jitter and loss, [paths] or [candidates, demands]."""

    mean_s: FloatArray
    p99_s: FloatArray
    jitter_s: FloatArray
    loss_ratio: FloatArray


@dataclass(frozen=True)
class PathDelays:
    """Delay of delivered packets per path, [paths]."""

    mean_s: FloatArray
    deviation_s: FloatArray
    skew: FloatArray
    jitter_s: FloatArray
    survival: FloatArray

    def stretched(self, p99_s: FloatArray) -> PathDelays:
        """The same with deviations that give the gamma distribution of each path this 99th percentile, [paths]."""
        apart = gamma_quantile(np.zeros_like(self.mean_s), self.deviation_s, self.skew)
        some = apart > LEAST_APART * self.deviation_s
        factor = np.where(some, np.maximum(p99_s - self.mean_s, 0.0) / np.where(some, apart, 1.0), 1.0)
        return replace(self, deviation_s=self.deviation_s * factor)

    def demands(self, layout: Layout, demand_count: int) -> DelayStatistics:
        """Put the paths of each demand together, [candidates, demands]; delivered packets weigh."""
        shape = (layout.candidates, demand_count)
        group = layout.path_candidate * demand_count + layout.path_demand
        size = layout.candidates * demand_count

        def collect(per_path: FloatArray) -> FloatArray:
            return np.bincount(group, weights=per_path, minlength=size).astype(np.float64)

        weight = layout.share * np.maximum(self.survival, 1e-12)
        weight = weight / collect(weight)[group]
        mean = collect(weight * self.mean_s)
        p99 = collect(weight * gamma_quantile(self.mean_s, self.deviation_s, self.skew))
        jitter = collect(weight * self.jitter_s)
        loss = collect(layout.share * (1 - self.survival)) / np.maximum(collect(layout.share), 1e-300)
        split = np.bincount(group, minlength=size) > 1
        if split.any():
            self._mix(group, weight, split, p99, jitter)
        return DelayStatistics(
            mean.reshape(shape), p99.reshape(shape), jitter.reshape(shape), np.clip(loss, 0.0, 1.0).reshape(shape)
        )

    def _mix(self, group: IntArray, weight: FloatArray, split: BoolArray, p99: FloatArray, jitter: FloatArray) -> None:
        """Replace ``p99`` and ``jitter`` of split demands: each packet takes a path by chance."""
        rows = np.flatnonzero(split[group])
        names, member = np.unique(group[rows], return_inverse=True)
        share = weight[rows]
        mean, deviation, skew = self.mean_s[rows], self.deviation_s[rows], self.skew[rows]
        low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        np.minimum.at(low, member, mean)
        np.maximum.at(high, member, np.maximum(gamma_quantile(mean, deviation, skew, 5.0), mean))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            survival = np.bincount(
                member, weights=share * gamma_survival(middle[member], mean, deviation, skew), minlength=len(names)
            )
            low, high = np.where(survival > 0.01, middle, low), np.where(survival > 0.01, high, middle)
        p99[names] = (low + high) / 2
        jitter[names] = _mixed_jitter(member, share, mean, deviation, self.jitter_s[rows], len(names))


def _mixed_jitter(
    member: IntArray, share: FloatArray, mean: FloatArray, deviation: FloatArray, same: FloatArray, count: int
) -> FloatArray:
    """E|d - d'| where d and d' take paths by chance: the same path's jitter, else a folded normal difference."""
    order = np.argsort(member, kind="stable")
    counts = np.bincount(member, minlength=count)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    repeats = counts[member[order]]
    left = np.repeat(order, repeats)
    within = np.arange(len(left)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    right = order[np.repeat(starts[member[order]], repeats) + within]
    apart = np.abs(mean[left] - mean[right])
    together = np.sqrt(deviation[left] ** 2 + deviation[right] ** 2)
    scaled = apart / np.where(together > 0, together, 1.0)
    folded = together * math.sqrt(2 / math.pi) * np.exp(-(scaled**2) / 2) + apart * (1 - 2 * normal_survival(scaled))
    difference = np.where(left == right, same[left], np.where(together > 0, folded, apart))
    return np.bincount(member[left], weights=share[left] * share[right] * difference, minlength=count).astype(
        np.float64
    )


def path_statistics(
    layout: Layout,
    waits: Waits,
    load: FloatArray,
    survival: FloatArray,
    capacity_bps: FloatArray,
    propagation_s: FloatArray,
    flows: Flows,
    group: IntArray | None = None,
) -> PathDelays:
    """Sum the waits [candidates, links, queues] and own transmission times along every path.

    Cumulants of independent hops add up; the own size is the same at all hops, so its deviation adds up linearly.
    ``group`` [paths] says which paths share the packets of their demand (default: all of a demand in a candidate).
    """
    spacing = spacing_s(layout, survival, flows, group)
    form = _compiled_statistics if COMPILED else reference_statistics
    return form(layout, waits, load, survival, capacity_bps, propagation_s, flows, spacing)


def spacing_s(layout: Layout, survival: FloatArray, flows: Flows, group: IntArray | None = None) -> FloatArray:
    """Usual time between delivered packets of each path's demand (of its ``group``), [paths]."""
    demand = layout.path_demand
    if group is None:
        group = layout.path_candidate * len(flows.bits) + demand
    arriving = flows.packets_per_s[demand] * layout.share * np.maximum(survival, 1e-12)
    rate = np.bincount(group, weights=arriving)[group]
    some = rate > NOTHING
    spacing: FloatArray = np.where(some, flows.spacing_ratio[demand] / np.where(some, rate, 1.0), np.inf)
    return spacing


def _compiled_statistics(
    layout: Layout,
    waits: Waits,
    load: FloatArray,
    survival: FloatArray,
    capacity_bps: FloatArray,
    propagation_s: FloatArray,
    flows: Flows,
    spacing_s: FloatArray,
) -> PathDelays:
    from gnn_model import path_kernel

    table = [waits.waiting_probability, waits.mean_s, waits.variance_s2, waits.third_s3, waits.relaxation_s]
    memory = np.empty((load.size, path_kernel.MEMORY))
    path_kernel.queue_memory(load.reshape(-1), np.stack([column.reshape(-1) for column in table], axis=1), memory)
    result = np.empty((len(layout.path_demand), 4))
    path_kernel.path_delays(
        layout.hop_pointer,
        layout.flat_queue,
        layout.flat_link,
        memory,
        1 / capacity_bps,
        propagation_s,
        layout.path_demand,
        spacing_s,
        flows.constant_spacing,
        flows.bits,
        flows.second,
        flows.third,
        flows.size_difference_ratio,
        result,
    )
    mean, deviation, skew, jitter = np.ascontiguousarray(result.T)
    return PathDelays(mean, deviation, skew, jitter, survival)


def reference_statistics(
    layout: Layout,
    waits: Waits,
    load: FloatArray,
    survival: FloatArray,
    capacity_bps: FloatArray,
    propagation_s: FloatArray,
    flows: Flows,
    spacing_s: FloatArray,
) -> PathDelays:
    """``path_statistics`` by array formulas; ``spacing_s`` [paths] between delivered packets of the demand."""
    demand = layout.path_demand
    paths = len(demand)
    mean_wait, variance, third_wait = np.zeros(paths), np.zeros(paths), np.zeros(paths)
    per_bit, fixed = np.zeros(paths), np.zeros(paths)
    queue_mean, queue_variance = waits.mean_s.reshape(-1), waits.variance_s2.reshape(-1)
    queue_third = waits.third_s3.reshape(-1)
    bit_time = 1 / capacity_bps
    for queue, link in zip(layout.hop_queue, layout.hop_link, strict=True):
        count = len(queue)
        mean_wait[:count] += queue_mean[queue]
        variance[:count] += queue_variance[queue]
        third_wait[:count] += queue_third[queue]
        per_bit[:count] += bit_time[link]
        fixed[:count] += propagation_s[link]
    own = per_bit * flows.bits[demand]
    size_variance = own**2 * (flows.second[demand] - 1)
    size_third = own**3 * (flows.third[demand] - 3 * flows.second[demand] + 2)
    total = variance + size_variance
    deviation = np.sqrt(total)
    skew = (third_wait + size_third) / np.where(total > NOTHING, deviation**3, 1.0)

    jitter = path_jitter(
        layout,
        waits,
        load,
        bit_time,
        spacing_s=spacing_s,
        constant_spacing=flows.constant_spacing[demand],
        bits=flows.bits[demand],
        size_variance_ratio=flows.second[demand] - 1,
        size_difference_ratio=flows.size_difference_ratio[demand],
    )
    return PathDelays(fixed + mean_wait + own, deviation, skew, jitter, survival)
