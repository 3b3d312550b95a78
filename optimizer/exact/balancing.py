"""Compiled descent on a potential of link utilisations over single paths: nearly optimal routings in a few sweeps.

The potential is sum_e exp(eta u_e), whose logarithm over eta tends to the maximum utilisation as eta grows (within
ln(links) / eta).  One sweep offers every demand the cheapest path at the present marginal prices and takes it where the
potential falls, loads kept current all the while; eta grows from sweep to sweep.  The prices at the end are good duals.
"""

from __future__ import annotations

import math

import numpy as np

from optimizer.exact.compiled import compiled
from optimizer.exact.flow_problem import LinkArray
from optimizer.exact.shortest_paths import shortest_tree
from topology_sync.values import FloatArray, IntArray

LARGEST_EXPONENT = 600.0


@compiled
def link_prices(load: FloatArray, capacity: FloatArray, eta: float, price: FloatArray) -> None:
    """Marginal potential per unit of rate, up to a factor: exp(eta (u_e - max u)) / c_e, into ``price`` [links]."""
    fullest = 0.0
    for link in range(len(load)):
        fullest = max(fullest, load[link] / capacity[link])
    for link in range(len(load)):
        price[link] = math.exp(max(eta * (load[link] / capacity[link] - fullest), -LARGEST_EXPONENT)) / capacity[link]


@compiled
def sweep(
    order: IntArray,
    first: int,
    out_pointer: IntArray,
    out_link: IntArray,
    head: IntArray,
    tail: IntArray,
    capacity: FloatArray,
    source_pointer: IntArray,
    target: IntArray,
    rate: FloatArray,
    delay: FloatArray,
    delay_limit: FloatArray,
    eta: float,
    load: FloatArray,
    start: IntArray,
    length: IntArray,
    links: LinkArray,
    used: int,
) -> tuple[int, int, int]:
    """One sweep over the sources ``order[first:]``.  Path of demand d: ``links[start[d] : start[d] + length[d]]``.

    New paths are appended at ``used``.  Returns (position in order where it stopped because ``links`` is full, or
    len(order); room used; demands moved).
    """
    nodes = len(out_pointer) - 1
    link_count = len(head)
    distance = np.empty(nodes)
    via = np.empty(nodes, dtype=np.int64)
    heap_key = np.empty(link_count + 1)
    heap_node = np.empty(link_count + 1, dtype=np.int64)
    price = np.empty(link_count)
    mark = np.zeros(link_count, dtype=np.int64)
    stamp = 0
    moved = 0
    for position in range(first, len(order)):
        source = order[position]
        if source_pointer[source] == source_pointer[source + 1]:
            continue
        if used + (source_pointer[source + 1] - source_pointer[source]) * nodes > len(links):
            return position, used, moved
        link_prices(load, capacity, eta, price)
        fullest = 0.0
        for link in range(link_count):
            fullest = max(fullest, load[link] / capacity[link])
        shortest_tree(source, out_pointer, out_link, head, price, distance, via, heap_key, heap_node)
        for demand in range(source_pointer[source], source_pointer[source + 1]):
            begin = start[demand]
            end = begin + length[demand]
            present = 0.0
            for hop in range(begin, end):
                present += price[links[hop]]
            if distance[target[demand]] >= present * (1.0 - 1e-9):
                continue
            stamp += 1
            for hop in range(begin, end):
                mark[links[hop]] = stamp
            change = 0.0
            hops = 0
            arrival = 0.0
            node = target[demand]
            while node != source:
                link = via[node]
                hops += 1
                arrival += delay[link]
                if mark[link] == stamp:
                    mark[link] = -stamp  # on both paths
                else:
                    exponent = eta * (load[link] / capacity[link] - fullest)
                    growth = math.expm1(min(eta * rate[demand] / capacity[link], LARGEST_EXPONENT))
                    change += math.exp(min(max(exponent, -LARGEST_EXPONENT), LARGEST_EXPONENT)) * growth
                node = tail[link]
            for hop in range(begin, end):
                link = links[hop]
                if mark[link] == stamp:
                    exponent = eta * (load[link] / capacity[link] - fullest)
                    shrink = math.expm1(-eta * rate[demand] / capacity[link])
                    change += math.exp(min(max(exponent, -LARGEST_EXPONENT), LARGEST_EXPONENT)) * shrink
            if change >= 0.0 or arrival > delay_limit[demand]:
                continue
            for hop in range(begin, end):
                load[links[hop]] -= rate[demand]
            node = target[demand]
            for hop in range(hops - 1, -1, -1):
                link = via[node]
                links[used + hop] = link
                load[link] += rate[demand]
                node = tail[link]
            start[demand] = used
            length[demand] = hops
            used += hops
            moved += 1
    return len(order), used, moved
