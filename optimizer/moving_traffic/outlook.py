"""What the next interval may look like, read out of the intervals before it.

Three views, none of which trusts the last interval alone: the recent matrices themselves, the newest weighted most
(what repeats); their weighted mean (what is expected); and per pair how far it once rose above that mean (what bursts).
A pair that never burst is not yet known to be steady: its burst is at least ``PRIOR_BURST / sqrt(matrices seen)`` of
its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from topology_sync.values import FloatArray

PRIOR_BURST = 0.5


@dataclass(frozen=True)
class OutlookSettings:
    """``window`` recent matrices count, each ``decay`` times as much as the next; bursts are sought in ``memory``."""

    window: int = 12
    decay: float = 0.8
    memory: int = 48

    @property
    def longest(self) -> int:
        """Matrices that can matter."""
        return max(self.window, self.memory)


@dataclass(frozen=True, eq=False)
class Outlook:
    """``matrices`` [scenarios, pairs] with ``weight`` [scenarios] (sum 1, newest last), ``expected`` and ``burst``
    [pairs], all rates in bit/s.
    """

    matrices: FloatArray
    weight: FloatArray
    expected: FloatArray
    burst: FloatArray


def recency_weights(count: int, decay: float) -> FloatArray:
    """Weights that sum to 1 and fall by ``decay`` towards the past, [count], newest last."""
    weight = decay ** np.arange(count - 1, -1, -1, dtype=np.float64)
    result: FloatArray = weight / weight.sum()
    return result


def outlook(history: Sequence[FloatArray], settings: OutlookSettings = OutlookSettings()) -> Outlook:
    """The outlook after ``history`` (at least one matrix [pairs], oldest first)."""
    remembered = np.stack(history[-settings.memory :])
    matrices = np.stack(history[-settings.window :])
    weight = recency_weights(len(matrices), settings.decay)
    expected = weight @ matrices
    unseen = PRIOR_BURST * expected / np.sqrt(len(remembered))
    return Outlook(matrices, weight, expected, np.maximum(remembered.max(axis=0) - expected, unseen))
