"""What every path experiences, compiled: the sums of ``analytic_delay`` and ``analytic_jitter`` path by path.

Those modules say where the formulas come from, and stand in where numba is not installed; a test holds them together.
"""

from __future__ import annotations

import math

import numpy as np

from gnn_model.analytic_jitter import NORMAL_RATIO, SPACING_NODES, SPACING_WEIGHTS
from gnn_model.analytic_queues import NOTHING
from gnn_model.compiled import inlined_kernel, kernel
from gnn_model.vector_math_kernel import exp64
from topology_sync.values import BoolArray, FloatArray, IntArray

LANES = 8  # numbers that are worked on at once; the nodes beside the last one weigh nothing
_BEYOND = LANES - len(SPACING_NODES)
NODES = np.concatenate([SPACING_NODES, np.ones(_BEYOND)])
NODE_WEIGHTS = np.concatenate([SPACING_WEIGHTS, np.zeros(_BEYOND)])
MEMORY = 7  # columns of ``queue_memory``


@kernel
def relaxation(load: float, tau_s: float) -> tuple[float, float, float]:
    """See ``analytic_jitter.relaxation``: part that decays slowly, and both decay rates per second."""
    slow_time = (1 + math.sqrt(load)) ** 2
    slow = load / (slow_time + (1 + load) / slow_time - 2) if load > 1e-6 else 0.2
    fast_time = (1 - slow) / (1 - slow / slow_time)
    if tau_s > NOTHING:
        return slow, 1 / (tau_s * slow_time), 1 / (tau_s * fast_time)
    return slow, np.inf, np.inf


@inlined_kernel
def _gamma_mean_difference(shape: float) -> float:
    shifted = shape + 3
    ratio = math.sqrt(shifted) * (1 - 1 / (8 * shifted) + 1 / (128 * shifted**2) + 5 / (1024 * shifted**3))
    for step in (2, 1, 0):
        ratio = ratio * (shape + step) / (shape + step + 0.5)
    return 2 / math.sqrt(math.pi) * ratio / shape


@kernel
def difference_ratio(mean: float, variance: float, zero: float) -> float:
    """See ``analytic_jitter._difference_ratio``."""
    rest = max(1 - zero, 1e-12)
    positive = mean / rest
    spread = max((variance + mean**2) / rest - positive**2, 1e-6 * positive**2)
    if not variance > NOTHING:
        return NORMAL_RATIO
    shape = max(positive**2 / spread, 1e-3)
    difference = 2 * zero * mean + rest * mean * _gamma_mean_difference(shape)
    return min(difference / math.sqrt(2 * variance), NORMAL_RATIO)


@kernel
def remember_queue(load: float, waits: FloatArray, memory: FloatArray) -> None:
    """What paths read of one queue, ``memory`` [MEMORY]: mean, variance and third cumulant of the wait, log P(idle),
    the part of its memory that fades slowly and both rates at which it fades.

    ``load`` is its ratio or one over it, whichever is below 1; ``waits`` [5] are the fields of ``Waits``.
    """
    slow, decay_slow, decay_fast = relaxation(load, waits[4])
    memory[0], memory[1], memory[2] = waits[1], waits[2], waits[3]
    memory[3] = math.log(max(1 - waits[0], 1e-30))
    memory[4], memory[5], memory[6] = slow, decay_slow, decay_fast


@kernel
def queue_memory(load: FloatArray, waits: FloatArray, memory: FloatArray) -> None:
    """The same for all queues, ``memory`` [queues, MEMORY]."""
    for queue in range(len(memory)):
        remember_queue(load[queue], waits[queue], memory[queue])


@kernel
def path_delay(
    queue_of: IntArray,
    link_of: IntArray,
    memory: FloatArray,
    bit_time_s: FloatArray,
    propagation_s: FloatArray,
    spacing_s: float,
    constant_spacing: bool,
    bits: float,
    second: float,
    third: float,
    size_difference_ratio: float,
    lanes: FloatArray,
    result: FloatArray,
) -> None:
    """Mean, deviation, skew and jitter of one path over these queues and links, ``result`` [4].

    See ``analytic_delay.path_statistics`` and ``analytic_jitter.path_jitter``.  ``lanes`` [2 LANES] is
    scratch: what has changed and what is forgotten between two packets, for every spacing.
    """
    mean_wait, variance, third_wait, idle, per_bit, fixed = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    gap = max(spacing_s, NOTHING)
    lanes[:] = 0.0
    for hop in range(len(queue_of)):
        here, link = memory[queue_of[hop]], link_of[hop]
        mean_wait += here[0]
        variance += here[1]
        third_wait += here[2]
        idle += here[3]
        per_bit += bit_time_s[link]
        fixed += propagation_s[link]
        slow, decay_slow, decay_fast, twice = here[4], here[5], here[6], 2 * here[1]
        bit_time = bit_time_s[link]
        if constant_spacing:
            lost = 1 - slow * exp64(-gap * decay_slow) - (1 - slow) * exp64(-gap * decay_fast)
            lanes[0] += twice * lost
            lanes[LANES] += bit_time * lost
        else:
            for lane in range(LANES):
                spread = gap * NODES[lane]
                lost = 1 - slow * exp64(-spread * decay_slow) - (1 - slow) * exp64(-spread * decay_fast)
                lanes[lane] += twice * lost
                lanes[LANES + lane] += bit_time * lost

    own = per_bit * bits
    total = variance + own**2 * (second - 1)
    deviation = math.sqrt(total)
    own_third = own**3 * (third - 3 * second + 2)
    result[0] = fixed + mean_wait + own
    result[1] = deviation
    result[2] = (third_wait + own_third) / (deviation**3 if total > NOTHING else 1.0)

    size_variance = bits**2 * (second - 1)
    ratio = difference_ratio(mean_wait, variance, math.exp(idle))
    jitter = 0.0
    for lane in range(1 if constant_spacing else LANES):
        own_part = size_variance * (per_bit**2 + lanes[LANES + lane] ** 2)
        both = lanes[lane] + own_part
        part = own_part / max(both, NOTHING)
        lacking = (NORMAL_RATIO - ratio) * (1 - part) ** 2 + (NORMAL_RATIO - size_difference_ratio) * part**2
        weight = 1.0 if constant_spacing else NODE_WEIGHTS[lane]
        jitter += weight * math.sqrt(both) * (NORMAL_RATIO - lacking)
    result[3] = jitter


@kernel
def path_delays(
    hop_pointer: IntArray,
    hop_queue: IntArray,
    hop_link: IntArray,
    memory: FloatArray,
    bit_time_s: FloatArray,
    propagation_s: FloatArray,
    path_demand: IntArray,
    spacing_s: FloatArray,
    constant_spacing: BoolArray,
    bits: FloatArray,
    second: FloatArray,
    third: FloatArray,
    size_difference_ratio: FloatArray,
    result: FloatArray,
) -> None:
    """``path_delay`` of every path, ``result`` [paths, 4]; ``spacing_s`` is per path, what follows it per demand."""
    lanes = np.zeros(2 * LANES)
    for path in range(len(path_demand)):
        demand, first, last = path_demand[path], hop_pointer[path], hop_pointer[path + 1]
        path_delay(
            hop_queue[first:last],
            hop_link[first:last],
            memory,
            bit_time_s,
            propagation_s,
            spacing_s[path],
            constant_spacing[demand],
            bits[demand],
            second[demand],
            third[demand],
            size_difference_ratio[demand],
            lanes,
            result[path],
        )
