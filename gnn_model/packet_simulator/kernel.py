"""The event loop: one event per packet and hop.

The end of a service at one port *is* the arrival at the next.  Two tournament trees (flows by next packet, ports by
next end of service) give the next event; changing one leaf costs the logarithm of their number.  Propagation delay is a
constant of the path and added to the delay only.
"""

# mypy: disable-error-code="no-any-return"
# (the math of array elements is Any for mypy)

from __future__ import annotations

import math

from gnn_model.compiled import compiled, inlined
from gnn_model.packet_simulator.arrays import (
    AUTOCORRELATED,
    BIN_WIDTH,
    BINS,
    CBR,
    CONSTANT,
    DRR,
    EXPONENTIAL,
    FIFO,
    MODULATED,
    ONOFF,
    STRICT,
    WFQ,
    Network,
    Sources,
    State,
    Tallies,
)
from gnn_model.packet_simulator.random_source import exponential, normal, uniform
from topology_sync.values import FloatArray, IntArray

DONE, POOL_EMPTY = 0, 1
BIRTH, SIZE, TAG = 0, 1, 2
FLOW, HOP, PATH = 0, 1, 2
PER_BIN = 1.0 / math.log1p(BIN_WIDTH)
SQRT_HALF = math.sqrt(0.5)
NEVER = math.inf


@inlined
def change_time(times: FloatArray, tree: IntArray, leaf: int, time: float) -> None:
    """Give one leaf of a tournament another time and replay its matches."""
    times[leaf] = time
    node = (len(times) + leaf) >> 1
    while node >= 1:
        left = tree[2 * node]
        right = tree[2 * node + 1]
        winner = left if times[left] <= times[right] else right
        if tree[node] == winner and winner != leaf:
            break  # whoever won before wins still, and further up nothing changes
        tree[node] = winner
        node >>= 1


@inlined
def next_gap(sources: Sources, state: State, flow: int, now: float) -> float:
    """Time of the flow's next packet."""
    random = state.random
    model = sources.arrival_model[flow]
    gap = sources.gap_s[flow]
    if model == CBR:
        return now + gap
    if model == ONOFF:
        time = now + gap * exponential(random)
        end = state.flow_phase[flow]
        while time > end:
            off = sources.off_s[flow] * exponential(random)
            time += off
            end += off + sources.on_s[flow] * exponential(random)
        state.flow_phase[flow] = end
        return time
    if model in (AUTOCORRELATED, MODULATED):
        keep = sources.correlation[flow]
        level = keep * state.flow_normal[flow] + math.sqrt(1.0 - keep * keep) * normal(random)
        state.flow_normal[flow] = level
        if model == AUTOCORRELATED:
            beyond = 0.5 * math.erfc(level * SQRT_HALF)
            return now - gap * math.log(max(beyond, 1e-300))
        sigma = sources.sigma[flow]
        return now + gap * exponential(random) * math.exp(sigma * level - 0.5 * sigma * sigma)
    return now + gap * exponential(random)


@inlined
def packet_size(sources: Sources, state: State, flow: int) -> float:
    """Size of a new packet in bits; exponential sizes are whole bytes, at least one."""
    mean = sources.size_bits[flow]
    model = sources.size_model[flow]
    if model == CONSTANT:
        return mean
    if model == EXPONENTIAL:
        return max(8.0 * math.floor(mean / 8.0 * exponential(state.random) + 0.5), 8.0)
    draw = uniform(state.random)
    entry = sources.support_start[flow]
    last = sources.support_start[flow + 1] - 1
    while entry < last and draw >= sources.support_cumulated[entry]:
        entry += 1
    return sources.support_bits[entry]


@compiled
def start_sources(sources: Sources, state: State) -> None:
    """First packet of every flow, from the stationary state of its source where that is simple."""
    for flow in range(len(sources.gap_s)):
        if sources.gap_s[flow] == NEVER:
            continue
        start = 0.0
        model = sources.arrival_model[flow]
        if model == CBR:
            change_time(state.flow_time, state.flow_tree, flow, sources.gap_s[flow] * uniform(state.random))
            continue
        if model == ONOFF:
            on, off = sources.on_s[flow], sources.off_s[flow]
            if uniform(state.random) * (on + off) >= on:
                start = off * exponential(state.random)
            state.flow_phase[flow] = start + on * exponential(state.random)
        elif model in (AUTOCORRELATED, MODULATED):
            state.flow_normal[flow] = normal(state.random)
        change_time(state.flow_time, state.flow_tree, flow, next_gap(sources, state, flow, start))


@inlined
def serve(network: Network, state: State, port: int, packet: int, now: float) -> None:
    """Put a packet into service."""
    state.in_service[port] = packet
    end = now + state.packet_real[packet, SIZE] * network.bit_time_s[port]
    change_time(state.port_time, state.port_tree, port, end)


@inlined
def count_waiting(tallies: Tallies, state: State, queue: int, now: float) -> None:
    """Account for the time since the queue last changed its length."""
    tallies.queue_area_s[queue] += state.waiting[queue] * (now - tallies.queue_changed_s[queue])
    tallies.queue_changed_s[queue] = now


@inlined
def arrive(network: Network, sources: Sources, state: State, tallies: Tallies, packet: int, now: float) -> bool:
    """Hand a packet to the port of its present hop.  False where it finds its queue full."""
    hop = state.packet_integer[packet, HOP]
    port = sources.hop_link[hop]
    queue = sources.hop_queue[hop]
    tallies.queue_arrivals[queue] += 1
    if state.in_service[port] < 0:
        if network.discipline[port] == WFQ:
            # An empty port starts its virtual time afresh.
            first = queue - queue % network.weight.shape[1]
            for other in range(network.weight.shape[1]):
                state.finish_tag[first + other] = 0.0
            tag = state.packet_real[packet, SIZE] / network.weight[port, queue - first]
            state.finish_tag[queue] = tag
            state.virtual_time[port] = tag
        elif network.discipline[port] == DRR:
            # An empty port visits this queue until its packet may go, and charges it like any other.
            place = queue % network.weight.shape[1]
            quantum, size = network.quantum_bits[port, place], state.packet_real[packet, SIZE]
            state.deficit_bits[queue] = math.ceil(size / quantum) * quantum - size
            state.visited[port] = place
        serve(network, state, port, packet, now)
        return True
    size = state.packet_real[packet, SIZE]
    if state.waiting[queue] >= network.room[port] or state.waiting_bits[queue] + size > network.room_bits[port]:
        tallies.queue_drops[queue] += 1
        return False
    if network.discipline[port] == WFQ:
        weight = network.weight[port, queue - port * network.weight.shape[1]]
        tag = max(state.virtual_time[port], state.finish_tag[queue]) + size / weight
        state.finish_tag[queue] = tag
        state.packet_real[packet, TAG] = tag
    count_waiting(tallies, state, queue, now)
    state.following[packet] = -1
    if state.waiting[queue] == 0:
        state.head[queue] = packet
        state.waiting_bits[queue] = 0.0  # what is left there are errors of rounding
    else:
        state.following[state.tail[queue]] = packet
    state.tail[queue] = packet
    state.waiting[queue] += 1
    state.waiting_bits[queue] += size
    state.port_waiting[port] += 1
    return True


@inlined
def drr_queue(network: Network, state: State, port: int) -> int:
    """Queue that deficit round robin serves next (Shreedhar and Varghese 1995); some queue has packets."""
    queues = network.weight.shape[1]
    first = port * queues
    visited = state.visited[port]
    if visited >= 0:
        queue = first + visited
        if state.waiting[queue] == 0:
            state.deficit_bits[queue] = 0.0
        elif state.packet_real[state.head[queue], SIZE] <= state.deficit_bits[queue]:
            return queue
    while True:
        for step in range(1, queues + 1):
            place = (visited + step) % queues
            queue = first + place
            if state.waiting[queue] == 0:
                continue
            state.deficit_bits[queue] += network.quantum_bits[port, place]
            if state.packet_real[state.head[queue], SIZE] <= state.deficit_bits[queue]:
                state.visited[port] = place
                return queue
        # A whole round served nobody: skip the rounds that cannot serve anybody either.
        rounds = NEVER
        for place in range(queues):
            queue = first + place
            if state.waiting[queue] > 0:
                missing = state.packet_real[state.head[queue], SIZE] - state.deficit_bits[queue]
                rounds = min(rounds, math.ceil(missing / network.quantum_bits[port, place]) - 1.0)
        if rounds > 0:
            for place in range(queues):
                queue = first + place
                if state.waiting[queue] > 0:
                    state.deficit_bits[queue] += rounds * network.quantum_bits[port, place]


@inlined
def next_queue(network: Network, state: State, port: int) -> int:
    """Queue to serve next at a port where packets wait."""
    discipline = network.discipline[port]
    queues = network.weight.shape[1]
    first = port * queues
    if discipline == FIFO:
        return first
    if discipline == STRICT:
        queue = first
        while state.waiting[queue] == 0:
            queue += 1
        return queue
    if discipline == WFQ:
        # Self-clocked fair queueing (Golestani 1994): smallest finish tag, which becomes the virtual time.
        best = -1
        smallest = NEVER
        for queue in range(first, first + queues):
            if state.waiting[queue] > 0 and state.packet_real[state.head[queue], TAG] < smallest:
                smallest = state.packet_real[state.head[queue], TAG]
                best = queue
        state.virtual_time[port] = smallest
        return best
    return drr_queue(network, state, port)


@inlined
def leave(network: Network, state: State, tallies: Tallies, port: int, now: float) -> None:
    """The port's service has ended: serve the next packet or become idle."""
    if state.port_waiting[port] == 0:
        state.in_service[port] = -1
        if network.discipline[port] == DRR:
            queues = network.weight.shape[1]
            for queue in range(port * queues, (port + 1) * queues):
                state.deficit_bits[queue] = 0.0
            state.visited[port] = -1
        change_time(state.port_time, state.port_tree, port, NEVER)
        return
    queue = next_queue(network, state, port)
    packet = state.head[queue]
    if network.discipline[port] == DRR:
        state.deficit_bits[queue] -= state.packet_real[packet, SIZE]
    count_waiting(tallies, state, queue, now)
    state.head[queue] = state.following[packet]
    state.waiting[queue] -= 1
    state.waiting_bits[queue] -= state.packet_real[packet, SIZE]
    state.port_waiting[port] -= 1
    serve(network, state, port, packet, now)


@inlined
def deliver(sources: Sources, state: State, tallies: Tallies, packet: int, now: float) -> None:
    """Count a packet of the measured time that has reached its end."""
    flow = state.packet_integer[packet, FLOW]
    delay = now - state.packet_real[packet, BIRTH] + sources.path_propagation_s[state.packet_integer[packet, PATH]]
    tallies.delivered[flow] += 1
    tallies.delay_sum[flow] += delay
    tallies.delay_square_sum[flow] += delay * delay
    last = tallies.last_delay[flow]
    if last == last:  # not NaN
        tallies.variation_sum[flow] += abs(delay - last)
        tallies.variation_count[flow] += 1
    tallies.last_delay[flow] = delay
    tallies.batch_count[flow] += 1.0
    tallies.batch_sum[flow] += delay
    ratio = delay / sources.bin_unit_s[flow]
    place = 0
    if ratio > 1.0:
        place = min(int(math.log(ratio) * PER_BIN) + 1, BINS - 1)
    tallies.histogram[flow, place] += 1


@compiled
def advance(
    network: Network, sources: Sources, state: State, tallies: Tallies, until: float, measured_from: float
) -> int:
    """Run to time ``until``.  Returns POOL_EMPTY when the pool must grow first, else DONE.

    Packets born before ``measured_from`` are not counted per flow.
    """
    real, integer = state.packet_real, state.packet_integer
    while True:
        flow = state.flow_tree[1]
        port = state.port_tree[1]
        birth, end = state.flow_time[flow], state.port_time[port]
        if min(birth, end) > until:
            state.clock[0] = until
            return DONE
        if birth <= end:
            if state.free_count[0] == 0:
                return POOL_EMPTY
            state.free_count[0] -= 1
            packet = state.free[state.free_count[0]]
            path = sources.path_start[flow]
            last_path = sources.path_start[flow + 1] - 1
            if path < last_path:
                draw = uniform(state.random)
                while path < last_path and draw >= sources.path_cumulated[path]:
                    path += 1
            real[packet, BIRTH] = birth
            real[packet, SIZE] = packet_size(sources, state, flow)
            integer[packet, FLOW] = flow
            integer[packet, HOP] = sources.hop_start[path]
            integer[packet, PATH] = path
            if birth >= measured_from:
                tallies.generated[flow] += 1
            change_time(state.flow_time, state.flow_tree, flow, next_gap(sources, state, flow, birth))
            now = birth
        else:
            packet = state.in_service[port]
            queue = sources.hop_queue[integer[packet, HOP]]
            tallies.queue_busy_s[queue] += real[packet, SIZE] * network.bit_time_s[port]
            tallies.hops[0] += 1
            leave(network, state, tallies, port, end)
            integer[packet, HOP] += 1
            if integer[packet, HOP] == sources.hop_start[integer[packet, PATH] + 1]:
                if real[packet, BIRTH] >= measured_from:
                    deliver(sources, state, tallies, packet, end)
                state.free[state.free_count[0]] = packet
                state.free_count[0] += 1
                continue
            now = end
        if not arrive(network, sources, state, tallies, packet, now):
            if real[packet, BIRTH] >= measured_from:
                tallies.dropped[integer[packet, FLOW]] += 1
            state.free[state.free_count[0]] = packet
            state.free_count[0] += 1
