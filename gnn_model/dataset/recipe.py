"""What a data set is drawn from: everything that decides its samples, so that each can be drawn again."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

from topology_sync.errors import ConfigurationError
from topology_sync.topology import DISCIPLINES
from topology_sync.traffic import ARRIVAL_MODELS, SIZE_MODELS

Range = tuple[float, float]

RANDOM_FAMILIES = ("gabriel", "waxman", "barabasi", "ring", "powerlaw")
ROUTINGS = ("hops", "weights", "alternatives", "multipath")
CAPACITIES = ("given", "random", "provisioned")
MIXED = "mixed"
MAX_QUEUES = 3


@dataclass(frozen=True)
class DatasetRecipe:
    """From what samples are drawn; of every tuple of names one is drawn per sample, ``mixed`` draws per demand or node.

    ``topologies``: random families (gabriel, waxman, barabasi, ring, powerlaw) with a size from ``nodes``, or whatever
    :func:`topology_sync.sources.load_scenario` takes, of which the links are used; ``topohub:GROUP/*`` is any network
    of that group with a fitting size.  ``exclude``: topohub keys never drawn.  ``load``: utilisation of the most
    loaded link.  ``queue_packets`` and ``burst_packets`` (mean of a period on) are drawn log-uniformly.  ``demands``
    caps the demands of a sample.  ``capacities``: as the topology has them (all equal in random families), drawn per
    link, or fitted to the traffic from a few sizes.  ``propagation``: part of the samples with propagation delays.

    ``relative_error``: of the mean delay of 90 % of the demands, within ``max_hops`` packet-hops; ``longer``
    multiplies the simulated length beyond that (labels for tests want less noise).
    """

    topologies: tuple[str, ...] = RANDOM_FAMILIES
    nodes: tuple[int, int] = (8, 50)
    exclude: tuple[str, ...] = ()
    arrivals: tuple[str, ...] = (*ARRIVAL_MODELS, MIXED)
    sizes: tuple[str, ...] = (*SIZE_MODELS, MIXED)
    schedulers: tuple[str, ...] = (*DISCIPLINES, MIXED)
    classes: tuple[int, int] = (1, 3)
    routings: tuple[str, ...] = ROUTINGS
    capacities: tuple[str, ...] = CAPACITIES
    load: Range = (0.2, 1.2)
    queue_packets: Range = (8, 64)
    burst_packets: Range = (3, 100)
    demands: int = 800
    propagation: float = 0.1
    relative_error: float = 0.02
    max_hops: int = 20_000_000
    longer: float = 1.0

    def __post_init__(self) -> None:
        known: dict[str, tuple[str, ...]] = {
            "arrivals": (*ARRIVAL_MODELS, MIXED),
            "sizes": (*SIZE_MODELS, MIXED),
            "schedulers": (*DISCIPLINES, MIXED),
            "routings": ROUTINGS,
            "capacities": CAPACITIES,
        }
        for name, names in known.items():
            given = getattr(self, name)
            wrong = next((value for value in given if value not in names), None)
            if wrong is not None or not given:
                raise ConfigurationError(name, f"has {wrong!r}" if given else "is empty", f"use {', '.join(names)}")
        if not self.topologies:
            raise ConfigurationError("topologies", "is empty", "name a family, topohub:GROUP/NAME or a file")
        limits = {
            "nodes": (2, 2000),
            "classes": (1, MAX_QUEUES),
            "load": (1e-3, 10.0),
            "queue_packets": (1, 1e6),
            "burst_packets": (1e-3, 1e6),
        }
        for name, (low, high) in limits.items():
            first, last = getattr(self, name)
            if not low <= first <= last <= high:
                raise ConfigurationError(name, f"is {first:g} to {last:g}", f"give a range within {low:g} to {high:g}")
        singles = {"demands": (1, 1e6), "propagation": (0, 1), "relative_error": (1e-4, 0.5), "longer": (1, 100)}
        for name, (low, high) in singles.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigurationError(name, f"is {getattr(self, name):g}", f"give {low:g} to {high:g}")
        if self.max_hops < 10_000:
            raise ConfigurationError("max_hops", f"is {self.max_hops}", "give at least 10000")

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values (tuples as lists)."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Any) -> DatasetRecipe:
        """The inverse of ``to_json``.  Raises ConfigurationError."""
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not set(values) <= known:
            raise ConfigurationError("recipe", "has unknown keys", f"use {', '.join(sorted(known))}")
        try:
            return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
        except (TypeError, ValueError) as error:
            raise ConfigurationError("recipe", f"does not fit ({error})", "make the data set again") from None


def sample_seed(seed: int, index: int) -> int:
    """Seed of one sample of a set: depends on nothing but the set's seed and the sample's number."""
    digest = hashlib.sha256(f"routewright-sample/{seed}/{index}".encode()).digest()
    return int.from_bytes(digest[:6], "big")
