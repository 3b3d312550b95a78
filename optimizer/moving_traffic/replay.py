"""A controller that decides every interval from those before it, and its replay over a recorded series."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from optimizer.moving_traffic.hedging import HedgeSettings, hedged_shares, minimum_utilisation
from optimizer.moving_traffic.outlook import OutlookSettings, outlook
from optimizer.moving_traffic.tunnels import TunnelSet, rerouted_ratio
from topology_sync.values import FloatArray


@dataclass(frozen=True)
class Step:
    """One decided interval.  ``traffic_rerouted_ratio`` is weighted by the interval's own matrix."""

    index: int
    max_utilisation: float
    optimum: float
    traffic_rerouted_ratio: float
    seconds: float


@dataclass(eq=False)
class OnlineController:
    """Remembers what it was shown and the shares in force; ``decide`` gives those of the next interval."""

    tunnels: TunnelSet
    outlook: OutlookSettings = field(default_factory=OutlookSettings)
    hedge: HedgeSettings = field(default_factory=HedgeSettings)
    present: FloatArray | None = None
    _seen: list[FloatArray] = field(default_factory=list)
    _optimum: list[float] = field(default_factory=list)

    def observe(self, rate_bps: FloatArray) -> None:
        """Remember the matrix [pairs] of the interval that has just ended."""
        longest = self.outlook.longest
        self._seen = [*self._seen, rate_bps][-longest:]
        self._optimum = [*self._optimum, minimum_utilisation(self.tunnels, rate_bps)[0]][-longest:]

    def decide(self) -> FloatArray:
        """Shares [tunnels] for the next interval, which become the present ones."""
        if not self._seen:
            self.present = self._before_anything()
            return self.present
        view = outlook(self._seen, self.outlook)
        optimum = np.array(self._optimum[-len(view.matrices) :])
        self.present = hedged_shares(self.tunnels, view, optimum, self.present, self.hedge)
        return self.present

    def _before_anything(self) -> FloatArray:
        """For traffic never seen: a gravity matrix by the capacity of the nodes."""
        tunnels, topology = self.tunnels, self.tunnels.topology
        sent = np.bincount(topology.link_source, weights=topology.capacity_bps, minlength=topology.node_count)
        received = np.bincount(topology.link_target, weights=topology.capacity_bps, minlength=topology.node_count)
        gravity = sent[tunnels.pair_source] * received[tunnels.pair_target]
        view = outlook([gravity / max(float(gravity.sum()), 1e-300)], self.outlook)
        return hedged_shares(
            tunnels, view, np.array([minimum_utilisation(tunnels, view.expected)[0]]), None, self.hedge
        )


@dataclass(eq=False)
class LastOptimum:
    """The yardstick: what would have been optimal for the last matrix, whatever must move for it."""

    tunnels: TunnelSet
    outlook: OutlookSettings = field(default_factory=lambda: OutlookSettings(window=1, memory=1))
    present: FloatArray | None = None
    _last: FloatArray | None = None

    def observe(self, rate_bps: FloatArray) -> None:
        """Remember the matrix [pairs] of the interval that has just ended."""
        self._last = rate_bps

    def decide(self) -> FloatArray:
        """Shares [tunnels] for the next interval."""
        equal = self.tunnels.equal_shares()
        self.present = equal if self._last is None else minimum_utilisation(self.tunnels, self._last)[1]
        return self.present


def replay(
    tunnels: TunnelSet,
    matrices: FloatArray,
    optimum: FloatArray,
    first: int,
    count: int,
    controller: OnlineController | LastOptimum | None = None,
) -> Iterator[Step]:
    """Decide ``count`` intervals from ``first`` on, each from the matrices [pairs] before it alone, and score them.

    The first decision installs shares where none were, so it re-routes nothing.  ``seconds`` is the time from the
    last matrix's arrival to the decision.
    """
    controller = controller or OnlineController(tunnels)
    for matrix in matrices[max(first - controller.outlook.longest, 0) : max(first - 1, 0)]:
        controller.observe(matrix)
    for index in range(first, min(first + count, len(matrices))):
        began = time.perf_counter()
        before = controller.present
        if index > 0:
            controller.observe(matrices[index - 1])
        shares = controller.decide()
        seconds = time.perf_counter() - began
        moved = 0.0 if before is None else rerouted_ratio(tunnels, before, shares, matrices[index])
        reached = float(tunnels.utilisation(shares, matrices[index]).max(initial=0.0))
        yield Step(index, reached, float(optimum[index]), moved, seconds)
