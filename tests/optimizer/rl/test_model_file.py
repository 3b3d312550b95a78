"""Weights: what is written is read, what is damaged or foreign is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from optimizer.rl.model_file import SHIPPED, PolicyFileError, load_policy, save_policy
from optimizer.rl.policy import PathPolicy, PolicyConfig


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "policy.safetensors"
    save_policy(path, PathPolicy(PolicyConfig(width=8, rounds=1)), {"seed": 3})
    return path


def test_what_is_written_is_read(saved: Path) -> None:
    policy, card = load_policy(saved)
    assert card["seed"] == 3
    assert policy.config == PolicyConfig(8, 1)
    assert sum(value.numel() for value in policy.parameters()) == card["parameters"]


def test_the_shipped_policy_loads_and_is_small() -> None:
    policy, card = load_policy()
    assert SHIPPED.stat().st_size < 1_000_000
    assert card["iterations_done"] > 0
    assert "validation" in card
    assert all(bool(torch.isfinite(value).all()) for value in policy.parameters())


def card_change(change: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        card = json.loads(path.with_suffix(".json").read_text())
        change(card)
        path.with_suffix(".json").write_text(json.dumps(card))

    return apply


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def not_finite(path: Path) -> None:
    policy = PathPolicy(PolicyConfig(width=8, rounds=1))
    with torch.no_grad():
        policy.rank_weight.fill_(float("nan"))
    save_policy(path, policy, {})


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path: path.unlink(), "cannot be read with its card"),
        (lambda path: path.with_suffix(".json").unlink(), "cannot be read with its card"),
        (lambda path: path.with_suffix(".json").write_text("{"), "cannot be read with its card"),
        (lambda path: path.with_suffix(".json").write_text("[" * 100_000), "cannot be read with its card"),
        (lambda path: path.with_suffix(".json").write_bytes(b"\xff\xfe"), "cannot be read with its card"),
        (lambda path: path.with_suffix(".json").write_text("[1]"), "card of another kind"),
        (card_change(lambda card: card.update(format="routewright-model/1")), "card of another kind"),
        (flip, "is damaged"),
        (card_change(lambda card: card.update(inputs={})), "trained on other inputs"),
        (card_change(lambda card: card.update(policy={"width": 16, "rounds": 1})), "does not fit"),
        (card_change(lambda card: card.update(policy={"width": 10**9, "rounds": 1})), "does not fit"),
        (card_change(lambda card: card.update(policy={"depth": 1})), "does not fit"),
        (card_change(lambda card: card.pop("policy")), "does not fit"),
        (not_finite, "no finite number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(saved: Path, spoil: Callable[[Path], None], expected: str) -> None:
    spoil(saved)
    with pytest.raises(PolicyFileError, match=expected) as caught:
        load_policy(saved)
    assert "\n" not in str(caught.value)


def test_a_huge_file_is_not_even_read(saved: Path) -> None:
    with saved.open("r+b") as file:
        file.truncate(30_000_000)
    with pytest.raises(PolicyFileError, match="too large"):
        load_policy(saved)
