"""The delays of a path put together from those of its links.

All paths over a link share its queue (those of a class, where each has its own), so a probe of one link tells about all
of them: many more samples stand behind the tail of a path than if paths were probed one by one.  The delay of a path
is the sum of independent draws, one per link: the convolution of the links' distributions, computed as a product of
Fourier transforms.  (That neighbouring queues are independent is Kleinrock's assumption of 1964; every model in this
project makes it.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from topology_sync.path_delays import DelayStatistics, Link, PathDelays, pair_differences_s
from topology_sync.values import FloatArray

BINS = 2048
SMALLEST_BIN_S = 1e-4
FEWEST_SAMPLES = 20
FEWEST_PAIRS = 4
FRESH_S = 2.0
"""A link whose probes stopped coming back is broken or detoured: then only probes of the paths themselves count."""
_TAIL, _LARGEST_TAIL, _TAIL_SAMPLES = 0.1, 0.25, 25
_ROOM = 1.5  # for tails beyond the largest sample
_LONGEST_PATHS = 4  # links whose largest delays must fit together

Spectra = npt.NDArray[np.complex128]
Mixture = tuple[tuple[tuple[Link, ...], float], ...]
"""Paths as their links in order, with shares."""


class ComposedDelays:
    """Statistics of any path at ``now_s``, each computed once.

    ``own_link`` names the labels of paths with a single link: their samples are the link's too.
    """

    def __init__(self, delays: PathDelays, now_s: float, own_link: Mapping[int, Link]) -> None:
        recent = {
            link: [sample for sample in samples if sample.time_s > now_s - delays.window_s]
            for link, samples in delays.links.items()
        }
        newest_s: dict[tuple[int, ...], float] = {}
        for link, samples in recent.items():
            if samples:  # any queue of a link tells that it works
                newest_s[link[:2]] = max(newest_s.get(link[:2], 0.0), samples[-1].time_s)
        recent = {link: samples for link, samples in recent.items() if newest_s.get(link[:2], 0.0) > now_s - FRESH_S}
        recent = {link: samples for link, samples in recent.items() if samples}
        differences = {link: pair_differences_s(samples) for link, samples in recent.items()}
        for label, link in own_link.items():
            if link in recent:
                recent[link] += delays.recent(label, now_s)
        delay_s = {
            link: np.sort([sample.delay_s for sample in samples])
            for link, samples in recent.items()
            if len(samples) >= FEWEST_SAMPLES
        }
        self._row = {link: row for row, link in enumerate(delay_s)}
        self._count = [len(values) for values in delay_s.values()]
        self._pairs = [len(differences[link]) for link in delay_s]
        self._smallest_s = [float(values[0]) for values in delay_s.values()]
        largest_s = sorted((float(values[-1]) for values in delay_s.values()), reverse=True)
        self._bin_s = max(SMALLEST_BIN_S, _ROOM * sum(largest_s[:_LONGEST_PATHS]) / BINS)
        masses = [self._mass(values) for values in delay_s.values()]
        self._delays: Spectra = np.fft.rfft(np.array(masses).reshape(-1, BINS), axis=1)
        steps = [self._steps(differences[link]) for link in delay_s]
        self._differences: Spectra = np.fft.rfft(np.array(steps).reshape(-1, BINS), axis=1)
        self._known: dict[Mixture, DelayStatistics] = {}

    def of(self, paths: Mixture) -> DelayStatistics | None:
        """Statistics of the mixture of these paths; None where a link is not known well."""
        if not paths or any(link not in self._row for links, _ in paths for link in links):
            return None
        if paths not in self._known:
            self._known[paths] = self._composed(paths)
        return self._known[paths]

    def _composed(self, paths: Mixture) -> DelayStatistics:
        rows = [[self._row[link] for link in links] for links, _ in paths]
        shares = np.array([share for _, share in paths]) / sum(share for _, share in paths)
        density = self._mixed(self._delays, rows, shares)
        hops = float(np.dot(shares, [len(row) for row in rows]))
        # A sample lies half a bin above the edge of its bin, on the average, at each of the links.
        value_s = (np.arange(BINS) + hops / 2) * self._bin_s
        total = np.cumsum(density)
        return DelayStatistics(
            delay_s=float(density @ value_s / total[-1]),
            delay_p99_s=float(value_s[np.searchsorted(total, 0.99 * total[-1])]),
            jitter_s=self._jitter_s(rows, shares),
            delay_min_s=min(sum(self._smallest_s[row] for row in path) for path in rows),
            count=min(self._count[row] for path in rows for row in path),
        )

    def _jitter_s(self, rows: Sequence[Sequence[int]], shares: FloatArray) -> float:
        """Mean |difference| of pairs: the difference over a path is the sum of those over its links."""
        if any(self._pairs[row] < FEWEST_PAIRS for path in rows for row in path):
            return math.nan
        density = self._mixed(self._differences, rows, shares)
        size_s = np.minimum(np.arange(BINS), BINS - np.arange(BINS)) * self._bin_s
        return float(density @ size_s / density.sum())

    @staticmethod
    def _mixed(spectra: Spectra, rows: Sequence[Sequence[int]], shares: FloatArray) -> FloatArray:
        mixed = np.zeros(spectra.shape[1], dtype=np.complex128)
        for share, path in zip(shares, rows, strict=True):
            product = spectra[path[0]].copy()
            for row in path[1:]:
                product *= spectra[row]
            mixed += share * product
        density: FloatArray = np.maximum(np.fft.irfft(mixed, BINS), 0.0)
        return density

    def _steps(self, difference_s: FloatArray) -> FloatArray:
        """Probability per bin of the differences within pairs, made symmetric; negative ones count from the end."""
        step = np.rint(difference_s / self._bin_s).astype(np.int64)
        mass = np.bincount(np.concatenate([step, -step]) % BINS, minlength=BINS).astype(np.float64)
        scaled: FloatArray = mass / max(mass.sum(), 1.0)
        return scaled

    def _mass(self, delay_s: FloatArray) -> FloatArray:
        """Probability per bin: the (sorted) samples, the upper ones replaced by an exponential tail of the same mean.

        That is the form of the tail of a queue's waiting time; it spares the percentile the luck of the largest sample.
        The mean of a few excesses is as uncertain as one over the root of their number, so where samples are few the
        tail begins lower: 25 samples, between a tenth and a quarter of all.
        """
        tail = min(max(_TAIL, _TAIL_SAMPLES / len(delay_s)), _LARGEST_TAIL)
        body = math.ceil((1 - tail) * len(delay_s))
        edge_s = float(delay_s[body - 1])
        beyond = delay_s[body:]
        bins = np.minimum((delay_s[:body] / self._bin_s).astype(np.int64), BINS - 1)
        mass = np.bincount(bins, minlength=BINS).astype(np.float64)
        if len(beyond):
            excess_s = max(float(beyond.mean()) - edge_s, self._bin_s)
            first = min(int(edge_s / self._bin_s), BINS - 1)
            falling = np.exp(-np.arange(BINS - first) * (self._bin_s / excess_s))
            mass[first:] += len(beyond) * falling / falling.sum()
        scaled: FloatArray = mass / mass.sum()
        return scaled
