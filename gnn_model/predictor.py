"""The one interface behind which every predictor stands: analytic, packet simulator, fully connected, GNN, remote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import ArrayValue, FloatArray, IntArray, float_array


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


@dataclass(frozen=True)
class MoveEffects:
    """What moves would change: move m changes the demands ``demand[pointer[m]:pointer[m + 1]]`` to these values.

    Demands that moved come first; demands that are not named keep their values to within the judge's tolerance.
    """

    pointer: IntArray  # [moves + 1]
    demand: IntArray  # [effects]
    delay_s: FloatArray
    delay_p99_s: FloatArray
    jitter_s: FloatArray
    loss_ratio: FloatArray

    def applied(self, move: int, prediction: Prediction) -> Prediction:
        """The demands' values after one move; those of links stay as they are."""
        rows = slice(int(self.pointer[move]), int(self.pointer[move + 1]))
        changed = {}
        for name in ("delay_s", "delay_p99_s", "jitter_s", "loss_ratio"):
            values = getattr(prediction, name).copy()
            values[self.demand[rows]] = getattr(self, name)[rows]
            changed[name] = float_array(values)
        return replace(prediction, **changed)


class RoutingJudge(Protocol):
    """Holds a routing predicted in full and judges moves that change the paths of few demands."""

    @property
    def routing(self) -> Routing:
        """The routing that moves start from."""
        ...

    @property
    def prediction(self) -> Prediction:
        """The full prediction of that routing."""
        ...

    def judge(self, moves: Sequence[Mapping[int, Sequence[PathShare]]]) -> MoveEffects:
        """What each move alone would change: an estimate, close to what a full prediction would say."""
        ...

    def judge_closely(self, moves: Sequence[Mapping[int, Sequence[PathShare]]]) -> MoveEffects | None:
        """The same for moves that deserve some ten times the work; None where that would say nothing new."""
        ...

    def accept(self, move: Mapping[int, Sequence[PathShare]]) -> Prediction:
        """Carry a move out and predict the new routing in full."""
        ...


@runtime_checkable
class IncrementalPredictor(Predictor, Protocol):
    """A predictor that can also judge moves against a routing without predicting all of it again."""

    def judge_of(self, scenario: Scenario) -> RoutingJudge | None:
        """A judge that holds the scenario's routing; None where numba is not installed."""
        ...
