"""What is certain of waits and jitter whatever a model believes: limits that every FIFO network keeps.

*Waits.*  Packets leave a link no closer than their transmission times, so a link of capacity C brings at most L + C t
bits within any time t, L its largest packet; a periodic source with packets up to L brings at most L + t times its peak
rate.  Where these rates together do not exceed a FIFO port's own, nobody waits longer than the transmission of the sum
of these L, less the own packet (R. L. Cruz, A calculus for network delay, IEEE Trans. Inf. Theory 37, 1991): a stream
of equal packets waits at the first port of a chain and nowhere behind it.

*Jitter.*  Packets of a flow on one path stay in order: packet n leaves the last link at least its transmission time
s after packet n - 1, so its delay is less than the one before by at most (a - s)+, where a is the time between their
departures at the source.  Delays neither grow nor shrink in the long run, hence E|difference| <= 2 E(a - s)+.
"""

from __future__ import annotations

import numpy as np

from gnn_model.inflow import Inflow
from gnn_model.solved_routing import SolvedRouting
from topology_sync.scenario import Scenario
from topology_sync.traffic import ARRIVAL_MODELS
from topology_sync.values import FloatArray, IntArray

UNKNOWN = 1e30  # stands for no limit, in units and as a 32-bit number
POISSON, PERIODIC = ARRIVAL_MODELS.index("poisson"), ARRIVAL_MODELS.index("cbr")
ROUNDING = 1e-9


def wait_limits(
    scenario: Scenario, solved: SolvedRouting, inflow: Inflow, load: FloatArray, queues_at: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Largest mean wait of each hop's packets and largest wait of any packet there, in seconds, [hops] (or UNKNOWN).

    ``load`` [hops] is what each hop brings, ``queues_at`` [links] how many queues of a port are used: with one of them
    packets are served in the order of their arrival, whatever the scheduler.
    """
    layout, topology = solved.layout, scenario.topology
    link = layout.flat_link
    largest = solved.atoms.greatest
    if not np.isfinite(largest).any() or not len(link):
        nothing = np.full(len(link), UNKNOWN)
        return nothing, nothing
    capacity, links = topology.capacity_bps, topology.link_count
    demand = np.repeat(layout.path_demand, np.diff(layout.hop_pointer))
    bits = scenario.traffic.packet_bits_mean[demand]
    brings = load > 0
    largest_bits = np.where(brings, largest[demand] * bits, 0.0)
    entering = inflow.first & brings
    periodic = solved.arrivals.model[demand] == PERIODIC
    peak = np.where(periodic, largest_bits * scenario.traffic.packets_per_s[demand], np.inf)
    rate = np.bincount(link[entering], weights=peak[entering], minlength=links) / capacity + inflow.supply
    port_largest = np.zeros(links)
    np.maximum.at(port_largest, link, largest_bits)
    calm = (rate <= 1 + ROUNDING) & (queues_at == 1) & np.isfinite(port_largest)
    here = calm[link]
    burst = np.bincount(link[entering & here], weights=largest_bits[entering & here], minlength=links)
    longest = (np.where(calm, port_largest, 0.0) * inflow.inputs + burst) / capacity
    own = np.where(brings, bits / capacity[link], 0.0)
    return (
        np.where(here, np.maximum(longest[link] - own, 0.0), UNKNOWN),
        np.where(here, longest[link], UNKNOWN),
    )


def spacing(scenario: Scenario, solved: SolvedRouting) -> tuple[FloatArray, FloatArray]:
    """Mean time between a path's packets, and what half of its jitter cannot exceed without loss, in seconds, [paths].

    UNKNOWN for demands without traffic and for split ones, whose packets may overtake each other.  Loss p adds p /
    (1 - p) times the mean spacing to the limit.
    """
    layout, traffic = solved.layout, scenario.traffic
    demand = layout.path_demand
    rate = traffic.packets_per_s[demand]
    known = (rate > 0) & (layout.share >= 1 - ROUNDING) & (np.diff(layout.hop_pointer) > 0)
    mean = np.where(known, 1 / np.where(known, rate, 1.0), UNKNOWN)
    if not known.any():
        return mean, mean
    last = layout.flat_link[np.maximum(layout.hop_pointer[1:] - 1, 0)]
    own = np.where(known, traffic.packet_bits_mean[demand] / scenario.topology.capacity_bps[last] / mean, 0.0)
    model, atoms = solved.arrivals.model[demand], solved.atoms
    exponential = ~np.isfinite(atoms.greatest[demand])
    few = ~atoms.continuous[demand]
    size, chance = 1 + atoms.offset[demand], atoms.chance[demand]
    scaled = own[:, None] * size
    poisson = np.where(exponential, 1 / (1 + own), np.where(few, (chance * np.exp(-scaled)).sum(axis=1), 1.0))
    least = np.maximum(own, 1e-3)
    of_exponential = np.where(own > 1e-3, 1 - own * -np.expm1(-1 / least), 1.0)
    periodic = np.where(
        exponential, of_exponential, np.where(few, (chance * np.maximum(1 - scaled, 0.0)).sum(axis=1), 1.0)
    )
    part = np.where(model == POISSON, poisson, np.where(model == PERIODIC, periodic, 1.0))
    return mean, np.where(known, mean * part, UNKNOWN)
