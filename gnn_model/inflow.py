"""Where a port's traffic comes from: packets that share the link before arrive one after the other.

They leave that link no closer than its transmission times and so hardly wait for each other at the next port, unless
that one is slower.  The fixed point takes all arrivals at a port as independent; these numbers tell how far they are
from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from topology_sync.topology import Topology
from topology_sync.values import BoolArray, FloatArray, IntArray

STEP_LIMIT = 4.0
MOST_SUPPLY = 8.0  # capacities of links before, in capacities of the port


@dataclass(frozen=True)
class Inflow:
    """Per hop [hops] and per link of the topology [links].

    ``first`` hop of its path; ``same_part`` of the port's load that came along the same link before as this hop's
    packets; ``capacity_step``: logarithm of that link's capacity over the port's (both 0 at a first hop).

    ``fresh``: part of the port's load that enters the network here; ``concentration``: sum of the squared parts that
    come along each link; ``kept``: part of what the links before carry that goes on to this port, weighted by load;
    ``inputs``: number of links that load comes along, ``supply``: their capacity, in capacities of the port.
    """

    first: BoolArray
    same_part: FloatArray
    capacity_step: FloatArray
    fresh: FloatArray
    concentration: FloatArray
    kept: FloatArray
    inputs: IntArray
    supply: FloatArray

    @classmethod
    def of(cls, topology: Topology, pointer: IntArray, hop_link: IntArray, load: FloatArray) -> Inflow:
        """Paths as hops ``pointer[p]:pointer[p + 1]`` over ``hop_link`` [hops] with the ``load`` [hops] they bring."""
        links, capacity = topology.link_count, topology.capacity_bps
        first = np.zeros(len(hop_link) + 1, dtype=np.bool_)
        first[pointer[:-1]] = True
        first = first[:-1]
        before = np.concatenate([hop_link[:1], hop_link[:-1]])
        # Links into a node are numbered, so that (link before, link) is one small number.
        order = np.argsort(topology.link_target, kind="stable")
        counts = np.bincount(topology.link_target, minlength=topology.node_count)
        starts = np.cumsum(counts) - counts
        number = np.empty(links, dtype=np.int64)
        number[order] = np.arange(links) - starts[topology.link_target[order]]
        most = max(int(counts.max(initial=1)), 1)
        pair = hop_link * most + number[before]
        bits = load * capacity[hop_link]
        port = np.bincount(hop_link, weights=bits, minlength=links)
        some = np.where(port > 0, port, 1.0)
        through = np.bincount(pair, weights=np.where(first, 0.0, bits), minlength=links * most)
        part = through.reshape(links, most) / some[:, None]
        # The link behind each number, seen from the port: that into the port's source node.
        source = starts[topology.link_source][:, None] + np.arange(most)
        behind = order[np.minimum(source, max(links - 1, 0))]
        used = part > 0
        upstream = port[behind]
        kept = np.where(used, through.reshape(links, most) / np.where(upstream > 0, upstream, 1.0), 0.0)
        supply = np.where(used, capacity[behind] / capacity[:, None], 0.0).sum(axis=1)
        step = np.clip(np.log(capacity[before] / capacity[hop_link]), -STEP_LIMIT, STEP_LIMIT)
        return cls(
            first=first,
            same_part=np.where(first, 0.0, part.reshape(-1)[pair]),
            capacity_step=np.where(first, 0.0, step),
            fresh=np.where(port > 0, np.maximum(1 - part.sum(axis=1), 0.0), 1.0),
            concentration=(part**2).sum(axis=1),
            kept=np.minimum((part * kept).sum(axis=1), 1.0),
            inputs=used.sum(axis=1),
            supply=np.minimum(supply, MOST_SUPPLY),
        )
