"""Rates of links under given powers: the one function by which all methods are judged, for NumPy and torch alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from topology_sync.values import FloatArray

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", FloatArray, torch.Tensor)
else:
    Array = TypeVar("Array")


BITS_PER_NAT = 1.4426950408889634


def direct_gains(gains: Array) -> Array:
    """Gain of every link's own channel [..., links]."""
    return gains.diagonal(0, -2, -1)


def cross_gains(gains: Array) -> Array:
    """The gains with a zero diagonal [..., receiver, transmitter]."""
    if isinstance(gains, np.ndarray):
        cross = gains.copy()
        cross.reshape(*gains.shape[:-2], -1)[..., :: gains.shape[-1] + 1] = 0.0
        return cross
    other = gains.clone()
    other.diagonal(0, -2, -1).fill_(0.0)
    return other


def link_rates(gains: Array, powers: Array) -> Array:
    """Rate of every link in bit/s/Hz: ``log2(1 + g_ii p_i / (sum_{j != i} g_ij p_j + 1))``, shape of ``powers``.

    ``gains`` [..., receiver, transmitter] are relative to the noise, ``powers`` [..., links] to the full power.
    """
    interference = _times(cross_gains(gains), powers)
    sinr = direct_gains(gains) * powers / (interference + 1.0)
    return log1p(sinr) * BITS_PER_NAT


def sum_rate(gains: Array, powers: Array, weights: Array | None = None) -> Array:
    """(Weighted) sum of the links' rates in bit/s/Hz [...]; ``weights`` [..., links]."""
    rates = link_rates(gains, powers)
    total: Array = (rates if weights is None else rates * weights).sum(-1)
    return total


def log1p(values: Array) -> Array:
    """Natural logarithm of 1 + x in the library the array comes from."""
    return np.log1p(values) if isinstance(values, np.ndarray) else values.log1p()


def _times(matrix: Array, vector: Array) -> Array:
    product: Array = (matrix @ vector[..., None])[..., 0]
    return product
