"""Shares that a switch realises: the values measured on Open vSwitch, and what quantising promises."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology_sync.shares import MAX_SLOTS, quantise, realisable_shares, realised_shares, slot_count

positive_shares = st.lists(st.floats(1e-6, 1), min_size=1, max_size=16)


@pytest.mark.parametrize(
    ("weights", "percent"),
    [
        ((50, 50), (50, 50)),
        ((33, 67), (31.25, 68.75)),
        ((10, 90), (12.5, 87.5)),
        ((5, 95), (6.25, 93.75)),
    ],
)
def test_realised_shares_are_those_measured_on_open_vswitch(weights, percent) -> None:
    assert realised_shares(weights) == tuple(value / 100 for value in percent)


def test_tiny_duplicate_buckets_make_a_finer_table() -> None:
    shares = realised_shares((32, 66, 1, 1))
    assert (round(100 * (shares[0] + shares[2]), 1), round(100 * (shares[1] + shares[3]), 1)) == (32.8, 67.2)


def test_a_ratio_of_1_to_300_falls_back_to_the_slow_path() -> None:
    assert slot_count((1, 300)) is None
    with pytest.raises(ValueError, match="more than 256 slots"):
        realised_shares((1, 300))


@given(positive_shares)
def test_quantised_weights_sum_to_the_slots_and_are_near(shares: list[float]) -> None:
    weights = quantise(shares)
    total = math.fsum(shares)
    assert sum(weights) == 64
    for share, weight in zip(shares, weights, strict=True):
        assert (weight > 0) == (share >= total / 128)
    assert slot_count(weights) is not None
    kept = math.fsum(share for share, weight in zip(shares, weights, strict=True) if weight)
    for share, weight in zip(shares, weights, strict=True):
        assert not weight or abs(weight - 64 * share / kept) < 1 + len(shares) / 2


@given(positive_shares)
def test_realisable_shares_come_out_exactly_as_said(shares: list[float]) -> None:
    wanted = realisable_shares(shares)
    assert math.fsum(wanted) == 1
    assert realised_shares(quantise(wanted)) == wanted


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=12))
def test_realised_shares_keep_the_order_of_the_weights(weights: list[int]) -> None:
    slots = slot_count(weights)
    if slots is None:
        return
    assert 16 <= slots <= MAX_SLOTS
    shares = realised_shares(weights)
    assert math.fsum(shares) == 1
    assert all(share > 0 for share in shares)
    for one, its_share in zip(weights, shares, strict=True):
        for other, other_share in zip(weights, shares, strict=True):
            assert its_share >= other_share or one <= other


@pytest.mark.parametrize("shares", [[], [0.0], [-1.0, 2.0], [math.nan], [math.inf], [1.0] * 65])
def test_what_are_no_shares_is_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        quantise(shares)
