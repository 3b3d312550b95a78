"""Loss from dated counters: exact where nothing is on the way, and right to a packet or two where much is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology_sync.dated_counters import SLACK_S, dated_losses

WINDOW_S = 10.0


def counted(random: np.random.Generator, rate: float, loss: float, delay_s: float, poll_s: float, date_error_s: float):
    """Dates, counts at both ends, and when the packets were sent and which were lost."""
    span_s = WINDOW_S + 4.0
    sent_s = np.sort(random.uniform(0, span_s, random.poisson(rate * span_s)))
    lost = random.random(len(sent_s)) < loss
    arrived_s = np.sort((sent_s + delay_s * random.uniform(0.8, 1.2, len(sent_s)))[~lost])
    true_s = np.arange(0.5, span_s, poll_s) + random.uniform(0, 0.05)
    date_s = true_s + random.uniform(-date_error_s, date_error_s, len(true_s))
    sent, delivered = (np.searchsorted(times, true_s).astype(float)[:, None] for times in (sent_s, arrived_s))
    return date_s, sent, delivered, sent_s, lost


def measured(date_s, sent, delivered, delay_s, unsure=None):
    unsure = np.zeros(sent.shape) if unsure is None else unsure
    delay = np.full(sent.shape[1], delay_s)
    return dated_losses(date_s, sent, delivered, unsure, delay, 1.2 * delay, WINDOW_S)


def truth(found, sent_s, lost):
    inside = (sent_s > found.from_s[0]) & (sent_s <= found.until_s[0])
    return inside.sum(), lost[inside].sum()


def test_a_slow_demand_is_counted_exactly():
    """Six packets a second, a quarter lost, 120 ms on the way: some moment near either end has nothing on the way."""
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(40):
        *counts, sent_s, lost = counted(random, 6, 0.25, 0.12, 0.25, 0.015)
        found = measured(*counts, 0.12)
        packets, gone = truth(found, sent_s, lost)
        assert found.sent[0] == pytest.approx(packets, abs=2.5)
        wrong += abs(found.lost[0] - gone) > 0.3
    assert wrong <= 8, wrong


@pytest.mark.parametrize(("rate", "loss", "delay_s"), [(25, 0.0, 0.002), (100, 0.0, 0.05), (150, 0.2, 0.12)])
def test_faster_demands_are_within_half_a_point_nearly_always(rate, loss, delay_s):
    random = np.random.default_rng(2)
    errors = []
    for _ in range(60):
        *counts, sent_s, lost = counted(random, rate, loss, delay_s, 0.25, 0.015)
        found = measured(*counts, delay_s)
        packets, gone = truth(found, sent_s, lost)
        errors.append(abs(found.lost[0] / found.sent[0] - gone / packets))
    assert np.quantile(errors, 0.9) < 0.005
    assert np.median(errors) < 0.002


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 200), st.floats(0, 0.5), st.floats(0.0005, 0.5), st.floats(0.1, 1.0))
def test_losses_are_possible_and_windows_near_what_was_asked_for(seed, rate, loss, delay_s, poll_s):
    *counts, _, _ = counted(np.random.default_rng(seed), rate, loss, delay_s, poll_s, 0.02)
    found = measured(*counts, delay_s)
    if not np.isnan(found.sent[0]):
        assert 0 <= found.lost[0] <= found.sent[0]
        assert 0 < found.until_s[0] - found.from_s[0] <= WINDOW_S + 2 * SLACK_S + delay_s + 1.0
        assert found.deviation[0] >= 0


def test_what_is_unknown_stays_unknown_and_costs_the_others_nothing():
    random = np.random.default_rng(3)
    date_s, sent, delivered, _, _ = counted(random, 50, 0.1, 0.01, 0.5, 0.0)
    nothing = np.full_like(sent, np.nan)
    both = measured(date_s, np.hstack([sent, nothing, sent]), np.hstack([delivered, nothing, nothing]), 0.01)
    alone = measured(date_s, sent, delivered, 0.01)
    assert both.lost[0] == pytest.approx(alone.lost[0])
    assert np.isnan(both.lost[1:]).all()
    assert np.isnan(measured(date_s[:1], sent[:1], delivered[:1], 0.01).lost).all()
    assert len(measured(date_s, sent[:, :0], delivered[:, :0], 0.01).lost) == 0


def test_a_reading_in_doubt_does_not_decide():
    """Our own probes passed just then: that count is off by two, and the readings beside it know better."""
    random = np.random.default_rng(4)
    date_s, sent, delivered, _, _ = counted(random, 20, 0.0, 0.002, 0.25, 0.0)
    unsure = np.zeros_like(sent)
    delivered[-1] -= 2
    assert measured(date_s, sent, delivered, 0.002).lost[0] > 0.5
    unsure[-1] = 8
    assert measured(date_s, sent, delivered, 0.002, unsure).lost[0] < 0.3
