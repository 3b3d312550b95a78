"""A valid lower bound of the maximum utilisation of any routing, split or not, without a solver.

For any prices y >= 0 of the links, LP duality gives
``max utilisation >= sum_d rate_d dist_y(s_d, t_d) / sum_l y_l c_l``.  Good prices are found by multiplicative
weights (Garg and Koenemann, SIAM J. Comput. 37, 2007): links that cheapest-path routing fills become dearer.  The bound
tightens with every round and is valid after each.
"""

from __future__ import annotations

import time

import numpy as np

from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import BoolArray, FloatArray, IntArray

STEP = 0.2


def utilisation_lower_bound(
    topology: Topology, traffic: TrafficMatrix, usable: BoolArray | None = None, rounds: int = 1000, time_s: float = 0.5
) -> float:
    """No routing over the ``usable`` links [links] has a lower maximum utilisation; 0 without traffic."""
    active = np.nonzero(traffic.rate_bps > 0)[0]
    if not len(active):
        return 0.0
    source, target, rate = traffic.source[active], traffic.target[active], traffic.rate_bps[active]
    links = np.arange(topology.link_count) if usable is None else np.nonzero(usable)[0]
    capacity = topology.capacity_bps[links]
    log_price = np.zeros(len(links))
    deadline = time.monotonic() + time_s
    bound = 0.0
    for turn in range(rounds):
        price = np.exp(log_price - log_price.max(initial=0.0)) / capacity
        distance, next_link = _all_pairs(topology, links, price)
        reached = distance[source, target]
        if not np.isfinite(reached).all():
            return bound
        bound = max(bound, float(rate @ reached) / float(price @ capacity))
        if time.monotonic() > deadline:
            break
        load = np.zeros(topology.link_count)
        here = source.copy()
        while (moving := here != target).any():
            taken = next_link[here[moving], target[moving]]
            np.add.at(load, taken, rate[moving])
            here[moving] = topology.link_target[taken]
        utilisation = load[links] / capacity
        log_price = log_price + np.log1p(STEP / (1 + turn / 50) * utilisation / utilisation.max())
    return bound


def _all_pairs(topology: Topology, links: IntArray, price: FloatArray) -> tuple[FloatArray, IntArray]:
    """Floyd-Warshall: least price [nodes, nodes] and the first link of each way (-1 without)."""
    nodes = topology.node_count
    distance = np.full((nodes, nodes), np.inf)
    next_link = np.full((nodes, nodes), -1, dtype=np.int64)
    for position in np.argsort(-price, kind="stable"):  # the cheapest of parallel links is written last
        link = int(links[position])
        ends = int(topology.link_source[link]), int(topology.link_target[link])
        distance[ends], next_link[ends] = price[position], link
    np.fill_diagonal(distance, 0.0)
    for middle in range(nodes):
        through = distance[:, middle, None] + distance[None, middle, :]
        shorter = through < distance
        distance = np.where(shorter, through, distance)
        next_link = np.where(shorter, next_link[:, middle, None], next_link)
    return distance, next_link
