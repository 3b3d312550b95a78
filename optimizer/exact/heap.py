"""A binary heap in two arrays, for Dijkstra in kernels: keys in order, each with a node.  Compiled into its callers."""

from __future__ import annotations

from optimizer.exact.compiled import inlined
from topology_sync.values import FloatArray, IntArray


@inlined
def push(key: float, node: int, size: int, heap_key: FloatArray, heap_node: IntArray) -> None:
    """Add an entry to the ``size`` that are there."""
    position = size
    while position > 0:
        parent = (position - 1) >> 1
        if heap_key[parent] <= key:
            break
        heap_key[position] = heap_key[parent]
        heap_node[position] = heap_node[parent]
        position = parent
    heap_key[position] = key
    heap_node[position] = node


@inlined
def drop_first(size: int, heap_key: FloatArray, heap_node: IntArray) -> None:
    """Take the entry with the least key, the first, out of ``size``: the last one is sifted down from the top."""
    size -= 1
    if size <= 0:
        return
    last_key = heap_key[size]
    last_node = heap_node[size]
    position = 0
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size and heap_key[child + 1] < heap_key[child]:
            child += 1
        if heap_key[child] >= last_key:
            break
        heap_key[position] = heap_key[child]
        heap_node[position] = heap_node[child]
        position = child
    heap_key[position] = last_key
    heap_node[position] = last_node
