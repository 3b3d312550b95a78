"""The network itself: nodes, directed links and how each node schedules its queues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from topology_sync.errors import ScenarioError
from topology_sync.values import ArrayValue, FloatArray, IntArray, float_array, int_array

Discipline = Literal["fifo", "strict", "wfq", "drr"]
DISCIPLINES: tuple[Discipline, ...] = ("fifo", "strict", "wfq", "drr")
WEIGHTED: tuple[Discipline, ...] = ("wfq", "drr")
"""Disciplines that serve each queue by its weight."""
SchedulerVariant = Literal["standard", "datanet"]
SCHEDULER_VARIANTS: tuple[SchedulerVariant, ...] = ("standard", "datanet")
DEFAULT_QUEUE_PACKETS = 32


@dataclass(frozen=True)
class Scheduler:
    """How every output port of a node serves its queues.

    ``weights`` has one entry per queue (wfq, drr); ``class_queues`` maps a traffic class to the index of its queue,
    classes that are not named use queue 0.  ``strict`` serves the lowest index first.

    ``variant`` says whose implementation of a weighted discipline is meant: ``standard`` shares the port among the
    queues that are backlogged now (WFQ: self-clocked; DRR: quanta of two mean packets for the smallest weight);
    ``datanet`` is that of the simulator behind the datanet samples, which balances what queues were served so far, idle
    times included.
    """

    discipline: Discipline = "fifo"
    weights: tuple[float, ...] = ()
    class_queues: tuple[tuple[str, int], ...] = ()
    variant: SchedulerVariant = "standard"

    @property
    def queue_count(self) -> int:
        """Number of queues at each output port."""
        named = max((queue for _, queue in self.class_queues), default=0) + 1
        return 1 if self.discipline == "fifo" else max(len(self.weights), named)

    def queue_of(self, traffic_class: str) -> int:
        """Index of the queue that packets of ``traffic_class`` wait in."""
        return 0 if self.discipline == "fifo" else dict(self.class_queues).get(traffic_class, 0)


@dataclass(frozen=True)
class Link:
    """One directed link as written at the edge, ends by name.  ``queue_packets`` can wait, one more is in service."""

    source: str
    target: str
    capacity_bps: float
    delay_s: float = 0.0
    queue_packets: int = DEFAULT_QUEUE_PACKETS


@dataclass(frozen=True, eq=False)
class Topology(ArrayValue):
    """Nodes and directed links by dense id.  Parallel links are allowed, self loops are not.

    Shapes: ``node_names`` and ``schedulers`` [nodes]; ``link_source``, ``link_target`` (node ids), ``capacity_bps``,
    ``delay_s`` (propagation) and ``queue_packets`` [links].
    """

    node_names: tuple[str, ...]
    link_source: IntArray
    link_target: IntArray
    capacity_bps: FloatArray
    delay_s: FloatArray
    queue_packets: IntArray
    schedulers: tuple[Scheduler, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.schedulers:
            object.__setattr__(self, "schedulers", tuple(Scheduler() for _ in self.node_names))

    @classmethod
    def from_links(
        cls, node_names: Sequence[str], links: Iterable[Link], schedulers: Sequence[Scheduler] = ()
    ) -> Topology:
        """Build from links that name their ends.  Raises ScenarioError for unknown nodes, loops and bad numbers."""
        names = tuple(node_names)
        index = {name: position for position, name in enumerate(names)}
        if len(index) != len(names):
            repeated = next(name for position, name in enumerate(names) if index[name] != position)
            raise ScenarioError("topology.nodes", f"'{repeated}' is there twice", "give every node its own id")
        links = tuple(links)
        for position, link in enumerate(links):
            place = f"topology.links[{position}]"
            for end in (link.source, link.target):
                if end not in index:
                    raise ScenarioError(place, f"there is no node '{end}'", "name a node of topology.nodes")
            if link.source == link.target:
                raise ScenarioError(place, f"leads from '{link.source}' to itself", "remove it")
            if not 0 < link.capacity_bps < float("inf"):
                raise ScenarioError(f"{place}.capacity_bps", f"is {link.capacity_bps}", "give a rate above 0 in bit/s")
            if not 0 <= link.delay_s < float("inf"):
                raise ScenarioError(f"{place}.delay_s", f"is {link.delay_s}", "give 0 or more seconds")
            if link.queue_packets < 0:
                raise ScenarioError(f"{place}.queue_packets", f"is {link.queue_packets}", "give 0 or more packets")
        return cls(
            node_names=names,
            link_source=int_array([index[link.source] for link in links]),
            link_target=int_array([index[link.target] for link in links]),
            capacity_bps=float_array([link.capacity_bps for link in links]),
            delay_s=float_array([link.delay_s for link in links]),
            queue_packets=int_array([link.queue_packets for link in links]),
            schedulers=tuple(schedulers),
        )

    def with_schedulers(self, changes: Mapping[int, Scheduler]) -> Topology:
        """The same network with other schedulers at these nodes (by id); itself where nothing changes."""
        schedulers = tuple(changes.get(node, scheduler) for node, scheduler in enumerate(self.schedulers))
        return self if schedulers == self.schedulers else replace(self, schedulers=schedulers)

    @property
    def node_count(self) -> int:
        """Number of nodes."""
        return len(self.node_names)

    @property
    def link_count(self) -> int:
        """Number of directed links."""
        return len(self.link_source)

    @cached_property
    def node_index(self) -> dict[str, int]:
        """Node id of every name."""
        return {name: position for position, name in enumerate(self.node_names)}

    @cached_property
    def links_between(self) -> dict[tuple[int, int], tuple[int, ...]]:
        """Link ids from one node to another, the largest capacity first (ties by id)."""
        found: dict[tuple[int, int], list[int]] = {}
        for link in range(self.link_count):
            found.setdefault((int(self.link_source[link]), int(self.link_target[link])), []).append(link)
        return {
            pair: tuple(sorted(links, key=lambda link: (-self.capacity_bps[link], link)))
            for pair, links in found.items()
        }

    @cached_property
    def links_from(self) -> tuple[tuple[int, ...], ...]:
        """For every node the ids of the links that leave it, ascending."""
        leaving: list[list[int]] = [[] for _ in self.node_names]
        for link, source in enumerate(self.link_source):
            leaving[int(source)].append(link)
        return tuple(tuple(links) for links in leaving)

    def links_of(self) -> tuple[Link, ...]:
        """The links as written at the edge, in id order."""
        return tuple(
            Link(
                source=self.node_names[self.link_source[link]],
                target=self.node_names[self.link_target[link]],
                capacity_bps=float(self.capacity_bps[link]),
                delay_s=float(self.delay_s[link]),
                queue_packets=int(self.queue_packets[link]),
            )
            for link in range(self.link_count)
        )

    def link_name(self, link: int) -> str:
        """``source->target`` of a link, for people."""
        return f"{self.node_names[int(self.link_source[link])]}->{self.node_names[int(self.link_target[link])]}"
