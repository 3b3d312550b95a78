"""The rough queue model of ``screening``, compiled: tens of thousands of moves a second.

The same figures of every link (mean time, its variance, longest delay, loss) and the same values of every demand are
kept up to date while moves are carried out one after the other; a move is judged by the links that it changes and the
demands on them.  Every demand moves at most once in a run, so that ``share`` may stay that of the routing it began at.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from optimizer.exact.compiled import compiled, inlined
from optimizer.goals import EXCESS_CAP, VIOLATION_TOLERANCE
from optimizer.screening import LARGEST_LOAD
from topology_sync.values import BoolArray, FloatArray, IntArray

TAIL = 3.0  # deviations above the mean


class Ground(NamedTuple):
    """What stays while a search moves demands: links, demands and their goals, as ``LoadScreen`` has them.

    ``unit`` [3, demands] is what excess is relative to; ``spread`` [3] that of predictions, all 0 where they are taken
    at their word, ``sure`` [3] the ratio of value and goal below which one counts as kept for certain; ``sharpest`` [3]
    the least spread that derivatives are taken with.
    """

    out_pointer: IntArray
    out_link: IntArray
    head: IntArray
    tail: IntArray
    allowed: BoolArray
    end_only: BoolArray
    capacity_bps: FloatArray
    room: FloatArray
    delay_s: FloatArray
    longest_s: FloatArray
    source: IntArray
    target: IntArray
    rate_bps: FloatArray
    limit: FloatArray
    unit: FloatArray
    weight: FloatArray
    spread: FloatArray
    sure: FloatArray
    sharpest: FloatArray
    packet_bits: float
    waiting_factor: float


class Run(NamedTuple):
    """Where a run of moves stands.  ``member`` and ``member_share`` [links, room] list the demands on each link,
    ``members`` [links] how many; ``figure`` [links, 4] and ``sums`` [demands, 4] are mean time, variance, longest delay
    and -ln(1 - loss); ``offset`` [3, demands] what the predictor says beyond them.
    """

    share: FloatArray
    member: IntArray
    member_share: FloatArray
    members: IntArray
    load_bps: FloatArray
    figure: FloatArray
    sums: FloatArray
    offset: FloatArray
    severity: FloatArray
    movable: BoolArray


class Memory(NamedTuple):
    """Room that kernels work in; ``row`` [links] is all 0 between calls."""

    change: FloatArray  # [demands, 4]
    mark: IntArray  # [demands]
    touched: IntArray  # [demands + 1], those before the first -1
    stamp: IntArray  # [1]
    row: FloatArray  # [links]
    changed: IntArray  # [links + 1], those before the first -1
    after: FloatArray  # [links, 4]


@inlined
def link_figures(utilisation: float, link: int, ground: Ground, into: FloatArray) -> None:
    """Mean time, its variance, longest delay and -ln(1 - loss) of a link, as ``LoadScreen`` has them."""
    service_s = ground.packet_bits / ground.capacity_bps[link]
    size = ground.room[link]
    rho = min(max(utilisation, 1e-9), LARGEST_LOAD)
    if abs(rho - 1.0) < 1e-6:
        rho = 1.0 + 1e-6
    power = min(rho**size, 1e250)
    if rho < 1.0:
        loss = (1.0 - rho) * power / (1.0 - rho * power)
        full = rho * power / (1.0 - rho * power)
    else:
        loss = (rho - 1.0) / (rho - 1.0 / power)
        full = -1.0 / (1.0 - 1.0 / (rho * power))
    in_system = rho / (1.0 - rho) - (size + 1.0) * full
    sojourn_s = max(in_system, 0.0) * service_s / (rho * max(1.0 - loss, 1e-9))
    time_s = service_s + max(sojourn_s - service_s, 0.0) * ground.waiting_factor
    into[0] = time_s + ground.delay_s[link]
    into[1] = time_s * time_s
    into[2] = ground.longest_s[link]
    into[3] = -math.log1p(-min(loss, 1.0 - 1e-12))


@inlined
def ratio_of(value: float, kind: int, demand: int, ground: Ground) -> float:
    """A value over its goal, 0 where nothing is promised."""
    limit = ground.limit[kind, demand]
    if not math.isfinite(limit):
        return 0.0
    ratio: float = 1.0 + (value - limit) / ground.unit[kind, demand]
    return min(max(ratio, 0.0), EXCESS_CAP)


@compiled
def severity_of(
    mean_s: float, variance: float, longest_s: float, lost: float, demand: int, offset: FloatArray, ground: Ground
) -> float:
    """What a demand with these sums adds to the violation score."""
    deviation = math.sqrt(max(variance, 0.0))
    total = 0.0
    for kind in range(3):
        if not math.isfinite(ground.limit[kind, demand]):
            continue
        if kind == 0:
            value = min(mean_s + TAIL * deviation, longest_s)
        elif kind == 1:
            value = deviation
        else:
            value = 1.0 - math.exp(-lost)
        ratio = ratio_of(value + offset[kind, demand], kind, demand, ground)
        spread = ground.spread[kind]
        if spread <= 0.0:
            if ratio - 1.0 > VIOLATION_TOLERANCE:
                total += 1.0 + math.log(ratio)
        elif ratio > ground.sure[kind]:
            room = math.log(ratio) / spread
            below = 0.5 * math.erfc(-room / math.sqrt(2.0))
            density = math.exp(-0.5 * room * room) / math.sqrt(2.0 * math.pi)
            total += below * (1.0 + room * spread) + spread * density
    weighted: float = total * ground.weight[demand]
    return weighted


@compiled
def begin(run: Run, ground: Ground) -> bool:
    """Fill in everything but ``share``, ``load_bps``, ``offset`` and ``movable``; False where ``member`` is too small.

    ``severity`` is without goals 0.
    """
    demands, links = run.share.shape
    for link in range(links):
        link_figures(run.load_bps[link] / ground.capacity_bps[link], link, ground, run.figure[link])
    run.members[:] = 0
    for demand in range(demands):
        total0, total1, total2, total3 = 0.0, 0.0, 0.0, 0.0
        for link in range(links):
            part = run.share[demand, link]
            if part == 0.0:
                continue
            total0 += part * run.figure[link, 0]
            total1 += part * run.figure[link, 1]
            total2 += part * run.figure[link, 2]
            total3 += part * run.figure[link, 3]
            place = run.members[link]
            if place >= run.member.shape[1]:
                return False
            run.member[link, place] = demand
            run.member_share[link, place] = part
            run.members[link] = place + 1
        run.sums[demand, 0], run.sums[demand, 1] = total0, total1
        run.sums[demand, 2], run.sums[demand, 3] = total2, total3
        run.severity[demand] = 0.0
        if ground.weight[demand] > 0.0:
            run.severity[demand] = severity_of(total0, total1, total2, total3, demand, run.offset, ground)
    return True


@compiled
def judge(demand: int, path: IntArray, hops: int, run: Run, ground: Ground, memory: Memory) -> float:
    """By how much the violation score changes if a demand takes this path alone.

    Leaves in ``memory`` what ``carry_out`` needs.
    """
    links = len(run.members)
    row, changed, after = memory.row, memory.changed, memory.after
    for index in range(hops):
        row[path[index]] = 1.0
    memory.stamp[0] += 1
    stamp = memory.stamp[0]
    found = 0
    own0, own1, own2, own3 = 0.0, 0.0, 0.0, 0.0
    touched = 0
    for link in range(links):
        before, part = run.share[demand, link], row[link]
        if before != part:
            load = run.load_bps[link] + ground.rate_bps[demand] * (part - before)
            link_figures(load / ground.capacity_bps[link], link, ground, after[link])
            changed[found] = link
            found += 1
            mean_s, variance = after[link, 0] - run.figure[link, 0], after[link, 1] - run.figure[link, 1]
            lost = after[link, 3] - run.figure[link, 3]
            for place in range(run.members[link]):
                other = run.member[link, place]
                if ground.weight[other] <= 0.0:
                    continue
                if memory.mark[other] != stamp:
                    memory.mark[other] = stamp
                    memory.touched[touched] = other
                    touched += 1
                    memory.change[other, 0] = 0.0
                    memory.change[other, 1] = 0.0
                    memory.change[other, 3] = 0.0
                share = run.member_share[link, place]
                memory.change[other, 0] += share * mean_s
                memory.change[other, 1] += share * variance
                memory.change[other, 3] += share * lost
            if part > 0.0:
                own0 += after[link, 0]
                own1 += after[link, 1]
                own2 += after[link, 2]
                own3 += after[link, 3]
        elif part > 0.0:
            own0 += run.figure[link, 0]
            own1 += run.figure[link, 1]
            own2 += run.figure[link, 2]
            own3 += run.figure[link, 3]
    for index in range(hops):
        row[path[index]] = 0.0
    changed[found] = -1
    total = 0.0
    for index in range(touched):
        other = memory.touched[index]
        if other != demand:
            total += (
                severity_of(
                    run.sums[other, 0] + memory.change[other, 0],
                    run.sums[other, 1] + memory.change[other, 1],
                    run.sums[other, 2],
                    run.sums[other, 3] + memory.change[other, 3],
                    other,
                    run.offset,
                    ground,
                )
                - run.severity[other]
            )
    if ground.weight[demand] > 0.0:
        total += severity_of(own0, own1, own2, own3, demand, run.offset, ground) - run.severity[demand]
    memory.touched[touched] = -1
    memory.change[demand, 0], memory.change[demand, 1] = own0, own1
    memory.change[demand, 2], memory.change[demand, 3] = own2, own3
    return total


@compiled
def carry_out(demand: int, path: IntArray, hops: int, run: Run, ground: Ground, memory: Memory) -> None:
    """Let a demand that ``judge`` has looked at last take its path; links need room for one more member."""
    for index in range(len(memory.touched)):
        other = memory.touched[index]
        if other < 0:
            break
        if other == demand:
            continue
        run.sums[other, 0] += memory.change[other, 0]
        run.sums[other, 1] += memory.change[other, 1]
        run.sums[other, 3] += memory.change[other, 3]
        run.severity[other] = severity_of(
            run.sums[other, 0], run.sums[other, 1], run.sums[other, 2], run.sums[other, 3], other, run.offset, ground
        )
    run.sums[demand] = memory.change[demand]
    if ground.weight[demand] > 0.0:
        own = run.sums[demand]
        run.severity[demand] = severity_of(own[0], own[1], own[2], own[3], demand, run.offset, ground)
    for index in range(hops):
        memory.row[path[index]] = 1.0
    for index in range(len(memory.changed)):
        link = memory.changed[index]
        if link < 0:
            break
        before, part = run.share[demand, link], memory.row[link]
        run.load_bps[link] += ground.rate_bps[demand] * (part - before)
        run.figure[link] = memory.after[link]
        place = 0
        while place < run.members[link] and run.member[link, place] != demand:
            place += 1
        if part > 0.0:
            run.member[link, place] = demand
            run.member_share[link, place] = part
            run.members[link] = max(run.members[link], place + 1)
        else:
            last = run.members[link] - 1
            run.member[link, place] = run.member[link, last]
            run.member_share[link, place] = run.member_share[link, last]
            run.members[link] = last
    for index in range(hops):
        memory.row[path[index]] = 0.0
    run.movable[demand] = False
