"""Where a trained model has been: the envelope of its training graphs, and what lies inside.

The envelope is the range of every input (a box), and which values of two measures of a path were had at once
(:mod:`gnn_model.seen_together`).  Inside corrections are interpolated between what was seen, which is no guarantee;
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
from gnn_model.predictor import Predictor
from gnn_model.seen_together import SeenTogether
from topology_sync.errors import InputError
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, IntArray

NAMES = {"path": PATH_FEATURES, "hop": HOP_FEATURES, "queue": QUEUE_FEATURES, "link": LINK_FEATURES}
EXCEEDED_SHOWN = 5
REASONS_SHOWN = 3
OUTSIDE_ALLOWED = 0.01  # part of the paths of a scenario that is called inside: a large one has rare paths, too
TOLERANCE = 0.02  # of a range's width, beyond its ends


@dataclass(frozen=True)
class Exceeded:
    """One input of some paths, hops, queues or links that lies outside: its farthest value and the range."""

    kind: str
    name: str
    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """For people."""
        name = self.name.replace("_", " ")
        return f"input {name!r} of a {self.kind} is {self.value:.3g}, trained on {self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True)
class Verdict:
    """Whether a scenario lies inside but for OUTSIDE_ALLOWED of its paths; ``outside_ratio``: the part that does not.

    ``demands`` are those with a path outside.  ``reasons`` say in words what of them training never had, ``exceeded``
    which inputs are out of range, worst first.
    """

    inside: bool
    exceeded: tuple[Exceeded, ...]
    outside_ratio: float
    demands: tuple[int, ...]
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """``{"inside", "outside_ratio", "outside_demands", "reasons", "exceeded"}``, the worst few of the last two."""
        return {
            "inside": self.inside,
            "outside_ratio": self.outside_ratio,
            "outside_demands": len(self.demands),
            "reasons": list(self.reasons[:REASONS_SHOWN]),
            "exceeded": [
                {"input": f"{item.kind}.{item.name}", "value": item.value, "low": item.low, "high": item.high}
                for item in self.exceeded[:EXCEEDED_SHOWN]
            ],
        }

    @property
    def text(self) -> str:
        """One line for people, empty where every path lies inside."""
        if not self.demands:
            return ""
        return (
            f"{len(self.demands)} of the demands ({self.outside_ratio:.0%} of the paths) lie outside what the model "
            f"was trained on ({self.reasons[0]}): compare with simulate"
        )


def envelope_of(predictor: Predictor) -> Envelope | None:
    """The envelope of a predictor that was trained and says where; one that lives elsewhere does not."""
    envelope: Envelope | None = getattr(predictor, "envelope", None)
    return envelope


def verdict_of(predictor: Predictor, scenario: Scenario) -> Verdict | None:
    """Whether a scenario lies where the predictor was trained; None where nothing trained is known to answer here."""
    envelope = envelope_of(predictor)
    return None if envelope is None else envelope.judge(scenario)


def verdict_json(predictor: Predictor, scenario: Scenario) -> dict[str, Any] | None:
    """The same as JSON."""
    verdict = verdict_of(predictor, scenario)
    return None if verdict is None else verdict.to_json()


def validity_of_change(predictor: Predictor, before: Scenario, after: Scenario) -> dict[str, Any]:
    """``{"validity": {"before", "after"}}`` for answers about a change; {} where nothing trained is known to answer."""
    first = verdict_json(predictor, before)
    return {} if first is None else {"validity": {"before": first, "after": verdict_json(predictor, after)}}


@dataclass(frozen=True)
class Envelope:
    """Ranges [features, 2] by kind: low and high of each input, in the order of its names.

    ``together`` None: weights from before this was kept.
    """

    ranges: dict[str, Features]
    together: SeenTogether | None = None

    @classmethod
    def of(cls, graphs: Iterable[GraphTensors]) -> Envelope:
        """The envelope of these graphs.  Raises ValueError without any."""
        graphs = list(graphs)
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
        return cls(found, SeenTogether.of(graphs))

    def to_json(self) -> dict[str, Any]:
        """By kind and name: [low, high], and ``measures``."""
        return {
            kind: {
                name: [float(f"{value:.6g}") for value in limits]
                for name, limits in zip(NAMES[kind], values.tolist(), strict=True)
            }
            for kind, values in self.ranges.items()
        } | ({} if self.together is None else {"measures": self.together.to_json()})

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
        together = SeenTogether.from_json(data["measures"], place) if "measures" in data else None
        return cls(ranges, together)

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
        unseen = self.together.unseen(graph) if self.together is not None else []
        for item in unseen:
            touched |= item.paths
        return Verdict(
            inside=bool(touched.mean() <= OUTSIDE_ALLOWED) if len(touched) else True,
            exceeded=ordered,
            outside_ratio=float(touched.mean()) if len(touched) else 0.0,
            demands=tuple(np.unique(graph.path_demand[touched]).tolist()),
            reasons=(*(item.reason for item in unseen), *(item.text for item in ordered)),
        )


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
