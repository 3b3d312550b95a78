"""A min-max utilisation problem as arrays: what all searches of this package work on.

Rates and capacities are divided by the largest capacity, so that all numbers are near 1 in any unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from topology_sync.paths import no_way
from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import BoolArray, FloatArray, IntArray, float_array, int_array

LinkArray = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class FlowProblem:
    """Demands with traffic, sorted by source, over the usable links.

    ``out_pointer`` [nodes + 1] and ``out_link`` list the usable links that leave each node; ``tail``, ``head``,
    ``capacity`` and ``delay_s`` [links] are of all links.  ``source``, ``target``, ``rate`` and ``delay_limit_s``
    (infinite without a limit) are [demands], ``source_pointer`` [nodes + 1] says where the demands of a source begin,
    ``original`` [demands] is their id in the traffic matrix.
    """

    out_pointer: IntArray
    out_link: IntArray
    tail: IntArray
    head: IntArray
    capacity: FloatArray
    delay_s: FloatArray
    source: IntArray
    target: IntArray
    rate: FloatArray
    delay_limit_s: FloatArray
    source_pointer: IntArray
    original: IntArray

    @classmethod
    def of(
        cls,
        topology: Topology,
        traffic: TrafficMatrix,
        usable: BoolArray | None = None,
        delay_limit_s: FloatArray | None = None,
    ) -> FlowProblem:
        """The problem of a topology [links ``usable``] and a traffic matrix [``delay_limit_s`` per demand]."""
        active = np.flatnonzero(traffic.rate_bps > 0)
        active = active[np.lexsort((traffic.target[active], traffic.source[active]))]
        out_pointer, out_link = leaving_links(topology, usable)
        unit = float(topology.capacity_bps.max(initial=0.0)) or 1.0
        nodes = topology.node_count
        limit = np.full(len(active), np.inf) if delay_limit_s is None else delay_limit_s[active]
        return cls(
            out_pointer=out_pointer,
            out_link=out_link,
            tail=int_array(topology.link_source),
            head=int_array(topology.link_target),
            capacity=float_array(topology.capacity_bps / unit),
            delay_s=float_array(topology.delay_s),
            source=int_array(traffic.source[active]),
            target=int_array(traffic.target[active]),
            rate=float_array(traffic.rate_bps[active] / unit),
            delay_limit_s=float_array(limit),
            source_pointer=_pointer(traffic.source[active], nodes),
            original=int_array(active),
        )

    @property
    def node_count(self) -> int:
        """Number of nodes."""
        return len(self.out_pointer) - 1

    @property
    def link_count(self) -> int:
        """Number of links, usable or not."""
        return len(self.head)

    @property
    def demand_count(self) -> int:
        """Number of demands with traffic."""
        return len(self.rate)

    @cached_property
    def delay_bound(self) -> bool:
        """Whether any demand has a delay limit."""
        return bool(np.isfinite(self.delay_limit_s).any())


def check_routable(topology: Topology, traffic: TrafficMatrix, usable: BoolArray | None = None) -> None:
    """Raise ScenarioError naming the first demand with traffic whose ends are not connected by ``usable`` links."""
    reached: dict[int, set[int]] = {}
    leaving = topology.links_from
    for demand in np.flatnonzero(traffic.rate_bps > 0).tolist():
        source, target = int(traffic.source[demand]), int(traffic.target[demand])
        if source not in reached:
            seen, waiting = {source}, [source]
            while waiting:
                for link in leaving[waiting.pop()]:
                    end = int(topology.link_target[link])
                    if end not in seen and (usable is None or usable[link]):
                        seen.add(end)
                        waiting.append(end)
            reached[source] = seen
        if target not in reached[source]:
            raise no_way(topology, traffic, demand)


def leaving_links(topology: Topology, usable: BoolArray | None = None) -> tuple[IntArray, IntArray]:
    """Where the ``usable`` links that leave each node begin, [nodes + 1], and those links node by node."""
    links = np.arange(topology.link_count) if usable is None else np.flatnonzero(usable)
    leaving = links[np.argsort(topology.link_source[links], kind="stable")]
    return _pointer(topology.link_source[leaving], topology.node_count), int_array(leaving)


def _pointer(sorted_keys: IntArray, count: int) -> IntArray:
    return int_array(np.searchsorted(sorted_keys, np.arange(count + 1)))
