"""Cross-validation by topology: no topology that is judged was trained on, whatever data set it comes from.

Topologies are sorted by size and name and dealt out in turn, so every fold is tested on small and large networks.  One
recipe trains one model per fold on all data sets together; errors are pooled over all folds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gnn_model.routenet.model import RouteNet
from gnn_model.training.config import TrainingConfig
from gnn_model.training.judging import Errors, predict_labelled
from gnn_model.training.labelled import LabelledGraph
from gnn_model.training.trainer import Report, train

FOLDS = 3


def folds(graphs: Sequence[LabelledGraph], count: int = FOLDS) -> dict[str, int]:
    """Fold of every topology key."""
    keys = sorted({(labelled.nodes, labelled.topology_key) for labelled in graphs})
    return {key: position % count for position, (_, key) in enumerate(keys)}


def split(
    graphs: Sequence[LabelledGraph],
    fold: int,
    config: TrainingConfig,
    count: int = FOLDS,
    extra: Sequence[LabelledGraph] = (),
) -> tuple[list[LabelledGraph], list[LabelledGraph]]:
    """(training, test) graphs of a fold; networks above ``largest_nodes`` are only ever tested on.

    ``extra`` graphs are never tested on, and trained on in every fold that does not judge their topology.
    """
    fold_of = folds(graphs, count)
    training = [
        labelled
        for labelled in [*graphs, *extra]
        if fold_of.get(labelled.topology_key) != fold and labelled.nodes <= config.largest_nodes
    ]
    return training, [labelled for labelled in graphs if fold_of[labelled.topology_key] == fold]


def cross_validate(
    graphs: Sequence[LabelledGraph],
    config: TrainingConfig,
    out: Path,
    count: int = FOLDS,
    report: Callable[[int], Report] | None = None,
    extra: Sequence[LabelledGraph] = (),
) -> dict[str, Any]:
    """Train and test all folds; results go to ``out/cross_validation.json``.

    Its ``analytic`` part is a fresh network: the analytic predictor with the waits of starved queues bounded
    (:func:`gnn_model.queue_features.wait_limit`).

    Interrupted, it goes on where it was when called again.
    """
    learned: dict[str, Errors] = {}
    analytic: dict[str, Errors] = {}
    fresh = RouteNet(config.model).eval()  # all corrections are 0: this is the analytic predictor
    result: dict[str, Any] = {}
    for fold in range(count):
        training, test = split(graphs, fold, config, count, extra)
        if not training or not test:
            continue
        model = train(training, config, out / f"fold{fold}.safetensors", report(fold) if report else None)
        for predictor, errors in ((model, learned), (fresh, analytic)):
            for labelled, predicted in zip(test, predict_labelled(predictor, test), strict=True):
                for name in (labelled.collection, f"{labelled.collection}/{labelled.topology_key}"):
                    errors.setdefault(name, Errors()).add(labelled, predicted)
        result = {
            "config": dataclasses.asdict(config),
            "folds": {key: value for key, value in folds(graphs, count).items() if value <= fold},
            "learned": {name: found.summary() for name, found in sorted(learned.items())},
            "analytic": {name: found.summary() for name, found in sorted(analytic.items())},
        }
        out.mkdir(parents=True, exist_ok=True)
        (out / "cross_validation.json").write_text(json.dumps(result, indent=1))
    return result
