"""A complete question: a network, its traffic, how it is routed and what is promised."""

from __future__ import annotations

from dataclasses import dataclass, replace

from topology_sync.routing import Routing
from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import ArrayValue


@dataclass(frozen=True)
class SlaGoal:
    """What one traffic class is promised; None means no promise.

    ``delay_s`` bounds the given percentile of the one-way delay (``percentile`` None: the mean), ``jitter_s`` the mean
    absolute difference of consecutive delays (RFC 3393 / RFC 3550), ``loss_ratio`` lost over sent packets.
    """

    traffic_class: str
    delay_s: float | None = None
    percentile: float | None = 99.0
    jitter_s: float | None = None
    loss_ratio: float | None = None


@dataclass(frozen=True, eq=False)
class Scenario(ArrayValue):
    """Topology, offered traffic, routing (aligned with the traffic) and goals by class."""

    name: str
    topology: Topology
    traffic: TrafficMatrix
    routing: Routing
    sla: tuple[SlaGoal, ...] = ()

    def with_routing(self, routing: Routing) -> Scenario:
        """The same question with another routing."""
        return replace(self, routing=routing)

    def goal_of(self, traffic_class: str) -> SlaGoal | None:
        """The goal of a class, None where nothing is promised."""
        return next((goal for goal in self.sla if goal.traffic_class == traffic_class), None)
