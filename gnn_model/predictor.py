"""The one interface behind which every predictor stands: analytic, packet simulator, fully connected, GNN, remote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import ArrayValue, FloatArray


@dataclass(frozen=True, eq=False)
class Prediction(ArrayValue):
    """What a scenario's demands and links would experience.

    Per demand [demands]: ``delay_s`` (mean one-way), ``delay_p99_s``, ``jitter_s`` (mean absolute difference of
    consecutive delays, RFC 3393), ``loss_ratio``.  Per link [links]: ``link_utilisation_ratio`` (carried load over
    capacity), ``link_loss_ratio``.
    """

    delay_s: FloatArray
    delay_p99_s: FloatArray
    jitter_s: FloatArray
    loss_ratio: FloatArray
    link_utilisation_ratio: FloatArray
    link_loss_ratio: FloatArray


class Predictor(Protocol):
    """Predicts delay, jitter and loss of scenarios; deterministic, and free of side effects."""

    @property
    def name(self) -> str:
        """Short name for reports: ``analytic``, ``gnn``, ``simulator``, ..."""
        ...

    def predict(self, scenario: Scenario) -> Prediction:
        """Predict one scenario as it stands."""
        ...

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Predict the same scenario under each candidate routing."""
        ...


def problem_of(predictor: Predictor) -> str | None:
    """Why the predictor cannot answer at present, None where nothing is known against it; asks nobody.

    A predictor that lives elsewhere has a property ``problem``; one in this process always answers.
    """
    problem: str | None = getattr(predictor, "problem", None)
    return problem
