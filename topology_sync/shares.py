"""The shares of a split demand that a switch really makes of the weights it is given.

Open vSwitch spreads flows over the buckets of a SELECT group by a hash of the packet into a table of slots (selection
method ``dp_hash``, the default since 2.10); a bucket's real share is its number of slots.  This module repeats how the
table is filled (``group_setup_dp_hash_table`` in ofproto/ofproto-dpif.c), so that the optimizer models what happens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MIN_SLOTS = 16
MAX_SLOTS = 256
SLOTS_PER_BUCKET = 4
MAX_WEIGHT = 65535  # 16 bits in the OpenFlow bucket
DEFAULT_SLOTS = 64


def slot_count(weights: Sequence[int]) -> int | None:
    """Slots of the table for these bucket weights; None where the switch would fall back to its slow path.

    Buckets of weight 0 count as not installed.  Raises ValueError unless some weight is positive and all fit 16 bits.
    """
    installed = [weight for weight in weights if weight != 0]
    if not installed or not all(0 < weight <= MAX_WEIGHT for weight in installed):
        raise ValueError(f"bucket weights {tuple(weights)}: want 0 to {MAX_WEIGHT}, at least one above 0")
    wanted = max(-(-sum(installed) // min(installed)), SLOTS_PER_BUCKET * len(installed), MIN_SLOTS)
    slots = 1 << (wanted - 1).bit_length()
    return slots if slots <= MAX_SLOTS else None


def realised_shares(weights: Sequence[int]) -> tuple[float, ...]:
    """The share that each bucket gets of many flows, aligned with ``weights``.

    The slots are dealt out by the method of Webster: each goes to the bucket with the largest weight / (2 x slots it
    has + 1), the first of equals.  Raises ValueError for weights that the switch would treat on its slow path, where
    shares follow no such rule; weights of ``quantise`` never do.
    """
    slots = slot_count(weights)
    if slots is None:
        raise ValueError(f"bucket weights {tuple(weights)} need more than {MAX_SLOTS} slots; quantise them first")
    dealt = [0] * len(weights)
    value = [float(weight) for weight in weights]
    for _ in range(slots):
        winner = max(range(len(weights)), key=value.__getitem__)
        dealt[winner] += 1
        value[winner] = weights[winner] / (2 * dealt[winner] + 1)
    return tuple(count / slots for count in dealt)


def quantise(shares: Sequence[float], slots: int = DEFAULT_SLOTS) -> tuple[int, ...]:
    """Bucket weights, summing to ``slots``, nearest to ``shares`` (any positive scale); aligned with them.

    Largest remainder.  A share below half a slot is dropped (weight 0), every other one gets at least 1.  With up to
    ``slots / 4`` buckets the weights never lead to the slow path.
    """
    total = math.fsum(shares)
    if not shares or not all(share >= 0 for share in shares) or not 0 < total < math.inf:
        raise ValueError(f"shares {tuple(shares)}: want 0 or more, at least one above 0")
    if len(shares) > slots or not 0 < slots <= MAX_SLOTS:
        raise ValueError(f"{len(shares)} shares do not fit {slots} slots of at most {MAX_SLOTS}")
    least = total / (2 * slots)
    kept = [share if share >= least else 0.0 for share in shares]
    total = math.fsum(kept)
    quota = [share / total * slots for share in kept]
    weights = [max(int(exact), 1 if exact > 0 else 0) for exact in quota]
    while sum(weights) != slots:
        step = 1 if sum(weights) < slots else -1
        choice = [index for index in range(len(weights)) if kept[index] and weights[index] + step >= 1]
        best = max(choice, key=lambda index: (step * (quota[index] - weights[index]), -index))
        weights[best] += step
    return tuple(weights)


def realisable_shares(shares: Sequence[float], slots: int = DEFAULT_SLOTS) -> tuple[float, ...]:
    """Shares near the wanted ones that come out exactly when they are quantised again and installed.

    Quantising and dealing out slots is repeated until nothing changes: a round that changes something needs a smaller
    table than the one before, so a few rounds do.  Use it on a plan before it is predicted.
    """
    present = realised_shares(quantise(shares, slots))
    for _ in range(MAX_SLOTS.bit_length()):
        following = realised_shares(quantise(present, slots))
        if following == present:
            break
        present = following
    return present
