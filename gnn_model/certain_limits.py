"""What is certain of waits and jitter whatever a model believes: limits that every FIFO network keeps.

*Waits.*  Packets leave a link no closer than their transmission times, so a link of capacity C brings at most L + C t
bits within any time t, L its largest packet; a periodic source with packets up to L brings at most L + t times its peak
rate.  Where these rates together do not exceed a FIFO port's own, nobody waits longer than the transmission of the sum
of these L, less the own packet (R. L. Cruz, A calculus for network delay, IEEE Trans. Inf. Theory 37, 1991): a stream
of equal packets waits at the first port of a chain and nowhere behind it.

*Jitter.*  Packets of a flow on one path stay in order: packet n leaves the last link at least its transmission time
s after packet n - 1, so its delay is less than the one before by at most (a - s)+, where a is the time between their
departures at the source.  Delays neither grow nor shrink in the long run, hence E|difference| <= 2 E(a - s)+.  And two
delays of one distribution differ by twice its deviation at most.
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
OWN_LOAD = 0.02  # of the last link: below, a flow's own transmission times hardly matter to its limit of jitter


def wait_limits(
    scenario: Scenario, solved: SolvedRouting, inflow: Inflow, load: FloatArray, queues_at: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Largest mean wait of each hop's packets and largest wait of any packet there, in seconds, [hops] (or UNKNOWN).

    ``load`` [hops] is what each hop brings, ``queues_at`` [links] how many queues of a port are used: with one of them
    packets are served in the order of their arrival, whatever the scheduler.
    """
    layout, topology, traffic = solved.layout, scenario.topology, scenario.traffic
    link, demand = layout.flat_link, layout.path_demand
    most_mean = np.full(len(link), UNKNOWN)
    longest = most_mean.copy()
    greatest_bits = solved.atoms.greatest * traffic.packet_bits_mean
    if not np.isfinite(greatest_bits).any() or not len(link):
        return most_mean, longest
    capacity, links = topology.capacity_bps, topology.link_count
    # What enters the network at a port: sources that are not periodic may bring anything at any rate.
    begins = layout.hop_pointer[:-1][np.diff(layout.hop_pointer) > 0]
    entering = np.diff(layout.hop_pointer) > 0
    entering[entering] = load[begins] > 0
    source, at = demand[entering], link[layout.hop_pointer[:-1][entering]]
    periodic = (solved.arrivals.model == PERIODIC) & np.isfinite(greatest_bits)
    peak_bps = np.where(periodic, np.where(periodic, greatest_bits, 0.0) * traffic.packets_per_s, np.inf)
    rate = np.bincount(at, weights=peak_bps[source], minlength=links) / capacity + inflow.supply
    calm = (rate <= 1 + ROUNDING) & (queues_at == 1)
    here = np.flatnonzero(calm[link])
    if not len(here):
        return most_mean, longest
    passing = np.repeat(demand, np.diff(layout.hop_pointer))[here]
    brings = load[here] > 0
    port_bits = np.zeros(links)
    np.maximum.at(port_bits, link[here], np.where(brings, greatest_bits[passing], 0.0))
    calm_source = calm[at]
    together = np.bincount(at[calm_source], weights=greatest_bits[source[calm_source]], minlength=links)
    wait = ((port_bits * inflow.inputs + together) / capacity)[link[here]]
    own = np.where(brings, traffic.packet_bits_mean[passing] / capacity[link[here]], 0.0)
    certain = np.isfinite(wait)
    longest[here[certain]] = wait[certain]
    most_mean[here[certain]] = np.maximum(wait - own, 0.0)[certain]
    return most_mean, longest


def spacing(scenario: Scenario, solved: SolvedRouting) -> tuple[FloatArray, FloatArray]:
    """Mean time between a path's packets, and what half of its jitter cannot exceed without loss, in seconds, [paths].

    UNKNOWN for demands without traffic and for split ones, whose packets may overtake each other.  Loss p adds p /
    (1 - p) times the mean spacing to the limit.
    """
    layout, traffic, atoms = solved.layout, scenario.traffic, solved.atoms
    demand = layout.path_demand
    rate = traffic.packets_per_s[demand]
    known = (rate > 0) & (layout.share >= 1 - ROUNDING) & (np.diff(layout.hop_pointer) > 0)
    mean = np.where(known, 1 / np.where(known, rate, 1.0), UNKNOWN)
    if not known.any():
        return mean, mean
    # (a - s)+ in mean spacings, of what is known of a and s; ``own`` is the mean transmission time at the last link.
    last = layout.flat_link[np.maximum(layout.hop_pointer[1:] - 1, 0)]
    own = traffic.packet_bits_mean[demand] / scenario.topology.capacity_bps[last] / mean
    part = np.ones(len(demand))
    loud = np.flatnonzero(known & (own > OWN_LOAD))
    model = solved.arrivals.model[demand[loud]]
    exponential, few = ~np.isfinite(atoms.greatest[demand[loud]]), ~atoms.continuous[demand[loud]]
    for arrivals in (POISSON, PERIODIC):
        rows = loud[(model == arrivals) & exponential]
        scaled = own[rows]
        part[rows] = 1 / (1 + scaled) if arrivals == POISSON else 1 + scaled * np.expm1(-1 / scaled)
        rows = loud[(model == arrivals) & few]
        sizes, chance = own[rows, None] * (1 + atoms.offset[demand[rows]]), atoms.chance[demand[rows]]
        left = np.exp(-sizes) if arrivals == POISSON else np.maximum(1 - sizes, 0.0)
        part[rows] = (chance * left).sum(axis=1)
    return mean, np.where(known, mean * part, UNKNOWN)
