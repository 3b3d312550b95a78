"""How to train: everything that decides the result, so that a run can be repeated."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnn_model.routenet.model import ModelConfig
from topology_sync.errors import ConfigurationError


@dataclass(frozen=True)
class TrainingConfig:
    """AdamW with a cosine schedule; a batch holds about ``hops_per_batch`` hops, whatever the sizes of its graphs.

    The ``weight_`` fields weigh the parts of the objective (:mod:`gnn_model.training.objective`).  ``largest_nodes``:
    larger networks are not trained on.  ``per_topology``: at most so many graphs of one topology in an epoch, so that
    few much-simulated networks do not outweigh many others.  ``averaging``: decay of the running mean of the weights,
    which is what is kept.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    epochs: int = 24
    hops_per_batch: int = 5_000
    learning_rate: float = 2.5e-3
    final_learning_rate: float = 2e-5
    warm_up: float = 0.03
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    averaging: float = 0.995
    seed: int = 1
    largest_nodes: int = 100
    per_topology: int = 60
    weight_deviation: float = 0.2
    weight_p90: float = 0.2
    weight_p99: float = 0.7
    weight_jitter: float = 0.3
    weight_loss: float = 2.0
    weight_queue: float = 0.1
    checkpoint_s: float = 60.0


def read_config(path: Path) -> TrainingConfig:
    """A JSON object with fields of TrainingConfig (``model`` an object of its own).  Raises ConfigurationError."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(str(path), f"is no readable JSON ({error})", "give an object of fields") from None
    return config_from_json(values, str(path))


def config_from_json(values: Any, place: str = "config") -> TrainingConfig:
    """The inverse of ``dataclasses.asdict``.  Raises ConfigurationError naming the field."""
    if isinstance(values, dict) and "model" in values:
        values = {**values, "model": _make(ModelConfig, values["model"], f"{place}: model")}
    result: TrainingConfig = _make(TrainingConfig, values, place)
    return result


def _make(kind: Any, values: Any, place: str) -> Any:
    known = {entry.name: entry for entry in dataclasses.fields(kind)}
    if not isinstance(values, dict):
        raise ConfigurationError(place, "is no object", f"give fields of {', '.join(known)}")
    default = kind()
    for name, value in values.items():
        if name not in known:
            raise ConfigurationError(f"{place}.{name}", "is not known", f"use {', '.join(known)}")
        wanted = type(getattr(default, name))
        if wanted in (int, float) and (isinstance(value, bool) or not isinstance(value, (int, wanted)) or value < 0):
            raise ConfigurationError(f"{place}.{name}", f"is {value!r}", f"give a {wanted.__name__} of 0 or more")
    return kind(**values)
