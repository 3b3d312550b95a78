"""The one rate function, against the formula written out."""

from __future__ import annotations

import math

import numpy as np
import torch

from gnn_model.wireless.rates import cross_gains, link_rates, sum_rate


def test_rates_are_the_formula_written_out() -> None:
    random = np.random.default_rng(0)
    gains, powers = random.exponential(10.0, (4, 4)), random.uniform(size=4)
    for link in range(4):
        suffered = 1.0 + sum(gains[link, other] * powers[other] for other in range(4) if other != link)
        assert math.isclose(
            link_rates(gains, powers)[link], math.log2(1.0 + gains[link, link] * powers[link] / suffered)
        )


def test_rows_are_receivers() -> None:
    gains = np.array([[7.0, 0.0], [3.0, 7.0]])  # the first sender disturbs the second receiver, not the other way round
    np.testing.assert_allclose(link_rates(gains, np.ones(2)), [3.0, math.log2(1.0 + 7.0 / 4.0)])


def test_weights_weigh_and_batches_and_torch_give_the_same() -> None:
    random = np.random.default_rng(1)
    gains, powers, weights = (
        random.exponential(5.0, (3, 6, 6)),
        random.uniform(size=(3, 6)),
        random.uniform(size=(3, 6)),
    )
    alone = [(link_rates(gains[row], powers[row]) * weights[row]).sum() for row in range(3)]
    np.testing.assert_allclose(sum_rate(gains, powers, weights), alone)
    by_torch = sum_rate(*(torch.tensor(array) for array in (gains, powers, weights)))
    np.testing.assert_allclose(by_torch.numpy(), alone)


def test_cross_gains_are_the_gains_without_the_diagonal_in_any_memory_order() -> None:
    gains = np.random.default_rng(3).uniform(1.0, 2.0, (2, 4, 4))
    expected = gains * (1.0 - np.eye(4))
    for given in (gains, np.asfortranarray(gains), gains.swapaxes(-1, -2).copy().swapaxes(-1, -2)):
        np.testing.assert_array_equal(cross_gains(given), expected)
    turned = torch.tensor(gains).transpose(-1, -2)
    np.testing.assert_array_equal(cross_gains(turned).numpy(), expected.swapaxes(-1, -2))


def test_the_gains_given_are_left_as_they_are() -> None:
    gains = np.ones((3, 3))
    link_rates(gains, np.ones(3))
    assert (gains == 1.0).all()
