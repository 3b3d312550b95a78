"""Formulas of one output port: blocking, busy server and waiting time of its queues, as arrays [..., links, queues].

Every queue is seen as a birth-death chain *given that the server is busy*: n packets wait with a probability
proportional to ``ratio**n``, n = 0..room.  With one queue and exponential sizes this is M/M/1/K exactly (K = room + 1
in the system). Other sizes and schedulers enter through three numbers per queue:

``share``        part of the server that the queue gets while it is backlogged (1 for FIFO),
``ratio``        offered work over that share,
``variability``  mean wait over the mean wait of the exponential chain (1/2 for constant sizes: Pollaczek-Khinchine).

A more variable queue fills the same room sooner: room is divided by 1 + sqrt(ratio) (variability - 1), the two-moment
approximation of M/G/1/K blocking by J. MacGregor Smith, "M/G/c/K blocking probability models and system performance",
Performance Evaluation 52 (2003), in which the square root is kept at 1 above saturation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from topology_sync.values import BoolArray, FloatArray

SHARE_FLOOR = 1e-4  # a starved queue still gets this part of the server, so that its delay stays finite
RATIO_FLOOR = 1e-9
NOTHING = 1e-200  # loads and rates below this count as none: their products would leave the range of floats
NEAR_SATURATION = 3e-3  # |ratio - 1| (room + 2) below this: interpolate instead of dividing by about nothing
LAW_FADES_FROM = 0.9  # offered load above which the conservation law (infinite room) loses its say
LAW_LIMITS = (0.25, 4.0)
SUBSETS_OF = 5
SHARE_ROUNDS = 12


@dataclass(frozen=True)
class Ports:
    """What is fixed about the ports: shapes [links], [links, queues]; ``weight`` is 0 for a queue that is not there."""

    capacity_bps: FloatArray
    room: FloatArray
    strict: BoolArray
    weighted: BoolArray
    weight: FloatArray


@dataclass(frozen=True)
class QueueInput:
    """Traffic offered to each queue, [..., links, queues].

    ``packets_per_s``, mean ``bits`` of a packet, ``second``, ``third``, ``fourth``: E[bits^n] / E[bits]^n,
    ``dispersion``: variance over mean of the packets counted over the queue's own time scale (1 for Poisson).
    """

    packets_per_s: FloatArray
    bits: FloatArray
    second: FloatArray
    third: FloatArray
    fourth: FloatArray
    dispersion: FloatArray


@dataclass(frozen=True)
class QueueState:
    """The chain of each queue, [..., links, queues]; ``busy`` is the server's, [..., links, 1]."""

    service_s: FloatArray
    offered: FloatArray
    share: FloatArray
    ratio: FloatArray
    variability: FloatArray
    room: FloatArray
    busy: FloatArray
    loss: FloatArray


def full_probability(ratio: FloatArray, room: FloatArray) -> FloatArray:
    """Probability that ``room`` packets wait, given a busy server: ratio^room / sum_{n=0..room} ratio^n.

    ``room`` may be any real number >= 0; exact and stable for every ratio > 0.
    """
    log_ratio = np.log(ratio)
    near = np.abs(ratio - 1) < 0.5
    log_ratio = np.where(near, np.log1p(np.where(near, ratio - 1, 0.0)), log_ratio)
    steps = np.clip(-(room + 1) * log_ratio, None, 700.0)
    at_one = log_ratio == 0
    quotient = np.expm1(-log_ratio) / np.where(at_one, 1.0, np.expm1(steps))
    result: FloatArray = np.where(at_one, 1 / (room + 1), quotient)
    return result


def position_moments(ratio: FloatArray, room: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """E[k], E[k (k+1)], E[k (k+1) (k+2)] of the packets k = 1..room that a waiting packet has to let pass.

    P(k) is proportional to ratio^(k-1).  These are the moments of the mixture of Erlang(k) waits with unit mean
    service.
    """
    width = NEAR_SATURATION / (room + 2)
    distance = ratio - 1
    near = np.abs(distance) < width
    above = _position_moments(np.where(near, width, distance), room)
    if not near.any():
        return above
    below = _position_moments(np.where(near, -width, distance), room)
    blend = np.where(near, (distance + width) / (2 * width), 1.0)
    first, second, third = (blend * high + (1 - blend) * low for high, low in zip(above, below, strict=True))
    return first, second, third


def _position_moments(distance: FloatArray, room: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    # T_j = sum_k C(k+j-1, j) ratio^(k-1) obeys T_j = (T_(j-1) - ratio^room C(room+j-1, j)) / (1 - ratio); all scaled by
    # ratio^-room above saturation, so that nothing overflows.
    room = np.where(room > 0, room, 1.0)
    log_power = room * np.log1p(distance)
    top = np.exp(np.minimum(log_power, 0.0))
    sum_0 = np.sign(distance) * -np.expm1(-np.abs(log_power)) / distance
    sum_1 = (top * room - sum_0) / distance
    sum_2 = (top * room * (room + 1) / 2 - sum_1) / distance
    sum_3 = (top * room * (room + 1) * (room + 2) / 6 - sum_2) / distance
    return sum_1 / sum_0, 2 * sum_2 / sum_0, 6 * sum_3 / sum_0


def solve_queues(ports: Ports, traffic: QueueInput, loss: FloatArray) -> QueueState:
    """Chain of every queue, given the traffic that reaches it and the ``loss`` of the last round."""
    service = traffic.bits / ports.capacity_bps[:, None]
    offered = traffic.packets_per_s * service
    carried = offered * (1 - loss)
    load = np.minimum(carried.sum(axis=-1, keepdims=True), 1.0)
    share, law_applies = _share(ports, offered, carried)
    ratio = np.maximum(offered / share, RATIO_FLOOR)

    # Mean residual work in service, Cobham's R; with one queue variability = R / (load * service) = E[S^2] / (2
    # E[S]^2).
    spread = np.maximum(traffic.second + traffic.dispersion - 1, 0.0) / 2
    residual = (carried * service * spread).sum(axis=-1, keepdims=True)
    idle = load < NOTHING
    variability = np.where(idle, spread, residual / np.where(idle, 1.0, load * service))
    if ports.strict.any():
        variability = np.where(ports.strict[:, None], variability / share, variability)
    if law_applies is not None:
        variability = variability * _law_factor(
            law_applies, offered, load, residual, share, service, ratio, variability
        )

    saturation = np.sqrt(np.minimum(ratio, 1.0))
    room = ports.room[:, None] / np.maximum(1 + saturation * (variability - 1), 1e-3)
    full = full_probability(ratio, room)
    busy = np.minimum(
        offered.sum(axis=-1, keepdims=True) / (1 + (offered * full).sum(axis=-1, keepdims=True)),
        1.0,
    )
    return QueueState(service, offered, share, ratio, variability, room, busy, busy * full)


def _share(ports: Ports, offered: FloatArray, carried: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """Part of the server per queue, and where the conservation law is wanted ([links, 1] of 0/1, None: nowhere)."""
    share = np.ones_like(offered)
    if ports.strict.any():
        before = np.cumsum(carried, axis=-1) - carried
        share = np.where(ports.strict[:, None], np.maximum(1 - before, SHARE_FLOOR), share)
    if not ports.weighted.any():
        return share, None
    # Generalised processor sharing: mean over which of the others are backlogged, and what the others leave unused is
    # always there.
    left = 1 - (carried.sum(axis=-1, keepdims=True) - carried)
    backlogged = np.minimum(offered, 1.0)
    weighted_share = share
    terms = _share_terms(ports.weight)
    for _ in range(SHARE_ROUNDS):
        weighted_share = np.maximum(_mean_share(terms, backlogged), left)
        weighted_share = np.clip(weighted_share, SHARE_FLOOR, 1.0)
        backlogged = np.minimum(offered / weighted_share, 1.0)
    weighted = ports.weighted[:, None]
    return np.where(weighted, weighted_share, share), weighted.astype(np.float64)


def _share_terms(weight: FloatArray) -> list[list[tuple[tuple[int, ...], FloatArray]]]:
    """Per queue, w / (w + weights of the backlogged others) as a polynomial in who is backlogged.

    A term is (others, coefficient).

    The polynomial is linear in each of them, so its mean over independent ones is its value at their probabilities.
    Beyond ``SUBSETS_OF`` others, the rest counts as always backlogged.
    """
    queues = weight.shape[-1]
    terms: list[list[tuple[tuple[int, ...], FloatArray]]] = []
    for queue in range(queues):
        own = np.maximum(weight[..., queue], 1e-300)
        others = [other for other in range(queues) if other != queue]
        rest = own + weight[..., others[SUBSETS_OF:]].sum(axis=-1)
        subsets: list[tuple[tuple[int, ...], FloatArray]] = [((), rest)]
        for other in others[:SUBSETS_OF]:
            subsets += [((*subset, other), total + weight[..., other]) for subset, total in subsets]
        values = {subset: own / total for subset, total in subsets}
        coefficients: dict[tuple[int, ...], FloatArray] = {}
        for subset, value in values.items():
            below = [coefficients[part] for part in coefficients if set(part) < set(subset)]
            coefficients[subset] = value - sum(below, np.zeros_like(value))
        terms.append(list(coefficients.items()))
    return terms


def _mean_share(terms: list[list[tuple[tuple[int, ...], FloatArray]]], backlogged: FloatArray) -> FloatArray:
    """Mean part of the server per queue while the others are backlogged independently, [..., links, queues]."""
    share = np.empty_like(backlogged)
    part = [backlogged[..., queue] for queue in range(backlogged.shape[-1])]
    for queue, polynomial in enumerate(terms):
        total = polynomial[0][1]
        for subset, coefficient in polynomial[1:]:
            term = coefficient
            for other in subset:
                term = term * part[other]
            total = total + term
        share[..., queue] = total
    return share


def _law_factor(
    applies: FloatArray,
    offered: FloatArray,
    load: FloatArray,
    residual: FloatArray,
    share: FloatArray,
    service: FloatArray,
    ratio: FloatArray,
    variability: FloatArray,
) -> FloatArray:
    """Factor on the waits of a weighted port so that sum(load_q wait_q) = load R / (1 - load) (Kleinrock 1965)."""
    below = np.minimum(ratio, 0.999)
    predicted = (offered * load * variability * service / share / (1 - below)).sum(axis=-1, keepdims=True)
    total = offered.sum(axis=-1, keepdims=True)
    due = load * residual / np.maximum(1 - load, 1e-3)
    factor = np.clip(np.where(predicted > 0, due / np.where(predicted > 0, predicted, 1.0), 1.0), *LAW_LIMITS)
    say = np.clip((1 - total) / (1 - LAW_FADES_FROM), 0.0, 1.0) * applies
    result: FloatArray = factor**say
    return result


def excursion_time(state: QueueState, ports: Ports) -> FloatArray:
    """How long the busy excursions last that make up the wait, in seconds, [..., links, queues]: over it bursts add up.

    A workload with drift -(1 - rho) and variance rate 2 v E[S] reaches a height b within b / (1 - rho); weighted by
    height that is 2 v E[S] / (1 - rho)^2.  A full queue, uniform in its room, has room^2 E[S] / (6 v).
    """
    distance = (1 - state.ratio) ** 2 + 12 * (state.variability / (ports.room[:, None] + 1)) ** 2
    service = state.service_s / state.share
    result: FloatArray = 2 * state.variability * service / np.maximum(distance, 1e-300)
    return result


@dataclass(frozen=True)
class Waits:
    """Waiting time of packets that are let in, per queue [..., links, queues].

    ``waiting_probability`` of finding a busy server; ``mean_s``, ``variance_s2``, ``third_s3`` (third cumulant);
    ``relaxation_s``: initial decay time of the workload's autocorrelation.
    """

    waiting_probability: FloatArray
    mean_s: FloatArray
    variance_s2: FloatArray
    third_s3: FloatArray
    relaxation_s: FloatArray


def waiting_times(state: QueueState, traffic: QueueInput, ports: Ports) -> Waits:
    """Waiting time distribution of accepted packets: nothing with P(idle server), else the mixture of Erlang waits.

    For other sizes the moments are corrected so that in a queue without limit they are those of M/G/1 (Takacs 1962):
    E[W^2] = 2 E[W]^2 + lambda E[S^3] / (3 (1 - rho)) and
    E[W^3] = lambda / (1 - rho) (3/2 E[S^2] E[W^2] + E[S^3] E[W] + E[S^4] / 4).
    ``relaxation_s`` is 2 Var(W) / (lambda E[S^2]): the workload jumps by S at rate lambda, so E[(V(t) - V(0))^2]
    starts as lambda E[S^2] t, and equals 2 Var(V) (1 - correlation).
    """
    admitted = np.maximum(1 - state.loss, 1e-12)
    waits = np.where(ports.room[:, None] > 0, np.clip((state.busy - state.loss) / admitted, 0.0, 1.0), 0.0)
    unit = state.variability * state.service_s / state.share
    one, two, three = position_moments(state.ratio, state.room)
    # However bursty the arrivals, nobody waits for more than a full queue.
    longest = np.maximum(ports.room[:, None], 1.0) * state.service_s / state.share
    unit = np.minimum(unit, longest / one)
    mean = waits * unit * one
    # Residual service against that of exponential sizes: 1 and 1 for these, 2/3 and 1/3 for constant ones.
    half = traffic.second / 2
    size_part = np.minimum(half / np.maximum(state.variability, 1e-300), 1.0)
    square = 1 + (traffic.third / 6 / half**2 - 1) * size_part**2
    cube = 1 + (traffic.fourth / 24 / half**3 - 1) * size_part**3
    second = waits * unit**2 * (two + 2 * (square - 1) * one)
    raw_third = waits * unit**3 * (three + 6 * (square - 1) * two + 6 * (1 - 2 * square + cube) * one)
    least = np.where(waits > 0, mean**2 / np.where(waits > 0, waits, 1.0), 0.0)
    second = np.maximum(second, least)
    variance = np.maximum(second - mean**2, 0.0)
    third = raw_third - 3 * mean * second + 2 * mean**3
    second_with_bursts = np.maximum(traffic.second + traffic.dispersion - 1, 0.0)
    work = (state.offered * (1 - state.loss) * state.service_s * second_with_bursts).sum(axis=-1, keepdims=True)
    relaxation = np.where(work > NOTHING, 2 * variance / np.where(work > NOTHING, work, 1.0), 0.0)
    return Waits(waits, mean, variance, third, relaxation)
