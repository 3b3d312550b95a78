"""Layout files: gains, positions, both, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnn_model.wireless.channel import Setting
from gnn_model.wireless.layout import layout_from_json, layout_to_json, read_layout
from topology_sync.errors import InputError


def example(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "format": "routewright-layout/1",
        "name": "yard",
        "power_dbm": 20,
        "noise_dbm": -100,
        "links": [
            {"id": "a", "transmitter": [0, 0], "receiver": [30, 0], "weight": 2},
            {"id": "b", "transmitter": [100, 0], "receiver": [100, 40], "min_rate_bit_s_hz": 1.5},
        ],
        "gains_db": [[-70.0, -90.0], [-95.0, -75.0]],
    }
    return {key: value for key, value in (data | changes).items() if value is not None}


def test_gains_are_put_over_the_noise_at_full_power() -> None:
    layout = layout_from_json(example())
    np.testing.assert_allclose(10.0 * np.log10(layout.gains), [[50.0, 30.0], [25.0, 45.0]])
    assert layout.links == ("a", "b")
    assert layout.weights.tolist() == [2.0, 1.0]
    assert layout.minimum_rates.tolist() == [0.0, 1.5]
    assert not layout.distances_only


def test_positions_alone_give_gains_by_path_loss() -> None:
    layout = layout_from_json(example(gains_db=None))
    assert layout.distances_only
    setting = Setting()
    expected = setting.path_gain(np.array([[30.0, 70.0], [np.hypot(100.0, 40.0), 40.0]]))
    expected *= np.array([[10.0**0.25, 1.0], [1.0, 10.0**0.25]]) * 1e12  # 20 dBm over -100 dBm
    np.testing.assert_allclose(layout.gains, expected)


def test_a_gain_not_measured_is_taken_from_the_positions() -> None:
    partial = layout_from_json(example(gains_db=[[-70.0, None], [-95.0, -75.0]]))
    by_distance = layout_from_json(example(gains_db=None))
    assert partial.gains[0, 1] == by_distance.gains[0, 1]
    assert partial.measured.tolist() == [[True, False], [True, True]]


def test_a_layout_comes_back_from_its_file(tmp_path: Path) -> None:
    layout = layout_from_json(example())
    path = tmp_path / "yard.json"
    path.write_text(json.dumps(layout_to_json(layout)))
    again = read_layout(path)
    np.testing.assert_allclose(again.gains, layout.gains, rtol=1e-3)
    assert again.links == layout.links


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "routewright-scenario/1"}, "format"),
        ({"links": []}, "links: has 0 entries"),
        ({"links": [{"id": "a"}, {"id": "a"}]}, "links[1].id: 'a' is given twice"),
        ({"gains_db": [[-70.0, -90.0]]}, "gains_db: has 1 rows"),
        ({"gains_db": [[-70.0, -90.0], [-70.0]]}, "gains_db[1]"),
        ({"gains_db": [[-70.0, "x"], [-70.0, -70.0]]}, "gains_db[0][1]: is 'x'"),
        ({"gains_db": [[-70.0, 1e9], [-70.0, -70.0]]}, "gains_db[0][1]"),
        ({"gains_db": None, "links": [{"id": "a"}]}, "links[0].transmitter: is missing"),
        (
            {"gains_db": None, "links": [{"transmitter": [1], "receiver": [1, 2]}]},
            "links[0].transmitter: has 1 numbers",
        ),
        ({"links": [{"id": "a", "weight": -1}, {"id": "b"}]}, "links[0].weight: is -1"),
        ({"links": [{"id": "a", "min_rate_bit_s_hz": float("inf")}, {"id": "b"}]}, "min_rate_bit_s_hz"),
        ({"gains_db": [[-70.0, 60.0], [-70.0, -70.0]]}, "gains_db[0][1]: is 180 dB over the noise"),
        ({"power": 3}, "power: unknown key; did you mean power_dbm?"),
    ],
)
def test_what_is_wrong_is_named_by_place(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        layout_from_json(example(**changes))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
