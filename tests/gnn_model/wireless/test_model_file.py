"""Model files: what is saved comes back, and what is damaged is refused in one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gnn_model.wireless.channel import Setting
from gnn_model.wireless.model_file import TrainedModel, check_model_name, load_model, save_model, shipped_model
from gnn_model.wireless.training import TrainingSettings
from gnn_model.wireless.wcgcn import ModelSettings, PowerModel
from topology_sync.errors import InputError

SMALL = ModelSettings(width=4, message_width=4, rounds=1, neighbours=3, outputs=2, refinements=1)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    training = TrainingSettings(links=7, setting=Setting(links_per_km2=10.0, fading="rician"), seed=5)
    return save_model(TrainedModel("small", PowerModel(SMALL), training), tmp_path)


def test_a_model_comes_back_as_it_was(card: Path) -> None:
    loaded = load_model(card)
    assert loaded.name == "small"
    assert loaded.model.settings == SMALL
    assert loaded.training == TrainingSettings(links=7, setting=Setting(links_per_km2=10.0, fading="rician"), seed=5)
    gains = torch.rand(2, 5, 5) * 100.0
    torch.manual_seed(3)
    torch.testing.assert_close(loaded.model(gains), PowerModel(SMALL)(gains), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", ["channels", "distances"])
def test_the_shipped_models_can_be_used_and_say_how_they_were_trained(name: str) -> None:
    shipped = shipped_model(name)
    assert shipped.training.links == 50
    assert shipped.training.distances_only == (name == "distances")


def refused(card: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(card)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_flipped_bit_in_the_weights_is_refused(card: Path) -> None:
    path = card.with_suffix(".safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "small.safetensors: is damaged or belongs to another card" in refused(card)


def test_weights_cut_short_and_missing_weights_are_refused(card: Path) -> None:
    path = card.with_suffix(".safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    assert "is damaged" in refused(card)
    path.unlink()
    assert "there is no such file" in refused(card)


def with_new_digest(card: Path) -> None:
    import hashlib

    data = json.loads(card.read_text())
    data["sha256"] = hashlib.sha256(card.with_suffix(".safetensors").read_bytes()).hexdigest()
    card.write_text(json.dumps(data))


def test_no_safetensors_wrong_tensors_and_infinite_weights_are_refused(card: Path) -> None:
    path = card.with_suffix(".safetensors")
    tensors = load_file(path)
    path.write_bytes(b"no weights at all")
    with_new_digest(card)
    assert "is no safetensors file" in refused(card)
    save_file({"other": torch.zeros(1)}, path)
    with_new_digest(card)
    assert "does not have the tensors" in refused(card)
    tensors["head.bias"][0] = float("nan")
    save_file(tensors, path)
    with_new_digest(card)
    assert "no finite number" in refused(card)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.update(format="routewright-wireless-model/9"), "format"),
        (lambda data: data["shape"].update(width=0), "shape.width: is 0"),
        (lambda data: data["shape"].update(width=10**9), "shape.width"),
        (lambda data: data["shape"].pop("rounds"), "shape.rounds: is missing"),
        (lambda data: data.update(features=["other"]), "features"),
        (lambda data: data.update(extra=1), "extra: unknown key"),
        (lambda data: data["training"]["setting"].update(fading="fast"), "training.setting.fading"),
        (lambda data: data["training"]["setting"].update(shadowing_db=-2), "shadowing_db"),
        (lambda data: data.update(sha256="00"), "is damaged"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_by_place(
    card: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    data = json.loads(card.read_text())
    change(data)
    card.write_text(json.dumps(data))
    assert told in refused(card)


def test_names_that_are_no_file_names_are_refused() -> None:
    check_model_name("my-model_2")
    for name in ("", "../up", "a b", "ä", "x" * 65):
        with pytest.raises(InputError, match="--name"):
            check_model_name(name)
