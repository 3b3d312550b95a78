"""The layouts are those of the paper: geometry, path loss, fading, and the reference sum rates known for them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gnn_model.wireless.baselines import full_power
from gnn_model.wireless.channel import Setting, channels_at, generate
from gnn_model.wireless.rates import sum_rate
from gnn_model.wireless.wmmse import random_starts, wmmse
from topology_sync.errors import InputError


def test_the_same_seed_gives_the_same_layouts_and_another_seed_others() -> None:
    first, again, other = (generate(Setting(), 10, 3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.gains, again.gains)
    assert not np.isclose(first.gains, other.gains).any()


def test_distances_keep_the_limits_of_the_setting() -> None:
    distance_m = generate(Setting(), 50, 40, 3).distance_m
    own = distance_m.diagonal(0, 1, 2)
    assert own.min() >= 2.0
    assert own.max() <= 65.0
    assert distance_m.min() > 1.0
    assert distance_m.max() <= math.sqrt(2.0) * 1000.0


def test_the_field_grows_with_the_links_at_constant_density() -> None:
    assert Setting().field_m(50) == pytest.approx(1000.0)
    assert Setting().field_m(400) == pytest.approx(math.sqrt(8e6))


def test_path_loss_rises_by_20_db_a_decade_before_the_breakpoint_and_by_40_after_it() -> None:
    gain_db = 10.0 * np.log10(Setting().path_gain(np.array([1.0, 10.0, 100.0, 1000.0])))
    assert gain_db[0] - gain_db[1] == pytest.approx(20.0)
    assert gain_db[2] - gain_db[3] == pytest.approx(40.0)
    # by hand: lambda = .12492 m, breakpoint 72.05 m, 71.18 dB + 6 dB there, 40 log10(100 / 72.05) more at 100 m
    assert gain_db[2] == pytest.approx(-(71.18 + 6.0 + 5.69), abs=0.05)


def test_noise_is_that_of_5_mhz_against_10_watts() -> None:
    assert 10.0 * math.log10(Setting().noise_to_power) == pytest.approx(-169.0 + 66.99 - 40.0, abs=0.01)


@pytest.mark.parametrize("fading", ["rayleigh", "rician", "none"])
def test_fading_has_mean_one_and_its_own_spread(fading: str) -> None:
    setting = replace(Setting(), shadowing_db=0.0, fading=fading)  # type: ignore[arg-type]
    drawn = channels_at(setting, np.full((400, 20, 20), 50.0), np.random.default_rng(0))
    ratio = drawn.gains / drawn.median_gains
    spread = {"rayleigh": 1.0, "rician": 3.0 / 5.0, "none": 0.0}[fading]  # rician: sqrt(1 + 2 K) / (1 + K) with K = 4
    assert ratio.mean() == pytest.approx(1.0, abs=0.01)
    assert ratio.std() == pytest.approx(spread, abs=0.01)


def test_reference_sum_rates_at_50_links_are_those_measured_before() -> None:
    gains = generate(Setting(), 50, 200, 7).gains
    solved = sum_rate(gains, wmmse(gains, random_starts(200, 1, 50, 3), 100)).mean()
    assert solved == pytest.approx(199.8, rel=0.015)
    assert sum_rate(gains, full_power(gains)).mean() == pytest.approx(143.5, rel=0.015)


@pytest.mark.parametrize(
    "wrong",
    [{"links_per_km2": 0.0}, {"max_link_m": 0.5}, {"min_link_m": 70.0}, {"shadowing_db": -1.0}, {"fading": "fast"}],
)
def test_a_setting_that_cannot_be_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Setting(**wrong)  # type: ignore[arg-type]


def test_links_longer_than_the_field_are_refused_and_do_not_hang() -> None:
    with pytest.raises(InputError, match="max_link_m"):
        generate(Setting(links_per_km2=1e9, min_link_m=60.0), 2, 1, 1)
