"""Where a trained model has been: the range of every input over its training graphs, and what lies inside.

Inside these ranges corrections are interpolated between what was seen (one input at a time: a box, not a guarantee);
outside they are extrapolated, and the analytic fixed point behind them is all that is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnn_model.graph_tensors import (
    HOP_FEATURES,
    LINK_FEATURES,
    PATH_FEATURES,
    QUEUE_FEATURES,
    Features,
    GraphTensors,
    graph_tensors,
)
from topology_sync.errors import InputError
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, IntArray

NAMES = {"path": PATH_FEATURES, "hop": HOP_FEATURES, "queue": QUEUE_FEATURES, "link": LINK_FEATURES}
EXCEEDED_SHOWN = 5
TOLERANCE = 0.02  # of a range's width, beyond its ends


@dataclass(frozen=True)
class Exceeded:
    """One input of some paths, hops, queues or links that lies outside: its farthest value and the range."""

    kind: str
    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """Whether a scenario lies inside; ``exceeded`` worst first, ``outside_ratio``: part of its paths that touch one."""

    inside: bool
    exceeded: tuple[Exceeded, ...]
    outside_ratio: float

    def to_json(self) -> dict[str, Any]:
        """``{"inside", "outside_ratio", "exceeded"}``, the worst few inputs."""
        return {
            "inside": self.inside,
            "outside_ratio": self.outside_ratio,
            "exceeded": [
                {"input": f"{item.kind}.{item.name}", "value": item.value, "low": item.low, "high": item.high}
                for item in self.exceeded[:EXCEEDED_SHOWN]
            ],
        }

    @property
    def text(self) -> str:
        """One line for people, empty where there is nothing to say."""
        if self.inside:
            return ""
        worst = self.exceeded[0]
        return (
            f"{self.outside_ratio:.0%} of the paths lie outside what the model was trained on (furthest: {worst.kind} "
            f"{worst.name} {worst.value:.3g}, trained on {worst.low:.3g} to {worst.high:.3g}): compare with simulate"
        )


@dataclass(frozen=True)
class Envelope:
    """Ranges [features, 2] by kind: low and high of each input, in the order of its names."""

    ranges: dict[str, Features]

    @classmethod
    def of(cls, graphs: Iterable[GraphTensors]) -> Envelope:
        """The box around the inputs of these graphs.  Raises ValueError without any."""
        found: dict[str, Features] = {}
        for graph in graphs:
            for kind in NAMES:
                values = _features(graph, kind)
                if len(values):
                    here = np.stack([values.min(axis=0), values.max(axis=0)], axis=1)
                    before = found.get(kind, here)
                    found[kind] = np.stack(
                        [np.minimum(before[:, 0], here[:, 0]), np.maximum(before[:, 1], here[:, 1])], axis=1
                    )
        if set(found) != set(NAMES):
            raise ValueError("an envelope needs graphs with paths")
        return cls(found)

    def to_json(self) -> dict[str, dict[str, list[float]]]:
        """By kind and name: [low, high]."""
        return {
            kind: {
                name: [float(f"{value:.6g}") for value in limits]
                for name, limits in zip(NAMES[kind], values.tolist(), strict=True)
            }
            for kind, values in self.ranges.items()
        }

    @classmethod
    def from_json(cls, data: Any, place: str = "ranges") -> Envelope:
        """The inverse of ``to_json``.  Raises InputError where names do not fit this version's inputs."""
        try:
            ranges = {
                kind: np.array([data[kind][name] for name in names], dtype=np.float32) for kind, names in NAMES.items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(place, f"does not name this version's inputs ({error})", "train the model again") from None
        if any(values.shape != (len(NAMES[kind]), 2) for kind, values in ranges.items()):
            raise InputError(place, "does not hold a low and a high of every input", "train the model again")
        return cls(ranges)

    def judge(self, scenario: Scenario) -> Verdict:
        """Does a scenario lie inside?  Solves its fixed point."""
        return self.judge_graph(graph_tensors(scenario))

    def judge_graph(self, graph: GraphTensors) -> Verdict:
        """The same for a graph that is solved."""
        exceeded: list[tuple[float, Exceeded]] = []
        touched = np.zeros(graph.path_count, dtype=np.bool_)
        hop_path = np.repeat(np.arange(graph.path_count), np.diff(graph.hop_pointer))
        for kind, names in NAMES.items():
            values = _features(graph, kind)
            low, high = self.ranges[kind][:, 0], self.ranges[kind][:, 1]
            width = np.maximum(high - low, 1e-3)
            beyond = np.maximum(low - values, values - high) / width - TOLERANCE
            rows = (beyond > 0).any(axis=1)
            touched |= _paths_with(graph, kind, rows, hop_path)
            for column in np.flatnonzero((beyond > 0).any(axis=0)):
                worst = int(np.argmax(beyond[:, column]))
                exceeded.append(
                    (
                        -float(beyond[worst, column]),
                        Exceeded(
                            kind,
                            names[column],
                            float(values[worst, column]),
                            float(low[column]),
                            float(high[column]),
                        ),
                    )
                )
        ordered = tuple(item for _, item in sorted(exceeded, key=lambda pair: pair[0]))
        return Verdict(not ordered, ordered, float(touched.mean()) if len(touched) else 0.0)


def _paths_with(graph: GraphTensors, kind: str, rows: BoolArray, hop_path: IntArray) -> BoolArray:
    """Which paths are, or touch, one of the marked rows of this kind, [paths]."""
    if kind == "path":
        return rows
    queues = rows[graph.queue_link] if kind == "link" else rows
    hops = rows if kind == "hop" else queues[graph.hop_queue]
    touched = np.zeros(graph.path_count, dtype=np.bool_)
    touched[hop_path[hops]] = True
    return touched


def _features(graph: GraphTensors, kind: str) -> Features:
    values: Features = getattr(graph, f"{kind}_features")
    return values
