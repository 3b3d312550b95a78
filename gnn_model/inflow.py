"""Where a port's traffic comes from: packets that share the link before arrive one after the other.

They leave that link no closer than its transmission times and so hardly wait for each other at the next port, unless
that one is slower.  The fixed point takes all arrivals at a port as independent; these numbers tell how far they are
from it.
"""

from __future__ import annotations

from collections.abc import Callable
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
        port: FloatArray = np.bincount(hop_link, weights=load * capacity[hop_link], minlength=links).astype(np.float64)
        return cls.at(topology, np.arange(links), hop_link, before, first, load, lambda behind: port[behind])

    @classmethod
    def at(
        cls,
        topology: Topology,
        link: IntArray,
        hop_port: IntArray,
        before: IntArray,
        first: BoolArray,
        load: FloatArray,
        upstream: Callable[[IntArray], FloatArray],
    ) -> Inflow:
        """The same for ports at ``link`` [ports], from all hops there.

        Hops say their port, the link ``before`` (any where they are ``first``) and their ``load``; ``upstream`` gives
        the bit/s that links [ports, most links into a node] carry in all.
        """
        links, ports, capacity = topology.link_count, len(link), topology.capacity_bps
        # Links into a node are numbered, so that (link before, link) is one small number.
        order = np.argsort(topology.link_target, kind="stable")
        counts = np.bincount(topology.link_target, minlength=topology.node_count)
        starts = np.cumsum(counts) - counts
        number = np.empty(links, dtype=np.int64)
        number[order] = np.arange(links) - starts[topology.link_target[order]]
        most = max(int(counts.max(initial=1)), 1)
        pair = hop_port * most + number[before]
        bits = load * capacity[link[hop_port]]
        port = np.bincount(hop_port, weights=bits, minlength=ports)
        some = np.where(port > 0, port, 1.0)
        through = np.bincount(pair, weights=np.where(first, 0.0, bits), minlength=ports * most).reshape(ports, most)
        part = through / some[:, None]
        # The link behind each number, seen from the port: that into the port's source node.
        source = starts[topology.link_source[link]][:, None] + np.arange(most)
        behind = order[np.minimum(source, max(links - 1, 0))]
        used = part > 0
        carried = upstream(behind)
        kept = np.where(used, through / np.where(carried > 0, carried, 1.0), 0.0)
        supply = np.where(used, capacity[behind] / capacity[link][:, None], 0.0).sum(axis=1)
        step = np.clip(np.log(capacity[before] / capacity[link[hop_port]]), -STEP_LIMIT, STEP_LIMIT)
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
