"""Compiled local search over single paths: bring every link to a target utilisation by re-routing one demand at a time.

The cost of a routing is sum_e w_e max(0, u_e - target).  A step takes an overloaded link and moves, of the demands over
it, the one whose best other path lowers that cost most; the best path of a demand is exact, since the cost that a
demand adds is a sum over links (one Dijkstra).  Where no move helps, the weights w of the overloaded links grow until
one does (the breakout method: Morris, AAAI 1993), which leads out of local minima and makes chains and exchanges.
"""

from __future__ import annotations

import numpy as np

from optimizer.exact.compiled import compiled
from optimizer.exact.flow_problem import LinkArray
from optimizer.exact.heap import drop_first, push
from topology_sync.values import FloatArray, IntArray

SPREAD = 1e-6  # what a path pays per utilisation it adds below the target, so that ties go to emptier links
EVERY_DEMAND = 48  # demands over a link beyond this many are sampled


@compiled
def next_random(state: IntArray) -> int:
    """A 31-bit number from the generator of Lehmer with 64 bits (Knuth's MMIX constants)."""
    state[0] = state[0] * 6364136223846793005 + 1442695040888963407
    return int((state[0] >> 33) & 0x7FFFFFFF)


@compiled
def cheapest_way(
    source: int,
    target: int,
    barred: int,
    rate: float,
    goal: float,
    out_pointer: IntArray,
    out_link: IntArray,
    head: IntArray,
    capacity: FloatArray,
    load: FloatArray,
    weight: FloatArray,
    distance: FloatArray,
    via: IntArray,
    heap_key: FloatArray,
    heap_node: IntArray,
) -> float:
    """Least cost that ``rate`` adds on a way around the link ``barred``; ``via`` [nodes] leads back from target."""
    distance[:] = np.inf
    distance[source] = 0.0
    heap_key[0] = 0.0
    heap_node[0] = source
    size = 1
    while size > 0:
        key = heap_key[0]
        node = heap_node[0]
        if node == target:
            return float(key)
        drop_first(size, heap_key, heap_node)
        size -= 1
        if key > distance[node]:
            continue
        for index in range(out_pointer[node], out_pointer[node + 1]):
            link = out_link[index]
            if link == barred:
                continue
            before = load[link] / capacity[link]
            after = (load[link] + rate) / capacity[link]
            cost = SPREAD * after
            if after > goal:
                cost += weight[link] * (after - max(before, goal))
            reached = key + cost
            end = head[link]
            if reached < distance[end]:
                distance[end] = reached
                via[end] = link
                push(reached, end, size, heap_key, heap_node)
                size += 1
    return np.inf


@compiled
def repair(
    steps: int,
    goal: float,
    best_value: float,
    state: IntArray,
    out_pointer: IntArray,
    out_link: IntArray,
    head: IntArray,
    tail: IntArray,
    capacity: FloatArray,
    source: IntArray,
    target: IntArray,
    rate: FloatArray,
    delay: FloatArray,
    delay_limit: FloatArray,
    load: FloatArray,
    weight: FloatArray,
    tabu: IntArray,
    clock: int,
    slots: LinkArray,
    length: IntArray,
    best_slots: LinkArray,
    best_length: IntArray,
) -> tuple[float, int]:
    """Up to ``steps`` steps towards ``goal``; paths are ``slots[d, :length[d]]``, the best seen goes to ``best_*``.

    Returns the best maximum utilisation so far and the clock (steps since the search began, for ``tabu``).  Stops early
    when every link is at the goal.
    """
    nodes = len(out_pointer) - 1
    links = len(head)
    demands = len(rate)
    distance = np.empty(nodes)
    via = np.empty(nodes, dtype=np.int64)
    best_via = np.empty(nodes, dtype=np.int64)
    heap_key = np.empty(links + 1)
    heap_node = np.empty(links + 1, dtype=np.int64)
    crossing = np.empty(demands, dtype=np.int64)
    over = np.empty(links, dtype=np.int64)
    for _ in range(steps):
        clock += 1
        fullest = 0.0
        count = 0
        for link in range(links):
            utilisation = load[link] / capacity[link]
            fullest = max(fullest, utilisation)
            if utilisation > goal * (1.0 + 1e-9):
                over[count] = link
                count += 1
        if fullest < best_value * (1.0 - 1e-9):
            best_value = fullest
            best_length[:] = length
            for demand in range(demands):
                for hop in range(length[demand]):
                    best_slots[demand, hop] = slots[demand, hop]
        if count == 0:
            return best_value, clock
        hot = over[next_random(state) % count]
        found = 0
        for demand in range(demands):
            if tabu[demand] < clock:
                for hop in range(length[demand]):
                    if slots[demand, hop] == hot:
                        crossing[found] = demand
                        found += 1
                        break
        best_change = np.inf
        best_demand = -1
        ties = 0
        tried = min(found, EVERY_DEMAND)
        for position in range(tried):
            if found > EVERY_DEMAND:
                other = position + next_random(state) % (found - position)
                crossing[position], crossing[other] = crossing[other], crossing[position]
            demand = crossing[position]
            gain = 0.0
            for hop in range(length[demand]):
                link = slots[demand, hop]
                before = load[link] / capacity[link]
                load[link] -= rate[demand]
                gain += SPREAD * before
                if before > goal:
                    gain += weight[link] * (before - max(load[link] / capacity[link], goal))
            cost = cheapest_way(
                source[demand],
                target[demand],
                hot,
                rate[demand],
                goal,
                out_pointer,
                out_link,
                head,
                capacity,
                load,
                weight,
                distance,
                via,
                heap_key,
                heap_node,
            )
            for hop in range(length[demand]):
                load[slots[demand, hop]] += rate[demand]
            change = cost - gain
            if change <= best_change and delay_limit[demand] < np.inf:
                arrival = 0.0
                node = target[demand]
                while cost < np.inf and node != source[demand]:
                    arrival += delay[via[node]]
                    node = tail[via[node]]
                if arrival > delay_limit[demand]:
                    continue
            if change == best_change:
                ties += 1
            if change < best_change or (change == best_change and next_random(state) % (ties + 1) == 0):
                if change < best_change:
                    ties = 0
                best_change = change
                best_demand = demand
                best_via[:] = via
        if best_demand < 0 or best_change >= -1e-12:
            for index in range(count):
                weight[over[index]] += 1.0
            if best_demand < 0 or best_change == np.inf or next_random(state) % 8 != 0:
                continue
        demand = best_demand
        hops = 0
        node = target[demand]
        while node != source[demand]:
            hops += 1
            node = tail[best_via[node]]
        if hops > slots.shape[1]:
            tabu[demand] = clock + 100
            continue
        for hop in range(length[demand]):
            load[slots[demand, hop]] -= rate[demand]
        length[demand] = hops
        node = target[demand]
        for hop in range(hops - 1, -1, -1):
            link = best_via[node]
            slots[demand, hop] = link
            load[link] += rate[demand]
            node = tail[link]
        tabu[demand] = clock + 1 + next_random(state) % 10
    return best_value, clock
