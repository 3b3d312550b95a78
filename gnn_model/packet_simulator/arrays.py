"""The simulation as flat arrays: what a scenario becomes before the kernel runs it, and what the kernel counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.traffic import Arrivals
from topology_sync.values import FloatArray, IntArray

FIFO, STRICT, WFQ, DRR = range(4)
DISCIPLINE_CODES = {"fifo": FIFO, "strict": STRICT, "wfq": WFQ, "drr": DRR}
POISSON, CBR, ONOFF, AUTOCORRELATED, MODULATED = range(5)
ARRIVAL_CODES = {
    "poisson": POISSON,
    "cbr": CBR,
    "onoff": ONOFF,
    "autocorrelated": AUTOCORRELATED,
    "modulated": MODULATED,
}
EXPONENTIAL, CONSTANT, DISCRETE = range(3)

# Delays are counted in bins 1 % wide, from a hundredth to a million times the flow's mean transmission time.
BIN_WIDTH = 0.01
BIN_LOW, BIN_HIGH = 1e-2, 1e6
BINS = int(np.ceil(np.log(BIN_HIGH / BIN_LOW) / np.log1p(BIN_WIDTH))) + 2

# On-off periods so short that a packet spans this many of them look like Poisson.
FLICKER = 1000.0
DRR_MEAN_PACKETS = 2.0  # quantum of the smallest weight, in packets of the port's mean size


class Network(NamedTuple):
    """Ports, [ports] and [ports, queues]: seconds per bit, discipline code, packets and bits that can wait in each
    queue (whichever is full first), weights, quanta.
    """

    bit_time_s: FloatArray
    discipline: IntArray
    room: IntArray
    room_bits: FloatArray
    weight: FloatArray
    quantum_bits: FloatArray


class Sources(NamedTuple):
    """Flows, [flows], and their paths.  ``gap_s`` is the mean time between packets (while on, for on-off).

    ``support_*`` hold discrete sizes, ``path_*`` the paths of flow f at ``path_start[f]:path_start[f+1]`` with
    cumulated shares and propagation delays (over the flow's smallest), ``hop_*`` the links and queues (link * queues +
    queue) of path p at ``hop_start[p]:hop_start[p+1]``.
    """

    arrival_model: IntArray
    gap_s: FloatArray
    on_s: FloatArray
    off_s: FloatArray
    correlation: FloatArray
    sigma: FloatArray
    size_model: IntArray
    size_bits: FloatArray
    support_start: IntArray
    support_bits: FloatArray
    support_cumulated: FloatArray
    path_start: IntArray
    path_cumulated: FloatArray
    path_propagation_s: FloatArray
    hop_start: IntArray
    hop_link: IntArray
    hop_queue: IntArray
    bin_unit_s: FloatArray


class State(NamedTuple):
    """Everything that changes while packets move; arrays of one element are scalars.

    Packets live in a pool: ``packet_real`` [pool, 3] birth time, size in bits, finish tag; ``packet_integer`` [pool, 3]
    flow, position in ``hop_link``, path; ``following`` links the packets of a queue; ``free`` is a stack of
    ``free_count``.
    """

    clock: FloatArray
    random: npt.NDArray[np.uint64]
    flow_time: FloatArray
    flow_tree: IntArray
    flow_phase: FloatArray
    flow_normal: FloatArray
    port_time: FloatArray
    port_tree: IntArray
    in_service: IntArray
    virtual_time: FloatArray
    visited: IntArray
    waiting: IntArray
    waiting_bits: FloatArray
    head: IntArray
    tail: IntArray
    finish_tag: FloatArray
    deficit_bits: FloatArray
    port_waiting: IntArray
    packet_real: FloatArray
    packet_integer: IntArray
    following: IntArray
    free: IntArray
    free_count: IntArray


class Tallies(NamedTuple):
    """What is counted.  Per flow of packets born in the measured time, per queue and port of events in it.

    ``delay_*`` exclude the flow's smallest propagation delay.  ``batch_*`` are emptied by the caller between batches.
    """

    generated: IntArray
    dropped: IntArray
    delivered: IntArray
    delay_sum: FloatArray
    delay_square_sum: FloatArray
    variation_sum: FloatArray
    variation_count: IntArray
    last_delay: FloatArray
    histogram: npt.NDArray[np.uint32]
    batch_count: FloatArray
    batch_sum: FloatArray
    queue_arrivals: IntArray
    queue_drops: IntArray
    queue_area_s: FloatArray
    queue_changed_s: FloatArray
    queue_busy_s: FloatArray
    hops: IntArray


def network_of(scenario: Scenario, queue_bits: FloatArray | None = None) -> Network:
    """Ports of the scenario; quanta from the mean packet size that its routing brings to each port.

    ``queue_bits`` [links]: each queue holds so many bits, whatever the number of packets.
    """
    topology, traffic = scenario.topology, scenario.traffic
    queues = max((scheduler.queue_count for scheduler in topology.schedulers), default=1)
    flat = scenario.routing.flat
    packets = (traffic.packets_per_s[flat.path_demand] * flat.share)[flat.hop_path] + 1e-300
    bits = packets * traffic.packet_bits_mean[flat.path_demand][flat.hop_path]
    links = topology.link_count
    total = np.bincount(flat.hop_link, weights=packets, minlength=links)
    mean_bits = np.bincount(flat.hop_link, weights=bits, minlength=links) / np.where(total > 0, total, 1.0)
    weight = np.ones((links, queues))
    for link in range(links):
        scheduler = topology.schedulers[int(topology.link_source[link])]
        weight[link, : len(scheduler.weights)] = scheduler.weights[:queues]
    present = np.array(
        [[queue < s.queue_count for queue in range(queues)] for s in topology.schedulers], dtype=np.bool_
    )
    smallest = np.min(np.where(present[topology.link_source], weight, np.inf), axis=1, initial=np.inf, keepdims=True)
    quantum = np.maximum(DRR_MEAN_PACKETS * mean_bits, 1.0)[:, None] * weight / smallest
    codes = np.array([DISCIPLINE_CODES[scheduler.discipline] for scheduler in topology.schedulers], dtype=np.int64)
    # New arrays either way: the kernel is compiled again for one that is read-only.
    room, room_bits = np.array(topology.queue_packets), np.full(links, np.inf)
    if queue_bits is not None:
        room, room_bits = np.full(links, np.iinfo(np.int64).max), np.array(queue_bits, dtype=np.float64)
    return Network(1 / topology.capacity_bps, codes[topology.link_source], room, room_bits, weight, quantum)


def sources_of(scenario: Scenario, routing: Routing) -> Sources:
    """Flows of the scenario, one per demand, over the paths of ``routing``."""
    topology, traffic = scenario.topology, scenario.traffic
    flat = routing.flat
    queues = max((scheduler.queue_count for scheduler in topology.schedulers), default=1)
    path_count = np.array([len(paths) for paths in routing.paths], dtype=np.int64)
    path_start = np.concatenate([[0], np.cumsum(path_count)]).astype(np.int64)
    cumulated = np.concatenate([*(np.cumsum([path.share for path in paths]) for paths in routing.paths), np.zeros(0)])
    queue_of = np.array(
        [[scheduler.queue_of(name) for name in traffic.class_names] for scheduler in topology.schedulers],
        dtype=np.int64,
    ).reshape(topology.node_count, len(traffic.class_names))
    hop_class = traffic.traffic_class[flat.path_demand][flat.hop_path]
    hop_queue = flat.hop_link * queues + queue_of[topology.link_source[flat.hop_link], hop_class]
    propagation = sum_over_paths(routing, topology.delay_s)
    base = smallest_of_paths(propagation, path_start)
    per_bit = sum_over_paths(routing, 1 / topology.capacity_bps)
    unit = traffic.packet_bits_mean * smallest_of_paths(per_bit, path_start)

    supports = [
        np.array(size.support) if size.model in ("bimodal", "discrete") else np.zeros((2, 0))
        for size in traffic.packet_size
    ]
    support_start = np.concatenate([[0], np.cumsum([values.shape[1] for values in supports])]).astype(np.int64)
    scaled = [
        sizes / max(float(sizes @ chances), 1e-300) * mean
        for (sizes, chances), mean in zip(supports, traffic.packet_bits_mean, strict=True)
    ]
    codes = {"exponential": EXPONENTIAL, "constant": CONSTANT, "bimodal": DISCRETE, "discrete": DISCRETE}
    rate = traffic.packets_per_s
    gap = np.where(rate > 0, 1 / np.where(rate > 0, rate, 1.0), np.inf)
    models, gap = _arrivals(traffic.arrivals, gap)
    return Sources(
        arrival_model=models,
        gap_s=gap,
        on_s=np.array([item.on_s for item in traffic.arrivals], dtype=np.float64),
        off_s=np.array([item.off_s for item in traffic.arrivals], dtype=np.float64),
        correlation=np.array([item.correlation for item in traffic.arrivals], dtype=np.float64),
        sigma=np.array([item.sigma for item in traffic.arrivals], dtype=np.float64),
        size_model=np.array([codes[size.model] for size in traffic.packet_size], dtype=np.int64),
        size_bits=np.array(traffic.packet_bits_mean, dtype=np.float64),
        support_start=support_start,
        support_bits=np.concatenate([*scaled, np.zeros(0)]),
        support_cumulated=np.concatenate([*(np.cumsum(values[1]) for values in supports), np.zeros(0)]),
        path_start=path_start,
        path_cumulated=cumulated.astype(np.float64),
        path_propagation_s=propagation - np.repeat(base, path_count),
        hop_start=np.array(flat.hop_pointer, dtype=np.int64),
        hop_link=np.array(flat.hop_link, dtype=np.int64),
        hop_queue=hop_queue.astype(np.int64),
        bin_unit_s=unit * BIN_LOW,
    )


def sum_over_paths(routing: Routing, per_link: FloatArray) -> FloatArray:
    """Sum of a value of links along each path, [paths]."""
    flat = routing.flat
    total = np.bincount(flat.hop_path, weights=per_link[flat.hop_link], minlength=len(flat.path_demand))
    return total.astype(np.float64)


def smallest_of_paths(per_path: FloatArray, path_start: IntArray) -> FloatArray:
    """Smallest value over the paths of each flow, [flows]."""
    if len(path_start) == 1:
        return np.zeros(0)
    result: FloatArray = np.minimum.reduceat(per_path, path_start[:-1]).astype(np.float64)
    return result


def _arrivals(arrivals: tuple[Arrivals, ...], gap_s: FloatArray) -> tuple[IntArray, FloatArray]:
    """Model codes, and gaps with those of on-off sources shortened to what they are while on."""
    models = np.array([ARRIVAL_CODES[item.model] for item in arrivals], dtype=np.int64)
    gaps = gap_s.copy()
    for flow in np.flatnonzero(models == ONOFF):
        item = arrivals[flow]
        while_on = gap_s[flow] * item.on_s / (item.on_s + item.off_s)
        if item.off_s == 0 or while_on > FLICKER * item.on_s:
            models[flow] = POISSON
        else:
            gaps[flow] = while_on
    return models, gaps


def new_state(flows: int, ports: int, queues: int, random: npt.NDArray[np.uint64], pool: int) -> State:
    """An empty network at time 0."""
    return State(
        clock=np.zeros(1),
        random=random,
        flow_time=_times(flows),
        flow_tree=_tree(flows),
        flow_phase=np.zeros(flows),
        flow_normal=np.zeros(flows),
        port_time=_times(ports),
        port_tree=_tree(ports),
        in_service=np.full(ports, -1, dtype=np.int64),
        virtual_time=np.zeros(ports),
        visited=np.full(ports, -1, dtype=np.int64),
        waiting=np.zeros(ports * queues, dtype=np.int64),
        waiting_bits=np.zeros(ports * queues),
        head=np.full(ports * queues, -1, dtype=np.int64),
        tail=np.full(ports * queues, -1, dtype=np.int64),
        finish_tag=np.zeros(ports * queues),
        deficit_bits=np.zeros(ports * queues),
        port_waiting=np.zeros(ports, dtype=np.int64),
        packet_real=np.zeros((pool, 3)),
        packet_integer=np.zeros((pool, 3), dtype=np.int64),
        following=np.full(pool, -1, dtype=np.int64),
        free=np.arange(pool)[::-1].copy(),
        free_count=np.array([pool], dtype=np.int64),
    )


def with_larger_pool(state: State) -> State:
    """The same state with twice as many packets."""
    pool = len(state.following)
    free = np.zeros(2 * pool, dtype=np.int64)
    count = int(state.free_count[0])
    free[:count] = state.free[:count]
    free[count : count + pool] = np.arange(pool, 2 * pool)
    return state._replace(
        packet_real=np.concatenate([state.packet_real, np.zeros((pool, 3))]),
        packet_integer=np.concatenate([state.packet_integer, np.zeros((pool, 3), dtype=np.int64)]),
        following=np.concatenate([state.following, np.full(pool, -1, dtype=np.int64)]),
        free=free,
        free_count=np.array([count + pool], dtype=np.int64),
    )


def new_tallies(flows: int, ports: int, queues: int, start_s: float) -> Tallies:
    """Nothing counted yet, from ``start_s`` on."""
    return Tallies(
        generated=np.zeros(flows, dtype=np.int64),
        dropped=np.zeros(flows, dtype=np.int64),
        delivered=np.zeros(flows, dtype=np.int64),
        delay_sum=np.zeros(flows),
        delay_square_sum=np.zeros(flows),
        variation_sum=np.zeros(flows),
        variation_count=np.zeros(flows, dtype=np.int64),
        last_delay=np.full(flows, np.nan),
        histogram=np.zeros((flows, BINS), dtype=np.uint32),
        batch_count=np.zeros(flows),
        batch_sum=np.zeros(flows),
        queue_arrivals=np.zeros(ports * queues, dtype=np.int64),
        queue_drops=np.zeros(ports * queues, dtype=np.int64),
        queue_area_s=np.zeros(ports * queues),
        queue_changed_s=np.full(ports * queues, start_s),
        queue_busy_s=np.zeros(ports * queues),
        hops=np.zeros(1, dtype=np.int64),
    )


def _leaves(count: int) -> int:
    return 1 << max(1, (max(count, 1) - 1).bit_length())


def _times(count: int) -> FloatArray:
    return np.full(_leaves(count), np.inf)


def _tree(count: int) -> IntArray:
    """A tournament in which nobody is ever due: every match is won by its leftmost leaf."""
    leaves = _leaves(count)
    tree = np.zeros(2 * leaves, dtype=np.int64)
    tree[leaves:] = np.arange(leaves)
    for node in range(leaves - 1, 0, -1):
        tree[node] = tree[2 * node]
    return tree
