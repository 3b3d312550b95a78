"""Named recipes: the sets that the shipped model is trained on and judged with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gnn_model.dataset.recipe import RANDOM_FAMILIES, DatasetRecipe
from topology_sync.errors import ConfigurationError

# Networks that stand in the public data sets with which the model is judged.
NEVER_TRAINED_ON = tuple(f"topozoo/{name}" for name in ("Nsfnet", "Geant2001", "Geant2009", "Geant2010", "Geant2012"))
TRAINED_FAMILIES = ("gabriel", "waxman", "barabasi", "ring", "powerlaw", "topohub:topozoo/*")
CURVE_NODES = (14, 25, 50, 100, 200, 300)


@dataclass(frozen=True)
class Preset:
    """One set: its recipe, seed and number of samples."""

    recipe: DatasetRecipe
    seed: int
    samples: int


def preset(name: str) -> Preset:
    """The set of this name.  Raises ConfigurationError with the names there are."""
    if name not in PRESETS:
        raise ConfigurationError("--preset", f"is {name!r}", f"use {', '.join(PRESETS)}")
    return PRESETS[name]


def _trained(**changes: object) -> DatasetRecipe:
    return replace(DatasetRecipe(TRAINED_FAMILIES, exclude=NEVER_TRAINED_ON), **changes)  # type: ignore[arg-type]


def _judged(topology: str, demands: int, max_hops: int, nodes: tuple[int, int] = (8, 50)) -> DatasetRecipe:
    """Everything mixed, no propagation delay, simulated four times as long as for training."""
    return DatasetRecipe((topology,), nodes, demands=demands, propagation=0.0, max_hops=max_hops, longer=4.0)


PRESETS = {
    "train-large": Preset(_trained(demands=500, max_hops=12_000_000), 11, 1000),
    "train": Preset(_trained(nodes=(5, 40), demands=120, relative_error=0.03, max_hops=3_000_000), 12, 3000),
    "validation": Preset(
        DatasetRecipe(RANDOM_FAMILIES, (12, 100), demands=500, max_hops=5_000_000, longer=3.0), 13, 40
    ),
    "test-gbn": Preset(_judged("topohub:sndlib/nobel-germany", 272, 4_000_000), 102, 12),
    "test-gbn-poisson": Preset(
        replace(
            _judged("topohub:sndlib/nobel-germany", 272, 6_000_000),
            arrivals=("poisson",),
            sizes=("exponential",),
            schedulers=("fifo",),
            relative_error=0.01,
        ),
        101,
        5,
    ),
    "test-polska": Preset(_judged("topohub:sndlib/polska", 272, 3_000_000), 103, 8),
    "test-germany50": Preset(_judged("topohub:sndlib/germany50", 500, 6_000_000), 104, 4),
    "test-100": Preset(_judged("gabriel", 600, 8_000_000, (100, 100)), 105, 2),
    "test-300": Preset(_judged("gabriel", 800, 8_000_000, (300, 300)), 106, 1),
    **{f"curve-{nodes}": Preset(_judged("gabriel", 300, 4_000_000, (nodes, nodes)), 200, 5) for nodes in CURVE_NODES},
}
