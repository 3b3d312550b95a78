"""The manifest of a data set: recipe, seed of every sample, checksum of every shard."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnn_model.dataset.recipe import DatasetRecipe
from topology_sync.errors import ScenarioError

FORMAT = "routewright-dataset/1"
NAME = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One file: samples ``first`` .. ``first + len(seeds) - 1``."""

    file: str
    sha256: str
    first: int
    seeds: tuple[int, ...]
    packet_hops: int
    flows: int


@dataclass
class Manifest:
    """What the set is made of; ``shards`` by number, those that are done."""

    recipe: DatasetRecipe
    seed: int
    samples: int
    shard_samples: int
    shards: dict[int, Shard] = field(default_factory=dict)

    @property
    def shard_count(self) -> int:
        """Number of shards when complete."""
        return -(-self.samples // self.shard_samples)

    @property
    def done(self) -> int:
        """Number of samples in the shards that are there."""
        return sum(len(shard.seeds) for shard in self.shards.values())

    def indices(self, number: int) -> range:
        """Samples of one shard."""
        return range(number * self.shard_samples, min((number + 1) * self.shard_samples, self.samples))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest in one step."""
    data = {
        "format": FORMAT,
        "seed": manifest.seed,
        "samples": manifest.samples,
        "shard_samples": manifest.shard_samples,
        "recipe": manifest.recipe.to_json(),
        "shards": [
            {
                "number": number,
                "file": shard.file,
                "sha256": shard.sha256,
                "first": shard.first,
                "packet_hops": shard.packet_hops,
                "flows": shard.flows,
                "seeds": list(shard.seeds),
            }
            for number, shard in sorted(manifest.shards.items())
        ],
    }
    partial = folder / f"{NAME}.partial"
    partial.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    os.replace(partial, folder / NAME)


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest.  Raises ScenarioError."""
    path = folder / NAME
    try:
        data: Any = json.loads(path.read_text("utf-8"))
        if data["format"] != FORMAT:
            raise ScenarioError(str(path), "is of another format", f"give a data set of format {FORMAT}")
        shards = {
            int(item["number"]): Shard(
                _file_name(item["file"]),
                str(item["sha256"]),
                int(item["first"]),
                tuple(int(seed) for seed in item["seeds"]),
                int(item["packet_hops"]),
                int(item["flows"]),
            )
            for item in data["shards"]
        }
        recipe = DatasetRecipe.from_json(data["recipe"])
        return Manifest(recipe, int(data["seed"]), int(data["samples"]), int(data["shard_samples"]), shards)
    except FileNotFoundError:
        raise ScenarioError(str(path), "there is no such file", "make it with `routewright dataset generate`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScenarioError(str(path), f"cannot be read ({error})", "make the data set again") from None


def _file_name(name: Any) -> str:
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no file name")
    return name
