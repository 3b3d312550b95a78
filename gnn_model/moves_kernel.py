"""What a move touches: the values that kernels judge moves with, and how one is put in place and taken back.

All work is done in one thread's own copy of the routing's state (:class:`Workspace`); what a move has changed there is
kept in mind (:class:`Touched`), so that taking it back costs no more than it did.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gnn_model.compiled import inlined_kernel, kernel
from topology_sync.values import BoolArray, FloatArray, IntArray


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


class Moves(NamedTuple):
    """Moves one after the other: move m gives the demands ``demand[pointer[m]:pointer[m + 1]]`` other paths.

    A demand occurs at most once in a move.
    """

    pointer: IntArray  # [moves + 1]
    demand: IntArray  # [entries]
    path_pointer: IntArray  # [entries + 1]: the paths of an entry
    path_demand: IntArray  # [paths] and so on
    share: FloatArray
    hop_pointer: IntArray  # [paths + 1]: the hops of a path
    hop_path: IntArray  # [hops] and so on
    queue: IntArray
    link: IntArray
    factor: FloatArray  # the predicted wait over the analytic one


class Marked(NamedTuple):
    """Those of some numbers that a move has reached; the next move starts without any, at no cost."""

    stamp: IntArray  # [numbers]: the last move that reached each
    members: IntArray  # [numbers]: the first length[0] ones, in the order in which they were reached
    length: IntArray  # [1]


class Touched(NamedTuple):
    """What a move has reached."""

    removed: IntArray  # [paths]: the last move that takes each away
    paths: Marked  # that bring other rates to some of their hops
    queues: Marked
    ports: Marked  # that are solved again
    demands: Marked  # to be judged, those that move first
    applied: FloatArray  # [queues]: the loss that rates of later hops follow
    solved_packets: FloatArray  # [queues]: packets/s when its port was solved last
    added_rate: FloatArray  # [hops of all moves]: packets/s


@kernel
def nothing_marked(numbers: int) -> Marked:
    """None of so many numbers."""
    return Marked(np.full(numbers, -1), np.empty(numbers, np.int64), np.zeros(1, np.int64))


@kernel
def nothing_touched(net: Network, base: Workspace, moves: Moves) -> Touched:
    """What is reached before the first move."""
    paths, demands, queues = len(net.path_demand), len(net.flow_rate), len(base.loss)
    return Touched(
        np.full(paths, -1),
        nothing_marked(paths),
        nothing_marked(queues),
        nothing_marked(len(net.capacity)),
        nothing_marked(demands),
        base.loss.copy(),
        base.sums[:, 0].copy(),
        np.empty(len(moves.queue)),
    )


@inlined_kernel
def mark(marked: Marked, number: int, move: int) -> None:
    """Reach this one."""
    if marked.stamp[number] != move:
        marked.stamp[number] = move
        marked.members[marked.length[0]] = number
        marked.length[0] += 1


@inlined_kernel
def add(sums: FloatArray, rate: float, powers: FloatArray) -> None:
    """Let ``rate`` packets/s more of these sizes into a queue with these ``sums`` [5]."""
    sums[0] += rate
    sums[1] += rate * powers[0]
    sums[2] += rate * powers[1]
    sums[3] += rate * powers[2]
    sums[4] += rate * powers[3]


@inlined_kernel
def put_in_place(net: Network, moves: Moves, move: int, work: Workspace, touched: Touched) -> None:
    """Take the old paths of the move's demands out of their queues and let the new ones in."""
    touched.paths.length[0] = 0
    touched.queues.length[0] = 0
    touched.ports.length[0] = 0
    touched.demands.length[0] = 0
    for entry in range(moves.pointer[move], moves.pointer[move + 1]):
        demand = moves.demand[entry]
        mark(touched.demands, demand, move)
        for index in range(net.demand_pointer[demand], net.demand_pointer[demand + 1]):
            path = net.demand_paths[index]
            touched.removed[path] = move
            for hop in range(net.hop_pointer[path], net.hop_pointer[path + 1]):
                add(work.sums[net.hop_queue[hop]], -work.rate[hop], net.powers[demand])
                mark(touched.queues, net.hop_queue[hop], move)
                mark(touched.ports, net.hop_link[hop], move)
        for path in range(moves.path_pointer[entry], moves.path_pointer[entry + 1]):
            left = net.flow_rate[demand] * moves.share[path]
            for hop in range(moves.hop_pointer[path], moves.hop_pointer[path + 1]):
                queue = moves.queue[hop]
                touched.added_rate[hop] = left
                add(work.sums[queue], left, net.powers[demand])
                left *= 1 - work.loss[queue]
                mark(touched.queues, queue, move)
                mark(touched.ports, moves.link[hop], move)


@inlined_kernel
def _restore(row: int, base: FloatArray, work: FloatArray) -> None:
    for column in range(base.shape[1]):
        work[row, column] = base[row, column]


@inlined_kernel
def take_back(net: Network, base: Workspace, work: Workspace, touched: Touched) -> None:
    """Make ``work`` again what ``base`` is."""
    for index in range(touched.paths.length[0]):
        path = touched.paths.members[index]
        for hop in range(net.hop_pointer[path], net.hop_pointer[path + 1]):
            work.rate[hop] = base.rate[hop]
    for index in range(touched.queues.length[0]):
        queue = touched.queues.members[index]
        _restore(queue, base.sums, work.sums)
        _restore(queue, base.state, work.state)
        _restore(queue, base.traffic, work.traffic)
        _restore(queue, base.waits, work.waits)
        _restore(queue, base.memory, work.memory)
        work.loss[queue] = base.loss[queue]
        work.bursts[queue] = base.bursts[queue]
        touched.applied[queue] = base.loss[queue]
        touched.solved_packets[queue] = base.sums[queue, 0]
    for index in range(touched.ports.length[0]):
        link = touched.ports.members[index]
        work.busy[link] = base.busy[link]
