"""Candidates with other schedulers: what they share changes no prediction, and any predictor can be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from gnn_model import configurations as configurations_module
from gnn_model.analytic import AnalyticPredictor
from gnn_model.configurations import (
    Configuration,
    in_parts,
    predict_as_scenarios,
    predict_configurations,
    rescheduled,
)
from gnn_model.predictor import Prediction, Predictor
from gnn_model.without_transmission import WithoutTransmission
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler


class Plain:
    """A predictor that knows nothing of configurations."""

    name = "plain"

    def __init__(self) -> None:
        self.batches = 0

    def predict(self, scenario: Scenario) -> Prediction:
        return AnalyticPredictor(1).predict(scenario)

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        self.batches += 1
        return AnalyticPredictor(1).predict_batch(scenario, candidates)


def configurations(scenario: Scenario, seed: int = 5) -> list[Configuration]:
    """The scenario as it is, other weights in all nodes, and other disciplines and queues too."""
    random = np.random.default_rng(seed)
    present = scenario.topology.schedulers

    def weighted(scheduler: Scheduler) -> Scheduler:
        return replace(scheduler, weights=tuple(float(w * random.uniform(0.2, 5)) for w in scheduler.weights))

    routing = scenario.routing
    moved = routing.with_changes({0: routing.paths[0]})
    others = tuple(weighted(scheduler) for scheduler in present)
    strict = tuple(replace(scheduler, discipline="strict", weights=()) for scheduler in present)
    queued = tuple(Scheduler("drr", (1.0, 2.0, 3.0, 4.0), (("c0", 3), ("c1", 1))) for _ in present)
    chosen = ((routing, others), (moved, present), (routing, strict), (routing, queued), (moved, others))
    return [Configuration(routing, present), *(Configuration(*pair) for pair in chosen)]


def predictors() -> list[Predictor]:
    from gnn_model.gnn_predictor import GnnPredictor

    return [AnalyticPredictor(1), AnalyticPredictor(2), GnnPredictor(threads=2)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sharing_what_does_not_depend_on_schedulers_changes_nothing(
    random_scenario: Callable[..., Scenario], seed: int
) -> None:
    scenario = random_scenario(seed)
    asked = configurations(scenario)
    for predictor in predictors():
        found = predict_configurations(predictor, scenario, asked)
        alone = [predictor.predict(rescheduled(scenario, item.schedulers).with_routing(item.routing)) for item in asked]
        assert found == alone


def test_many_sets_of_schedulers_are_worked_out_part_by_part(
    random_scenario: Callable[..., Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has tables of its own: memory does not grow with the number of candidates, nor does any answer change."""
    scenario = random_scenario(5)
    asked = configurations(scenario)
    whole = [predict_configurations(predictor, scenario, asked) for predictor in predictors()]
    monkeypatch.setattr(configurations_module, "SCHEDULERS_AT_ONCE", 2)
    assert [predict_configurations(predictor, scenario, asked) for predictor in predictors()] == whole
    parts: list[Sequence[Configuration]] = []

    def predict(part: Sequence[Configuration]) -> list[Prediction]:
        parts.append(part)
        return [whole[0][asked.index(item)] for item in part]

    assert in_parts(predict, asked) == whole[0]
    assert [len({item.schedulers for item in part}) for part in parts] == [2, 2, 1]


def test_a_predictor_without_a_way_of_its_own_is_asked_once_for_each_set_of_schedulers(
    random_scenario: Callable[..., Scenario],
) -> None:
    scenario = random_scenario(4)
    asked = configurations(scenario)
    plain = Plain()
    assert predict_configurations(plain, scenario, asked) == predict_configurations(
        AnalyticPredictor(1), scenario, asked
    )
    assert plain.batches == len({item.schedulers for item in asked})


def test_links_without_transmission_time_are_shortened_alike(random_scenario: Callable[..., Scenario]) -> None:
    scenario = random_scenario(6)
    shortened = WithoutTransmission(AnalyticPredictor(1))
    asked = configurations(scenario)
    assert predict_configurations(shortened, scenario, asked) == predict_as_scenarios(shortened, scenario, asked)
