"""Moves of a few demands judged against a solved routing: only what a move reaches is worked out again.

A move takes paths away and adds others.  The ports on both are solved again, starting from where the routing's fixed
point stands; where a queue's loss changes by more than the tolerance, the paths through it bring other rates to their
later queues, whose ports then join.  At the end every path through a queue that changed gets a new delay.  All work is
done in one thread's own copy of the state (:class:`Workspace`) and taken back afterwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gnn_model.analytic_gamma import NORMAL_99, SKEW_LIMITS
from gnn_model.analytic_kernel import dispersions, excursion_time, fill_traffic, solve_port, waiting_times
from gnn_model.analytic_queues import NOTHING
from gnn_model.compiled import kernel
from gnn_model.path_kernel import LANES, path_delay, remember_queue
from topology_sync.values import BoolArray, FloatArray, IntArray

LEAST_SKEW, MOST_SKEW = SKEW_LIMITS
BISECTIONS = 40
VALUES = 4  # columns of a judged demand: mean delay, 99th percentile beyond it, jitter, loss


class Network(NamedTuple):
    """What stays the same for all moves: ports, demands, and the routing with its solution."""

    capacity: FloatArray  # [links]
    port_room: FloatArray
    strict: BoolArray
    weighted: BoolArray
    share_values: FloatArray  # [links, queues, subsets]
    bit_time_s: FloatArray
    propagation_s: FloatArray
    flow_rate: FloatArray  # [demands] and so on
    powers: FloatArray
    bursts: FloatArray  # [6, demands]
    constant_spacing: BoolArray
    bits: FloatArray
    second: FloatArray
    third: FloatArray
    size_difference_ratio: FloatArray
    spacing_ratio: FloatArray
    demand_pointer: IntArray  # [demands + 1] into demand_paths
    demand_paths: IntArray
    path_demand: IntArray  # [paths] and so on
    path_share: FloatArray
    hop_pointer: IntArray
    hop_queue: IntArray  # [hops] and so on
    hop_link: IntArray
    hop_path: IntArray
    hop_factor: FloatArray
    queue_pointer: IntArray  # [queues + 1] into queue_hops
    queue_hops: IntArray
    queue_bursts: FloatArray  # [6, hops] in the order of queue_hops
    poisson: bool
    two_terms: bool


class Workspace(NamedTuple):
    """State of the routing that moves change and put back.  Shapes as in ``analytic_kernel.fixed_point``."""

    sums: FloatArray
    traffic: FloatArray
    state: FloatArray
    busy: FloatArray
    waits: FloatArray
    memory: FloatArray
    loss: FloatArray
    bursts: FloatArray
    rate: FloatArray  # [hops]


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


@kernel
def _add(sums: FloatArray, rate: float, powers: FloatArray) -> None:
    sums[0] += rate
    sums[1] += rate * powers[0]
    sums[2] += rate * powers[1]
    sums[3] += rate * powers[2]
    sums[4] += rate * powers[3]


@kernel
def judge_moves(
    net: Network,
    base: Workspace,
    work: Workspace,
    begin: int,
    end: int,
    move_pointer: IntArray,
    move_demand: IntArray,
    demand_pointer: IntArray,
    share: FloatArray,
    path_pointer: IntArray,
    added_queue: IntArray,
    added_link: IntArray,
    added_factor: FloatArray,
    rounds: int,
    tolerance: float,
    fixed_point_tolerance: float,
    bursts_tolerance: float,
    slow_progress: float,
    smallest_step: float,
    found_count: IntArray,
    found_demand: IntArray,
    found_values: FloatArray,
) -> int:
    """Judge the moves ``begin:end``; results lie one after the other, ``found_count`` [moves] of each.

    Move m gives the demands ``move_demand[move_pointer[m]:move_pointer[m + 1]]`` other paths, those of entry e are
    ``demand_pointer[e]:demand_pointer[e + 1]`` with ``share`` and hops ``path_pointer[p]:path_pointer[p + 1]``;
    ``added_factor`` [hops] is the predicted wait over the analytic one there.
    Returns how many demands were judged, or -1 where ``found_demand`` has no room for them.
    """
    links, count = len(net.capacity), len(work.loss)
    queues = count // links
    scratch = np.zeros(4 * queues + net.share_values.shape[2])
    lanes, fresh, unloaded = np.zeros(2 * LANES), np.zeros(5), np.ones(4)
    longest_queue = 1
    for queue in range(count):
        longest_queue = max(longest_queue, net.queue_pointer[queue + 1] - net.queue_pointer[queue])
    hop_time, excess = np.empty(longest_queue), np.empty(longest_queue)
    one_time, one_excess, one_burst = np.empty(1), np.empty(1), np.empty((6, 1))

    stamp_path, stamp_demand = np.full(len(net.path_demand), -1), np.full(len(net.flow_rate), -1)
    stamp_removed, stamp_queue, stamp_port = stamp_path.copy(), np.full(count, -1), np.full(links, -1)
    stamp_moved = stamp_demand.copy()
    dirty_paths, dirty_queues = np.empty(len(net.path_demand), np.int64), np.empty(count, np.int64)
    ports, demands = np.empty(links, np.int64), np.empty(len(net.flow_rate), np.int64)
    applied, solved_packets = base.loss.copy(), base.sums[:, 0].copy()
    found_loss, found_bursts = np.empty(count), np.empty(count)
    most_paths = 1
    for demand in range(len(net.flow_rate)):
        most_paths = max(most_paths, net.demand_pointer[demand + 1] - net.demand_pointer[demand])
    most_added, most_hops = 1, 1
    for entry in range(len(move_demand)):
        most_paths = max(most_paths, demand_pointer[entry + 1] - demand_pointer[entry])
    for move in range(begin, end):
        first, last = demand_pointer[move_pointer[move]], demand_pointer[move_pointer[move + 1]]
        most_added = max(most_added, last - first)
        most_hops = max(most_hops, path_pointer[last] - path_pointer[first])
    added_rate, added_demand = np.empty(most_hops), np.empty(most_added, np.int64)
    weight, survival, delays = np.empty(most_paths), np.empty(most_paths), np.empty((most_paths, 5))
    total = 0

    for move in range(begin, end):
        path_count, queue_count, port_count, demand_count = 0, 0, 0, 0
        first_added, last_added = demand_pointer[move_pointer[move]], demand_pointer[move_pointer[move + 1]]
        first_hop = path_pointer[first_added]
        # What goes and what comes.
        for entry in range(move_pointer[move], move_pointer[move + 1]):
            demand = move_demand[entry]
            if stamp_moved[demand] != move:
                stamp_moved[demand] = move
                stamp_demand[demand] = move
                demands[demand_count] = demand
                demand_count += 1
            for index in range(net.demand_pointer[demand], net.demand_pointer[demand + 1]):
                path = net.demand_paths[index]
                stamp_removed[path] = move
                for hop in range(net.hop_pointer[path], net.hop_pointer[path + 1]):
                    queue = net.hop_queue[hop]
                    _add(work.sums[queue], -work.rate[hop], net.powers[demand])
                    if stamp_queue[queue] != move:
                        stamp_queue[queue] = move
                        dirty_queues[queue_count] = queue
                        queue_count += 1
                    if stamp_port[net.hop_link[hop]] != move:
                        stamp_port[net.hop_link[hop]] = move
                        ports[port_count] = net.hop_link[hop]
                        port_count += 1
            for path in range(demand_pointer[entry], demand_pointer[entry + 1]):
                added_demand[path - first_added] = demand
                left = net.flow_rate[demand] * share[path]
                for hop in range(path_pointer[path], path_pointer[path + 1]):
                    queue = added_queue[hop]
                    added_rate[hop - first_hop] = left
                    _add(work.sums[queue], left, net.powers[demand])
                    left *= 1 - work.loss[queue]
                    if stamp_queue[queue] != move:
                        stamp_queue[queue] = move
                        dirty_queues[queue_count] = queue
                        queue_count += 1
                    if stamp_port[added_link[hop]] != move:
                        stamp_port[added_link[hop]] = move
                        ports[port_count] = added_link[hop]
                        port_count += 1

        # The fixed point, over the ports that have joined so far.
        step, last_change, quiet = 1.0, np.inf, True
        for _ in range(rounds):
            for index in range(port_count):
                link = ports[index]
                first, last = link * queues, (link + 1) * queues
                for queue in range(first, last):
                    # Summed up anew: what remains of large packets that have gone would drown the small ones.
                    fresh[:] = 0.0
                    unloaded[:] = 0.0
                    for place in range(net.queue_pointer[queue], net.queue_pointer[queue + 1]):
                        hop = net.queue_hops[place]
                        path = net.hop_path[hop]
                        if stamp_removed[path] != move:
                            _add(fresh, work.rate[hop], net.powers[net.path_demand[path]])
                    for path in range(first_added, last_added):
                        for hop in range(path_pointer[path], path_pointer[path + 1]):
                            if added_queue[hop] == queue:
                                _add(fresh, added_rate[hop - first_hop], net.powers[added_demand[path - first_added]])
                    work.sums[queue] = fresh
                    if not fresh[0] > NOTHING:
                        present = 0.0
                        for place in range(net.queue_pointer[queue], net.queue_pointer[queue + 1]):
                            path = net.hop_path[net.queue_hops[place]]
                            if stamp_removed[path] != move:
                                present += 1.0
                                unloaded += net.powers[net.path_demand[path]]
                        for path in range(first_added, last_added):
                            for hop in range(path_pointer[path], path_pointer[path + 1]):
                                if added_queue[hop] == queue:
                                    present += 1.0
                                    unloaded += net.powers[added_demand[path - first_added]]
                        for power in range(4):
                            unloaded[power] = unloaded[power] / present if present > 0 else 1.0
                    fill_traffic(work.sums[queue], unloaded, work.traffic[queue])
                    work.traffic[queue, 5] = work.bursts[queue]
                    solved_packets[queue] = work.sums[queue, 0]
                    if stamp_queue[queue] != move:
                        stamp_queue[queue] = move
                        dirty_queues[queue_count] = queue
                        queue_count += 1
                work.busy[link] = solve_port(
                    net.capacity[link],
                    net.port_room[link],
                    net.strict[link],
                    net.weighted[link],
                    net.share_values[link],
                    work.traffic[first:last],
                    work.loss[first:last],
                    scratch,
                    work.state[first:last],
                )
            change = 0.0
            for index in range(port_count):
                link = ports[index]
                for queue in range(link * queues, (link + 1) * queues):
                    found_loss[queue], found_bursts[queue] = work.state[queue, 6], work.bursts[queue]
                    packets = work.traffic[queue, 0]
                    if not net.poisson:
                        gathered = 0.0
                        time_s = excursion_time(work.state[queue], net.port_room[link])
                        low, high = net.queue_pointer[queue], net.queue_pointer[queue + 1]
                        if high > low:
                            hop_time[: high - low] = time_s
                            dispersions(
                                hop_time[: high - low],
                                net.queue_bursts[0, low:high],
                                net.queue_bursts[1, low:high],
                                net.queue_bursts[2, low:high],
                                net.queue_bursts[3, low:high],
                                net.queue_bursts[4, low:high],
                                net.queue_bursts[5, low:high],
                                net.two_terms,
                                excess[: high - low],
                            )
                        for place in range(low, high):
                            hop = net.queue_hops[place]
                            path = net.hop_path[hop]
                            if stamp_removed[path] != move:
                                gathered += work.rate[hop] * (excess[place - low] - 1) * net.path_share[path]
                        for path in range(first_added, last_added):
                            for hop in range(path_pointer[path], path_pointer[path + 1]):
                                if added_queue[hop] == queue:
                                    one_time[0] = time_s
                                    for column in range(6):
                                        one_burst[column, 0] = net.bursts[column, added_demand[path - first_added]]
                                    dispersions(
                                        one_time,
                                        one_burst[0],
                                        one_burst[1],
                                        one_burst[2],
                                        one_burst[3],
                                        one_burst[4],
                                        one_burst[5],
                                        net.two_terms,
                                        one_excess,
                                    )
                                    gathered += added_rate[hop - first_hop] * (one_excess[0] - 1) * share[path]
                        found_bursts[queue] = 1 + (gathered / packets if packets > NOTHING else 0.0)
                    change = max(change, abs(found_loss[queue] - work.loss[queue]))
                    burst_change = abs(found_bursts[queue] - work.bursts[queue]) / (1 + work.bursts[queue])
                    change = max(change, burst_change * bursts_tolerance)
            if not change > fixed_point_tolerance:
                break
            if quiet and change > slow_progress * last_change:
                step = max(step / 2, smallest_step)
            last_change = change
            solved = port_count
            for index in range(solved):
                link = ports[index]
                for queue in range(link * queues, (link + 1) * queues):
                    work.loss[queue] += step * (found_loss[queue] - work.loss[queue])
                    work.bursts[queue] += step * (found_bursts[queue] - work.bursts[queue])
            # Losses that changed thin what their paths bring to later queues.
            for index in range(solved):
                link = ports[index]
                for queue in range(link * queues, (link + 1) * queues):
                    if not abs(work.loss[queue] - applied[queue]) > tolerance:
                        continue
                    applied[queue] = work.loss[queue]
                    for place in range(net.queue_pointer[queue], net.queue_pointer[queue + 1]):
                        path = net.hop_path[net.queue_hops[place]]
                        if stamp_removed[path] == move:
                            continue
                        if stamp_path[path] != move:
                            stamp_path[path] = move
                            dirty_paths[path_count] = path
                            path_count += 1
                        demand = net.path_demand[path]
                        left = net.flow_rate[demand] * net.path_share[path]
                        for hop in range(net.hop_pointer[path], net.hop_pointer[path + 1]):
                            here = net.hop_queue[hop]
                            if left != work.rate[hop]:
                                _add(work.sums[here], left - work.rate[hop], net.powers[demand])
                                work.rate[hop] = left
                                if stamp_queue[here] != move:
                                    stamp_queue[here] = move
                                    dirty_queues[queue_count] = here
                                    queue_count += 1
                            left *= 1 - applied[here]
            for path in range(first_added, last_added):
                demand = added_demand[path - first_added]
                left = net.flow_rate[demand] * share[path]
                for hop in range(path_pointer[path], path_pointer[path + 1]):
                    here = added_queue[hop]
                    _add(work.sums[here], left - added_rate[hop - first_hop], net.powers[demand])
                    added_rate[hop - first_hop] = left
                    left *= 1 - work.loss[here]
            for index in range(queue_count):
                queue = dirty_queues[index]
                link = queue // queues
                moved = abs(work.sums[queue, 0] - solved_packets[queue])
                if stamp_port[link] != move and moved > tolerance * solved_packets[queue]:
                    stamp_port[link] = move
                    ports[port_count] = link
                    port_count += 1
            quiet = port_count == solved

        # Waits of the ports that were solved, and which demands they reach.
        for index in range(port_count):
            link = ports[index]
            work_here = 0.0
            for queue in range(link * queues, (link + 1) * queues):
                work_here += waiting_times(
                    work.state[queue],
                    work.traffic[queue],
                    work.busy[link],
                    net.port_room[link],
                    max(net.port_room[link], 1.0),
                    work.waits[queue],
                )
            for queue in range(link * queues, (link + 1) * queues):
                here, before = work.waits[queue], base.waits[queue]
                here[4] = 2 * here[2] / work_here if work_here > NOTHING else 0.0
                ratio = work.state[queue, 3]
                remember_queue(min(ratio, 1 / ratio), here, work.memory[queue])
                same = abs(here[1] - before[1]) <= tolerance * before[1]
                same = same and abs(here[2] - before[2]) <= tolerance * before[2]
                same = same and abs(work.state[queue, 6] - base.state[queue, 6]) <= tolerance
                if same:
                    continue
                for place in range(net.queue_pointer[queue], net.queue_pointer[queue + 1]):
                    demand = net.path_demand[net.hop_path[net.queue_hops[place]]]
                    if stamp_demand[demand] != move:
                        stamp_demand[demand] = move
                        demands[demand_count] = demand
                        demand_count += 1
        for index in range(path_count):
            demand = net.path_demand[dirty_paths[index]]
            if stamp_demand[demand] != move:
                stamp_demand[demand] = move
                demands[demand_count] = demand
                demand_count += 1
        if total + demand_count > len(found_demand):
            total = -1

        for index in range(demand_count if total >= 0 else 0):
            demand = demands[index]
            moving = stamp_moved[demand] == move
            number = 0
            if moving:
                for path in range(first_added, last_added):
                    if added_demand[path - first_added] == demand:
                        weight[number], survival[number] = share[path], 1.0
                        for hop in range(path_pointer[path], path_pointer[path + 1]):
                            survival[number] *= 1 - work.state[added_queue[hop], 6]
                        number += 1
            else:
                for place in range(net.demand_pointer[demand], net.demand_pointer[demand + 1]):
                    path = net.demand_paths[place]
                    weight[number], survival[number] = net.path_share[path], 1.0
                    for hop in range(net.hop_pointer[path], net.hop_pointer[path + 1]):
                        survival[number] *= 1 - work.state[net.hop_queue[hop], 6]
                    number += 1
            delivered = 0.0
            for row in range(number):
                delivered += net.flow_rate[demand] * weight[row] * max(survival[row], 1e-12)
            spacing = net.spacing_ratio[demand] / delivered if delivered > NOTHING else np.inf
            number = 0
            low, high = net.demand_pointer[demand], net.demand_pointer[demand + 1]
            if moving:
                low, high = first_added, last_added
            for place in range(low, high):
                if moving:
                    if added_demand[place - first_added] != demand:
                        continue
                    first, last = path_pointer[place], path_pointer[place + 1]
                    of_queue, of_link = added_queue[first:last], added_link[first:last]
                else:
                    path = net.demand_paths[place]
                    first, last = net.hop_pointer[path], net.hop_pointer[path + 1]
                    of_queue, of_link = net.hop_queue[first:last], net.hop_link[first:last]
                path_delay(
                    of_queue,
                    of_link,
                    work.memory,
                    net.bit_time_s,
                    net.propagation_s,
                    spacing,
                    net.constant_spacing[demand],
                    net.bits[demand],
                    net.second[demand],
                    net.third[demand],
                    net.size_difference_ratio[demand],
                    lanes,
                    delays[number],
                )
                corrected = delays[number, 0]
                for hop in range(first, last):
                    queue = added_queue[hop] if moving else net.hop_queue[hop]
                    factor = added_factor[hop] if moving else net.hop_factor[hop]
                    corrected += (factor - 1) * work.memory[queue, 0]
                delays[number, 4] = corrected
                number += 1
            mixed_demand(number, weight, survival, delays, found_values[total])
            found_demand[total] = demand
            total += 1
        found_count[move] = demand_count

        # Put everything back.
        for index in range(path_count):
            path = dirty_paths[index]
            work.rate[net.hop_pointer[path] : net.hop_pointer[path + 1]] = base.rate[
                net.hop_pointer[path] : net.hop_pointer[path + 1]
            ]
        for index in range(queue_count):
            queue = dirty_queues[index]
            work.sums[queue] = base.sums[queue]
            work.loss[queue] = base.loss[queue]
            work.bursts[queue] = base.bursts[queue]
            work.state[queue] = base.state[queue]
            work.traffic[queue] = base.traffic[queue]
            work.waits[queue] = base.waits[queue]
            work.memory[queue] = base.memory[queue]
            applied[queue] = base.loss[queue]
            solved_packets[queue] = base.sums[queue, 0]
        for index in range(port_count):
            work.busy[ports[index]] = base.busy[ports[index]]
        if total < 0:
            return -1
    return total
