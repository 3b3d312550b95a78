"""The tunnels (explicit paths) that each pair of nodes may split its traffic over, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse

from topology_sync.paths import k_shortest_paths
from topology_sync.topology import Topology
from topology_sync.values import FloatArray, IntArray, int_array

OWN_PATHS_PER_WEIGHT = 4


@dataclass(frozen=True, eq=False)
class TunnelSet:
    """Tunnels of many pairs, those of a pair next to each other.

    ``pair_source``, ``pair_target`` [pairs] are node ids, ``tunnel_pair`` [tunnels] is ascending,
    ``hop_tunnel`` and ``hop_link`` [hops] list the links of each tunnel.
    """

    topology: Topology
    pair_source: IntArray
    pair_target: IntArray
    tunnel_pair: IntArray
    hop_tunnel: IntArray
    hop_link: IntArray

    @classmethod
    def of_paths(cls, topology: Topology, paths: Mapping[tuple[int, int], Sequence[tuple[int, ...]]]) -> TunnelSet:
        """From paths (link ids) per pair of node ids; pairs without any path are left out."""
        pairs = [pair for pair, tunnels in sorted(paths.items()) if tunnels]
        flat = [(position, path) for position, pair in enumerate(pairs) for path in paths[pair]]
        lengths = [len(path) for _, path in flat]
        return cls(
            topology=topology,
            pair_source=int_array([source for source, _ in pairs]),
            pair_target=int_array([target for _, target in pairs]),
            tunnel_pair=int_array([pair for pair, _ in flat]),
            hop_tunnel=int_array(np.repeat(np.arange(len(flat)), lengths)),
            hop_link=int_array([link for _, path in flat for link in path]),
        )

    @classmethod
    def own(cls, topology: Topology, pairs: Sequence[tuple[int, int]]) -> TunnelSet:
        """Tunnels where none are given: the shortest few by hops and by 1/capacity, and a detour around the first.

        The detour is the cheapest path when the links of the shortest one cost a hundred times as much, so that every
        pair that has two link-disjoint ways has two tunnels that share no link.
        """
        hops = np.ones(topology.link_count)
        weights = [hops]
        inverse = topology.capacity_bps.max(initial=0.0) / topology.capacity_bps
        if len(inverse) and np.ptp(inverse) > 0:
            weights.append(inverse)
        paths: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        for source, target in pairs:
            found: dict[tuple[int, ...], None] = {}
            for weight in weights:
                shortest = k_shortest_paths(topology, source, target, OWN_PATHS_PER_WEIGHT, weight)
                found.update(dict.fromkeys(shortest))
                if shortest:
                    avoiding = weight.copy()
                    avoiding[list(shortest[0])] *= 100.0
                    found.update(dict.fromkeys(k_shortest_paths(topology, source, target, 1, avoiding)))
            paths[source, target] = list(found)
        return cls.of_paths(topology, paths)

    @property
    def pair_count(self) -> int:
        """Number of pairs that have a tunnel."""
        return len(self.pair_source)

    @property
    def tunnel_count(self) -> int:
        """Number of tunnels."""
        return len(self.tunnel_pair)

    @cached_property
    def tunnels_of_pair(self) -> IntArray:
        """Number of tunnels of each pair, [pairs]."""
        return int_array(np.bincount(self.tunnel_pair, minlength=self.pair_count))

    @cached_property
    def utilisation_per_bps(self) -> scipy.sparse.csr_array:
        """[links, tunnels]: 1 / capacity where the tunnel uses the link."""
        value = 1.0 / self.topology.capacity_bps[self.hop_link]
        shape = (self.topology.link_count, self.tunnel_count)
        return scipy.sparse.csr_array((value, (self.hop_link, self.hop_tunnel)), shape=shape)

    @cached_property
    def narrowest_bps(self) -> FloatArray:
        """Capacity of the narrowest link of any of a pair's tunnels, [pairs]."""
        result = np.full(self.pair_count, np.inf)
        np.minimum.at(result, self.tunnel_pair[self.hop_tunnel], self.topology.capacity_bps[self.hop_link])
        return result

    def equal_shares(self) -> FloatArray:
        """Every pair split evenly, [tunnels]."""
        result: FloatArray = 1.0 / self.tunnels_of_pair[self.tunnel_pair]
        return result

    def utilisation(self, shares: FloatArray, rate_bps: FloatArray) -> FloatArray:
        """Offered load over capacity, [links], of ``rate_bps`` [pairs] split by ``shares`` [tunnels]."""
        result: FloatArray = self.utilisation_per_bps @ (shares * rate_bps[self.tunnel_pair])
        return result

    def normalised(self, shares: FloatArray) -> FloatArray:
        """``shares`` made to sum to 1 for every pair; a pair of zeros is split evenly."""
        shares = np.maximum(shares, 0.0)
        total = np.bincount(self.tunnel_pair, weights=shares, minlength=self.pair_count)[self.tunnel_pair]
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = np.where(total > 0, shares / total, self.equal_shares())
        return result

    def share_moved(self, before: FloatArray, after: FloatArray) -> FloatArray:
        """Part of each pair's traffic that goes another way, [pairs]: half the sum of absolute share changes."""
        moved = np.bincount(self.tunnel_pair, weights=np.abs(after - before), minlength=self.pair_count)
        result: FloatArray = 0.5 * moved.astype(np.float64)
        return result


def rerouted_ratio(tunnels: TunnelSet, before: FloatArray, after: FloatArray, rate_bps: FloatArray) -> float:
    """Traffic that goes another way over all traffic: ``share_moved`` weighted by ``rate_bps`` [pairs]."""
    total = float(rate_bps.sum())
    return float(tunnels.share_moved(before, after) @ rate_bps) / total if total > 0 else 0.0
