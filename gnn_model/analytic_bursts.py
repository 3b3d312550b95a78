"""How bursty arrivals are over a given time: the index of dispersion for counts, variance over mean of packets in t.

A queue feels bursts over the time its own busy excursions last, ``analytic_queues.excursion_time`` (Fendick and Whitt,
"Measurements and approximations to describe the offered traffic and predict the average workload in a single-server
queue", Proc. IEEE 77 (1989)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnn_model.acceleration import COMPILED
from gnn_model.arrival_table import ArrivalTable
from topology_sync.traffic import ARRIVAL_MODELS, ArrivalModel
from topology_sync.values import BoolArray, FloatArray, IntArray

DISPERSION_LIMITS = (0.0, 1e4)
LARGEST_EXPONENT = 10.0
# Correlation of two exponentials under a Gaussian copula of correlation c: about 0.82 c + 0.18 c^2 (Hermite series).
HERMITE = ((0.82, 1.0), (0.18, 2.0))


@dataclass(frozen=True)
class Burstiness:
    """What makes counts of each demand, [demands], differ from Poisson.

    ``packets_per_s`` is the rate; ``periodic``: evenly spaced packets;
    ``weight`` and ``per_packet`` [demands, terms]: excess by correlation and its decay per packet, after n packets
    worth ``weight (1 - (1 - exp(-u)) / u)`` with u = n ``per_packet``.
    """

    packets_per_s: FloatArray
    periodic: BoolArray
    weight: FloatArray
    per_packet: FloatArray

    @property
    def poisson(self) -> bool:
        """Whether no demand differs from a Poisson process."""
        return not (self.periodic.any() or self.weight.any())


def burstiness_of(arrivals: ArrivalTable, packets_per_s: FloatArray) -> Burstiness:
    """Burstiness of each demand."""

    def is_model(name: ArrivalModel) -> BoolArray:
        return np.asarray(arrivals.model == ARRIVAL_MODELS.index(name))

    count = len(arrivals.model)
    weight, per_packet = np.zeros((count, 2)), np.ones((count, 2))
    rows = is_model("onoff")
    if rows.any():
        # Rate r b / a + r while on: variance r^2 b / a, which decays within a b / (a + b).
        on, off = arrivals.on_s[rows], arrivals.off_s[rows]
        packets = packets_per_s[rows] * on * off / (on + off)
        weight[rows, 0] = 2 * packets * off / on
        per_packet[rows, 0] = 1 / np.maximum(packets, 1e-9)
    rows = is_model("autocorrelated")
    for term, (part, power) in enumerate(HERMITE if rows.any() else ()):
        correlation = arrivals.correlation[rows]
        kept = np.where(correlation > 0, np.abs(correlation) ** power, correlation)
        kept = correlation**2 if power == 2 else kept
        weight[rows, term] = 2 * part * kept / (1 - kept)
        per_packet[rows, term] = -np.log(np.maximum(np.abs(kept), 1e-9))
    rows = is_model("modulated")
    if rows.any():
        excess = np.expm1(np.minimum(arrivals.sigma[rows] ** 2, LARGEST_EXPONENT))
        kept = arrivals.correlation[rows]
        weight[rows, 0] = 2 * excess / (1 - kept)
        per_packet[rows, 0] = -np.log(np.maximum(np.abs(kept), 1e-9))
    return Burstiness(packets_per_s, is_model("cbr"), weight, per_packet)


def dispersion(bursts: Burstiness, demand: IntArray, time_s: FloatArray) -> FloatArray:
    """Variance over mean of the packets of ``demand`` [n] (ids) in ``time_s`` [n]."""
    if not COMPILED:
        return reference_dispersion(bursts, demand, time_s)
    from gnn_model.analytic_kernel import dispersions

    result = np.empty(len(demand))
    weight, per_packet = bursts.weight[demand], bursts.per_packet[demand]
    dispersions(
        np.ascontiguousarray(time_s),
        bursts.packets_per_s[demand],
        bursts.periodic[demand].astype(np.float64),
        np.ascontiguousarray(weight[:, 0]),
        np.ascontiguousarray(per_packet[:, 0]),
        np.ascontiguousarray(weight[:, 1]),
        np.ascontiguousarray(per_packet[:, 1]),
        bool(weight[:, 1].any()),
        result,
    )
    return result


def reference_dispersion(bursts: Burstiness, demand: IntArray, time_s: FloatArray) -> FloatArray:
    """``dispersion`` by array formulas."""
    packets = np.clip(bursts.packets_per_s[demand] * time_s, 0.0, 1e12)
    result = np.ones(len(packets))
    for term in range(bursts.weight.shape[1]):
        aged = np.maximum(packets * bursts.per_packet[demand, term], 1e-9)
        result = result + bursts.weight[demand, term] * (1 + np.expm1(-aged) / aged)
    # Evenly spaced with random phase: 1 - n at first, 1/(6 n) on average later.
    even = (1 + packets / 2) / (1 + 1.5 * packets + 3 * packets**2)
    chosen: FloatArray = np.clip(np.where(bursts.periodic[demand], even, result), *DISPERSION_LIMITS)
    return chosen
