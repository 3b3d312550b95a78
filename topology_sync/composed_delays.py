"""The delays of a path put together from those of its links.

All paths over a link share its queue, so a probe of one link tells about all of them: many more samples stand behind
the tail of a path than if paths were probed one by one.  The delay of a path is the sum of independent draws, one per
link: the convolution of the links' distributions, computed as a product of Fourier transforms.  (That neighbouring
queues are independent is Kleinrock's assumption of 1964; every model in this project makes it.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from topology_sync.path_delays import DelaySample, DelayStatistics, Link, PathDelays, pair_differences_s
from topology_sync.values import FloatArray

BINS = 4096
SMALLEST_BIN_S = 1e-4
FEWEST_SAMPLES = 20
FEWEST_PAIRS = 4
FRESH_S = 2.0
"""A link whose probes stopped coming back is broken or detoured: then only probes of the paths themselves count."""
_TAIL = 0.1
_ROOM = 1.5  # for tails beyond the largest sample

Spectra = npt.NDArray[np.complex128]


class ComposedDelays:
    """Statistics of any path at ``now_s``.

    ``own_link`` names the labels of paths with a single link: their samples are the link's too.
    """

    def __init__(self, delays: PathDelays, now_s: float, own_link: Mapping[int, Link]) -> None:
        samples = {
            link: [sample for sample in recent if sample.time_s > now_s - delays.window_s]
            for link, recent in delays.links.items()
        }
        samples = {link: recent for link, recent in samples.items() if recent and recent[-1].time_s > now_s - FRESH_S}
        for label, link in own_link.items():
            if link in samples:
                samples[link] += delays.recent(label, now_s)
        self._samples = {link: recent for link, recent in samples.items() if len(recent) >= FEWEST_SAMPLES}
        self._row = {link: row for row, link in enumerate(self._samples)}
        self._largest_s = [max(sample.delay_s for sample in recent) for recent in self._samples.values()]

    def of(self, paths: Sequence[tuple[Sequence[Link], float]]) -> DelayStatistics | None:
        """Statistics of the mixture of these paths (links in order, share); None where a link is not known well."""
        if not paths or any(link not in self._row for links, _ in paths for link in links):
            return None
        rows = [[self._row[link] for link in links] for links, _ in paths]
        shares = np.array([share for _, share in paths]) / sum(share for _, share in paths)
        spectrum = sum(share * self._delays[row].prod(axis=0) for share, row in zip(shares, rows, strict=True))
        density = np.maximum(np.fft.irfft(spectrum, BINS), 0.0)
        hops = float(np.dot(shares, [len(row) for row in rows]))
        # A sample lies half a bin above the edge of its bin, on the average, at each of the links.
        value_s = (np.arange(BINS) + hops / 2) * self._bin_s
        total = np.cumsum(density)
        return DelayStatistics(
            delay_s=float(density @ value_s / total[-1]),
            delay_p99_s=float(value_s[np.searchsorted(total, 0.99 * total[-1])]),
            jitter_s=self._jitter_s(rows, shares),
            delay_min_s=min(sum(self._smallest_s[row] for row in path) for path in rows),
            count=min(len(self._recent[row]) for path in rows for row in path),
        )

    def _jitter_s(self, rows: Sequence[Sequence[int]], shares: FloatArray) -> float:
        """Mean |difference| of pairs: the difference over a path is the sum of those over its links."""
        if any(self._pairs[row] < FEWEST_PAIRS for path in rows for row in path):
            return math.nan
        spectrum = sum(share * self._differences[row].prod(axis=0) for share, row in zip(shares, rows, strict=True))
        density = np.maximum(np.fft.irfft(spectrum, BINS), 0.0)
        size_s = np.minimum(np.arange(BINS), BINS - np.arange(BINS)) * self._bin_s
        return float(density @ size_s / density.sum())

    @cached_property
    def _recent(self) -> list[list[DelaySample]]:
        return list(self._samples.values())

    @cached_property
    def _smallest_s(self) -> list[float]:
        return [min(sample.delay_s for sample in recent) for recent in self._recent]

    @cached_property
    def _bin_s(self) -> float:
        """So wide that the longest path's delays, or differences both ways, fit into all bins."""
        longest_s = sum(sorted(self._largest_s, reverse=True)[:4])
        return max(SMALLEST_BIN_S, 2 * _ROOM * longest_s / BINS)

    @cached_property
    def _delays(self) -> Spectra:
        """Spectra of the distributions of delay, [links, frequencies]."""
        masses = [self._mass(np.array([sample.delay_s for sample in recent])) for recent in self._recent]
        spectra: Spectra = np.fft.rfft(np.array(masses), axis=1)
        return spectra

    @cached_property
    def _differences(self) -> Spectra:
        """Spectra of the distributions of the differences within pairs, made symmetric, [links, frequencies]."""
        masses = np.zeros((len(self._recent), BINS))
        for row, recent in enumerate(self._recent):
            steps = np.rint(pair_differences_s(recent) / self._bin_s).astype(np.int64)
            masses[row] = np.bincount(np.concatenate([steps, -steps]) % BINS, minlength=BINS)
            masses[row] /= max(masses[row].sum(), 1.0)
        spectra: Spectra = np.fft.rfft(masses, axis=1)
        return spectra

    @cached_property
    def _pairs(self) -> list[int]:
        return [len(pair_differences_s(recent)) for recent in self._recent]

    def _mass(self, delay_s: FloatArray) -> FloatArray:
        """Probability per bin: the samples, their upper tenth replaced by an exponential tail of the same mean.

        That is the form of the tail of a queue's waiting time; it spares the percentile the luck of the largest sample.
        """
        edge_s = float(np.quantile(delay_s, 1 - _TAIL))
        beyond = delay_s[delay_s > edge_s]
        body = delay_s[delay_s <= edge_s]
        mass = np.bincount(np.minimum((body / self._bin_s).astype(np.int64), BINS - 1), minlength=BINS).astype(float)
        if len(beyond):
            excess_s = max(float((beyond - edge_s).mean()), self._bin_s)
            first = int(edge_s / self._bin_s)
            tail = np.zeros(BINS)
            tail[first:] = np.exp(-np.arange(BINS - first) * self._bin_s / excess_s)
            mass += len(beyond) * tail / tail.sum()
        scaled: FloatArray = mass / mass.sum()
        return scaled
