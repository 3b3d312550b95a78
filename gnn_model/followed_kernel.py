"""The analytic fixed point followed from what a move touches to wherever losses carry the change.

Ports that have been reached are solved again, starting from where the routing's fixed point stands; where a queue's
loss changes by more than the tolerance, the paths through it bring other rates to their later queues, whose ports then
join.  The formulas are those of ``analytic_kernel.fixed_point``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gnn_model.analytic_kernel import dispersions, excursion_time, fill_traffic, solve_port
from gnn_model.analytic_queues import NOTHING
from gnn_model.compiled import inlined_kernel, kernel
from gnn_model.moves_kernel import Moves, Network, Touched, Workspace, add, mark
from topology_sync.values import FloatArray


class Limits(NamedTuple):
    """How far changes are followed."""

    rounds: int
    tolerance: float  # a queue whose loss or load changes by less (absolute, relative) does not pass the change on
    fixed_point_tolerance: float  # and the rest as in ``analytic_kernel.fixed_point``
    bursts_tolerance: float
    slow_progress: float
    smallest_step: float


class PortScratch(NamedTuple):
    """Arrays that solving a port needs."""

    port: FloatArray  # of ``solve_port``
    unloaded: FloatArray  # [4]
    hop_time: FloatArray  # [hops of a queue]
    excess: FloatArray
    added_time: FloatArray  # [1], of one hop that is added
    added_excess: FloatArray
    found_loss: FloatArray  # [queues], what a round found
    found_bursts: FloatArray


@kernel
def port_scratch(net: Network, base: Workspace) -> PortScratch:
    """Arrays as long as they need be."""
    count = len(base.loss)
    queues = count // len(net.capacity)
    longest = 1
    for queue in range(count):
        longest = max(longest, net.queue_pointer[queue + 1] - net.queue_pointer[queue])
    return PortScratch(
        np.zeros(4 * queues + net.share_values.shape[2]),
        np.ones(4),
        np.empty(longest),
        np.empty(longest),
        np.empty(1),
        np.empty(1),
        np.empty(count),
        np.empty(count),
    )


@inlined_kernel
def _sum_up(
    net: Network, moves: Moves, move: int, work: Workspace, touched: Touched, scratch: PortScratch, queue: int
) -> None:
    """Traffic of a queue, summed up anew: what remains of large packets that have gone would drown the small ones."""
    sums, unloaded = work.sums[queue], scratch.unloaded
    sums[:] = 0.0
    unloaded[:] = 0.0
    first_hop = moves.hop_pointer[moves.path_pointer[moves.pointer[move]]]
    last_hop = moves.hop_pointer[moves.path_pointer[moves.pointer[move + 1]]]
    for place in range(net.queue_pointer[queue], net.queue_pointer[queue + 1]):
        hop = net.queue_hops[place]
        path = net.hop_path[hop]
        if touched.removed[path] != move:
            add(sums, work.rate[hop], net.powers[net.path_demand[path]])
    for hop in range(first_hop, last_hop):
        if moves.queue[hop] == queue:
            add(sums, touched.added_rate[hop], net.powers[moves.path_demand[moves.hop_path[hop]]])
    if not sums[0] > NOTHING:
        present = 0.0
        for place in range(net.queue_pointer[queue], net.queue_pointer[queue + 1]):
            path = net.hop_path[net.queue_hops[place]]
            if touched.removed[path] != move:
                present += 1.0
                for power in range(4):
                    unloaded[power] += net.powers[net.path_demand[path], power]
        for hop in range(first_hop, last_hop):
            if moves.queue[hop] == queue:
                present += 1.0
                for power in range(4):
                    unloaded[power] += net.powers[moves.path_demand[moves.hop_path[hop]], power]
        for power in range(4):
            unloaded[power] = unloaded[power] / present if present > 0 else 1.0
    fill_traffic(sums, unloaded, work.traffic[queue])
    work.traffic[queue, 5] = work.bursts[queue]
    touched.solved_packets[queue] = sums[0]
    mark(touched.queues, queue, move)


@inlined_kernel
def _solve(
    net: Network, moves: Moves, move: int, work: Workspace, touched: Touched, scratch: PortScratch, link: int
) -> None:
    queues = len(work.loss) // len(net.capacity)
    first, last = link * queues, (link + 1) * queues
    for queue in range(first, last):
        _sum_up(net, moves, move, work, touched, scratch, queue)
    work.busy[link] = solve_port(
        net.capacity[link],
        net.port_room[link],
        net.strict[link],
        net.weighted[link],
        net.share_values[link],
        work.traffic[first:last],
        work.loss[first:last],
        scratch.port,
        work.state[first:last],
    )


@inlined_kernel
def _dispersion(
    net: Network,
    moves: Moves,
    move: int,
    work: Workspace,
    touched: Touched,
    scratch: PortScratch,
    queue: int,
    time_s: float,
) -> float:
    """Dispersion of what reaches a queue while one of its excursions lasts, ``time_s``."""
    gathered = 0.0
    low, high = net.queue_pointer[queue], net.queue_pointer[queue + 1]
    hop_time, excess = scratch.hop_time[: high - low], scratch.excess[: high - low]
    if high > low:
        hop_time[:] = time_s
        dispersions(
            hop_time,
            net.queue_bursts[0, low:high],
            net.queue_bursts[1, low:high],
            net.queue_bursts[2, low:high],
            net.queue_bursts[3, low:high],
            net.queue_bursts[4, low:high],
            net.queue_bursts[5, low:high],
            net.two_terms,
            excess,
        )
    for place in range(low, high):
        hop = net.queue_hops[place]
        path = net.hop_path[hop]
        if touched.removed[path] != move:
            gathered += work.rate[hop] * (excess[place - low] - 1) * net.path_share[path]
    first_hop = moves.hop_pointer[moves.path_pointer[moves.pointer[move]]]
    last_hop = moves.hop_pointer[moves.path_pointer[moves.pointer[move + 1]]]
    for hop in range(first_hop, last_hop):
        if moves.queue[hop] == queue:
            path = moves.hop_path[hop]
            demand = moves.path_demand[path]
            scratch.added_time[0] = time_s
            dispersions(
                scratch.added_time,
                net.bursts[0, demand : demand + 1],
                net.bursts[1, demand : demand + 1],
                net.bursts[2, demand : demand + 1],
                net.bursts[3, demand : demand + 1],
                net.bursts[4, demand : demand + 1],
                net.bursts[5, demand : demand + 1],
                net.two_terms,
                scratch.added_excess,
            )
            gathered += touched.added_rate[hop] * (scratch.added_excess[0] - 1) * moves.share[path]
    packets = work.traffic[queue, 0]
    return 1 + (gathered / packets if packets > NOTHING else 0.0)


@inlined_kernel
def _change_rates(net: Network, moves: Moves, move: int, work: Workspace, touched: Touched, path: int) -> None:
    """Thin what a path brings to its hops by the losses before them."""
    mark(touched.paths, path, move)
    demand = net.path_demand[path]
    left = net.flow_rate[demand] * net.path_share[path]
    for hop in range(net.hop_pointer[path], net.hop_pointer[path + 1]):
        queue = net.hop_queue[hop]
        if left != work.rate[hop]:
            add(work.sums[queue], left - work.rate[hop], net.powers[demand])
            work.rate[hop] = left
            mark(touched.queues, queue, move)
        left *= 1 - touched.applied[queue]


@inlined_kernel
def _pass_on(net: Network, moves: Moves, move: int, work: Workspace, touched: Touched, tolerance: float) -> None:
    """Losses that changed thin what their paths bring to later queues, whose ports join."""
    queues = len(work.loss) // len(net.capacity)
    for index in range(touched.ports.length[0]):
        link = touched.ports.members[index]
        for queue in range(link * queues, (link + 1) * queues):
            if abs(work.loss[queue] - touched.applied[queue]) > tolerance:
                touched.applied[queue] = work.loss[queue]
                for place in range(net.queue_pointer[queue], net.queue_pointer[queue + 1]):
                    path = net.hop_path[net.queue_hops[place]]
                    if touched.removed[path] != move:
                        _change_rates(net, moves, move, work, touched, path)
    for path in range(moves.path_pointer[moves.pointer[move]], moves.path_pointer[moves.pointer[move + 1]]):
        demand = moves.path_demand[path]
        left = net.flow_rate[demand] * moves.share[path]
        for hop in range(moves.hop_pointer[path], moves.hop_pointer[path + 1]):
            queue = moves.queue[hop]
            add(work.sums[queue], left - touched.added_rate[hop], net.powers[demand])
            touched.added_rate[hop] = left
            left *= 1 - work.loss[queue]
    for index in range(touched.queues.length[0]):
        queue = touched.queues.members[index]
        if abs(work.sums[queue, 0] - touched.solved_packets[queue]) > tolerance * touched.solved_packets[queue]:
            mark(touched.ports, queue // queues, move)


@inlined_kernel
def follow(
    net: Network,
    moves: Moves,
    move: int,
    limits: Limits,
    work: Workspace,
    touched: Touched,
    scratch: PortScratch,
) -> None:
    """Iterate over the ports that have joined so far until queues and losses agree."""
    queues = len(work.loss) // len(net.capacity)
    ports = touched.ports
    step, last_change, quiet = 1.0, np.inf, True
    for _ in range(limits.rounds):
        for index in range(ports.length[0]):
            _solve(net, moves, move, work, touched, scratch, ports.members[index])
        change = 0.0
        for index in range(ports.length[0]):
            link = ports.members[index]
            for queue in range(link * queues, (link + 1) * queues):
                found_loss, found_bursts = work.state[queue, 6], work.bursts[queue]
                if not net.poisson:
                    time_s = excursion_time(work.state[queue], net.port_room[link])
                    found_bursts = _dispersion(net, moves, move, work, touched, scratch, queue, time_s)
                scratch.found_loss[queue], scratch.found_bursts[queue] = found_loss, found_bursts
                change = max(change, abs(found_loss - work.loss[queue]))
                burst_change = abs(found_bursts - work.bursts[queue]) / (1 + work.bursts[queue])
                change = max(change, burst_change * limits.bursts_tolerance)
        if not change > limits.fixed_point_tolerance:
            break
        if quiet and change > limits.slow_progress * last_change:
            step = max(step / 2, limits.smallest_step)
        last_change = change
        solved = ports.length[0]
        for index in range(solved):
            link = ports.members[index]
            for queue in range(link * queues, (link + 1) * queues):
                work.loss[queue] += step * (scratch.found_loss[queue] - work.loss[queue])
                work.bursts[queue] += step * (scratch.found_bursts[queue] - work.bursts[queue])
        _pass_on(net, moves, move, work, touched, limits.tolerance)
        quiet = ports.length[0] == solved
