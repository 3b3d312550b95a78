"""Compiled shortest paths over prices of links: one tree per source, distances and paths of demands read off it.

Arrays everywhere: ``out_pointer`` [nodes + 1] and ``out_link`` [links] list the links that leave a node, ``head``
[links] is where a link ends, ``tail`` [links] where it begins.
"""

from __future__ import annotations

import numpy as np

from optimizer.exact.compiled import compiled
from optimizer.exact.flow_problem import LinkArray
from optimizer.exact.heap import drop_first, push
from topology_sync.values import FloatArray, IntArray


@compiled
def shortest_tree(
    source: int,
    out_pointer: IntArray,
    out_link: IntArray,
    head: IntArray,
    weight: FloatArray,
    distance: FloatArray,
    via: LinkArray | IntArray,
    heap_key: FloatArray,
    heap_node: IntArray,
) -> None:
    """Dijkstra from ``source``: fills ``distance`` [nodes] (infinite where there is no way) and ``via`` [nodes], the
    link by which the tree reaches a node, -1 at the source.  The heap needs room for links + 1 entries.
    """
    distance[:] = np.inf
    via[:] = -1
    distance[source] = 0.0
    heap_key[0] = 0.0
    heap_node[0] = source
    size = 1
    while size > 0:
        key = heap_key[0]
        node = heap_node[0]
        drop_first(size, heap_key, heap_node)
        size -= 1
        if key > distance[node]:
            continue
        for index in range(out_pointer[node], out_pointer[node + 1]):
            link = out_link[index]
            end = head[link]
            reached = key + weight[link]
            if reached < distance[end]:
                distance[end] = reached
                via[end] = link
                push(reached, end, size, heap_key, heap_node)
                size += 1


@compiled
def price_demands(
    first_source: int,
    last_source: int,
    out_pointer: IntArray,
    out_link: IntArray,
    head: IntArray,
    weight: FloatArray,
    source_pointer: IntArray,
    target: IntArray,
    demand_distance: FloatArray,
    via: LinkArray,
) -> None:
    """Least price of a way for every demand whose source is in ``first_source``..``last_source`` - 1.

    Demands are sorted by source, ``source_pointer`` [nodes + 1] says where those of a source begin.  Fills
    ``demand_distance`` [demands] and the trees ``via`` [nodes, nodes].
    """
    nodes = len(out_pointer) - 1
    distance = np.empty(nodes)
    heap_key = np.empty(len(head) + 1)
    heap_node = np.empty(len(head) + 1, dtype=np.int64)
    for source in range(first_source, last_source):
        if source_pointer[source] == source_pointer[source + 1]:
            continue
        shortest_tree(source, out_pointer, out_link, head, weight, distance, via[source], heap_key, heap_node)
        for demand in range(source_pointer[source], source_pointer[source + 1]):
            demand_distance[demand] = distance[target[demand]]


@compiled
def tree_paths(
    chosen: IntArray,
    source: IntArray,
    target: IntArray,
    tail: IntArray,
    via: LinkArray,
    pointer: IntArray,
    links: LinkArray,
) -> int:
    """Write the tree paths of the ``chosen`` demands behind each other into ``links``; ``pointer`` [chosen + 1].

    Returns the room that is needed; where ``links`` is too small nothing is valid.
    """
    used = 0
    for position in range(len(chosen)):
        pointer[position] = used
        demand = chosen[position]
        tree = via[source[demand]]
        length = 0
        node = target[demand]
        while node != source[demand]:
            length += 1
            node = tail[tree[node]]
        if used + length <= len(links):
            node = target[demand]
            for hop in range(length - 1, -1, -1):
                links[used + hop] = tree[node]
                node = tail[tree[node]]
        used += length
    pointer[len(chosen)] = used
    return used


@compiled
def path_prices(pointer: IntArray, links: LinkArray, weight: FloatArray, price: FloatArray) -> None:
    """Sum of ``weight`` over each path, into ``price`` [paths]."""
    for path in range(len(price)):
        total = 0.0
        for hop in range(pointer[path], pointer[path + 1]):
            total += weight[links[hop]]
        price[path] = total
