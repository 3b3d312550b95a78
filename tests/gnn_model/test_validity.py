"""The envelope of a model: what it was trained on is inside, what it was not is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gnn_model.graph_tensors import graph_tensors
from gnn_model.validity import Envelope
from topology_sync.errors import InputError
from topology_sync.scenario import Scenario
from topology_sync.traffic import Arrivals
from topology_sync.values import float_array


@pytest.fixture
def seen(random_scenario: Callable[..., Scenario]) -> list[Scenario]:
    return [random_scenario(seed, peak=0.8) for seed in range(6)]


def test_what_was_trained_on_is_inside(seen: list[Scenario]) -> None:
    envelope = Envelope.of(graph_tensors(scenario) for scenario in seen)
    assert all(envelope.judge(scenario).inside for scenario in seen)
    again = Envelope.from_json(json.loads(json.dumps(envelope.to_json())))
    assert all(again.judge(scenario).inside for scenario in seen)


def test_units_do_not_matter(seen: list[Scenario]) -> None:
    envelope = Envelope.of(graph_tensors(scenario) for scenario in seen)
    scenario = seen[0]
    faster = replace(
        scenario,
        topology=replace(
            scenario.topology,
            capacity_bps=float_array(64 * scenario.topology.capacity_bps),
            delay_s=float_array(scenario.topology.delay_s / 64),
        ),
        traffic=replace(
            scenario.traffic.with_rates(64 * scenario.traffic.rate_bps),
            arrivals=tuple(
                replace(item, on_s=item.on_s / 64, off_s=item.off_s / 64) for item in scenario.traffic.arrivals
            ),
        ),
    )
    assert envelope.judge(faster).inside


def test_overload_beyond_what_was_seen_is_named(seen: list[Scenario]) -> None:
    envelope = Envelope.of(graph_tensors(scenario) for scenario in seen)
    scenario = seen[0]
    verdict = envelope.judge(replace(scenario, traffic=scenario.traffic.with_rates(4 * scenario.traffic.rate_bps)))
    assert not verdict.inside
    assert ("link", "offered") in {(item.kind, item.name) for item in verdict.exceeded}
    assert 0 < verdict.outside_ratio <= 1
    for item in verdict.exceeded:
        assert not item.low <= item.value <= item.high


def test_arrivals_never_seen_are_named(seen: list[Scenario]) -> None:
    poisson = [
        replace(scenario, traffic=replace(scenario.traffic, arrivals=(Arrivals(),) * scenario.traffic.demand_count))
        for scenario in seen
    ]
    envelope = Envelope.of(graph_tensors(scenario) for scenario in poisson)
    bursty = replace(
        poisson[0],
        traffic=replace(poisson[0].traffic, arrivals=(Arrivals("modulated"), *poisson[0].traffic.arrivals[1:])),
    )
    verdict = envelope.judge(bursty)
    assert ("path", "modulated") in {(item.kind, item.name) for item in verdict.exceeded}


def test_ranges_of_other_inputs_are_refused(seen: list[Scenario]) -> None:
    data = Envelope.of([graph_tensors(seen[0])]).to_json()
    del data["queue"]["offered"]
    with pytest.raises(InputError, match="does not name"):
        Envelope.from_json(data)
    with pytest.raises(ValueError, match="needs graphs"):
        Envelope.of([])
    assert np.isfinite(Envelope.of([graph_tensors(seen[0])]).ranges["queue"]).all()
