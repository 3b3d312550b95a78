"""What passes between optimizer and controller besides snapshots: a routing plan down, a transaction report up."""

from __future__ import annotations

from dataclasses import dataclass, field

from topology_sync.topology import Scheduler


@dataclass(frozen=True)
class NamedPath:
    """A path by node names and its share of the demand.

    Over parallel links it means the one of largest capacity (lowest id on ties); ``links`` (ids) is given only where
    another one is meant.
    """

    nodes: tuple[str, ...]
    share: float = 1.0
    links: tuple[int, ...] = ()


@dataclass(frozen=True)
class DemandRoute:
    """All paths of one demand."""

    source: str
    target: str
    traffic_class: str
    paths: tuple[NamedPath, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the demand: source, target and class by name."""
        return self.source, self.target, self.traffic_class


@dataclass(frozen=True)
class NodeScheduler:
    """A node by name and how all its ports shall serve their queues."""

    node: str
    scheduler: Scheduler


@dataclass(frozen=True)
class RoutingPlan:
    """New routes for the demands named and new schedulers for the nodes named; all others keep theirs.

    ``topology_version`` is the one the plan was made for: the controller refuses a plan made for an older network.
    """

    plan_id: str
    topology_version: int
    routes: tuple[DemandRoute, ...]
    schedulers: tuple[NodeScheduler, ...] = ()


@dataclass(frozen=True)
class TransactionReport:
    """What became of a plan.

    ``queue_changes``: queues of ports that were set up or given other weights; ``stage_s``: seconds of each stage in
    order; ``error``: one line when not ok.
    """

    plan_id: str
    ok: bool
    routing_version: int
    changed_demands: int = 0
    flow_mods: int = 0
    group_mods: int = 0
    switches: int = 0
    started_s: float = 0.0
    flipped_s: float = 0.0
    finished_s: float = 0.0
    stage_s: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    queue_changes: int = 0
