"""A switch's answers are dated by its rules' ages, however late they are taken in."""

from __future__ import annotations

import numpy as np
import pytest

from topology_sync.switch_clock import SwitchClock


def test_an_answer_taken_in_late_keeps_its_date():
    random = np.random.default_rng(1)
    clock = SwitchClock()
    made_s = {"one": -500.0, "two": -20.25, "three": -3.0}
    for number in range(200):
        given_s = number * 0.5
        late_s = 0.001 if number % 7 == 0 else random.exponential(0.1)
        found_s = clock.answered_s({rule: given_s - at_s for rule, at_s in made_s.items()}, given_s + late_s)
        assert found_s <= given_s + late_s
        if number > 10:
            assert found_s == pytest.approx(given_s, abs=0.0015)


def test_rules_that_come_and_go_do_not_disturb_it():
    clock = SwitchClock()
    for number in range(100):
        given_s = float(number)
        rules = {f"rule {age}": float(age) for age in range(5)} | {"old": 100.0 + given_s}
        moved = {f"rule {number - age}": float(age) for age in range(5)}
        found_s = clock.answered_s({**moved, "old": rules["old"]}, given_s + (0.3 if number % 3 else 0.0))
        if number > 6:
            assert found_s == pytest.approx(given_s, abs=0.01)


def test_a_clock_that_runs_fast_is_followed():
    clock = SwitchClock()
    for number in range(2000):
        given_s = float(number)
        found_s = clock.answered_s({"a": given_s * 1.0001, "b": 50 + given_s * 1.0001}, given_s)
        assert found_s == pytest.approx(given_s, abs=0.02)


def test_without_any_rule_it_is_the_moment_of_taking_in():
    assert SwitchClock().answered_s({}, 7.0) == 7.0
