"""Candidates that differ from a scenario in routing and in schedulers, and how any predictor judges them.

Predictors that share work among such candidates have ``predict_configurations``; for all others every set of schedulers
is a scenario of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from gnn_model.predictor import Prediction, Predictor
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler

SCHEDULERS_AT_ONCE = 64  # every set of schedulers has tables of its own, some megabytes in large networks


@dataclass(frozen=True, eq=False)
class Configuration:
    """What may be changed of a network: how its demands are routed, and ``schedulers`` [nodes]."""

    routing: Routing
    schedulers: tuple[Scheduler, ...]


@runtime_checkable
class ConfigurationPredictor(Predictor, Protocol):
    """A predictor that shares among candidates with other schedulers what does not depend on these."""

    def predict_configurations(self, scenario: Scenario, candidates: Sequence[Configuration]) -> list[Prediction]:
        """Predict the same traffic under each candidate."""
        ...


def predict_configurations(
    predictor: Predictor, scenario: Scenario, candidates: Sequence[Configuration]
) -> list[Prediction]:
    """What ``predictor`` says of each candidate, in order."""
    if isinstance(predictor, ConfigurationPredictor):
        return predictor.predict_configurations(scenario, candidates)
    return predict_as_scenarios(predictor, scenario, candidates)


def predict_as_scenarios(
    predictor: Predictor, scenario: Scenario, candidates: Sequence[Configuration]
) -> list[Prediction]:
    """The same, every set of schedulers predicted as a scenario of its own."""
    groups: dict[tuple[Scheduler, ...], list[int]] = {}
    for position, candidate in enumerate(candidates):
        groups.setdefault(candidate.schedulers, []).append(position)
    found: dict[int, Prediction] = {}
    for schedulers, positions in groups.items():
        routings = [candidates[position].routing for position in positions]
        predictions = predictor.predict_batch(rescheduled(scenario, schedulers), routings)
        found.update(zip(positions, predictions, strict=True))
    return [found[position] for position in range(len(candidates))]


def in_parts(
    predict: Callable[[Sequence[Configuration]], list[Prediction]], candidates: Sequence[Configuration]
) -> list[Prediction]:
    """What ``predict`` says of each candidate, asked about at most ``SCHEDULERS_AT_ONCE`` sets of schedulers a time."""
    found: list[Prediction] = []
    part: list[Configuration] = []
    present: set[tuple[Scheduler, ...]] = set()
    for candidate in candidates:
        if len(present) == SCHEDULERS_AT_ONCE and candidate.schedulers not in present:
            found += predict(part)
            part, present = [], set()
        part.append(candidate)
        present.add(candidate.schedulers)
    return found + predict(part) if part else found


def rescheduled(scenario: Scenario, schedulers: tuple[Scheduler, ...]) -> Scenario:
    """The scenario with other schedulers; the same object where they are the same."""
    if schedulers == scenario.topology.schedulers:
        return scenario
    return replace(scenario, topology=replace(scenario.topology, schedulers=schedulers))
