"""Rounds of a run of moves, compiled: links are priced, urgent demands seek paths of least price, the best are moved.

A link's price is the derivative of the violation score by its load: how much the score grows with the delay, jitter and
loss of every demand on the link, times how much these grow with the load (``promise_prices`` says why).
"""

from __future__ import annotations

import math

import numpy as np

from optimizer.exact.compiled import compiled, inlined
from optimizer.exact.shortest_paths import shortest_tree
from optimizer.goals import SURE
from optimizer.rough_kernel import TAIL, Ground, Memory, Run, carry_out, judge, link_figures, ratio_of
from topology_sync.values import FloatArray, IntArray

STEP = 0.01  # of utilisation, for derivatives
PULLS = (0.05, 0.5, 5.0)  # how much a demand's own delay counts against what its load does to others, in turn
KEPT_GAIN = 0.5  # of what a move promised before others were carried out


@inlined
def slope_of(ratio: float, spread: float) -> float:
    """How fast what a goal adds to the score grows with the ratio of value and goal."""
    if ratio <= math.exp(-SURE * spread):
        return 0.0
    room = math.log(ratio) / spread
    density = math.exp(-0.5 * room * room) / math.sqrt(2.0 * math.pi)
    return (density / spread + 0.5 * math.erfc(-room / math.sqrt(2.0))) / ratio


@compiled
def price_links(run: Run, ground: Ground, price: FloatArray, cost: FloatArray) -> None:
    """``price`` [links]: what one more bit/s adds to the violation score, to first order; ``cost`` [demands]: what a
    demand's load adds on its present paths.
    """
    links, demands = len(run.members), len(ground.rate_bps)
    slope = np.zeros((demands, 3))
    for demand in range(demands):
        if ground.weight[demand] <= 0.0:
            continue
        deviation = math.sqrt(max(run.sums[demand, 1], 1e-18))
        mean_s, lost = run.sums[demand, 0], run.sums[demand, 3]
        delay = ratio_of(mean_s + TAIL * deviation + run.offset[0, demand], 0, demand, ground)
        jitter = ratio_of(deviation + run.offset[1, demand], 1, demand, ground)
        loss = ratio_of(1.0 - math.exp(-lost) + run.offset[2, demand], 2, demand, ground)
        of_delay = ground.weight[demand] * slope_of(delay, ground.sharpest[0]) / ground.unit[0, demand]
        of_jitter = ground.weight[demand] * slope_of(jitter, ground.sharpest[1]) / ground.unit[1, demand]
        of_loss = ground.weight[demand] * slope_of(loss, ground.sharpest[2]) / ground.unit[2, demand]
        slope[demand, 0] = of_delay
        slope[demand, 1] = (TAIL * of_delay + of_jitter) / (2.0 * deviation)
        slope[demand, 2] = of_loss * math.exp(-lost)
    cost[:] = 0.0
    more = np.empty(4)
    for link in range(links):
        mean_s, variance, lost = 0.0, 0.0, 0.0
        for place in range(run.members[link]):
            demand, part = run.member[link, place], run.member_share[link, place]
            mean_s += part * slope[demand, 0]
            variance += part * slope[demand, 1]
            lost += part * slope[demand, 2]
        link_figures(run.load_bps[link] / ground.capacity_bps[link] + STEP, link, ground, more)
        grown = mean_s * (more[0] - run.figure[link, 0])
        grown += variance * (more[1] - run.figure[link, 1]) + lost * (more[3] - run.figure[link, 3])
        price[link] = grown / STEP / ground.capacity_bps[link]
        for place in range(run.members[link]):
            demand = run.member[link, place]
            cost[demand] += run.member_share[link, place] * price[link] * ground.rate_bps[demand]


@compiled
def best_path(
    demand: int,
    cost: float,
    price: FloatArray,
    run: Run,
    ground: Ground,
    memory: Memory,
    tree: tuple[FloatArray, FloatArray, IntArray, FloatArray, IntArray],
    best: IntArray,
    path: IntArray,
) -> tuple[float, int]:
    """The way for a demand that lowers the score most among those of least price, its own delay counted in; writes it
    to ``best`` and returns (change of the score, hops), (0, 0) where none lowers it.
    """
    weight, distance, via, heap_key, heap_node = tree
    source, target = ground.source[demand], ground.target[demand]
    least, length = 0.0, 0
    delay_s = max(run.sums[demand, 0], 1e-12)
    pull = max(cost, run.severity[demand], 1e-12)
    for index in range(len(PULLS)):
        own = PULLS[index] * pull / delay_s
        for link in range(len(price)):
            barred = not ground.allowed[link]
            tail, head = ground.tail[link], ground.head[link]
            barred = barred or (ground.end_only[tail] and tail != source) or (ground.end_only[head] and head != target)
            weight[link] = np.inf
            if not barred:
                weight[link] = ground.rate_bps[demand] * price[link] + own * run.figure[link, 0]
        shortest_tree(
            source, ground.out_pointer, ground.out_link, ground.head, weight, distance, via, heap_key, heap_node
        )
        if not math.isfinite(distance[target]):
            return 0.0, 0
        hops, node, same = 0, target, True
        while node != source:
            path[hops] = via[node]
            same = same and run.share[demand, via[node]] == 1.0
            hops += 1
            node = ground.tail[via[node]]
        if same:
            continue
        change = judge(demand, path, hops, run, ground, memory)
        if change < least:
            least, length = change, hops
            for hop in range(hops):
                best[hop] = path[hops - 1 - hop]
    return least, length


@compiled
def descend(
    tried: int,
    most: int,
    worth: float,
    run: Run,
    ground: Ground,
    memory: Memory,
    moved: IntArray,
    hops: IntArray,
    paths: IntArray,
) -> int:
    """One round of a run: look at the ``tried`` movable demands that cost most, carry out up to ``most`` of their best
    moves as long as each lowers the score by ``worth``.  Returns how many were carried out; ``moved`` [most] says of
    which demands, ``paths`` [most, links] where to, ``hops`` [most] how long.
    """
    links, demands = len(run.members), len(ground.rate_bps)
    nodes = len(ground.out_pointer) - 1
    price, cost = np.empty(links), np.empty(demands)
    price_links(run, ground, price, cost)
    urgency = np.zeros(demands)
    for demand in range(demands):
        if run.movable[demand] and ground.rate_bps[demand] > 0.0:
            urgency[demand] = -(cost[demand] + run.severity[demand])
    order = np.argsort(urgency)[:tried]
    tree = (
        np.empty(links),
        np.empty(nodes),
        np.empty(nodes, dtype=np.int64),
        np.empty(links + 1),
        np.empty(links + 1, dtype=np.int64),
    )
    path = np.empty(links, dtype=np.int64)
    change, length = np.zeros(len(order)), np.zeros(len(order), dtype=np.int64)
    best = np.empty((len(order), links), dtype=np.int64)
    for index in range(len(order)):
        demand = order[index]
        if urgency[demand] < 0.0:
            change[index], length[index] = best_path(
                demand, cost[demand], price, run, ground, memory, tree, best[index], path
            )
    done = 0
    for index in np.argsort(change):
        if done == most or change[index] > -worth:
            break
        demand = order[index]
        now = judge(demand, best[index], length[index], run, ground, memory)
        if now > -worth or now > KEPT_GAIN * change[index]:
            continue
        carry_out(demand, best[index], length[index], run, ground, memory)
        moved[done] = demand
        hops[done] = length[index]
        paths[done, : length[index]] = best[index, : length[index]]
        done += 1
    return done
