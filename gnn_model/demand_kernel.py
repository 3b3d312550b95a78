"""What one demand experiences, from its paths: the sums of ``analytic_delay.PathDelays.demands`` compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gnn_model.analytic_gamma import NORMAL_99, SKEW_LIMITS
from gnn_model.analytic_queues import NOTHING
from gnn_model.compiled import inlined_kernel, kernel
from gnn_model.moves_kernel import Moves, Network, Workspace
from gnn_model.path_kernel import LANES, path_delay
from topology_sync.values import FloatArray, IntArray

LEAST_SKEW, MOST_SKEW = SKEW_LIMITS
BISECTIONS = 40
VALUES = 4  # columns of a judged demand: mean delay, 99th percentile beyond it, jitter, loss


@kernel
def _quantile(mean: float, deviation: float, skew: float, normal: float) -> float:
    skew = min(max(skew, LEAST_SKEW), MOST_SKEW)
    sixth = (1e-4 if abs(skew) < 1e-4 else skew) / 6
    return mean + deviation * (max(1 + sixth * normal - sixth**2, 0.0) ** 3 - 1) / (3 * sixth)


@kernel
def _normal_survival(at: float) -> float:
    size = abs(at)
    t = 1 / (1 + 0.2316419 * size)
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = math.exp(-(size**2) / 2) / math.sqrt(2 * math.pi) * series
    return 1 - tail if at < 0 else tail


@kernel
def _survival(at: float, mean: float, deviation: float, skew: float) -> float:
    if not deviation > 0:
        return 1.0 if at < mean else 0.0
    skew = min(max(skew, LEAST_SKEW), MOST_SKEW)
    sixth = (1e-4 if abs(skew) < 1e-4 else skew) / 6
    inside = 1 + 3 * sixth * (at - mean) / deviation
    if inside > 0:
        return _normal_survival((inside ** (1 / 3) - 1) / sixth + sixth)
    return _normal_survival(-40.0 if sixth > 0 else 40.0)


@kernel
def mixed_demand(count: int, weight: FloatArray, survival: FloatArray, paths: FloatArray, result: FloatArray) -> None:
    """One demand from its paths, see ``analytic_delay.PathDelays.demands``.

    ``weight`` [paths] are shares of what is sent; ``paths`` [paths, 5]: mean, deviation, skew, jitter and the mean with
    factors.  ``result`` [VALUES].
    """
    sent, delivered = 0.0, 0.0
    for row in range(count):
        sent += weight[row]
        delivered += weight[row] * max(survival[row], 1e-12)
    mean, corrected, jitter, loss = 0.0, 0.0, 0.0, 0.0
    for row in range(count):
        part = weight[row] * max(survival[row], 1e-12) / delivered
        mean += part * paths[row, 0]
        corrected += part * paths[row, 4]
        jitter += part * paths[row, 3]
        loss += weight[row] * (1 - survival[row])
    if count == 1:
        p99 = _quantile(paths[0, 0], paths[0, 1], paths[0, 2], NORMAL_99)
    else:
        low, high = np.inf, -np.inf
        for row in range(count):
            low = min(low, paths[row, 0])
            high = max(high, max(_quantile(paths[row, 0], paths[row, 1], paths[row, 2], 5.0), paths[row, 0]))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            beyond = 0.0
            for row in range(count):
                part = weight[row] * max(survival[row], 1e-12) / delivered
                beyond += part * _survival(middle, paths[row, 0], paths[row, 1], paths[row, 2])
            if beyond > 0.01:
                low = middle
            else:
                high = middle
        p99 = (low + high) / 2
        jitter = 0.0
        for left in range(count):
            for right in range(count):
                both = weight[left] * max(survival[left], 1e-12) * weight[right] * max(survival[right], 1e-12)
                apart = abs(paths[left, 0] - paths[right, 0])
                together = math.sqrt(paths[left, 1] ** 2 + paths[right, 1] ** 2)
                if left == right:
                    difference = paths[left, 3]
                elif together > 0:
                    scaled = apart / together
                    difference = together * math.sqrt(2 / math.pi) * math.exp(-(scaled**2) / 2)
                    difference += apart * (1 - 2 * _normal_survival(scaled))
                else:
                    difference = apart
                jitter += both / delivered**2 * difference
    result[0] = corrected
    result[1] = p99 - mean
    result[2] = jitter
    result[3] = min(max(loss / max(sent, 1e-300), 0.0), 1.0)


class DemandScratch(NamedTuple):
    """Arrays for the paths of one demand."""

    lanes: FloatArray  # of ``path_delay``
    weight: FloatArray  # [paths]
    survival: FloatArray
    paths: FloatArray  # [paths, 5], see ``mixed_demand``


@kernel
def demand_scratch(net: Network, moves: Moves) -> DemandScratch:
    """Arrays as long as they need be."""
    most = 1
    for demand in range(len(net.flow_rate)):
        most = max(most, net.demand_pointer[demand + 1] - net.demand_pointer[demand])
    for entry in range(len(moves.demand)):
        most = max(most, moves.path_pointer[entry + 1] - moves.path_pointer[entry])
    return DemandScratch(np.zeros(2 * LANES), np.empty(most), np.empty(most), np.empty((most, 5)))


@inlined_kernel
def _survival_of(work: Workspace, queues: IntArray) -> float:
    survival = 1.0
    for hop in range(len(queues)):
        survival *= 1 - work.state[queues[hop], 6]
    return survival


@inlined_kernel
def _path_of(
    net: Network, moves: Moves, demand: int, entry: int, row: int
) -> tuple[float, IntArray, IntArray, FloatArray]:
    """Share of a path and the queue, link and factor of each hop."""
    if entry >= 0:
        path = moves.path_pointer[entry] + row
        first, last = moves.hop_pointer[path], moves.hop_pointer[path + 1]
        return moves.share[path], moves.queue[first:last], moves.link[first:last], moves.factor[first:last]
    path = net.demand_paths[net.demand_pointer[demand] + row]
    first, last = net.hop_pointer[path], net.hop_pointer[path + 1]
    return net.path_share[path], net.hop_queue[first:last], net.hop_link[first:last], net.hop_factor[first:last]


@inlined_kernel
def judge_demand(
    net: Network, moves: Moves, work: Workspace, scratch: DemandScratch, demand: int, entry: int, result: FloatArray
) -> None:
    """What a demand experiences on the paths of this entry of the moves (-1: on those it has), ``result`` [VALUES]."""
    if entry >= 0:
        count = moves.path_pointer[entry + 1] - moves.path_pointer[entry]
    else:
        count = net.demand_pointer[demand + 1] - net.demand_pointer[demand]
    weight, survival = scratch.weight, scratch.survival
    delivered = 0.0
    for row in range(count):
        weight[row], queues, _, _ = _path_of(net, moves, demand, entry, row)
        survival[row] = _survival_of(work, queues)
        delivered += net.flow_rate[demand] * weight[row] * max(survival[row], 1e-12)
    spacing = net.spacing_ratio[demand] / delivered if delivered > NOTHING else np.inf
    for row in range(count):
        _, queues, links, factors = _path_of(net, moves, demand, entry, row)
        path_delay(
            queues,
            links,
            work.memory,
            net.bit_time_s,
            net.propagation_s,
            spacing,
            net.constant_spacing[demand],
            net.bits[demand],
            net.second[demand],
            net.third[demand],
            net.size_difference_ratio[demand],
            scratch.lanes,
            scratch.paths[row],
        )
        corrected = scratch.paths[row, 0]
        for hop in range(len(queues)):
            corrected += (factors[hop] - 1) * work.memory[queues[hop], 0]
        scratch.paths[row, 4] = corrected
    mixed_demand(count, weight, survival, scratch.paths, result)
