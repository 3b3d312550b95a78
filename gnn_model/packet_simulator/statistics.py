"""From counts to delays, percentiles and their errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gnn_model.packet_simulator.arrays import BIN_WIDTH
from topology_sync.values import FloatArray

BATCHES = 20


def percentile(histogram: npt.NDArray[np.uint32], bin_unit_s: FloatArray, probability: float) -> FloatArray:
    """Delay below which ``probability`` of each flow's packets stay, [flows]; NaN without packets.

    ``histogram`` [flows, bins]: bin 0 up to ``bin_unit_s``, every further one 1 % wider than that before; logarithmic
    interpolation inside the bin.
    """
    cumulated = np.cumsum(histogram, axis=1, dtype=np.int64)
    total = cumulated[:, -1]
    wanted = probability * total
    place = (cumulated < wanted[:, None]).sum(axis=1)
    rows = np.arange(len(histogram))
    place = np.minimum(place, histogram.shape[1] - 1)
    below = np.where(place > 0, cumulated[rows, place - 1], 0)
    inside = np.maximum(histogram[rows, place], 1)
    part = np.clip((wanted - below) / inside, 0.0, 1.0)
    values = bin_unit_s * np.exp(np.log1p(BIN_WIDTH) * np.maximum(place - 1 + part, 0.0))
    result: FloatArray = np.where(total > 0, values, np.nan)
    return result


class Batches:
    """Sums per batch of equal time; neighbours are joined when there are twice as many as wanted."""

    def __init__(self, flows: int) -> None:
        self._flows = flows
        self._counts: list[FloatArray] = []
        self._sums: list[FloatArray] = []

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, count: FloatArray, total: FloatArray) -> None:
        """Add the packets [flows] and the sum of their delays [flows] of one more batch."""
        self._counts.append(count.copy())
        self._sums.append(total.copy())

    def join_neighbours(self) -> bool:
        """Halve the number of batches once it has doubled; True when it did: further ones last twice as long."""
        if len(self) < 2 * BATCHES:
            return False
        self._counts = [first + second for first, second in zip(self._counts[::2], self._counts[1::2], strict=True)]
        self._sums = [first + second for first, second in zip(self._sums[::2], self._sums[1::2], strict=True)]
        return True

    def relative_error(self, offset_s: FloatArray) -> FloatArray:
        """Relative standard error of each flow's mean delay (``offset_s`` is added to every delay), [flows].

        Batch means as a ratio estimator: batches with more packets weigh more.  NaN below two packets per batch.
        """
        if len(self) < 2:
            return np.full(self._flows, np.nan)
        counts, sums = np.stack(self._counts), np.stack(self._sums)
        total = counts.sum(axis=0)
        enough = total >= 2 * len(self)
        safe = np.where(enough, total, 1.0)
        mean = sums.sum(axis=0) / safe
        squares = ((sums - mean * counts) ** 2).sum(axis=0) * len(self) / (len(self) - 1)
        level = mean + offset_s
        error = np.sqrt(squares) / safe / np.where(level > 0, level, 1.0)
        result: FloatArray = np.where(enough, error, np.nan)
        return result
