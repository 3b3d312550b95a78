"""A queue per traffic class at every port, as the operator asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from topology_sync.topology import Scheduler

MAX_CLASS_QUEUES = 8
"""A packet names its queue in the three bits of its MPLS label's traffic class (RFC 5462)."""


@dataclass(frozen=True)
class ClassQueues:
    """Which class waits in which queue, and how ports serve the queues.

    ``order`` names every class once, queue 0 first, the one that ``strict`` serves first.  ``weights`` are those at
    the start, [queues], in that order; empty with ``strict``.  ``change_weights``: may the optimizer change them.
    """

    discipline: Literal["wfq", "strict"]
    order: tuple[str, ...]
    weights: tuple[float, ...] = ()
    change_weights: bool = False

    @cached_property
    def queue_of(self) -> dict[str, int]:
        """Index of its queue by class name."""
        return {name: queue for queue, name in enumerate(self.order)}

    def scheduler(self, weights: tuple[float, ...] | None = None) -> Scheduler:
        """How a node serves its queues with these weights, None: those at the start."""
        chosen = self.weights if weights is None else weights
        return Scheduler(self.discipline, chosen, tuple(self.queue_of.items()))
