"""A trained policy on disk: safetensors with the weights, and beside it a JSON card that says what they are.

The card holds the size of the network, the names of its inputs in order and the checksum of the weights, and for people
how they were trained.  A file that is damaged, foreign or of another version is refused in one line.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from optimizer.rl.features import DEMAND_FEATURES, GLOBAL_FEATURES, LINK_FEATURES, MOVE_FEATURES
from optimizer.rl.policy import PathPolicy, PolicyConfig
from topology_sync.errors import InputError

FORMAT = "routewright-policy/1"
SHIPPED = Path(__file__).parent / "weights" / "policy.safetensors"
LARGEST_FILE_BYTES = 20_000_000
LARGEST_WIDTH = 1024
MOST_ROUNDS = 16
RETRAIN = "train with `routewright rl train`"


class PolicyFileError(InputError):
    """A file of policy weights that is not there, damaged, or not for this version."""


def input_names() -> dict[str, list[str]]:
    """The policy's inputs in order."""
    return {
        "link": list(LINK_FEATURES),
        "demand": list(DEMAND_FEATURES),
        "move": list(MOVE_FEATURES),
        "whole": list(GLOBAL_FEATURES),
    }


def save_policy(path: Path, policy: PathPolicy, about: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and its card (.json); ``about`` is for people and may hold any JSON."""
    data = save_tensors({name: value.contiguous() for name, value in policy.state_dict().items()}, {"format": FORMAT})
    card = {
        **about,
        "format": FORMAT,
        "policy": dataclasses.asdict(policy.config),
        "inputs": input_names(),
        "parameters": sum(value.numel() for value in policy.parameters()),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((path, data), (path.with_suffix(".json"), json.dumps(card, indent=1).encode() + b"\n")):
        partial = target.with_name(target.name + ".partial")
        partial.write_bytes(content)
        os.replace(partial, target)


def load_policy(path: Path = SHIPPED) -> tuple[PathPolicy, dict[str, Any]]:
    """The policy and its card.  Raises PolicyFileError: one line with what is wrong and what to do."""
    place = str(path)
    card_path = path.with_suffix(".json")
    try:
        for part in (path, card_path):
            if part.stat().st_size > LARGEST_FILE_BYTES:
                raise PolicyFileError(str(part), "is too large for a policy", RETRAIN)
        data = path.read_bytes()
        card = json.loads(card_path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PolicyFileError(place, f"cannot be read with its card ({error})", RETRAIN) from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise PolicyFileError(place, "has a card of another kind", f"give one of format {FORMAT}")
    if hashlib.sha256(data).hexdigest() != card.get("sha256"):
        raise PolicyFileError(place, "is damaged: its checksum is not that of its card", "fetch or train it again")
    if card.get("inputs") != input_names():
        raise PolicyFileError(place, "was trained on other inputs than this version has", RETRAIN)
    try:
        policy = PathPolicy(_config(card["policy"]))
        tensors = load_tensors(data)
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
            raise ValueError("a weight is no finite number")
        policy.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        text = " ".join(str(error).split())[:160]
        raise PolicyFileError(place, f"does not fit this version's policy ({text})", RETRAIN) from None
    return policy.eval(), card


def _config(told: Any) -> PolicyConfig:
    config = PolicyConfig(**told)
    for value, limit in ((config.width, LARGEST_WIDTH), (config.rounds, MOST_ROUNDS)):
        if not isinstance(value, int) or not 1 <= value <= limit:
            raise ValueError(f"a size is {value!r}")
    return config
