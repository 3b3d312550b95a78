"""A measurement on real routers as arrays for a graph network: flows, links, and a simple queue at each link.

Unlike a scenario's graph (:mod:`gnn_model.graph_tensors`) this one has a time unit of its own, 10 microseconds: buffers
and the routers' own delays are facts of these devices and do not scale with the traffic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gnn_model.datanet.testbed import TestbedSample
from topology_sync.values import BoolArray, FloatArray, IntArray

Features = npt.NDArray[np.float32]

UNIT_S = 1e-5
ACCESS_BPS = 1e9  # routers meet switches at this rate; faster links join the switches and the traffic generator
TYPICAL_BITS = 6000.0
BUSIEST = 0.98
THROUGH_DEVICE = 1.0  # packet times that a packet spends in a device without any queue
THINNING_ROUNDS = 8
FLOW_FEATURES = (
    "constant_rate",
    "log_rate",
    "log_packets_per_s",
    "log_size",
    "hops",
    "busiest_load",
    "log_room_at_busiest",
    "rate_over_room",
    "overloaded_links",
    "busiest_burst_load",
)
HOP_FEATURES = (
    "log_part_of_queue",
    "position",
    "from_end",
    "odd_access_link",
    "constant_rate",
    "load_before",
    "log_size_ratio",
    "queue_comes_same_way",
    "first_access_link",
)
LINK_FEATURES = (
    "load",
    "carried_load",
    "log_distance_to_full",
    "overload",
    "constant_load",
    "burst_load",
    "log_flows",
    "burst_deviation",
    "constant_deviation",
    "largest_burst",
    "room_over_deviation",
    "log_mean_size",
    "size_variation",
    "log_ways_in",
    "log_capacity_in",
    "largest_way_in",
    "fresh_part",
    "odd_access_link",
    "access",
    "log_capacity",
)


@dataclass(frozen=True)
class RouterGraph:
    """One sample; the hops of flow f are ``hop_pointer[f]:hop_pointer[f + 1]`` in order of travel.  Times in UNIT_S.

    ``flow_transmission``: own size over the capacities of the way; ``link_wait``: what a simple queue would add at each
    link, which the network corrects by a factor; ``hop_weight``: the flow's part of the link's packets; ``delay``:
    measured mean, NaN where there is none.
    """

    collection: str
    fold: int
    flow_features: Features  # [flows, len(FLOW_FEATURES)]
    flow_transmission: Features  # [flows]
    hop_pointer: IntArray  # [flows + 1]
    hop_link: IntArray  # [hops]
    hop_features: Features  # [hops, len(HOP_FEATURES)]
    hop_weight: Features  # [hops]
    link_features: Features  # [links, len(LINK_FEATURES)]
    link_wait: Features  # [links]
    delay: Features  # [flows]


@dataclass(frozen=True)
class _Hops:
    """The hops of all flows, [hops] each: ``link`` numbers those used, ``before`` is the link before it (-1: none)."""

    flow: IntArray
    link: IntArray
    before: IntArray
    position: IntArray
    from_end: IntArray
    access_number: IntArray  # how many access links come before on the flow's way


def router_graph(sample: TestbedSample, collection: str) -> RouterGraph:
    """Lay out one sample of a set (``collection`` is its name).  A link is a port with one queue."""
    used, link = np.unique(sample.path_links, return_inverse=True)
    capacity = sample.capacity_bps[used]
    hops = _hops(sample, link, capacity)
    offered = sample.rate_bps[hops.flow]
    queue = _link_features(sample, hops, capacity, offered, _carried(hops, offered, capacity))
    packets = np.bincount(hops.link, weights=sample.packets_per_s[hops.flow], minlength=len(used))
    bits = np.bincount(hops.link, weights=offered, minlength=len(used)) / packets
    load = queue["load"]
    wait = bits / capacity * (THROUGH_DEVICE + load / (1 - np.minimum(load, BUSIEST)))
    own = sample.packet_bits[hops.flow] / capacity[hops.link]
    return RouterGraph(
        collection=collection,
        fold=sample.fold,
        flow_features=_single(_flow_features(sample, hops, load, queue["burst_load"])),
        flow_transmission=_single(np.bincount(hops.flow, weights=own, minlength=len(sample.rate_bps)) / UNIT_S),
        hop_pointer=sample.path_pointer,
        hop_link=hops.link,
        hop_features=_single(_hop_features(sample, hops, load, bits, offered)),
        hop_weight=_single(sample.packets_per_s[hops.flow] / packets[hops.link]),
        link_features=_single(np.column_stack(list(queue.values()))),
        link_wait=_single(wait / UNIT_S),
        delay=_single(sample.delay_s / UNIT_S),
    )


def _single(values: FloatArray) -> Features:
    return np.asarray(values, dtype=np.float32)


def _hops(sample: TestbedSample, link: IntArray, capacity: FloatArray) -> _Hops:
    lengths = np.diff(sample.path_pointer)
    flow = np.repeat(np.arange(len(lengths)), lengths)
    start = sample.path_pointer[:-1][flow]
    place = np.arange(len(link))
    before = np.where(place > start, np.concatenate([[0], link[:-1]]), -1)
    access = capacity[link] == ACCESS_BPS
    passed = np.concatenate([[0], np.cumsum(access)])
    return _Hops(flow, link, before, place - start, lengths[flow] - 1 - (place - start), passed[place] - passed[start])


def _carried(hops: _Hops, offered: FloatArray, capacity: FloatArray) -> FloatArray:
    """Rate of each hop that still arrives when overloaded links pass on what they can, [hops]."""
    rate = offered
    kept = np.ones(len(capacity))
    for _ in range(THINNING_ROUNDS):
        load = np.bincount(hops.link, weights=rate, minlength=len(capacity)) / capacity
        kept = np.minimum(1.0, 1.0 / np.maximum(load, 1e-9))
        logs = np.concatenate([[0.0], np.cumsum(np.log(kept[hops.link]))])
        place = np.arange(len(hops.link))
        rate = offered * np.exp(logs[place] - logs[place - hops.position])
    return rate


def _link_features(
    sample: TestbedSample, hops: _Hops, capacity: FloatArray, offered: FloatArray, carried: FloatArray
) -> dict[str, FloatArray]:
    links = len(capacity)
    constant = sample.is_constant[hops.flow]

    def total(values: FloatArray, which: BoolArray | None = None) -> FloatArray:
        chosen = values if which is None else np.where(which, values, 0.0)
        result: FloatArray = np.bincount(hops.link, weights=chosen, minlength=links).astype(np.float64)
        return result

    load, passing = total(offered) / capacity, total(carried) / capacity
    packets = total(sample.packets_per_s[hops.flow])
    mean_bits = total(offered) / packets
    second = total(sample.packets_per_s[hops.flow] * sample.packet_bits[hops.flow] ** 2) / packets
    burst_deviation = np.sqrt(total(carried**2, ~constant)) / capacity
    largest = np.zeros(links)
    np.maximum.at(largest, hops.link, np.where(constant, 0.0, carried))
    way_rate = np.zeros((links, links + 1))
    np.add.at(way_rate, (hops.link, hops.before), carried)  # column -1: from the generator
    ways = way_rate > 0
    capacity_in = ways[:, :-1] @ capacity + np.where(ways[:, -1], 10 * ACCESS_BPS, 0.0)
    access = capacity == ACCESS_BPS
    fresh = total(carried, hops.access_number == 0) / (passing * capacity)
    odd = total((hops.access_number % 2).astype(np.float64)) / total(np.ones(len(offered)))
    values = (
        load,
        passing,
        np.log(np.maximum(np.abs(1 - passing), 0.01)),
        np.maximum(load - 1, 0.0),
        total(carried, constant) / capacity,
        total(carried, ~constant) / capacity,
        np.log(total(np.ones(len(offered)))) / 3,
        burst_deviation,
        np.sqrt(total(carried**2, constant)) / capacity,
        largest / capacity,
        np.clip((1 - passing) / np.maximum(burst_deviation, 0.02), -3, 10) / 3,
        np.log(mean_bits / TYPICAL_BITS),
        second / mean_bits**2 - 1,
        np.log(ways.sum(axis=1)),
        np.log(capacity_in / capacity) / 3,
        way_rate.max(axis=1) / (passing * capacity),
        fresh,
        odd,
        access.astype(np.float64),
        np.log(capacity / ACCESS_BPS) / 3,
    )
    return dict(zip(LINK_FEATURES, values, strict=True))


def _flow_features(sample: TestbedSample, hops: _Hops, load: FloatArray, burst_load: FloatArray) -> FloatArray:
    starts = sample.path_pointer[:-1]
    on_hop = load[hops.link]
    busiest = np.maximum.reduceat(on_hop, starts)
    room = np.maximum(1 - busiest, 0.01)
    return np.column_stack(
        [
            sample.is_constant.astype(np.float64),
            np.log(sample.rate_bps / ACCESS_BPS) / 3,
            np.log(sample.packets_per_s / 1e4) / 3,
            np.log(sample.packet_bits / TYPICAL_BITS),
            np.diff(sample.path_pointer) / 8,
            busiest,
            np.log(room),
            np.minimum(sample.rate_bps / ACCESS_BPS / room, 3.0),
            np.add.reduceat((on_hop > 1).astype(np.float64), starts),
            np.maximum.reduceat(burst_load[hops.link], starts),
        ]
    )


def _hop_features(
    sample: TestbedSample, hops: _Hops, load: FloatArray, bits: FloatArray, offered: FloatArray
) -> FloatArray:
    links = len(load)
    way = hops.link * (links + 1) + hops.before + 1
    same_way = np.bincount(way, weights=offered, minlength=links * (links + 1))[way]
    everything = np.bincount(hops.link, weights=offered, minlength=links)[hops.link]
    return np.column_stack(
        [
            np.log(offered / everything) / 3,
            hops.position / 8,
            hops.from_end / 8,
            (hops.access_number % 2).astype(np.float64),
            sample.is_constant[hops.flow].astype(np.float64),
            np.where(hops.before >= 0, load[hops.before], 0.0),
            np.log(sample.packet_bits[hops.flow] / bits[hops.link]),
            same_way / everything,
            (hops.access_number == 0).astype(np.float64),
        ]
    )
