"""Delays of a path from those of its links: what sums of independent draws show, nothing where too little is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology_sync.composed_delays import FEWEST_SAMPLES, ComposedDelays
from topology_sync.events import LinkProbeReturned, ProbeReturned
from topology_sync.path_delays import PathDelays, delay_p99_s, reduce_path_delays

NOW_S = 10.0


def probed(delays_of: dict[tuple[int, ...], np.ndarray], until_s: float = NOW_S) -> PathDelays:
    """Pairs of probes over each link, spread over the window."""
    events = [
        LinkProbeReturned(until_s * (index + 1) / len(delays_s), *link[:2], float(delay_s), index, *link[2:])
        for link, delays_s in delays_of.items()
        for index, delay_s in enumerate(delays_s)
    ]
    state = PathDelays()
    for event in sorted(events, key=lambda event: event.time_s):
        state = reduce_path_delays(state, event)
    return state


def composed(delays_of, until_s=NOW_S, own=None):
    return ComposedDelays(probed(delays_of, until_s), NOW_S, own or {})


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0.0005, 0.05))
def test_a_path_is_the_sum_of_its_links(seed, hops, scale_s):
    random = np.random.default_rng(seed)
    samples = {(1, port): random.exponential(scale_s, 1000) for port in range(hops)}
    found = composed(samples).of(((tuple(samples), 1.0),))
    assert found is not None
    sums = sum(random.choice(delays_s, 30_000) for delays_s in samples.values())
    pairs = sum(random.choice(np.diff(delays_s)[::2], 30_000) for delays_s in samples.values())
    assert found.delay_s == pytest.approx(sums.mean(), rel=0.04, abs=2e-4)
    assert found.delay_p99_s == pytest.approx(np.percentile(sums, 99), rel=0.15, abs=3e-4)
    assert found.jitter_s == pytest.approx(np.abs(pairs).mean(), rel=0.08, abs=3e-4)
    assert found.delay_min_s == pytest.approx(sum(delays_s.min() for delays_s in samples.values()))
    assert found.count == 1000


def test_probes_of_links_tell_more_than_as_many_of_paths():
    """Twelve paths of three out of six links: 360 probes are 60 for each link or 30 for each path."""
    random = np.random.default_rng(5)
    truth = np.percentile(random.exponential(0.002, (3, 1_000_000)).sum(axis=0), 99)
    of_links, of_path = [], []
    for _ in range(150):
        samples = {(1, port): random.exponential(0.002, 60) for port in range(3)}
        of_links.append(composed(samples).of(((tuple(samples), 1.0),)).delay_p99_s / truth - 1)
        of_path.append(delay_p99_s(random.exponential(0.002, (3, 30)).sum(axis=0)) / truth - 1)
    assert np.sqrt(np.mean(np.square(of_links))) < 0.75 * np.sqrt(np.mean(np.square(of_path)))
    assert abs(np.mean(of_links)) < 0.05


def test_a_full_queue_has_no_tail_beyond_it():
    random = np.random.default_rng(6)
    full = np.minimum(0.1 + random.exponential(0.01, 150), 0.14)
    found = composed({(1, 1): full}).of(((((1, 1),), 1.0),))
    assert found.delay_p99_s < 0.155


def test_every_queue_of_a_link_has_delays_of_its_own():
    """And one that is hardly served is no reason to think the link broken, as long as others are."""
    delays = {(1, 1, 0): np.full(40, 0.001), (1, 1, 1): np.full(40, 0.009), (1, 2, 0): np.full(40, 0.002)}
    found = composed(delays)
    assert found.of(((((1, 1, 0), (1, 2, 0)), 1.0),)).delay_s == pytest.approx(0.003, abs=3e-4)
    assert found.of(((((1, 1, 1),), 1.0),)).delay_s == pytest.approx(0.009, abs=3e-4)
    assert found.of(((((1, 1),), 1.0),)) is None
    state = probed({(1, 1, 1): np.full(40, 0.009)}, until_s=NOW_S - 3)
    assert ComposedDelays(state, NOW_S, {}).of(((((1, 1, 1),), 1.0),)) is None
    for event in (LinkProbeReturned(NOW_S - 0.1, 1, 1, 0.001, 98, 0), LinkProbeReturned(NOW_S, 1, 1, 0.001, 99, 0)):
        state = reduce_path_delays(state, event)
    assert ComposedDelays(state, NOW_S, {}).of(((((1, 1, 1),), 1.0),)) is not None


def test_paths_mix_by_their_share():
    found = composed({(1, 1): np.full(40, 0.001), (1, 2): np.full(40, 0.009)})
    mixed = found.of(((((1, 1),), 0.75), (((1, 2),), 0.25)))
    assert mixed.delay_s == pytest.approx(0.003, abs=1e-4)
    assert mixed.delay_p99_s == pytest.approx(0.009, abs=2e-4)


def test_a_link_that_is_silent_or_hardly_probed_is_not_known():
    few = {(1, 1): np.full(FEWEST_SAMPLES - 1, 0.001), (1, 2): np.full(50, 0.001)}
    assert composed(few).of(((((1, 1), (1, 2)), 1.0),)) is None
    assert composed(few).of(((((1, 2),), 1.0),)) is not None
    assert composed(few, until_s=7.0).of(((((1, 2),), 1.0),)) is None, "broken for three seconds"
    assert composed(few).of(((((9, 9),), 1.0),)) is None
    assert composed({}).of(()) is None


def test_probes_of_a_path_of_one_link_are_the_link_s_too():
    state = probed({(1, 1): np.full(30, 0.001)})
    for number in range(10):
        state = reduce_path_delays(state, ProbeReturned(9.0 + number / 20, 70, 0.001, number))
    found = ComposedDelays(state, NOW_S, {70: (1, 1)}).of(((((1, 1),), 1.0),))
    assert found.count == 40


def test_without_pairs_there_is_no_jitter():
    state = PathDelays()
    for number in range(30):
        state = reduce_path_delays(state, LinkProbeReturned(number / 3, 1, 1, 0.001, 2 * number))
    found = ComposedDelays(state, NOW_S, {}).of(((((1, 1),), 1.0),))
    assert math.isnan(found.jitter_s)
