"""What load costs where promises break: prices of links by what one more bit/s on them adds to the violation.

The violation is a function of delays, jitters and losses, these are sums over links of what the rough queue model
(``screening``) says of each, so its derivative by a link's load is a sum over the demands that cross it: how much the
violation grows with a demand's value, times how much that grows with the load.  A path that is short by these prices
hurts others least, which is what the dual prices of a linear programme are for maximum utilisation; the violation has
no such programme, so prices are made anew for every routing that the search stands on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnn_model.predictor import Prediction
from optimizer.goals import SMALLEST_GOAL, experienced_values, severity_slopes, value_ratios
from optimizer.screening import LoadScreen
from topology_sync.values import FloatArray

STEP = 0.01  # of utilisation, for derivatives
DELAY_FACTOR = 2.5  # a 99th percentile grows about so many times as fast as the mean wait at one of its links
JITTER_FACTOR = 0.5


@dataclass(frozen=True, eq=False)
class PromisePrices:
    """``per_bps`` [links]: violation per bit/s of load.  ``weight_of`` says what a path of one demand costs."""

    screen: LoadScreen
    per_bps: FloatArray

    @classmethod
    def of(cls, screen: LoadScreen, prediction: Prediction) -> PromisePrices:
        """Prices at the routing that ``screen`` and ``prediction`` are of."""
        table, judged = screen.table.of_demands(screen.judged), screen.judged
        values = experienced_values(prediction, screen.table)[:, judged]
        unit = np.maximum(table.limit, np.array(SMALLEST_GOAL)[:, None])
        slopes = severity_slopes(value_ratios(values, table), table) * table.weight
        slopes = np.where(np.isfinite(table.limit), slopes / unit, 0.0)
        delay, jitter, loss = slopes @ screen.judged_share
        utilisation = screen.utilisation()
        time_s, lost = screen.waiting(utilisation)
        more_s, more_lost = screen.waiting(utilisation + STEP)
        grown = (more_s - time_s) * (DELAY_FACTOR * delay + JITTER_FACTOR * jitter) + (more_lost - lost) * loss
        return cls(screen, grown / STEP / screen.scenario.topology.capacity_bps)

    def weight_of(self, demand: int) -> FloatArray:
        """Weights for this demand's shortest path, [links]: what it does to others on a link, and what it meets."""
        screen, table = self.screen, self.screen.table
        rate, capacity = screen.scenario.traffic.rate_bps[demand], screen.scenario.topology.capacity_bps
        after = (screen.load_bps + rate * (1 - screen.share[demand])) / capacity
        time_s, lost = screen.waiting(after)
        limit = np.maximum(table.limit[:, demand], SMALLEST_GOAL)
        own = DELAY_FACTOR * (time_s + screen.scenario.topology.delay_s) / limit[0] + lost / limit[2]
        result: FloatArray = rate * self.per_bps + table.weight[demand] * own + 1e-9
        return result
