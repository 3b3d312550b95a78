"""Minimum rates: whether they are possible is decided exactly, and what is possible is kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.wireless.minimum_rates import TOLERANCE, smallest_powers, with_minimum_rates
from gnn_model.wireless.rates import link_rates, sum_rate
from gnn_model.wireless.recommend import Method, propose
from topology_sync.values import FloatArray


def by_wmmse(gains: FloatArray) -> object:
    return lambda weights: propose(gains, weights, Method.WMMSE, None)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10_000))
def test_rates_that_some_powers_give_are_possible_and_kept(links: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    gains = 10.0 ** random.uniform(0.0, 5.0, (links, links))
    hidden = random.uniform(0.05, 1.0, links)
    minimum = link_rates(gains, hidden) * random.integers(0, 2, links) * 0.999
    least = smallest_powers(gains, minimum)
    assert least is not None
    assert (least <= hidden + 1e-9).all()
    np.testing.assert_allclose(link_rates(gains, least)[minimum > 0], minimum[minimum > 0], rtol=1e-6, atol=1e-9)
    found = with_minimum_rates(gains, np.ones(links), minimum, by_wmmse(gains))  # type: ignore[arg-type]
    assert found.possible
    assert not found.violation.any()
    assert (link_rates(gains, found.powers) >= minimum - TOLERANCE).all()
    assert (found.powers >= 0.0).all()
    assert (found.powers <= 1.0).all()


def test_rates_beyond_full_power_or_beyond_any_power_are_impossible_and_the_violation_is_stated() -> None:
    alone = np.array([[3.0]])  # log2(1 + 3) = 2 bit/s/Hz at the most
    assert smallest_powers(alone, np.array([2.0])) == pytest.approx(1.0)
    assert smallest_powers(alone, np.array([2.01])) is None
    mutual = np.array([[1e6, 1e6], [1e6, 1e6]])  # two at the same place: no more than SINR 1 each, whatever the powers
    assert smallest_powers(mutual, np.array([1.1, 1.1])) is None
    found = with_minimum_rates(mutual, np.ones(2), np.array([1.1, 1.1]), by_wmmse(mutual))  # type: ignore[arg-type]
    assert not found.possible
    rates = link_rates(mutual, found.powers)
    np.testing.assert_allclose(found.violation, np.maximum(1.1 - rates, 0.0), atol=TOLERANCE)
    assert found.violation.sum() > 0.0


def test_without_minimum_rates_nobody_has_to_send() -> None:
    assert smallest_powers(np.ones((3, 3)), np.zeros(3)).tolist() == [0.0, 0.0, 0.0]  # type: ignore[union-attr]


def test_the_rest_keeps_most_of_its_sum_rate() -> None:
    random = np.random.default_rng(4)
    gains = 10.0 ** random.uniform(0.0, 3.0, (12, 12)) + np.diag(10.0 ** random.uniform(3.0, 6.0, 12))
    free = propose(gains, np.ones(12), Method.WMMSE, None)[0]
    silent = int(np.argmin(link_rates(gains, free)))
    minimum = np.zeros(12)
    minimum[silent] = link_rates(gains, free)[silent] + 0.3
    found = with_minimum_rates(gains, np.ones(12), minimum, by_wmmse(gains))  # type: ignore[arg-type]
    assert not found.violation.any()
    assert sum_rate(gains, found.powers) > 0.85 * sum_rate(gains, free)
