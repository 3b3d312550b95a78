"""Damaged configurations and scenarios are accepted or refused in one line; ``tests.fuzz.inputs`` has the long run."""

from pathlib import Path

from tests.fuzz.inputs import Outcome, check_by_command, check_in_process, make_case


def test_damaged_input_is_accepted_or_refused_in_one_line(tmp_path: Path) -> None:
    outcome = Outcome()
    for number in range(500):
        check_in_process(make_case(7, number), tmp_path, outcome)
    assert outcome.violations == []
    assert set(outcome.counts) == {
        f"{kind} {end}" for kind in ("configuration", "scenario") for end in ("accepted", "refused")
    }


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    outcome = Outcome()
    for number in range(1000, 1008):
        check_by_command(make_case(7, number), tmp_path, outcome)
    assert outcome.violations == []
    assert sum(outcome.counts.values()) == 8
