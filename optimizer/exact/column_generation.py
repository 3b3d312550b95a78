"""Exact maximum utilisation with splitting: column generation from a nearly optimal start.

Each round solves the restricted programme, prices all demands at its duals (which proves a lower bound) and adds the
paths that promise most.  The sum of what all paths promise is the gap, so it ends when value and bound meet.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from optimizer.exact.column_table import ColumnTable
from optimizer.exact.flow_problem import FlowProblem
from optimizer.exact.key_routing import KeyRouting
from optimizer.exact.pricing import PathPricing
from optimizer.exact.restricted_master import MasterSolution, RestrictedMaster
from optimizer.exact.single_paths import SinglePaths
from topology_sync.values import FloatArray, IntArray

TOLERANCE = 1e-6
COLUMNS_PER_ROUND = 100
START_ETAS = (30.0, 100.0, 300.0, 1000.0, 3000.0)
SMALLEST_PROMISE = 1e-13
SMALLEST_SHARE = 1e-7
SHUNNED = 30.0  # how much dearer the links of known paths are where detours are wanted
SMALLEST_ROOM = 1e-2
TIE_PRICE = 1e-8  # of all prices together, spread over the links: of equal paths the short one is taken

Split = dict[int, list[tuple[tuple[int, ...], float]]]


@dataclass(eq=False)
class ColumnGeneration:
    """The state of one column generation; ``run`` may be called again with more time or after ``free``.

    ``value`` and ``fraction`` [columns] are of the last vertex, ``bound`` is a proven lower bound of every routing (of
    those with at most ``change_limit`` demands off the key routing, where given).  ``start`` are the single paths of
    the key routing, where it has such.
    """

    problem: FlowProblem
    pricing: PathPricing
    key: KeyRouting
    change_limit: int | None = None

    def __post_init__(self) -> None:
        self.columns = ColumnTable()
        self.fraction: FloatArray = np.zeros(0)
        self.value = float(np.max(self.key.load / self.problem.capacity, initial=0.0))
        self.bound = 0.0
        self.rounds = 0
        self.freed: frozenset[int] = frozenset()
        self.fixed: set[int] = set()
        self.left = self.change_limit
        self.start: SinglePaths | None = None
        self._master: RestrictedMaster | None = None

    @property
    def closed(self) -> bool:
        """Whether the value is proven to be within the tolerance of the optimum."""
        return self.value <= self.bound * (1.0 + TOLERANCE) or self.value == 0.0

    def prove_from_loads(self) -> None:
        """Bounds from prices that grow exponentially with the utilisation of the key routing."""
        utilisation = self.key.load / self.problem.capacity
        fullest = float(utilisation.max(initial=0.0))
        for eta in START_ETAS:
            if self.closed:
                return
            self._price(np.exp(eta * (utilisation / fullest - 1.0)) / self.problem.capacity, 0.0)

    def run(self, deadline: float = np.inf, tolerance: float = TOLERANCE, rounds: int | None = None) -> None:
        """Rounds, ``rounds`` at most, until value and bound meet within ``tolerance`` or the time is up."""
        if not self.problem.demand_count:
            return
        if self._master is None:
            self._master = RestrictedMaster(
                self.problem.capacity, self.key.load, None if self.change_limit is None else float(self.change_limit)
            )
        last = None if rounds is None else self.rounds + rounds
        while self.value > self.bound * (1.0 + tolerance) and self.rounds != last:
            solution = self._master.solve(deadline - time.monotonic())
            if solution is None:
                return
            self.value, self.fraction = solution.theta, solution.fraction
            promised = self._price(solution.price, solution.change_price)
            if self.value <= self.bound * (1.0 + tolerance) or time.monotonic() > deadline:
                return
            self.rounds += 1
            if not self._add_columns(solution, promised):
                return  # no path promises anything beyond rounding

    def free(self, demands: set[int], left: int) -> None:
        """Changes of ``demands`` cost nothing from now on, all others together at most ``left``; restarts the bound."""
        assert self._master is not None
        assert self.change_limit is not None
        self._master.free(demands, float(left))
        self.freed, self.left, self.bound = frozenset(demands), left, 0.0

    def fix(self, demand: int, fractions: dict[int, float]) -> None:
        """Give the columns of ``demand`` these fractions (column: fraction) and its key routing the rest.

        It gets no further columns; the bound stays one of routings that are free to choose.
        """
        assert self._master is not None
        self.fixed.add(demand)
        self._master.fix(demand, fractions)

    def solve_again(self) -> None:
        """Bring ``value`` and ``fraction`` up to date after ``fix`` or ``free``; the columns stay as they are."""
        assert self._master is not None
        solution = self._master.solve(bounds_changed=True)
        if solution is None:  # the key routing of what is not fixed is feasible and there is no time limit
            raise RuntimeError("HiGHS does not solve a restricted programme that has a solution")
        self.value, self.fraction = solution.theta, solution.fraction

    def _price(self, weight: FloatArray, change_price: float) -> FloatArray:
        """Price all demands, raise the bound, return what each pays on its cheapest new path, fee included."""
        problem = self.problem
        weight = weight + TIE_PRICE * float(weight @ problem.capacity) / (problem.link_count * problem.capacity)
        pays = problem.rate * self.pricing.price(weight)
        total = float(weight @ problem.capacity)
        if self.change_limit is None:
            proven = float(pays.sum())
        else:
            if change_price:
                fee = np.full(problem.demand_count, change_price)
                fee[list(self.freed)] = 0.0
                pays = pays + fee
            stays = problem.rate * self.key.prices(weight)
            proven = float(np.minimum(pays, stays).sum()) - change_price * (self.left or 0)
        if total > 0 and np.isfinite(proven):
            self.bound = max(self.bound, proven / total)
        return pays

    def _add_columns(self, solution: MasterSolution, pays: FloatArray) -> bool:
        """Add the paths that promise most; returns whether there were any."""
        problem = self.problem
        now = problem.rate * self.key.prices(solution.price)
        if len(self.columns):
            demand = np.array(self.columns.demand)
            fee = np.where(np.isin(demand, list(self.freed)), 0.0, solution.change_price)
            np.minimum.at(now, demand, problem.rate[demand] * self.columns.prices(solution.price) + fee)
        promise = now - pays
        promise[list(self.fixed)] = 0.0
        chosen = np.argpartition(-promise, min(COLUMNS_PER_ROUND, len(promise) - 1))[:COLUMNS_PER_ROUND]
        chosen = chosen[promise[chosen] > SMALLEST_PROMISE]
        if not len(chosen):
            return False
        return self._add_priced(chosen) > 0

    def _add_priced(self, demands: IntArray) -> int:
        """Add the cheapest paths found last of ``demands``; returns how many were new."""
        pointer, links = self.pricing.paths(demands)
        before = len(self.columns)
        for position, mover in enumerate(demands.tolist()):
            self.columns.add(mover, tuple(links[pointer[position] : pointer[position + 1]].tolist()))
        added = np.arange(before, len(self.columns))
        if len(added):
            movers = np.array(self.columns.demand[before:])
            assert self._master is not None
            self._master.add(movers, *self.key.differences(self.problem, movers, *self.columns.flat(added)))
        return len(added)

    def add_detours(self, demand: int, count: int) -> None:
        """Add up to ``count`` paths of one demand that shun its present ones and full links; nothing takes them yet."""
        capacity, load = self.problem.capacity, self.load()
        room = np.maximum(self.value - load / capacity, 0.0) + SMALLEST_ROOM * self.value
        weight = 1.0 / (capacity * room)
        known = {tuple(self.key.links[self.key.pointer[demand] : self.key.pointer[demand + 1]].tolist())}
        known |= {self.columns.links[column] for column in self.columns.of_demand(demand)}
        for links in known:
            weight[list(links)] *= SHUNNED
        before = len(self.columns)
        for _ in range(count):
            self.pricing.price(weight)
            found = tuple(self.pricing.paths(np.array([demand]))[1].tolist())
            if found in known:
                break
            self._add_priced(np.array([demand]))
            known.add(found)
            weight[list(found)] *= SHUNNED
        self.fraction = np.concatenate([self.fraction, np.zeros(len(self.columns) - before)])

    def load(self) -> FloatArray:
        """Load of every link by the last vertex, [links]."""
        load = self.key.load.copy()
        used = np.flatnonzero(self.fraction > SMALLEST_SHARE)
        if len(used):
            movers = np.array(self.columns.demand)[used]
            start, index, value = self.key.differences(self.problem, movers, *self.columns.flat(used))
            added = value * np.repeat(self.fraction[used], np.diff(start))
            np.add.at(load, index, added * self.problem.capacity[index])
        return load

    def moved(self) -> Split:
        """Paths and shares of the demands that are moved, the rest of each on its key routing (share below 1)."""
        result: Split = {}
        for column in np.flatnonzero(self.fraction > SMALLEST_SHARE).tolist():
            result.setdefault(self.columns.demand[column], []).append(
                (self.columns.links[column], float(self.fraction[column]))
            )
        return result
