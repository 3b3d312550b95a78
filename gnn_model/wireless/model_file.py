"""Trained models as files: the weights in safetensors and beside them a JSON card that says what they are.

``NAME.safetensors`` holds the tensors, ``NAME.json`` the shape of the model, how it was trained, and the SHA-256 of the
weights.  A file that is damaged, swapped or of another version is refused in one line.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from gnn_model.wireless.channel import FADINGS, Setting
from gnn_model.wireless.training import TrainingSettings
from gnn_model.wireless.wcgcn import ModelSettings, PowerModel
from topology_sync.errors import InputError
from topology_sync.strict_json import (
    JsonObject,
    check_format,
    format_json,
    in_file,
    printable_path,
    read_bytes,
    read_json,
)

FORMAT = "routewright-wireless-model/1"
FEATURES = ("signal_to_noise_db", "log_weight", "total_interference_db", "suffered_db", "caused_db")
SHIPPED = Path(__file__).parent / "weights"
MAX_WEIGHTS_BYTES = 64 * 2**20
MAX_CARD_BYTES = 2**20
SHAPE_LIMITS = {
    "width": (1, 1024),
    "message_width": (1, 1024),
    "rounds": (1, 64),
    "neighbours": (1, 1024),
    "outputs": (1, 64),
    "refinements": (0, 100),
}


@dataclass(frozen=True)
class TrainedModel:
    """A model ready for use, and how it came about."""

    name: str
    model: PowerModel
    training: TrainingSettings


def save_model(trained: TrainedModel, directory: Path) -> Path:
    """Write weights and card; returns the path of the card."""
    weights = save(trained.model.state_dict())
    settings = asdict(trained.training)
    card = {
        "format": FORMAT,
        "name": trained.name,
        "shape": asdict(trained.model.settings),
        "features": list(FEATURES),
        "training": settings,
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    directory.joinpath(f"{trained.name}.safetensors").write_bytes(weights)
    path = directory / f"{trained.name}.json"
    path.write_text(format_json(card))
    return path


@cache
def shipped_model(name: str) -> TrainedModel:
    """One of the models that come with Routewright: ``channels`` or ``distances``."""
    return load_model(SHIPPED / f"{name}.json")


def load_model(card_path: Path) -> TrainedModel:
    """The model a card describes; its weights stand beside it.  Raises InputError that names the file."""
    data = read_json(card_path, InputError, MAX_CARD_BYTES)
    try:
        check_format(data, FORMAT, InputError)
        known = ("format", "name", "shape", "features", "training", "parameters", "sha256")
        card = JsonObject(data, "", known, InputError)
        shape = _shape(card)
        training = _training(card)
        if card.items("features") != list(FEATURES):
            card.fail("features", "are not those of this version", "train the model again")
        name, digest = card.text("name"), card.text("sha256")
    except InputError as problem:
        raise in_file(problem, card_path) from None
    weights_path = card_path.with_suffix(".safetensors")
    return TrainedModel(name, _with_weights(PowerModel(shape), weights_path, digest), training)


def _shape(card: JsonObject) -> ModelSettings:
    shape = card.child("shape", tuple(SHAPE_LIMITS))
    return ModelSettings(**{name: shape.integer(name, *limits) for name, limits in SHAPE_LIMITS.items()})


def _training(card: JsonObject) -> TrainingSettings:
    told = card.child("training", tuple(field.name for field in fields(TrainingSettings)))
    place = told.child("setting", tuple(field.name for field in fields(Setting)))
    numbers = {field.name: place.number(field.name, -1e12, 1e12) for field in fields(Setting) if field.name != "fading"}
    values: dict[str, Any] = {
        "links": told.integer("links", 1, 10**6),
        "layouts": told.integer("layouts", 1, 10**6),
        "steps": told.integer("steps", 0, 10**9),
        "stop_at": told.integer("stop_at", 0, 10**9, 0),
        "learning_rate": told.number("learning_rate", 0.0, 10.0),
        "sharpness": told.number("sharpness", 0.0, 1e6),
        "weighted_share": told.number("weighted_share", 0.0, 1.0),
        "distances_only": told.flag("distances_only"),
        "seed": told.integer("seed", 0, 2**63),
    }
    return TrainingSettings(**values, setting=Setting(**numbers, fading=place.choice("fading", FADINGS)))


def _with_weights(model: PowerModel, path: Path, digest: str) -> PowerModel:
    content = read_bytes(path, InputError, MAX_WEIGHTS_BYTES)
    place = printable_path(str(path))
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(place, "is damaged or belongs to another card (SHA-256 differs)", "fetch both files again")
    try:
        tensors = load(content)
    except SafetensorError as problem:
        raise InputError(place, f"is no safetensors file ({problem})", "fetch both files again") from None
    expected = model.state_dict()
    if {name: tensor.shape for name, tensor in tensors.items()} != {name: t.shape for name, t in expected.items()}:
        raise InputError(place, "does not have the tensors of the shape in its card", "fetch both files again")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise InputError(place, "has a weight that is no finite number", "train the model again")
    model.load_state_dict(tensors)
    return model.eval()


def check_model_name(name: str) -> None:
    """Raise InputError unless ``name`` can be a file's name everywhere."""
    if not (0 < len(name) <= 64 and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name)):
        raise InputError("--name", f"is {name[:60]!r}", "give letters, digits, - and _")
