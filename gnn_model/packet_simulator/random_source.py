"""Random numbers inside the kernel: xoshiro256+ (Blackman and Vigna 2018), seeded by splitmix64.

One seed gives one run on every machine; numba's own generator would be shared between threads.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gnn_model.compiled import inlined

UInt64Array = npt.NDArray[np.uint64]
TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


def seeded(seed: int) -> UInt64Array:
    """The four words of state that splitmix64 makes of any integer, [4]."""
    mask = (1 << 64) - 1
    state = seed & mask
    words = []
    for _ in range(4):
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        words.append(mixed ^ (mixed >> 31))
    return np.array(words, dtype=np.uint64)


@inlined
def uniform(state: UInt64Array) -> float:
    """In [0, 1), 53 random bits."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    result = s0 + s3
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3
    return float(result >> np.uint64(11)) * TO_UNIT


@inlined
def exponential(state: UInt64Array) -> float:
    """Exponential with mean 1."""
    return -math.log(1.0 - uniform(state))


@inlined
def normal(state: UInt64Array) -> float:
    """Standard normal (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(state)))
    return radius * math.cos(2.0 * math.pi * uniform(state))
