"""The comparison under load, small: real server processes, one killed, and a difference that would be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.service.bench import LoadSettings, bench_service, largest_difference, make_calls
from tests.gnn_model.service.serving import ring


def test_no_error_and_no_difference_also_when_a_server_is_killed() -> None:
    said: list[str] = []
    settings = LoadSettings(clients=4, candidates=48, per_call=4, replicas=2, kind="analytic")
    found = bench_service(ring(), settings, said.append)
    for load in (found["all_up"], found["one_killed"]):
        assert load["errors"] == 0, load["first_error"]
        assert load["calls"] == 12
        assert load["largest_relative_difference"] <= 1e-5
    assert found["alone"]["remote_p50_s"] > 0


def test_calls_are_the_same_for_the_same_seed_and_a_difference_is_seen() -> None:
    settings = LoadSettings(candidates=40, per_call=5)
    calls = make_calls(ring(), settings)
    assert calls == make_calls(ring(), settings)
    assert len({call.scenario.name for call in calls}) == 8
    expected = [AnalyticPredictor().predict_batch(call.scenario, call.routings) for call in calls]
    assert largest_difference(expected, expected) == 0.0
    other = replace(expected[0][0], delay_s=expected[0][0].delay_s * (1 + 1e-3))
    assert largest_difference([[other, *expected[0][1:]], *expected[1:]], expected) == pytest.approx(1e-3)
    gone = replace(expected[0][0], jitter_s=np.full(6, np.nan))
    assert largest_difference([[gone, *expected[0][1:]], *expected[1:]], expected) == float("inf")
    assert largest_difference([None] * len(expected), expected) == 0.0
