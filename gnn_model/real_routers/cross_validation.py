"""The official cross-validation of the 2023 set: four folds, one model per fold for both kinds of traffic."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnn_model.datanet.testbed import read_testbed
from gnn_model.real_routers.graphs import LINK_FEATURES, RouterGraph, router_graph
from gnn_model.real_routers.model import RouterNet
from gnn_model.real_routers.training import Report, RouterTraining, errors_of, train_router_net
from topology_sync.errors import ScenarioError
from topology_sync.values import FloatArray

ALL = "all"
LOADS = ("below 0.5", "0.5 to 0.7", "0.7 to 0.9", "0.9 to 1", "above 1")
LOAD_LIMITS = (0.5, 0.7, 0.9, 1.0)


def read_graphs(folder: Path) -> list[RouterGraph]:
    """Graphs of all .npz files of a folder (or of one file), named after the file.  Raises ScenarioError."""
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else [folder]
    if not files:
        raise ScenarioError(str(folder), "holds no .npz file", "give the folder of the 2023 set")
    return [router_graph(sample, path.stem) for path in files for sample in read_testbed(path)]


def cross_validate(
    graphs: Sequence[RouterGraph],
    config: RouterTraining,
    out: Path,
    folds: Sequence[int] | None = None,
    report: Callable[[int], Report] | None = None,
) -> dict[str, Any]:
    """Train and judge the folds (default: all); results so far are in ``out/testbed2023.json`` after each.

    ``learned`` and ``baseline`` (the simple queue, a fresh network): per set and for ``all`` flows pooled, per fold and
    per load of the busiest link on the way.  Interrupted, the same call goes on.
    """
    chosen = sorted({graph.fold for graph in graphs}) if folds is None else list(folds)
    found: dict[str, dict[str, list[FloatArray]]] = {"learned": {}, "baseline": {}}
    result: dict[str, Any] = {}
    for fold in chosen:
        training = [graph for graph in graphs if graph.fold != fold]
        test = [graph for graph in graphs if graph.fold == fold]
        if not training or not test:
            raise ScenarioError(f"fold {fold}", "has nothing to train on or to judge", "give the whole set")
        model = train_router_net(training, config, out / f"fold{fold}.safetensors", report(fold) if report else None)
        for name, predictor in (("learned", model), ("baseline", RouterNet(config.width, config.rounds).eval())):
            _collect(found[name], predictor, test, fold)
        result = {
            "config": dataclasses.asdict(config),
            "folds": [done for done in chosen if done <= fold],
            **{
                name: {key: _summary(errors) for key, errors in sorted(groups.items())}
                for name, groups in found.items()
            },
        }
        out.mkdir(parents=True, exist_ok=True)
        (out / "testbed2023.json").write_text(json.dumps(result, indent=1))
    return result


def _collect(groups: dict[str, list[FloatArray]], model: RouterNet, test: Sequence[RouterGraph], fold: int) -> None:
    column = LINK_FEATURES.index("load")
    for graph in test:
        known = graph.delay > 0
        errors = errors_of(model, [graph]).double().numpy()
        busiest = np.maximum.reduceat(graph.link_features[graph.hop_link, column], graph.hop_pointer[:-1])[known]
        place = np.digitize(busiest, LOAD_LIMITS)
        for name in (ALL, graph.collection):
            groups.setdefault(name, []).append(errors)
        groups.setdefault(f"{ALL}, fold {fold}", []).append(errors)
        for number, load in enumerate(LOADS):
            groups.setdefault(f"{ALL}, load {load}", []).append(errors[place == number])


def _summary(parts: list[FloatArray]) -> dict[str, float | int | None]:
    errors = np.concatenate(parts)
    some = len(errors) > 0
    return {
        "flows": len(errors),
        "delay_mape": 100 * float(errors.mean()) if some else None,
        "delay_median_ape": 100 * float(np.median(errors)) if some else None,
    }
