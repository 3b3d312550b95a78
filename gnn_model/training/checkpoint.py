"""Where a training run stands, on disk: tensors as safetensors, everything else as JSON; nothing is unpickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from topology_sync.errors import ConfigurationError

FORMAT = "routewright-training/1"


def save(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, about: dict[str, Any]
) -> None:
    """Write a checkpoint in one step (a reader sees the old one or the new one)."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value.contiguous() for name, value in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in state.items()}
    tensors["random"] = torch.get_rng_state()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(
        {name: value.clone() for name, value in tensors.items()},
        partial,
        {"format": FORMAT, "about": json.dumps(about)},
    )
    os.replace(partial, path)


def restore(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint's state back and return what was said ``about`` it.  Raises ConfigurationError."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ConfigurationError(str(path), "is no training checkpoint", "give another --out folder")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
        for name in average:
            average[name].copy_(tensors[f"average.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random"])
        about: dict[str, Any] = json.loads(metadata["about"])
        return about
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ConfigurationError(str(path), f"does not fit this run ({text})", "give another --out folder") from None
