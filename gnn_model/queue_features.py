"""What is known about every queue before anything is learned, dimensionless.

Beside the chain of the fixed point: the mixture of arrival models, the index of dispersion of the arrivals over a few
times, and the *quasi-static* wait.  Sources whose rate varies slowly against the queue let its load wander; the chain
is then averaged over a normal distribution of the load with the variance of these rates (:class:`HopBursts`; for on-off
sources sum of load^2 off / on; Gauss-Hermite, 5 points).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gnn_model.analytic_bursts import Burstiness, dispersion
from gnn_model.analytic_queues import full_probability, position_moments
from gnn_model.inflow import Inflow
from gnn_model.solved_routing import SolvedRouting
from topology_sync.scenario import Scenario
from topology_sync.topology import DISCIPLINES
from topology_sync.traffic import ARRIVAL_MODELS
from topology_sync.values import FloatArray, IntArray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
DISPERSION_SERVICES = (4.0, 32.0, 256.0)  # times over which bursts are looked at, in mean services of the queue
QUEUE_FEATURES = (
    *DISCIPLINES,
    "datanet_weighted",
    *(f"part_{model}" for model in ARRIVAL_MODELS),
    "offered",
    "offered_at_port",
    "share",
    "log_ratio",
    "log_variability",
    "log_room",
    "log_chain_room",
    "log_wait",
    "log_deviation_over_wait",
    "logit_loss",
    "busy",
    "second_moment",
    "log_dispersion",
    *(f"log_dispersion_{services:g}" for services in DISPERSION_SERVICES),
    "log_flows_periodic",
    "weight",
    "before",
    "load_deviation",
    "log_period_over_drain",
    "log_effective_flows",
    "log_least_ratio",
    "log_service_over_port",
    "ordered_before",
    "load_per_weight",
    "log_offered_over_fair",
    "others_busy_weight",
    "others_saturated_weight",
    "fresh",
    "concentration",
    "kept",
    "log_supply",
    "log_deviation_quasi_static",
    "log_wait_high_load",
    "log_wait_quasi_static",
    "log_wait_ordered",
    "logit_loss_quasi_static",
    "logit_loss_ordered",
)
"""The last four are alternatives to the analytic wait and loss, as differences of logarithms and of logits / 4."""

ALTERNATIVES = 2
WAIT_FLOOR = 1e-4
HIGH_LOAD = 2.33  # deviations above the mean load: once in a hundred
LEAST_SHARE = 1 / 32  # of the server: a queue with less serves hardly anybody but what came before it starved


def queue_features(
    scenario: Scenario,
    solved: SolvedRouting,
    used: IntArray,
    hop_queue: IntArray,
    hop_load: FloatArray,
    hop_model: IntArray,
    bursts: HopBursts,
    inflow: Inflow,
) -> npt.NDArray[np.float32]:
    """[used queues, len(QUEUE_FEATURES)].

    ``used`` are queue numbers (link * queues + queue); the ``hop_`` arrays [hops] give for every hop its position in
    ``used``, the load it brings (of the link's capacity), the arrival model's index and how bursty it is;
    ``inflow`` is of these hops and of all links.
    """
    state, waits, queues, count = solved.state, solved.waits, solved.queues, len(used)
    link = used // queues
    topology = scenario.topology

    def per_queue(values: FloatArray) -> FloatArray:
        return np.asarray(values, dtype=np.float64).reshape(-1)[used]

    def collect(per_hop: FloatArray) -> FloatArray:
        return np.bincount(hop_queue, weights=per_hop, minlength=count).astype(np.float64)

    offered, share, ratio = per_queue(state.offered), per_queue(state.share), per_queue(state.ratio)
    room, variability = per_queue(state.room), per_queue(state.variability)
    service, loss = per_queue(state.service_s), np.clip(per_queue(state.loss), 0.0, 1.0)
    wait, deviation = per_queue(waits.mean_s), np.sqrt(np.maximum(per_queue(waits.variance_s2), 0.0))
    at_port = state.offered.sum(axis=-1).reshape(-1)[link]
    busy = state.busy.reshape(-1)[link]
    physical_room = np.maximum(topology.queue_packets[link], 1.0)

    limit = wait_limit(scenario, link)
    load = collect(hop_load)
    some = np.where(load > 0, load, 1.0)
    parts = [collect(hop_load * (hop_model == model)) / some for model in range(len(ARRIVAL_MODELS))]
    variance = hop_load**2 * bursts.rate_variation
    period = bursts.period_s
    total = collect(variance)
    mean_period = collect(variance * period) / np.where(total > 0, total, 1.0)
    spread = np.sqrt(total)
    effective = load**2 / np.maximum(collect(hop_load**2), 1e-300)
    periodic = np.where(hop_model == ARRIVAL_MODELS.index("cbr"), hop_load, 0.0)
    periodic_flows = collect(periodic) ** 2 / np.maximum(collect(periodic**2), 1e-300)
    slow_wait, slow_deviation, high_wait, slow_loss = _quasi_static(
        ratio, room, offered, at_port, share, spread, variability
    )

    node = topology.link_source[link]
    discipline = np.array([scheduler.discipline for scheduler in topology.schedulers], dtype=str)[node]
    datanet = np.array([scheduler.variant == "datanet" for scheduler in topology.schedulers], dtype=bool)[node]
    port_weight = solved.ports.weight.reshape(-1)[used]
    all_weights = solved.ports.weight.sum(axis=-1)[link]
    weighted = np.isin(discipline, ("wfq", "drr"))
    part_of_weight = solved.ports.weight / np.maximum(solved.ports.weight.sum(axis=-1, keepdims=True), 1e-300)
    part_of_weight = np.where(solved.ports.weighted[:, None], part_of_weight, 0.0)
    is_saturated = (state.offered[0] > solved.fair_share.reshape(-1, queues)).astype(np.float64)
    offered_all = state.offered.reshape(-1, queues)
    before = (np.cumsum(offered_all, axis=-1) - offered_all).reshape(-1)[used]
    port_service = (state.offered * state.service_s).sum(axis=-1).reshape(-1)[link] / np.maximum(at_port, 1e-300)
    columns = [
        *((discipline == name).astype(np.float64) for name in DISCIPLINES),
        (datanet & weighted).astype(np.float64),
        *parts,
        np.minimum(offered, 3.0),
        np.minimum(at_port, 3.0),
        share,
        np.log(np.clip(ratio, 1e-4, 30.0)),
        np.log(np.clip(variability, 0.05, 50.0)),
        np.log(physical_room) / 2,
        np.log(np.clip(room, 0.1, 1e4)) / 2,
        _log_wait(wait / service, limit),
        np.log(np.clip(deviation / np.maximum(wait, 1e-300), 1e-2, 1e2)),
        _logit(loss),
        busy,
        per_queue(solved.traffic.second) - 1,
        np.log(np.clip(per_queue(solved.traffic.dispersion), 1e-2, 1e4)) / 2,
        *(np.log(np.clip(1 + collect(bursts.part * excess), 1e-2, 1e4)) / 2 for excess in bursts.excess),
        np.log(np.clip(periodic_flows, 1.0, 1e3)) / 2,
        np.where(weighted, port_weight / np.where(all_weights > 0, all_weights, 1.0), 0.0),
        np.minimum(np.where(discipline == "strict", before, 0.0), 2.0),
        spread,
        np.where(total > 0, np.log(np.clip(mean_period / (physical_room * service), 1e-4, 1e4)), 0.0) / 4,
        np.log(np.clip(effective, 1.0, 1e3)) / 2,
        np.log(np.clip(offered / np.maximum(1 - at_port + offered, 0.02), 1e-4, 30.0)),
        np.log(np.clip(service / np.maximum(port_service, 1e-3 * service), 0.02, 50.0)),
        np.minimum(solved.ordered_before[used], 2.0),
        np.where(weighted, np.log(np.clip(offered * all_weights / np.maximum(port_weight, 1e-300), 1e-3, 1e2)), 0.0),
        np.log(np.clip(offered / np.maximum(solved.fair_share[used], 1e-4), 1e-3, 30.0)),
        np.log1p(50 * _others(np.minimum(state.ratio, 1.0)[0], part_of_weight).reshape(-1)[used]) / 2,
        np.log1p(50 * _others(is_saturated, part_of_weight).reshape(-1)[used]) / 2,
        inflow.fresh[link],
        inflow.concentration[link],
        inflow.kept[link],
        np.log1p(inflow.supply[link]),
        _log_wait(slow_deviation, limit) - _log_wait(deviation / service, limit),
        _log_wait(high_wait, limit) - _log_wait(wait / service, limit),
        _log_wait(slow_wait, limit) - _log_wait(wait / service, limit),
        _log_wait(solved.ordered_wait_s[used] / service, limit) - _log_wait(wait / service, limit),
        _logit(slow_loss) - _logit(loss),
        _logit(np.clip(solved.ordered_loss[used], 0.0, 1.0)) - _logit(loss),
    ]
    return np.stack([np.asarray(column, dtype=np.float64).reshape(count) for column in columns], axis=1).astype(
        np.float32
    )


@dataclass(frozen=True)
class HopBursts:
    """How far the packets of each hop are from Poisson, [hops].

    ``part`` of the queue's packets; ``excess``: index of dispersion less 1 over each of DISPERSION_SERVICES;
    ``rate_variation``: squared coefficient of variation of the slowly varying rate (off / on for on-off sources), and
    ``period_s``, the time it takes to change (0 where it does not vary).
    """

    part: FloatArray
    excess: tuple[FloatArray, ...]
    rate_variation: FloatArray
    period_s: FloatArray

    @classmethod
    def of(
        cls, bursts: Burstiness, demand: IntArray, share: FloatArray, part: FloatArray, service_s: FloatArray
    ) -> HopBursts:
        """From what is known of the demands; ``share`` of the demand's packets that take the hop's path.

        The excess of a source, ``weight (1 - (1 - exp(-u)) / u)`` with u = n ``per_packet`` after n packets, is that of
        a rate with variation weight per_packet / 2 which is forgotten within 1 / per_packet packets.
        """
        variation = np.maximum(bursts.weight * bursts.per_packet / 2, 0.0)
        total = variation.sum(axis=1)
        some = total > 0
        packets = np.where(some, (variation / bursts.per_packet).sum(axis=1) / np.where(some, total, 1.0), 0.0)
        rate = bursts.packets_per_s
        period = np.where(rate > 0, packets / np.where(rate > 0, rate, 1.0), 0.0)
        if bursts.poisson:
            none = np.zeros(len(demand))
            return cls(part, (none,) * len(DISPERSION_SERVICES), none, none)
        excess = tuple(
            (dispersion(bursts, demand, services * service_s) - 1) * share for services in DISPERSION_SERVICES
        )
        return cls(part, excess, total[demand], period[demand])


def wait_limit(scenario: Scenario, link: IntArray) -> FloatArray:
    """Longest mean wait that is believed, in service times, for queues at these links."""
    limit: FloatArray = np.maximum(scenario.topology.queue_packets[link], 1.0) / LEAST_SHARE
    return limit


def _others(busy: FloatArray, weight: FloatArray) -> FloatArray:
    """Weight of the other queues that are busy, [links, queues]: what a round of a round-robin scheduler takes."""
    total = busy * weight
    result: FloatArray = total.sum(axis=-1, keepdims=True) - total
    return result


def _log_wait(wait: FloatArray, limit: FloatArray) -> FloatArray:
    """Logarithm of waits in service times, bounded: a starved queue serves what it got before it starved."""
    result: FloatArray = np.log(np.clip(wait, WAIT_FLOOR, limit))
    return result


def _logit(loss: FloatArray) -> FloatArray:
    kept = np.clip(loss, 1e-6, 1 - 1e-3)
    result: FloatArray = np.log(kept / (1 - kept)) / 4
    return result


def _quasi_static(
    ratio: FloatArray,
    room: FloatArray,
    offered: FloatArray,
    at_port: FloatArray,
    share: FloatArray,
    spread: FloatArray,
    variability: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """The chain whose offered load is normal with deviation ``spread``: mean and deviation of the wait, mean wait at
    HIGH_LOAD deviations above the mean load, all in service times, and loss.
    """
    accepted, waited, squared, lost, arriving = (np.zeros_like(ratio) for _ in range(5))
    unit = variability / share

    def at(load: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Loss, chance to wait and ratio of the chain at this offered load."""
        moved = np.maximum(ratio * load / np.maximum(offered, 1e-300), 1e-9)
        full = full_probability(moved, room)
        busy = np.minimum((at_port - offered + load) / (1 + load * full), 1.0)
        return busy * full, np.maximum(busy - busy * full, 0.0), moved

    for node, weight in zip(_NODES, _WEIGHTS / _WEIGHTS.sum(), strict=True):
        here = np.maximum(offered + node * spread, 0.05 * offered)
        loss, waits, moved = at(here)
        # Like waiting_times: P(wait) * unit * E[packets to let pass].
        one, two, _ = position_moments(moved, room)
        arriving += weight * here
        lost += weight * here * loss
        accepted += weight * here * (1 - loss)
        waited += weight * here * waits * unit * one
        squared += weight * here * waits * unit**2 * two
    accepted = np.maximum(accepted, 1e-300)
    mean = waited / accepted
    deviation = np.sqrt(np.maximum(squared / accepted - mean**2, 0.0))
    loss, waits, moved = at(offered + HIGH_LOAD * spread)
    high = waits / np.maximum(1 - loss, 1e-12) * unit * position_moments(moved, room)[0]
    return mean, deviation, high, lost / np.maximum(arriving, 1e-300)
