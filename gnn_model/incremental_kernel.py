"""Moves of a few demands judged against a solved routing: only what a move reaches is worked out again.

A move is put in place (``moves_kernel``), its effect on queues is followed (``followed_kernel``), every demand with a
path through a queue that changed is judged anew (``demand_kernel``), and the move is taken back.
"""

from __future__ import annotations

from typing import NamedTuple

from gnn_model.analytic_kernel import waiting_times
from gnn_model.analytic_queues import NOTHING
from gnn_model.compiled import allocation_free, inlined_kernel, kernel
from gnn_model.demand_kernel import DemandScratch, demand_scratch, judge_demand
from gnn_model.followed_kernel import Limits, PortScratch, follow, port_scratch
from gnn_model.moves_kernel import (
    Moves,
    Network,
    Touched,
    Workspace,
    mark,
    nothing_touched,
    put_in_place,
    take_back,
)
from gnn_model.path_kernel import remember_queue
from topology_sync.values import FloatArray, IntArray


class Judged(NamedTuple):
    """Results, those of a move one after the other."""

    counts: IntArray  # [moves]: how many demands of each
    demand: IntArray  # [room]
    values: FloatArray  # [room, demand_kernel.VALUES]


@inlined_kernel
def _reach_demands(
    net: Network, base: Workspace, move: int, tolerance: float, work: Workspace, touched: Touched
) -> None:
    """Waits of the ports that were solved, and which demands they reach."""
    queues = len(work.loss) // len(net.capacity)
    for index in range(touched.ports.length[0]):
        link = touched.ports.members[index]
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
            if not same:
                for place in range(net.queue_pointer[queue], net.queue_pointer[queue + 1]):
                    mark(touched.demands, net.path_demand[net.hop_path[net.queue_hops[place]]], move)
    for index in range(touched.paths.length[0]):
        mark(touched.demands, net.path_demand[touched.paths.members[index]], move)


@allocation_free
def _judge_each(
    net: Network,
    base: Workspace,
    work: Workspace,
    begin: int,
    end: int,
    moves: Moves,
    limits: Limits,
    touched: Touched,
    ports: PortScratch,
    demands: DemandScratch,
    found: Judged,
) -> int:
    total = 0
    for move in range(begin, end):
        put_in_place(net, moves, move, work, touched)
        follow(net, moves, move, limits, work, touched, ports)
        _reach_demands(net, base, move, limits.tolerance, work, touched)
        count, first = touched.demands.length[0], moves.pointer[move]
        room = total + count <= len(found.demand)
        for index in range(count if room else 0):
            demand = touched.demands.members[index]
            entry = first + index if first + index < moves.pointer[move + 1] else -1
            judge_demand(net, moves, work, demands, demand, entry, found.values[total])
            found.demand[total] = demand
            total += 1
        found.counts[move] = count
        take_back(net, base, work, touched)
        if not room:
            return -1
    return total


@kernel
def judge_moves(
    net: Network, base: Workspace, work: Workspace, begin: int, end: int, moves: Moves, limits: Limits, found: Judged
) -> int:
    """Judge the moves ``begin:end``, the demands that move first and in the move's order.

    ``work`` is a copy of ``base`` and is one again afterwards.  Returns how many demands were judged, or -1 where
    ``found`` has no room for them.
    """
    touched = nothing_touched(net, base, moves)
    ports, demands = port_scratch(net, base), demand_scratch(net, moves)
    return _judge_each(net, base, work, begin, end, moves, limits, touched, ports, demands, found)
