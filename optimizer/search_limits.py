"""Within what a search stays, and what differs from its start so far: changes are counted, and may run out."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from optimizer.screening import Move
from optimizer.weight_steps import Schedulers, weight_changes
from topology_sync.routing import Routing


@dataclass(frozen=True)
class SearchLimits:
    """``max_changes`` None means any number; ``frozen`` demands keep their paths unless those are broken.

    ``from_balanced``: where promises are broken and any demand may move, begin at the routing that is exact about
    utilisation if that breaks less (``balanced_opening``; load its kernels before a clock starts).  When ``stop`` is
    set the search ends with the best plan so far.  ``queue_weights``: those of weighted nodes may change too, but for
    ``frozen_nodes``; they count as ``weight_steps.weight_changes`` says.  ``new_splits``: whether demands may be split
    that are not yet, which only the opening does.
    """

    time_s: float = 1.0
    max_changes: int | None = None
    frozen: frozenset[int] = frozenset()
    single_path: bool = False
    seed: int = 1
    from_balanced: bool = False
    new_splits: bool = True
    stop: threading.Event | None = None
    queue_weights: bool = False
    frozen_nodes: frozenset[int] = frozenset()

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` is set."""
        return self.stop is not None and self.stop.is_set()


@dataclass(eq=False)
class Changes:
    """Demands that were ``moved`` off their paths at the start; ``repaired`` ones had to be, and do not count."""

    routing: Routing
    schedulers: Schedulers
    limits: SearchLimits
    moved: set[int] = field(default_factory=set)
    repaired: set[int] = field(default_factory=set)

    def note(self, move: Move) -> None:
        """A demand has moved, perhaps back to where it was at the start."""
        if move.paths == self.routing.paths[move.demand]:
            self.moved.discard(move.demand)
        else:
            self.moved.add(move.demand)

    def discretionary(self) -> list[int]:
        """Demands that need not have moved, in order."""
        return sorted(self.moved - self.repaired)

    def count(self, schedulers: Schedulers) -> int:
        """Changes that count where the nodes have these schedulers."""
        return len(self.moved - self.repaired) + weight_changes(self.schedulers, schedulers)

    def allow(self, demand: int, schedulers: Schedulers) -> bool:
        """Whether a demand may move where the nodes have these schedulers."""
        if demand in self.repaired:
            return True
        if demand in self.limits.frozen:
            return False
        limit = self.limits.max_changes
        return limit is None or demand in self.moved or self.count(schedulers) < limit
