"""``routewright wireless`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from gnn_model.wireless.channel import Setting, generate
from gnn_model.wireless.commands import register
from gnn_model.wireless.layout import layout_from_json
from gnn_model.wireless.rates import link_rates, sum_rate
from gnn_model.wireless.wmmse import random_starts, wmmse
from topology_sync.errors import InputError


def command(*arguments: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["wireless", *arguments], env={"COLUMNS": "200"})


def answer(*arguments: str, code: int = 0) -> dict[str, Any]:
    result = command(*arguments, "--json")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def layout_data(links: int = 10, **link: float) -> dict[str, Any]:
    gains = generate(Setting(), links, 1, 4).gains[0] * Setting().noise_to_power
    return {
        "format": "routewright-layout/1",
        "links": [{"id": f"l{index}", **link} for index in range(links)],
        "gains_db": (10.0 * np.log10(gains)).tolist(),
    }


def write(path: Path, data: object) -> str:
    path.write_text(json.dumps(data))
    return str(path)


@pytest.mark.parametrize("method", ["hybrid", "wcgcn", "wmmse"])
def test_recommend_gives_powers_and_the_rates_they_have(tmp_path: Path, method: str) -> None:
    data = layout_data()
    found = answer("recommend", write(tmp_path / "layout.json", data), "--method", method)
    assert found["method"] == method
    assert found["knowledge"] == "gains"
    assert [link["id"] for link in found["links"]] == [f"l{index}" for index in range(10)]
    powers = np.array([link["power_ratio"] for link in found["links"]])
    rates = link_rates(layout_from_json(data).gains, powers)
    np.testing.assert_allclose([link["rate_bit_s_hz"] for link in found["links"]], rates, atol=1e-9)
    assert found["sum_rate_bit_s_hz"] > 1.1 * found["full_power_sum_rate_bit_s_hz"]


def test_recommend_from_distances_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    senders = random.uniform(0.0, 300.0, (12, 2))
    links = [{"transmitter": sender.tolist(), "receiver": (sender + 15.0).tolist()} for sender in senders]
    path = write(tmp_path / "layout.json", {"format": "routewright-layout/1", "links": links})
    found = answer("recommend", path)
    assert found["knowledge"] == "distances"
    assert found["sum_rate_bit_s_hz"] > found["full_power_sum_rate_bit_s_hz"]


def test_recommend_states_missed_minimum_rates_by_exit_code_and_number(tmp_path: Path) -> None:
    kept = answer("recommend", write(tmp_path / "kept.json", layout_data(6, min_rate_bit_s_hz=0.05)))
    assert kept["min_rates_possible"]
    assert kept["violation_bit_s_hz"] == 0.0
    assert all(link["rate_bit_s_hz"] >= 0.05 - 1e-6 for link in kept["links"])
    missed = answer("recommend", write(tmp_path / "missed.json", layout_data(6, min_rate_bit_s_hz=30.0)), code=1)
    assert not missed["min_rates_possible"]
    assert missed["violation_bit_s_hz"] > 10.0


def test_recommend_prints_a_table_for_people(tmp_path: Path) -> None:
    result = command("recommend", write(tmp_path / "layout.json", layout_data(5, min_rate_bit_s_hz=0.01)))
    assert "bit/s/Hz" in result.stdout
    assert "l4" in result.stdout


def test_evaluate_prints_the_agreed_json() -> None:
    found = answer("evaluate", "--links", "20,50", "--layouts", "20", "--best-of", "2", "--seed", "3")
    assert [size["links"] for size in found["sizes"]] == [20, 50]
    for size in found["sizes"]:
        assert {"links", "wcgcn_to_wmmse", "hybrid_to_wmmse", "seconds_per_layout"} <= set(size)
        assert set(size["seconds_per_layout"]) == {"wcgcn", "hybrid", "wmmse"}
        assert all(seconds > 0.0 for seconds in size["seconds_per_layout"].values())
        assert size["hybrid_to_wmmse"] > size["wcgcn_to_wmmse"] > 0.9
    gains = generate(Setting(), 50, 20, 3).gains
    start = random_starts(20, 2, 50, 3)[:, :1]
    reference = sum_rate(gains, wmmse(gains, start, 100)).mean()
    assert found["sizes"][1]["sum_rates_bit_s_hz"]["wmmse_100"] == pytest.approx(reference, rel=1e-3)


def test_evaluate_knows_weights_and_distances() -> None:
    weighted = answer("evaluate", "--links", "30", "--layouts", "10", "--best-of", "0", "--weighted")["sizes"][0]
    assert weighted["hybrid_to_wmmse"] > 0.98
    assert weighted["hybrid_to_best"] is None
    blind = answer("evaluate", "--links", "30", "--layouts", "30", "--best-of", "0", "--distances-only")["sizes"][0]
    assert blind["sum_rates_bit_s_hz"]["full_power"] < blind["sum_rates_bit_s_hz"]["hybrid"]
    assert blind["hybrid_to_wmmse"] < 1.0


def test_train_writes_a_model_that_recommend_and_evaluate_take(tmp_path: Path) -> None:
    made = answer("train", "--out", str(tmp_path), "--name", "mine", "--links", "8", "--layouts", "4", "--steps", "3")
    card = made["card"]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.json", "mine.safetensors"}
    path = write(tmp_path / "layout.json", layout_data())
    assert answer("recommend", path, "--model", card)["links"]
    assert answer("evaluate", "--links", "5", "--layouts", "2", "--best-of", "0", "--model", card)["sizes"]


def test_live_prints_a_line_per_interval(tmp_path: Path) -> None:
    path = write(tmp_path / "layout.json", layout_data(5))
    result = command("live", path, "--intervals", "3", "--interval-s", "0")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 3
    assert all(len(line["powers"]) == 5 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("evaluate", "--links", "50,x"), "--links"),
        (("evaluate", "--links", "0"), "--links"),
        (("evaluate", "--links", "5000"), "--layouts"),
        (("evaluate", "--fading", "fast"), "--fading"),
        (("recommend", "nowhere.json"), "there is no such file"),
        (("recommend", "nowhere.json", "--method", "magic"), "--method"),
        (("train", "--out", "x", "--name", "../x"), "--name"),
        (("evaluate", "--model", "nowhere.json"), "there is no such file"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], told: str) -> None:
    error = command(*arguments).exception
    assert isinstance(error, InputError)
    assert told in str(error)
