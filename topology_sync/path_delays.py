"""Delays from probes: samples of the last window per path label and per link, and what they say of a path."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from topology_sync.events import Event, LinkProbeReturned, ProbeLost, ProbeReturned
from topology_sync.values import FloatArray

Link = tuple[int, int] | tuple[int, int, int]
"""A directed link by datapath id and port of its source, and the queue at that port where it has several."""


def link_queue(dpid: int, port: int, queue: int | None) -> Link:
    """A link, or one queue of it."""
    return (dpid, port) if queue is None else (dpid, port, queue)


@dataclass(frozen=True)
class DelaySample:
    """A probe that came back; ``sequence`` as in ``ProbeReturned``."""

    time_s: float
    delay_s: float
    sequence: int | None = None


@dataclass(frozen=True)
class PathDelays:
    """Samples of the last ``window_s`` per label and per link, and when probes of a label were lost."""

    window_s: float = 10.0
    samples: Mapping[int, tuple[DelaySample, ...]] = field(default_factory=dict)
    links: Mapping[Link, tuple[DelaySample, ...]] = field(default_factory=dict)
    lost_s: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    def of(self, labels: Mapping[int, float], now_s: float) -> DelayStatistics:
        """Statistics over the paths of one demand, merged by the share of each label.

        Labels without a sample drop out.  Percentiles are of the mixture of the paths' delays.
        """
        found = {label: self.recent(label, now_s) for label in labels}
        return _statistics([(recent, labels[label]) for label, recent in found.items() if recent])

    def lost(self, label: int, now_s: float) -> int:
        """Number of probes of a label that were lost within the window."""
        return sum(time_s > now_s - self.window_s for time_s in self.lost_s.get(label, ()))

    def recent(self, label: int, now_s: float) -> tuple[DelaySample, ...]:
        """Samples of a label within the window."""
        return tuple(sample for sample in self.samples.get(label, ()) if sample.time_s > now_s - self.window_s)


def reduce_path_delays(state: PathDelays, event: Event) -> PathDelays:
    """The state after the event; a label not heard of for a window is forgotten when another is heard of."""
    oldest_s = event.time_s - state.window_s
    match event:
        case ProbeReturned() if math.isfinite(event.delay_s):
            sample = DelaySample(event.time_s, event.delay_s, event.sequence)
            kept = (*_since(state.samples.get(event.label, ()), oldest_s), sample)
            others = {label: old for label, old in state.samples.items() if old[-1].time_s > oldest_s}
            return replace(state, samples={**others, event.label: kept})
        case LinkProbeReturned() if math.isfinite(event.delay_s):
            link = link_queue(event.dpid, event.port, event.queue)
            sample = DelaySample(event.time_s, event.delay_s, event.sequence)
            kept = (*_since(state.links.get(link, ()), oldest_s), sample)
            present = {other: old for other, old in state.links.items() if old[-1].time_s > oldest_s}
            return replace(state, links={**present, link: kept})
        case ProbeLost():
            times = (*(t for t in state.lost_s.get(event.label, ()) if t > oldest_s), event.time_s)
            rest = {label: old for label, old in state.lost_s.items() if old[-1] > oldest_s}
            return replace(state, lost_s={**rest, event.label: times})
        case _:
            return state


def _since(samples: tuple[DelaySample, ...], oldest_s: float) -> tuple[DelaySample, ...]:
    """They come in the order of their times, so only a few at the front are too old."""
    first = next((index for index, sample in enumerate(samples) if sample.time_s > oldest_s), len(samples))
    return samples[first:]


@dataclass(frozen=True)
class DelayStatistics:
    """One-way delay in seconds; NaN where there are too few samples."""

    delay_s: float = math.nan
    delay_p99_s: float = math.nan
    jitter_s: float = math.nan
    delay_min_s: float = math.nan
    count: int = 0


FEWEST_FOR_P99 = 8
_ENOUGH_FOR_P99 = 200


def _statistics(paths: list[tuple[tuple[DelaySample, ...], float]]) -> DelayStatistics:
    if not paths:
        return DelayStatistics()
    delays = np.concatenate([[sample.delay_s for sample in recent] for recent, _ in paths])
    weights = np.concatenate([np.full(len(recent), share / len(recent)) for recent, share in paths])
    jitters = [(jitter, share) for recent, share in paths if not math.isnan(jitter := _jitter_s(recent))]
    total = sum(share for _, share in jitters)
    return DelayStatistics(
        delay_s=float(np.average(delays, weights=weights)),
        delay_p99_s=delay_p99_s(delays, weights),
        jitter_s=sum(jitter * share for jitter, share in jitters) / total if total else math.nan,
        delay_min_s=float(delays.min()),
        count=len(delays),
    )


def _jitter_s(samples: tuple[DelaySample, ...]) -> float:
    """Mean absolute delay difference within the pairs (RFC 3393 with the selection "probes of one pair")."""
    within = pair_differences_s(samples)
    return float(np.abs(within).mean()) if len(within) else math.nan


def pair_differences_s(samples: Sequence[DelaySample]) -> FloatArray:
    """Second delay minus first of every pair that is complete, [pairs]."""
    by_sequence = {sample.sequence: sample.delay_s for sample in samples if sample.sequence is not None}
    within = [
        by_sequence[sequence + 1] - delay_s
        for sequence, delay_s in by_sequence.items()
        if sequence % 2 == 0 and sequence + 1 in by_sequence
    ]
    return np.array(within, dtype=np.float64)


def delay_p99_s(delays: FloatArray, weights: FloatArray | None = None) -> float:
    """99th percentile of the delays in seconds, [samples] with optional weights; NaN below 8 samples.

    With 200 samples it is read off them.  With fewer the tail is taken as exponential beyond the median, the form of a
    single queue's waiting time: q99 = q50 + (q90 - q50) ln 50 / ln 5.  It goes no further beyond the largest than
    half of that one's distance from q90, since the wait in a finite queue that is often full has no such tail.
    """
    if len(delays) < FEWEST_FOR_P99:
        return math.nan
    q50, q90, q99 = _weighted_quantiles(delays, weights, (0.5, 0.9, 0.99))
    if len(delays) >= _ENOUGH_FOR_P99:
        return q99
    largest = float(delays.max())
    return float(min(q50 + (q90 - q50) * math.log(50) / math.log(5), largest + 0.5 * max(largest - q90, 0.0)))


def _weighted_quantiles(values: FloatArray, weights: FloatArray | None, levels: tuple[float, ...]) -> tuple[float, ...]:
    """Quantiles by linear interpolation between the mid-points of the weights."""
    order = np.argsort(values, kind="stable")
    weight = np.ones(len(values)) if weights is None else weights[order]
    position = (np.cumsum(weight) - weight / 2) / weight.sum()
    return tuple(float(value) for value in np.interp(levels, position, values[order]))
