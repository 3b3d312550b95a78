"""Weights on disk: safetensors, and beside them a JSON card that says what they are and holds their checksum.

A file that is damaged, foreign or of another version is refused in one line; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from topology_sync.errors import InputError
from topology_sync.output_files import write_output

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class WeightsKind:
    """One kind of weights.  ``inputs``: names of the network's inputs in order; ``remedy``: how to make such a file.

    ``error`` is raised for every file that is refused.
    """

    format: str
    inputs: dict[str, list[str]]
    largest_bytes: int
    remedy: str
    error: type[InputError]

    def save(self, path: Path, network: nn.Module, told: dict[str, Any], about: dict[str, Any]) -> None:
        """Write ``path`` (.safetensors) and its card (.json).

        ``told`` is what reading needs, ``about`` is for people; both may hold any JSON.
        """
        tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
        data = save_tensors(tensors, {"format": self.format})
        needed = {"format": self.format, **told, "inputs": self.inputs, "sha256": hashlib.sha256(data).hexdigest()}
        card = {**needed, **about, **needed}
        write_output(path, data)
        self.rewrite_card(path, card)

    @staticmethod
    def rewrite_card(path: Path, card: dict[str, Any]) -> None:
        """Write the card of the weights at ``path`` anew; what reading needs must stay as it was."""
        write_output(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")

    def read(self, path: Path) -> tuple[dict[str, Any], bytes]:
        """The card and the weights as they are in the file, which is the one that the card is of."""
        place, card_path = str(path), path.with_suffix(".json")
        try:
            for part in (path, card_path):
                if part.stat().st_size > self.largest_bytes:
                    raise self.error(str(part), "is too large for such weights", self.remedy)
            data = path.read_bytes()
            card = json.loads(card_path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise self.error(place, f"cannot be read with its card ({error})", self.remedy) from None
        if not isinstance(card, dict) or card.get("format") != self.format:
            raise self.error(place, "has a card of another kind", f"give one of format {self.format}")
        if hashlib.sha256(data).hexdigest() != card.get("sha256"):
            raise self.error(place, "is damaged: its checksum is not that of its card", "fetch or train it again")
        if card.get("inputs") != self.inputs:
            raise self.error(place, "was trained on other inputs than this version has", self.remedy)
        return card, data

    def fill(self, path: Path, make: Callable[[], Network], data: bytes) -> Network:
        """The network that ``make`` builds with these weights, ready to predict; ``path`` is for what is said."""
        try:
            network, tensors = make(), load_tensors(data)
            if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
                raise ValueError("a weight is no finite number")
            network.load_state_dict(tensors)
        except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
            text = " ".join(str(error).split())[:160]
            raise self.error(str(path), f"does not fit this version's network ({text})", self.remedy) from None
        return network.eval()
