"""A weighted scheduler gives what a light queue leaves unused to the others, by their weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gnn_model.analytic import AnalyticPredictor
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler


@pytest.mark.parametrize("discipline", ["wfq", "drr"])
def test_a_light_queue_of_large_weight_takes_nothing_from_the_others(
    one_link: Callable[..., Scenario], discipline: str
) -> None:
    """Weights 90:5:5 and loads .08, .34, .84: the second queue asks for less than half of what the first leaves."""
    classes = tuple((f"c{number}", number) for number in range(3))
    scheduler = Scheduler(discipline, (90.0, 5.0, 5.0), classes)  # type: ignore[arg-type]
    loss = AnalyticPredictor().predict(one_link([0.08, 0.34, 0.84], scheduler=scheduler)).loss_ratio
    assert loss[0] < 1e-6
    assert loss[1] < 0.01
    assert loss[2] == pytest.approx(1 - (1 - 0.08 - 0.34) / 0.84, abs=0.02)


def test_more_queues_than_are_enumerated_share_evenly(one_link: Callable[..., Scenario]) -> None:
    classes = tuple((f"c{number}", number) for number in range(9))
    scheduler = Scheduler("wfq", (1.0,) * 9, classes)
    loss = AnalyticPredictor().predict(one_link([0.2] * 9, scheduler=scheduler)).loss_ratio
    assert loss == pytest.approx([1 - 1 / 1.8] * 9, abs=0.02)
