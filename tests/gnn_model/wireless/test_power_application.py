"""The loop from gains to powers, on a recording and on a synthetic channel."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gnn_model.wireless.layout import Layout, layout_from_json
from gnn_model.wireless.power_application import (
    JsonLines,
    Measurement,
    PowerApplication,
    RecordedFeed,
    SyntheticFeed,
)
from gnn_model.wireless.rates import sum_rate
from gnn_model.wireless.recommend import Method, Recommendation
from topology_sync.errors import InputError

LAYOUT = {
    "format": "routewright-layout/1",
    "noise_dbm": -100,
    "power_dbm": 0,
    "links": [{"id": "a"}, {"id": "b"}],
    "gains_db": [[-60.0, -90.0], [-90.0, -60.0]],
}


@pytest.fixture
def layout() -> Layout:
    return layout_from_json(LAYOUT)


class Kept:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.found: list[tuple[Measurement, Recommendation]] = []

    def apply(self, measurement: Measurement, found: Recommendation) -> None:
        self.found.append((measurement, found))


def test_powers_follow_the_gains_of_a_recording(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "feed.jsonl"
    quiet, loud = [[-60.0, -120.0], [-120.0, -60.0]], [[-60.0, -40.0], [-40.0, -75.0]]
    lines = [{"time_s": 0.0, "gains_db": quiet}, {"time_s": 0.1, "gains_db": loud}]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    kept = Kept()
    assert PowerApplication(RecordedFeed(path, layout), kept, layout, interval_s=0.0).run() == 2
    (_, apart), (_, close) = kept.found
    assert apart.powers.min() > 0.9  # they do not hear each other
    assert close.powers[0] > 0.9  # they drown each other, so only the better one sends
    assert close.powers[1] < 0.01


def test_a_gain_not_heard_keeps_its_last_value(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "feed.jsonl"
    loud, partly = [[-60.0, -40.0], [-40.0, -75.0]], [[None, None], [None, -75.0]]
    path.write_text("\n".join(json.dumps({"time_s": 0.0, "gains_db": gains}) for gains in (loud, partly)))
    kept = Kept()
    PowerApplication(RecordedFeed(path, layout), kept, layout, Method.WMMSE, 0.0).run()
    np.testing.assert_array_equal(kept.found[0][1].powers, kept.found[1][1].powers)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no json", "line 1"),
        ('{"time_s": 0, "gains_db": [[1]]}', "line 1.gains_db: has 1 rows"),
        ('{"time_s": -1, "gains_db": [[-60, -60], [-60, -60]]}', "line 1.time_s"),
        ('{"gains_db": [[-60, -60], [-60, -60]]}', "line 1.time_s: is missing"),
    ],
)
def test_a_bad_line_is_named(layout: Layout, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "feed.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        list(RecordedFeed(path, layout).measurements())
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_a_synthetic_feed_has_the_mean_of_its_layout_and_moves_steadily(layout: Layout) -> None:
    gains = np.array([m.gains for m in SyntheticFeed(layout, 3000, 0.1, 1).measurements()])
    again = np.array([m.gains for m in SyntheticFeed(layout, 3000, 0.1, 1).measurements()])
    np.testing.assert_array_equal(gains, again)
    decibel = 10.0 * np.log10(gains / layout.gains)
    steps = np.diff(decibel, axis=0)
    assert abs(decibel.mean() + 2.5) < 1.0  # the mean of the logarithm of Rayleigh fading is -2.5 dB
    assert steps.std() < 0.9 * np.sqrt(2.0) * decibel.std()  # an interval resembles the one before


def test_powers_of_now_are_worth_more_than_powers_of_the_start(layout: Layout) -> None:
    random = np.random.default_rng(2)
    size = 12
    gains_db = random.uniform(-105.0, -75.0, (size, size))
    gains_db[range(size), range(size)] = random.uniform(-80.0, -60.0, size)
    links = [{"id": str(index)} for index in range(size)]
    many = layout_from_json(LAYOUT | {"links": links, "gains_db": gains_db.tolist()})
    kept = Kept()
    PowerApplication(SyntheticFeed(many, 30, 0.0, 3), kept, many, interval_s=0.0).run()
    first = kept.found[0][1].powers
    now = sum(float(found.rates.sum()) for _, found in kept.found)
    frozen = sum(float(sum_rate(measurement.gains, first)) for measurement, _ in kept.found)
    assert now > 1.05 * frozen


def test_intervals_are_kept_and_a_late_one_is_not_made_up_for(layout: Layout) -> None:
    time_s = [0.0]
    slept: list[float] = []

    class Late:
        def measurements(self) -> Iterator[Measurement]:
            for took_s in (0.0, 0.25, 0.0, 0.0):
                time_s[0] += took_s
                yield Measurement(time_s[0], layout.gains)

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        time_s[0] += seconds

    PowerApplication(Late(), Kept(), layout, Method.WMMSE, 0.1, lambda: time_s[0], sleep).run()
    assert slept == [0.0, 0.0, 0.0, 0.1]


def test_lines_are_json(layout: Layout) -> None:
    out = io.StringIO()
    PowerApplication(SyntheticFeed(layout, 2, 0.1, 1), JsonLines(out), layout, interval_s=0.0).run()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["time_s"] for line in lines] == [0.0, 0.1]
    assert all(len(line["powers"]) == 2 and line["sum_rate_bit_s_hz"] > 0.0 for line in lines)
