"""Exponentials that a compiler can work out for many numbers at once: no call, no branch.

Reduction by Cody and Waite to |r| <= ln(2) / 2 and a polynomial; ``exp64`` within 2 units in the last place of 64 bits,
``exp32`` of 32 bits.  Arguments beyond what floats can hold are cut off at the last one that they can.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gnn_model.compiled import inlined_kernel

F32 = np.float32


@inlined_kernel
def exp32(x: Any) -> Any:
    """e^x in 32 bits (coefficients of Cephes' ``expf``)."""
    x = min(max(x, F32(-87.0)), F32(88.0))
    n = np.floor(x * F32(1.4426950408889634) + F32(0.5))
    r = x - n * F32(0.693359375)
    r = r + n * F32(2.12194440e-4)
    p = F32(1.9875691500e-4)
    p = p * r + F32(1.3981999507e-3)
    p = p * r + F32(8.3334519073e-3)
    p = p * r + F32(4.1665795894e-2)
    p = p * r + F32(1.6666665459e-1)
    p = p * r + F32(5.0000001201e-1)
    y = p * r * r + r + F32(1.0)
    return y * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined_kernel
def sigmoid32(x: Any) -> Any:
    """1 / (1 + e^-x) in 32 bits."""
    return F32(1.0) / (F32(1.0) + exp32(-x))


@inlined_kernel
def tanh32(x: Any) -> Any:
    """tanh(x) in 32 bits, to 1e-7 absolute."""
    return F32(1.0) - F32(2.0) / (F32(1.0) + exp32(F32(2.0) * x))


@inlined_kernel
def exp64(x: Any) -> Any:
    """e^x in 64 bits."""
    x = min(max(x, -708.0), 709.0)
    n = np.floor(x * 1.4426950408889634 + 0.5)
    r = x - n * 6.93145751953125e-1
    r = r - n * 1.42860682030941723212e-6
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    y = p * r * r + r + 1.0
    return y * np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)
