"""Tables and plots are made from what was measured; the ablations change what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gnn_model.wireless import tables
from gnn_model.wireless.ablation import LinearGains, NoTotal, OneDirection
from gnn_model.wireless.channel import Setting, generate
from gnn_model.wireless.curves import points
from gnn_model.wireless.evaluation import (
    EvaluationSettings,
    Seconds,
    SizeResult,
    equal_quality,
    evaluate_size,
    result_to_json,
)
from gnn_model.wireless.model_file import shipped_model
from gnn_model.wireless.wcgcn import ModelSettings


def test_the_curves_cover_size_density_shadowing_and_fading_once_each() -> None:
    names = [point.name for point in points()]
    assert len(set(names)) == len(names)
    assert {point.curve for point in points()} == {"size", "density", "shadowing", "fading"}


def test_equal_quality_is_the_fastest_wmmse_that_is_as_good() -> None:
    rates = {"hybrid": 10.0, "wmmse_full_10": 9.0, "wmmse_full_100": 10.0, "wmmse_best": 11.0}
    seconds = {"hybrid": 1.0, "wmmse_full_10": 0.1, "wmmse_full_100": 3.0, "wmmse_best": 2.0}
    result = SizeResult(
        EvaluationSettings(5, 1), rates, {}, {name: Seconds(took, took) for name, took in seconds.items()}
    )
    found = equal_quality(result, "hybrid")
    assert found is not None
    assert found["by"] == "wmmse_best"
    assert equal_quality(replace(result, rates=rates | {"hybrid": 12.0}), "hybrid") is None


def test_tables_and_plots_come_from_an_evaluation(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from gnn_model.wireless.plots import draw_curves, draw_sizes

    trained = shipped_model("channels")
    sizes = [result_to_json(evaluate_size(EvaluationSettings(links, 3, best_of=2), trained)) for links in (5, 9)]
    evaluation = json.loads(json.dumps({"sizes": sizes}))
    assert "| 9 | 3 |" in tables.quality(evaluation)
    assert "wmmse_full_100" in tables.others(evaluation) + tables.times(evaluation, "seconds_batch")
    assert "hybrid" in tables.equal_quality(evaluation)
    draw_sizes(evaluation, tmp_path / "time.svg")
    curve = {point.name: {"curve": point.curve, "value": point.value} | sizes[0] for point in points()}
    draw_curves(curve, tmp_path / "curves.svg")
    assert all("</svg>" in (tmp_path / name).read_text() for name in ("time.svg", "curves.svg"))
    assert "density" in tables.curves(curve)


def test_ablations_take_away_what_they_say() -> None:
    gains = torch.tensor(generate(Setting(), 8, 2, 1).gains, dtype=torch.float32)
    shape = ModelSettings(width=4, message_width=4, rounds=1)
    edges = OneDirection(shape).graph(gains).edges
    torch.testing.assert_close(edges[..., 0], edges[..., 1])
    assert not NoTotal(shape).graph(gains).nodes[..., 2].any()
    linear = LinearGains(shape).graph(gains)
    first = (gains[0, 0, linear.neighbours[0, 0, 0]] / gains[0, 0, 0]).sqrt().clamp(max=10.0)
    torch.testing.assert_close(linear.edges[0, 0, 0, 0], first, rtol=1e-4, atol=1e-6)


def test_a_table_stands_between_its_marks_however_often_it_is_filled_in() -> None:
    document = "a\n<!-- table x -->\nold\n<!-- end -->\nb\n<!-- table y -->\n<!-- end -->\n"
    once = tables.filled(document, {"x": "| new |\n", "z": "nowhere"})
    assert once == "a\n<!-- table x -->\n| new |\n<!-- end -->\nb\n<!-- table y -->\n<!-- end -->\n"
    assert tables.filled(once, {"x": "| new |\n"}) == once
