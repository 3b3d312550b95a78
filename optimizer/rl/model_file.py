"""A trained policy on disk: weights and their card (:mod:`gnn_model.weights_file`), which also holds the network's size
and, for people, how it was trained.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gnn_model.weights_file import WeightsKind
from optimizer.rl.features import DEMAND_FEATURES, GLOBAL_FEATURES, LINK_FEATURES, MOVE_FEATURES
from optimizer.rl.policy import PathPolicy, PolicyConfig
from topology_sync.errors import InputError

SHIPPED = Path(__file__).parent / "weights" / "policy.safetensors"
LARGEST_WIDTH = 1024
MOST_ROUNDS = 16


class PolicyFileError(InputError):
    """A file of policy weights that is not there, damaged, or not for this version."""


KIND = WeightsKind(
    "routewright-policy/1",
    {
        "link": list(LINK_FEATURES),
        "demand": list(DEMAND_FEATURES),
        "move": list(MOVE_FEATURES),
        "whole": list(GLOBAL_FEATURES),
    },
    largest_bytes=20_000_000,
    remedy="train with `routewright rl train`",
    error=PolicyFileError,
)


def save_policy(path: Path, policy: PathPolicy, about: dict[str, Any]) -> None:
    """Write ``path`` (.safetensors) and its card (.json); ``about`` is for people and may hold any JSON."""
    parameters = sum(value.numel() for value in policy.parameters())
    KIND.save(path, policy, {"policy": dataclasses.asdict(policy.config), "parameters": parameters}, about)


def load_policy(path: Path = SHIPPED) -> tuple[PathPolicy, dict[str, Any]]:
    """The policy and its card.  Raises PolicyFileError: one line with what is wrong and what to do."""
    card, data = KIND.read(path)
    return KIND.fill(path, lambda: PathPolicy(_config(card["policy"])), data), card


def _config(told: Any) -> PolicyConfig:
    config = PolicyConfig(**told)
    for value, limit in ((config.width, LARGEST_WIDTH), (config.rounds, MOST_ROUNDS)):
        if not isinstance(value, int) or not 1 <= value <= limit:
            raise ValueError(f"a size is {value!r}")
    return config
