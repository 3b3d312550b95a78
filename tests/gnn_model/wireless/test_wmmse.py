"""WMMSE is the algorithm of the paper, never makes things worse, and blocks, starts and formats do not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.wireless.baselines import fplinq, full_power, greedy
from gnn_model.wireless.channel import Setting, generate
from gnn_model.wireless.rates import sum_rate
from gnn_model.wireless.wmmse import Interference, best_start, random_starts, wmmse, wmmse_from, wmmse_step
from topology_sync.values import FloatArray


def step_of_the_paper(gains: FloatArray, amplitudes: FloatArray, weights: FloatArray) -> FloatArray:
    """One step in the paper's own quantities u, w and v, link by link."""
    links = len(gains)
    channel = np.sqrt(gains)
    total = gains @ amplitudes**2 + 1.0
    u = channel.diagonal() * amplitudes / total
    w = weights / (1.0 - u * channel.diagonal() * amplitudes)
    found = [
        w[j] * u[j] * channel[j, j] / sum(gains[i, j] * w[i] * u[i] ** 2 for i in range(links)) for j in range(links)
    ]
    return np.clip(found, 0.0, 1.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_is_that_of_the_paper(weighted: bool) -> None:
    random = np.random.default_rng(5)
    gains, amplitudes = random.exponential(3.0, (6, 6)), random.uniform(0.1, 1.0, 6)
    weights = random.uniform(0.1, 2.0, 6) if weighted else np.ones(6)
    channels = Interference.of(gains[None], weights[None] if weighted else None)
    found = wmmse_step(channels, amplitudes[None, None])[0, 0]
    np.testing.assert_allclose(found, step_of_the_paper(gains, amplitudes, weights), rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000), st.booleans())
def test_no_step_lowers_the_weighted_sum_rate_and_powers_stay_in_range(links: int, seed: int, weighted: bool) -> None:
    random = np.random.default_rng(seed)
    gains = 10.0 ** random.uniform(-2.0, 7.0, (2, links, links))
    channels = Interference.of(gains, random.uniform(size=(2, links)) if weighted else None)
    amplitudes = random.uniform(0.01, 1.0, (2, 3, links))
    rate = channels.sum_rate(amplitudes**2)
    for _ in range(15):
        amplitudes = wmmse_step(channels, amplitudes)
        following = channels.sum_rate(amplitudes**2)
        assert (following >= rate * (1.0 - 1e-9) - 1e-9).all()
        assert (amplitudes >= 0.0).all()
        assert (amplitudes <= 1.0).all()
        rate = following


def test_one_link_alone_gets_full_power() -> None:
    assert wmmse(np.array([[[5.0]]]), np.array([[[0.3]]]), 20) == pytest.approx(1.0)


def test_of_two_links_that_drown_each_other_one_falls_silent() -> None:
    gains = np.array([[[1e4, 1e6], [1e6, 2e4]]])
    powers = wmmse(gains, np.array([[[0.6, 0.9]]]), 500)[0]
    assert powers.max() == pytest.approx(1.0)
    assert powers.min() < 1e-6


def test_numpy_and_torch_in_64_and_32_bits_agree() -> None:
    gains = generate(Setting(), 20, 7, 1).gains
    starts = random_starts(7, 2, 20, 2)
    reference = sum_rate(gains, wmmse(gains, starts, 50))
    by_torch = wmmse(torch.tensor(gains), torch.tensor(starts), 50)
    np.testing.assert_allclose(sum_rate(gains, by_torch.numpy()), reference, rtol=1e-9)
    short = wmmse(gains.astype(np.float32), starts.astype(np.float32), 50)
    assert short.dtype == np.float32
    np.testing.assert_allclose(sum_rate(gains, short.astype(np.float64)), reference, rtol=1e-3)


def test_a_batch_in_blocks_gives_what_single_layouts_give() -> None:
    gains = generate(Setting(), 150, 9, 4).gains  # larger than a block
    starts = random_starts(9, 1, 150, 1)
    alone = np.concatenate([wmmse(gains[row : row + 1], starts[row : row + 1], 20) for row in range(9)])
    np.testing.assert_allclose(wmmse(gains, starts, 20), alone, rtol=1e-9)


def test_the_best_of_several_starts_is_kept() -> None:
    gains = generate(Setting(), 20, 5, 1).gains
    channels = Interference.of(gains)
    powers = wmmse_from(channels, random_starts(5, 6, 20, 9), 30) ** 2
    found = sum_rate(gains, best_start(channels, powers))
    np.testing.assert_allclose(found, channels.sum_rate(powers).max(axis=-1))
    assert found.mean() > channels.sum_rate(powers).mean()


def test_silent_links_do_not_become_subnormal_numbers_in_32_bits() -> None:
    gains = generate(Setting(), 50, 2, 1).gains.astype(np.float32)
    powers = wmmse(gains, np.ones((2, 1, 50), dtype=np.float32), 500)
    assert (powers == 0.0).sum() == 0
    assert powers.min() >= np.finfo(np.float32).tiny


def test_simple_methods_rank_as_known() -> None:
    gains = generate(Setting(), 50, 60, 2).gains
    mean = {
        name: sum_rate(gains, method(gains)).mean() for name, method in {"full": full_power, "greedy": greedy}.items()
    }
    on_or_off = fplinq(gains)
    solved = sum_rate(gains, wmmse(gains, full_power(gains)[:, None], 100)).mean()
    assert set(np.unique(on_or_off)) == {0.0, 1.0}
    assert mean["full"] < mean["greedy"] < solved
    assert mean["full"] < sum_rate(gains, on_or_off).mean() < solved
