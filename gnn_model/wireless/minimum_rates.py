"""Minimum rates: are they possible at all, and powers that keep them while the rest gets what is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gnn_model.wireless.rates import cross_gains, direct_gains, link_rates
from topology_sync.values import FloatArray

DUAL_ROUNDS = 12
DUAL_STEP = 0.5
SCALES = np.concatenate(([0.0], np.geomspace(1e-6, 1.0, 24)))
REPAIR_ITERATIONS = 300
REPAIRED = 4
TOLERANCE = 1e-6

Solver = Callable[[FloatArray], FloatArray]
"""Powers proposed [proposals, links] for link weights [links]."""


@dataclass(frozen=True)
class QualityOfService:
    """Powers under minimum rates.

    ``powers`` [links]; ``violation`` [links], by how many bit/s/Hz a link misses its minimum; ``possible``: is there
    any choice of powers that keeps them all (then ``violation`` is 0 everywhere).
    """

    powers: FloatArray
    violation: FloatArray
    possible: bool


def smallest_powers(gains: FloatArray, minimum_rates: FloatArray) -> FloatArray | None:
    """The component-wise smallest powers [links] that give every link its minimum rate; None where there are none.

    Foschini, Miljanic: A simple distributed autonomous power control algorithm (IEEE Trans. VT 42(4), 1993): with
    targets t_i for the SINR they solve ``p = F p + u``, F_ij = t_i g_ij / g_ii, u_i = t_i / g_ii.  ``gains`` [links,
    links] over the noise, ``minimum_rates`` [links] in bit/s/Hz.
    """
    target = np.exp2(minimum_rates) - 1.0
    wanted = np.flatnonzero(target > 0.0)
    powers = np.zeros(len(target))
    if not len(wanted):
        return powers
    relative = target[wanted] / direct_gains(gains)[wanted]
    matrix = relative[:, None] * cross_gains(gains)[np.ix_(wanted, wanted)]
    if np.abs(np.linalg.eigvals(matrix)).max() >= 1.0:
        return None
    powers[wanted] = np.linalg.solve(np.eye(len(wanted)) - matrix, relative)
    return powers if powers.max() <= 1.0 else None


def with_minimum_rates(
    gains: FloatArray, weights: FloatArray, minimum_rates: FloatArray, solver: Solver
) -> QualityOfService:
    """Powers [links] that keep ``minimum_rates`` where that is possible, and give a large weighted sum rate.

    Links that miss their minimum get more weight and ``solver`` is asked again, some rounds (dual ascent).  Then each
    proposal is repaired: links with a minimum send at least what they need, the others are turned down together
    until that is enough.  Where the minima are not possible together, the proposal with the least total violation.
    """
    prices = np.zeros_like(weights)
    proposals = []
    for _ in range(DUAL_ROUNDS):
        found = solver(weights + prices)
        proposals.append(found)
        short = minimum_rates - link_rates(gains[None], found).max(axis=0)
        if (short <= 0.0).all():
            break
        prices = np.maximum(prices + DUAL_STEP * short, 0.0)
    candidates = np.concatenate(proposals)
    least = smallest_powers(gains, minimum_rates)
    if least is not None:
        candidates = _repaired(gains, _most_promising(gains, weights, minimum_rates, candidates), minimum_rates, least)
    worth, missed = _judged(gains, weights, minimum_rates, candidates)
    best = np.lexsort((-worth, missed.sum(-1).round(9)))[0]
    return QualityOfService(candidates[best], missed[best], least is not None)


def _judged(
    gains: FloatArray, weights: FloatArray, minimum_rates: FloatArray, powers: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weighted sum rate [proposals] and missed rates [proposals, links]."""
    rates = link_rates(gains[None], powers)
    missed = np.maximum(minimum_rates - rates, 0.0)
    missed[missed <= TOLERANCE] = 0.0
    return (rates * weights).sum(-1), missed


def _most_promising(
    gains: FloatArray, weights: FloatArray, minimum_rates: FloatArray, proposals: FloatArray
) -> FloatArray:
    """The proposals with the largest sum rates and those that miss least."""
    worth, missed = _judged(gains, weights, minimum_rates, proposals)
    chosen = {*np.argsort(-worth)[:REPAIRED].tolist(), *np.argsort(missed.sum(-1))[:REPAIRED].tolist()}
    return proposals[sorted(chosen)]


def _repaired(gains: FloatArray, proposals: FloatArray, minimum_rates: FloatArray, least: FloatArray) -> FloatArray:
    """Every proposal at every scale of its links without a minimum [proposals * scales, links].

    ``p_i = max(proposed_i, t_i I_i(p) / g_ii)`` iterated from below is a standard interference function (Yates, IEEE
    JSAC 13(7), 1995): it rises to its smallest fixed point, which keeps all minima where it stays within full power.
    """
    target = np.exp2(minimum_rates) - 1.0
    cross, relative = cross_gains(gains), target / direct_gains(gains)
    scaled = (proposals[:, None, :] * SCALES[None, :, None]).reshape(-1, proposals.shape[-1])
    powers = np.maximum(scaled, least)
    for _ in range(REPAIR_ITERATIONS):
        needed = relative * (powers @ cross.T + 1.0)
        following = np.minimum(np.maximum(scaled, needed), 1.0)
        if np.allclose(following, powers, rtol=1e-12, atol=0.0):
            break
        powers = following
    return np.concatenate((powers, least[None]))
