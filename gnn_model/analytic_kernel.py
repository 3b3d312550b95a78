"""The fixed point of :mod:`gnn_model.analytic` compiled: one candidate, path by path and port by port.

The formulas are those of ``analytic_queues``, ``analytic_hops`` and ``analytic_bursts``, which say where they come
from and stand in where numba is not installed; a test holds the two together.  Paths are in compressed form: the hops
of path p are ``hop_pointer[p]:hop_pointer[p + 1]``; queues are numbered link * queues + queue.
"""

from __future__ import annotations

import math

import numpy as np

from gnn_model.analytic_bursts import DISPERSION_LIMITS
from gnn_model.analytic_queues import (
    LAW_FADES_FROM,
    LAW_LIMITS,
    NEAR_SATURATION,
    NOTHING,
    RATIO_FLOOR,
    SHARE_FLOOR,
    SHARE_ROUNDS,
)
from gnn_model.compiled import inlined_kernel, kernel
from gnn_model.vector_math_kernel import exp64
from topology_sync.values import BoolArray, FloatArray, IntArray

HALF = 0.5
LAW_LEAST, LAW_MOST = LAW_LIMITS
DISPERSION_MOST = DISPERSION_LIMITS[1]
MOST_PACKETS = 1e12


@inlined_kernel
def full_probability(ratio: float, room: float) -> float:
    """See ``analytic_queues.full_probability``."""
    log_ratio = math.log1p(ratio - 1) if abs(ratio - 1) < HALF else math.log(ratio)
    if log_ratio == 0:
        return 1 / (room + 1)
    return math.expm1(-log_ratio) / math.expm1(min(-(room + 1) * log_ratio, 700.0))


@inlined_kernel
def _moments_at(distance: float, room: float) -> tuple[float, float, float]:
    room = room if room > 0 else 1.0
    log_power = room * math.log1p(distance)
    top = math.exp(min(log_power, 0.0))
    sign = 1.0 if distance > 0 else -1.0
    sum_0 = sign * -math.expm1(-abs(log_power)) / distance
    sum_1 = (top * room - sum_0) / distance
    sum_2 = (top * room * (room + 1) / 2 - sum_1) / distance
    sum_3 = (top * room * (room + 1) * (room + 2) / 6 - sum_2) / distance
    return sum_1 / sum_0, 2 * sum_2 / sum_0, 6 * sum_3 / sum_0


@kernel
def position_moments(ratio: float, room: float) -> tuple[float, float, float]:
    """See ``analytic_queues.position_moments``."""
    width = NEAR_SATURATION / (room + 2)
    distance = ratio - 1
    if abs(distance) >= width:
        return _moments_at(distance, room)
    high, low = _moments_at(width, room), _moments_at(-width, room)
    blend = (distance + width) / (2 * width)
    return (
        blend * high[0] + (1 - blend) * low[0],
        blend * high[1] + (1 - blend) * low[1],
        blend * high[2] + (1 - blend) * low[2],
    )


@inlined_kernel
def _aged(u: float) -> float:
    """1 - (1 - exp(-u)) / u, by its series where the difference would lose digits."""
    u = max(u, 1e-9)
    small = min(u, 0.5)
    series = 1.0 - small / 12.0
    series = 1.0 - small / 11.0 * series
    series = 1.0 - small / 10.0 * series
    series = 1.0 - small / 9.0 * series
    series = 1.0 - small / 8.0 * series
    series = 1.0 - small / 7.0 * series
    series = 1.0 - small / 6.0 * series
    series = 1.0 - small / 5.0 * series
    series = 1.0 - small / 4.0 * series
    series = 1.0 - small / 3.0 * series
    series = small / 2.0 * series
    return series if u < 0.5 else 1.0 - (1.0 - exp64(-u)) / u


@kernel
def dispersions(
    time_s: FloatArray,
    packets_per_s: FloatArray,
    periodic: FloatArray,
    weight_1: FloatArray,
    per_packet_1: FloatArray,
    weight_2: FloatArray,
    per_packet_2: FloatArray,
    two_terms: bool,
    result: FloatArray,
) -> None:
    """See ``analytic_bursts.dispersion``: all arrays [n], ``periodic`` 1 or 0."""
    for row in range(len(result)):
        packets = min(max(packets_per_s[row] * time_s[row], 0.0), MOST_PACKETS)
        result[row] = 1.0 + weight_1[row] * _aged(packets * per_packet_1[row])
    if two_terms:
        for row in range(len(result)):
            packets = min(max(packets_per_s[row] * time_s[row], 0.0), MOST_PACKETS)
            result[row] += weight_2[row] * _aged(packets * per_packet_2[row])
    for row in range(len(result)):
        packets = min(max(packets_per_s[row] * time_s[row], 0.0), MOST_PACKETS)
        even = (1 + packets / 2) / (1 + 1.5 * packets + 3 * packets * packets)
        chosen = even if periodic[row] > 0 else result[row]
        result[row] = min(max(chosen, 0.0), DISPERSION_MOST)


@kernel
def mean_shares(offered: FloatArray, left: FloatArray, values: FloatArray, work: FloatArray, share: FloatArray) -> None:
    """Part of a weighted port's server per queue, ``share`` [queues]; see ``analytic_queues._share``.

    ``values`` [queues, subsets]: w / (w + weights of the backlogged others), the first other in the lowest bit of the
    subset.  It is linear in who is backlogged, so its mean is worked out one other at a time.  ``work`` [subsets +
    queues] is scratch.
    """
    queues, subsets = values.shape
    for queue in range(queues):
        work[subsets + queue] = min(offered[queue], 1.0)
    for _ in range(SHARE_ROUNDS):
        for queue in range(queues):
            for subset in range(subsets):
                work[subset] = values[queue, subset]
            size, other = subsets, 0
            while (1 << other) < subsets:
                other += 1
            while size > 1:
                size //= 2
                other -= 1
                chance = work[subsets + (other if other < queue else other + 1)]
                for subset in range(size):
                    work[subset] += chance * (work[subset + size] - work[subset])
            share[queue] = min(max(max(work[0], left[queue]), SHARE_FLOOR), 1.0)
        for queue in range(queues):
            work[subsets + queue] = min(offered[queue] / share[queue], 1.0)


@kernel
def solve_port(
    capacity: float,
    port_room: float,
    strict: bool,
    weighted: bool,
    share_values: FloatArray,
    traffic: FloatArray,
    loss: FloatArray,
    work: FloatArray,
    state: FloatArray,
) -> float:
    """One port's queues; see ``analytic_queues.solve_queues``.  Returns the probability that its server is busy.

    ``traffic`` [queues, 6]: packets/s, bits, second, third, fourth moment ratio, dispersion.  ``state`` [queues, 7]
    gets service, offered, share, ratio, variability, room, loss.  ``work`` is scratch of 3 queues + subsets.
    """
    queues = len(traffic)
    carried_all, offered_all = 0.0, 0.0
    for queue in range(queues):
        service = traffic[queue, 1] / capacity
        offered = traffic[queue, 0] * service
        state[queue, 0], state[queue, 1], state[queue, 2] = service, offered, 1.0
        carried_all += offered * (1 - loss[queue])
        offered_all += offered
    load = min(carried_all, 1.0)
    if strict:
        before = 0.0
        for queue in range(queues):
            state[queue, 2] = max(1 - before, SHARE_FLOOR)
            before += state[queue, 1] * (1 - loss[queue])
    if weighted:
        offered_here, left = work[:queues], work[queues : 2 * queues]
        share, scratch = work[2 * queues : 3 * queues], work[3 * queues :]
        for queue in range(queues):
            offered_here[queue] = state[queue, 1]
            left[queue] = 1 - (carried_all - state[queue, 1] * (1 - loss[queue]))
        mean_shares(offered_here, left, share_values, scratch, share)
        for queue in range(queues):
            state[queue, 2] = share[queue]

    residual = 0.0
    for queue in range(queues):
        spread = max(traffic[queue, 2] + traffic[queue, 5] - 1, 0.0) / 2
        residual += state[queue, 1] * (1 - loss[queue]) * state[queue, 0] * spread
    predicted = 0.0
    for queue in range(queues):
        service, offered, share_here = state[queue, 0], state[queue, 1], state[queue, 2]
        state[queue, 3] = max(offered / share_here, RATIO_FLOOR)
        if load < NOTHING:
            variability = max(traffic[queue, 2] + traffic[queue, 5] - 1, 0.0) / 2
        else:
            variability = residual / (load * service)
        if strict:
            variability = variability / share_here
        state[queue, 4] = variability
        if weighted:
            below = min(state[queue, 3], 0.999)
            predicted += offered * load * variability * service / share_here / (1 - below)
    if weighted:
        # Kleinrock's conservation law, see analytic_queues._law_factor.
        due = load * residual / max(1 - load, 1e-3)
        factor = min(max(due / predicted, LAW_LEAST), LAW_MOST) if predicted > 0 else 1.0
        say = min(max((1 - offered_all) / (1 - LAW_FADES_FROM), 0.0), 1.0)
        if say > 0.0:
            factor = factor**say
            for queue in range(queues):
                state[queue, 4] *= factor

    blocked = 0.0
    for queue in range(queues):
        ratio = state[queue, 3]
        room = port_room / max(1 + math.sqrt(min(ratio, 1.0)) * (state[queue, 4] - 1), 1e-3)
        full = full_probability(ratio, room)
        state[queue, 5], state[queue, 6] = room, full
        blocked += state[queue, 1] * full
    busy = min(offered_all / (1 + blocked), 1.0)
    for queue in range(queues):
        state[queue, 6] *= busy
    return busy


@kernel
def excursion_time(state: FloatArray, port_room: float) -> float:
    """See ``analytic_queues.excursion_time``; ``state`` [7] of one queue."""
    distance = (1 - state[3]) ** 2 + 12 * (state[4] / (port_room + 1)) ** 2
    return float(2 * state[4] * (state[0] / state[2]) / max(distance, 1e-300))


@kernel
def waiting_times(
    state: FloatArray, traffic: FloatArray, busy: float, port_room: float, longest: float, waits: FloatArray
) -> float:
    """See ``analytic_queues.waiting_times``: ``waits`` [5] of one queue.  Returns its part in the port's work."""
    loss = state[6]
    chance = min(max((busy - loss) / max(1 - loss, 1e-12), 0.0), 1.0) if port_room > 0 else 0.0
    unit = state[4] * state[0] / state[2]
    one, two, three = position_moments(state[3], state[5])
    unit = min(unit, longest * state[0] / state[2] / one)
    mean = chance * unit * one
    half = traffic[2] / 2
    size_part = min(half / max(state[4], 1e-300), 1.0)
    square = 1 + (traffic[3] / 6 / half**2 - 1) * size_part**2
    cube = 1 + (traffic[4] / 24 / half**3 - 1) * size_part**3
    second = chance * unit**2 * (two + 2 * (square - 1) * one)
    raw_third = chance * unit**3 * (three + 6 * (square - 1) * two + 6 * (1 - 2 * square + cube) * one)
    least = mean**2 / chance if chance > 0 else 0.0
    second = max(second, least)
    waits[0], waits[1] = chance, mean
    waits[2] = max(second - mean**2, 0.0)
    waits[3] = raw_third - 3 * mean * second + 2 * mean**3
    return float(state[1] * (1 - loss) * state[0] * max(traffic[2] + traffic[5] - 1, 0.0))


@kernel
def walk_paths(
    hop_pointer: IntArray,
    hop_queue: IntArray,
    path_rate: FloatArray,
    path_powers: FloatArray,
    loss: FloatArray,
    rate: FloatArray,
    sums: FloatArray,
    survival: FloatArray,
) -> None:
    """Packets/s that reach every hop, and per queue the sums of them and of bits^n, n = 1..4: ``sums`` [queues, 5]."""
    sums[:] = 0.0
    for path in range(len(path_rate)):
        left = 1.0
        b_1, b_2, b_3, b_4 = path_powers[path]
        for hop in range(hop_pointer[path], hop_pointer[path + 1]):
            queue = hop_queue[hop]
            here = path_rate[path] * left
            rate[hop] = here
            sums[queue, 0] += here
            sums[queue, 1] += here * b_1
            sums[queue, 2] += here * b_2
            sums[queue, 3] += here * b_3
            sums[queue, 4] += here * b_4
            left *= 1 - loss[queue]
        survival[path] = left


@kernel
def fill_traffic(sums: FloatArray, unloaded: FloatArray, traffic: FloatArray) -> None:
    """Mean size and moment ratios of one queue, ``traffic`` [6], from its ``sums`` [5]."""
    packets = sums[0]
    traffic[0] = packets
    if packets > NOTHING:
        bits, second, third, fourth = sums[1] / packets, sums[2] / packets, sums[3] / packets, sums[4] / packets
    else:
        bits, second, third, fourth = unloaded[0], unloaded[1], unloaded[2], unloaded[3]
    traffic[1] = bits
    traffic[2] = second / bits**2
    traffic[3] = third / bits**3
    traffic[4] = fourth / bits**4


@kernel
def unloaded_sizes(hop_pointer: IntArray, hop_queue: IntArray, path_powers: FloatArray, result: FloatArray) -> None:
    """What a packet would look like in queues that nothing is offered to, ``result`` [queues, 4]: means over paths."""
    members = np.zeros(len(result))
    result[:] = 0.0
    for path in range(len(path_powers)):
        for hop in range(hop_pointer[path], hop_pointer[path + 1]):
            queue = hop_queue[hop]
            members[queue] += 1
            for power in range(4):
                result[queue, power] += path_powers[path, power]
    for queue in range(len(result)):
        for power in range(4):
            result[queue, power] = result[queue, power] / members[queue] if members[queue] > 0 else 1.0


@kernel
def fixed_point(
    capacity: FloatArray,
    port_room: FloatArray,
    strict: BoolArray,
    weighted: BoolArray,
    share_values: FloatArray,
    hop_pointer: IntArray,
    hop_queue: IntArray,
    path_rate: FloatArray,
    path_powers: FloatArray,
    path_share: FloatArray,
    bursts_of_path: FloatArray,
    poisson: bool,
    rounds: int,
    tolerance: float,
    bursts_tolerance: float,
    slow_progress: float,
    smallest_step: float,
    traffic: FloatArray,
    state: FloatArray,
    busy: FloatArray,
    waits: FloatArray,
    survival: FloatArray,
) -> int:
    """Iterate queues and losses of one candidate until they agree; returns the rounds taken.

    Per port [links]: ``capacity``, ``port_room``, ``strict``, ``weighted``, ``share_values`` [links, queues, subsets].
    Per path: offered ``path_rate``, ``path_powers`` [paths, 4] of E[bits^n], ``path_share``, and of its demand
    ``bursts_of_path`` [6, paths]: packets/s, periodic (1 or 0), and weight and decay per packet of both terms.
    Results: ``traffic`` [queues,
    6], ``state`` [queues, 7], ``busy`` [links], ``waits`` [queues, 5], ``survival`` [paths].
    """
    links = len(capacity)
    count = len(traffic)
    queues = count // links if links > 0 else 1
    sums, unloaded = np.zeros((count, 5)), np.zeros((count, 4))
    unloaded_sizes(hop_pointer, hop_queue, path_powers, unloaded)
    rate = np.empty(len(hop_queue))
    loss, bursts, found, time_s = np.zeros(count), np.ones(count), np.ones(count), np.zeros(count)
    work = np.zeros(4 * queues + share_values.shape[2])
    bursty_hops = 0 if poisson else len(hop_queue)
    hop_bursts, hop_time, excess = np.empty((6, bursty_hops)), np.empty(bursty_hops), np.empty(bursty_hops)
    two_terms = False
    if not poisson:
        for path in range(len(path_rate)):
            two_terms = two_terms or bursts_of_path[4, path] != 0.0
            for column in range(6):
                hop_bursts[column, hop_pointer[path] : hop_pointer[path + 1]] = bursts_of_path[column, path]
    step, last_change = 1.0, np.inf
    taken = 0
    for _ in range(rounds):
        taken += 1
        walk_paths(hop_pointer, hop_queue, path_rate, path_powers, loss, rate, sums, survival)
        for link in range(links):
            first, last = link * queues, (link + 1) * queues
            for queue in range(first, last):
                fill_traffic(sums[queue], unloaded[queue], traffic[queue])
                traffic[queue, 5] = bursts[queue]
            busy[link] = solve_port(
                capacity[link],
                port_room[link],
                strict[link],
                weighted[link],
                share_values[link],
                traffic[first:last],
                loss[first:last],
                work,
                state[first:last],
            )
            for queue in range(first, last):
                time_s[queue] = excursion_time(state[queue], port_room[link])
        if not poisson:
            for hop in range(len(hop_queue)):
                hop_time[hop] = time_s[hop_queue[hop]]
            dispersions(
                hop_time,
                hop_bursts[0],
                hop_bursts[1],
                hop_bursts[2],
                hop_bursts[3],
                hop_bursts[4],
                hop_bursts[5],
                two_terms,
                excess,
            )
            found[:] = 0.0
            for path in range(len(path_rate)):
                for hop in range(hop_pointer[path], hop_pointer[path + 1]):
                    found[hop_queue[hop]] += rate[hop] * (excess[hop] - 1) * path_share[path]
            for queue in range(count):
                packets = traffic[queue, 0]
                found[queue] = 1 + (found[queue] / packets if packets > NOTHING else 0.0)
        change = 0.0
        for queue in range(count):
            change = max(change, abs(state[queue, 6] - loss[queue]))
            change = max(change, abs(found[queue] - bursts[queue]) / (1 + bursts[queue]) * bursts_tolerance)
        if not change > tolerance:
            break
        if change > slow_progress * last_change:
            step = max(step / 2, smallest_step)
        last_change = change
        for queue in range(count):
            loss[queue] += step * (state[queue, 6] - loss[queue])
            bursts[queue] += step * (found[queue] - bursts[queue])

    for link in range(links):
        work_here = 0.0
        for queue in range(link * queues, (link + 1) * queues):
            work_here += waiting_times(
                state[queue], traffic[queue], busy[link], port_room[link], max(port_room[link], 1.0), waits[queue]
            )
        for queue in range(link * queues, (link + 1) * queues):
            waits[queue, 4] = 2 * waits[queue, 2] / work_here if work_here > NOTHING else 0.0
    for path in range(len(path_rate)):
        left = 1.0
        for hop in range(hop_pointer[path], hop_pointer[path + 1]):
            left *= 1 - state[hop_queue[hop], 6]
        survival[path] = left
    return taken
