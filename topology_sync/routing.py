"""Which paths each demand takes, and in which shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from topology_sync.errors import ScenarioError
from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import ArrayValue, FloatArray, IntArray, float_array, int_array

SHARE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class PathShare:
    """One explicit path (link ids in order of travel) and the share of its demand that takes it."""

    links: tuple[int, ...]
    share: float = 1.0

    def nodes(self, topology: Topology) -> tuple[int, ...]:
        """Node ids along the path, ends included."""
        first = int(topology.link_source[self.links[0]])
        return (first, *(int(topology.link_target[link]) for link in self.links))


class FlatRouting(NamedTuple):
    """All paths in one list, for vectorised work.  ``hop_link[hop_pointer[p]:hop_pointer[p+1]]`` are the links of p."""

    path_demand: IntArray  # [paths] demand of each path
    share: FloatArray  # [paths]
    hop_pointer: IntArray  # [paths + 1]
    hop_link: IntArray  # [hops]
    hop_path: IntArray  # [hops]


@dataclass(frozen=True, eq=False)
class Routing(ArrayValue):
    """Paths per demand, aligned with a TrafficMatrix: ``paths[d]`` are the paths of demand d, their shares sum to 1."""

    paths: tuple[tuple[PathShare, ...], ...]

    @cached_property
    def flat(self) -> FlatRouting:
        """The same routing as arrays."""
        paths = list(chain.from_iterable(self.paths))
        links = [path.links for path in paths]
        counts = np.fromiter(map(len, self.paths), dtype=np.int64, count=len(self.paths))
        lengths = np.fromiter(map(len, links), dtype=np.int64, count=len(links))
        return FlatRouting(
            path_demand=int_array(np.repeat(np.arange(len(self.paths)), counts)),
            share=float_array(np.fromiter((path.share for path in paths), dtype=np.float64, count=len(paths))),
            hop_pointer=int_array(np.concatenate([[0], np.cumsum(lengths)])),
            hop_link=int_array(np.fromiter(chain.from_iterable(links), dtype=np.int64, count=int(lengths.sum()))),
            hop_path=int_array(np.repeat(np.arange(len(links)), lengths)),
        )

    def link_load_bps(self, traffic: TrafficMatrix, link_count: int) -> FloatArray:
        """Offered load per link in bit/s when nothing is lost on the way, [links]."""
        flat = self.flat
        path_rate = traffic.rate_bps[flat.path_demand] * flat.share
        load: FloatArray = np.bincount(flat.hop_link, weights=path_rate[flat.hop_path], minlength=link_count).astype(
            np.float64
        )
        return load

    def max_utilisation(self, traffic: TrafficMatrix, topology: Topology) -> float:
        """Largest offered load over capacity of any link."""
        load = self.link_load_bps(traffic, topology.link_count)
        return float(np.max(load / topology.capacity_bps, initial=0.0))

    def with_changes(self, changes: Mapping[int, Sequence[PathShare]]) -> Routing:
        """The same routing with other paths for the demands named."""
        paths = list(self.paths)
        for demand, replacement in changes.items():
            paths[demand] = tuple(replacement)
        return Routing(tuple(paths))

    def changed_demands(self, other: Routing) -> tuple[int, ...]:
        """Demands whose paths or shares differ between the two routings (same demands, order of paths ignored)."""
        return tuple(
            demand
            for demand, (mine, theirs) in enumerate(zip(self.paths, other.paths, strict=True))
            if _canonical(mine) != _canonical(theirs)
        )

    def check(self, topology: Topology, traffic: TrafficMatrix) -> None:
        """Raise ScenarioError unless every demand has loop-free paths between its ends whose shares sum to 1."""
        if len(self.paths) != traffic.demand_count:
            raise ScenarioError(
                "routing", f"covers {len(self.paths)} of {traffic.demand_count} demands", "route every demand once"
            )
        for demand, paths in enumerate(self.paths):
            place = f"routing[{demand}]"
            if not paths or abs(sum(path.share for path in paths) - 1) > SHARE_TOLERANCE:
                total = sum(path.share for path in paths)
                raise ScenarioError(place, f"shares sum to {total:g}", "make the shares of a demand sum to 1")
            for path in paths:
                nodes = path.nodes(topology) if path.links else ()
                ends = (int(traffic.source[demand]), int(traffic.target[demand]))
                joined = all(
                    topology.link_target[before] == topology.link_source[after]
                    for before, after in zip(path.links, path.links[1:], strict=False)
                )
                if not nodes or (nodes[0], nodes[-1]) != ends or not joined or len(set(nodes)) != len(nodes):
                    raise ScenarioError(place, "a path is no loop-free way from source to target", "give one")
                if not 0 < path.share <= 1 + SHARE_TOLERANCE:
                    raise ScenarioError(place, f"a share is {path.share:g}", "give shares above 0 and up to 1")


def _canonical(paths: tuple[PathShare, ...]) -> list[tuple[tuple[int, ...], float]]:
    return sorted((path.links, round(path.share, 6)) for path in paths)
