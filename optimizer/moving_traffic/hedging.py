"""Split ratios for the next interval, by one linear programme that knows only the past.

With share x_p of tunnel p, recent matrices D_k (weight w_k, optimum u_k), expected matrix E, burst b_d of pair d and
capacity c_e:

    minimise    sum_k w_k r_k + protection * v
    subject to  r_k u_k c_e >= load_e(D_k, x)                         every recent matrix k and link e
                v   u   c_e >= load_e(E, x) + z_e                     every link e, u = sum_k w_k u_k
                z_e         >= b_d * sum of x_p, p of d over e        every pair d and link e it may use
                sum x_p of d = 1,   half of sum |x_p - present_p| of d <= budget

r_k is how far each recent matrix would have been from its own optimum; the second and third row let any one pair
burst at a time (Bertsimas and Sim, Operations Research 52, 2004, with a budget of uncertainty of one), so that pairs
that burst are spread over their tunnels while steady ones need not be.  The re-routing budget bounds every pair on its
own: however the next matrix looks, at most that part of its traffic is re-routed.

Many splits are equally good in the rows above; a simplex solution is a corner of that set, with traffic piled on few
tunnels and little room for another matrix.  The interior-point method without crossover ends near the analytic centre
of the set, farthest from every limit: this is where most of the gain over the last matrix's optimum comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from optimizer.exact.highs import Programme, QuietHighs
from optimizer.moving_traffic.outlook import Outlook
from optimizer.moving_traffic.tunnels import TunnelSet
from topology_sync.errors import UnavailableError
from topology_sync.values import BoolArray, FloatArray, IntArray

PROTECTION = 0.3
REROUTE_BUDGET = 0.2
NEGLIGIBLE = 2e-3  # pairs that cannot fill any of their links by more, relative to the optimum, keep their shares
SMALLEST_BURST = 0.02  # bursts that cannot fill a link by more, relative to the optimum, are left out
MOST_ACTIVE_PAIRS = 3000
SOLVER_TIME_S = 20.0


@dataclass(frozen=True)
class HedgeSettings:
    """``protection``: weight of the burst rows; ``reroute_budget``: largest part of any pair's traffic that moves."""

    protection: float = PROTECTION
    reroute_budget: float = REROUTE_BUDGET


class _Solution(NamedTuple):
    """Values of the variables and duals of the rows."""

    primal: FloatArray
    dual: FloatArray


@dataclass(eq=False)
class _Rows:
    """Rows ``sum coefficient * variable <= upper`` of one programme, gathered block by block."""

    row: list[IntArray]
    column: list[IntArray]
    value: list[FloatArray]
    upper: list[FloatArray]
    count: int = 0

    def add(self, row: IntArray, column: IntArray, value: FloatArray, upper: FloatArray) -> None:
        """``row`` counts from 0 within the block, ``upper`` has one entry per row of it."""
        self.row.append(row + self.count)
        self.column.append(column)
        self.value.append(value)
        self.upper.append(upper)
        self.count += len(upper)


def minimum_utilisation(tunnels: TunnelSet, rate_bps: FloatArray) -> tuple[float, FloatArray]:
    """Least maximum utilisation of ``rate_bps`` [pairs] over the tunnels, and shares [tunnels] that reach it.

    Raises UnavailableError where the solver gives up.
    """
    if not (rate_bps > 0).any():
        return 0.0, tunnels.equal_shares()
    shares = tunnels.normalised(_least_utilisation(tunnels, rate_bps).primal[: tunnels.tunnel_count])
    return float(tunnels.utilisation(shares, rate_bps).max()), shares


def link_prices(tunnels: TunnelSet, rate_bps: FloatArray) -> FloatArray:
    """How much the least maximum utilisation falls per relative growth of each link's capacity, [links].

    The dual of a link's row times the optimum: by complementary slackness its row is tight where the dual is not 0.
    """
    if not (rate_bps > 0).any():
        return np.zeros(tunnels.topology.link_count)
    solution = _least_utilisation(tunnels, rate_bps)
    optimum = solution.primal[tunnels.tunnel_count] * float(tunnels.utilisation(tunnels.equal_shares(), rate_bps).max())
    prices: FloatArray = np.abs(solution.dual[: tunnels.topology.link_count]) * optimum
    return prices


def _least_utilisation(tunnels: TunnelSet, rate_bps: FloatArray) -> _Solution:
    """The programme of ``minimum_utilisation``, the utilisation relative to that of equal shares as last variable."""
    scale = float(tunnels.utilisation(tunnels.equal_shares(), rate_bps).max())
    matrix = tunnels.utilisation_per_bps.tocoo()
    rows = _Rows([], [], [], [])
    links = tunnels.topology.link_count
    rows.add(
        np.concatenate([matrix.row, np.arange(links)]),
        np.concatenate([matrix.col, np.full(links, tunnels.tunnel_count)]),
        np.concatenate([matrix.data * rate_bps[tunnels.tunnel_pair[matrix.col]] / scale, np.full(links, -1.0)]),
        np.zeros(links),
    )
    cost = np.zeros(tunnels.tunnel_count + 1)
    cost[-1] = 1.0
    upper = np.concatenate([np.ones(tunnels.tunnel_count), [np.inf]])
    return _solve(cost, np.zeros(len(cost)), upper, rows, tunnels.tunnel_pair, tunnels.pair_count, "simplex")


def hedged_shares(
    tunnels: TunnelSet,
    view: Outlook,
    optimum: FloatArray,
    present: FloatArray | None,
    settings: HedgeSettings = HedgeSettings(),
) -> FloatArray:
    """Shares [tunnels] for the interval after ``view``; ``optimum`` [scenarios] belongs to its matrices.

    ``present`` [tunnels] are the shares in force, None when nothing is installed yet.  No pair's shares move by more
    than ``settings.reroute_budget``, and where the solver fails they stay.
    """
    start = tunnels.equal_shares() if present is None else present
    useful = optimum > 0
    if not useful.any():
        return start
    view = replace(view, matrices=view.matrices[useful], weight=view.weight[useful] / view.weight[useful].sum())
    programme = _Programme(tunnels, view, optimum[useful], start, present is not None, settings)
    try:
        wished = programme.solve()
    except UnavailableError:
        return start
    if present is None:
        return wished
    return _within_budget(tunnels, present, wished, settings.reroute_budget)


def _within_budget(tunnels: TunnelSet, present: FloatArray, wished: FloatArray, budget: float) -> FloatArray:
    """Take the solver's rounding back: no pair moves by more than ``budget``."""
    moved = tunnels.share_moved(present, wished)
    with np.errstate(divide="ignore"):
        part = np.minimum(1.0, budget / moved)[tunnels.tunnel_pair]
    return np.where(part < 1.0, present + part * (wished - present), wished)


@dataclass(eq=False)
class _Programme:
    tunnels: TunnelSet
    view: Outlook
    optimum: FloatArray
    start: FloatArray
    bounded: bool
    settings: HedgeSettings

    def solve(self) -> FloatArray:
        tunnels, view = self.tunnels, self.view
        pair = tunnels.tunnel_pair
        self.scale = float(view.weight @ self.optimum)
        largest = np.maximum((view.matrices / self.optimum[:, None]).max(axis=0), view.burst / self.scale)
        self.active = self._active_pairs(largest / tunnels.narrowest_bps)
        free = np.nonzero(self.active[pair])[0]
        if not len(free):
            return self.start
        self.column_of = np.full(tunnels.tunnel_count, -1)
        self.column_of[free] = np.arange(len(free))
        self.free_count = len(free)
        matrix = tunnels.utilisation_per_bps.tocoo()
        kept = self.column_of[matrix.col] >= 0
        self.link, self.tunnel, self.per_bps = matrix.row[kept], matrix.col[kept], matrix.data[kept]
        scenarios, links = len(view.matrices), tunnels.topology.link_count
        self.ratio_column = self.free_count
        self.burst_column = self.ratio_column + scenarios
        self.link_column = self.burst_column + 1
        self.move_column = self.link_column + links
        wide = self._pairs_needing_moves()
        self.column_count = self.move_column + int(wide[pair].sum())
        rows = _Rows([], [], [], [])
        for scenario in range(scenarios):
            self._scenario_rows(rows, scenario)
        self._burst_rows(rows)
        lower, upper = self._bounds()
        if wide.any():
            self._move_rows(rows, wide)
        cost = np.zeros(self.column_count)
        cost[self.ratio_column : self.burst_column] = view.weight
        cost[self.burst_column] = self.settings.protection
        group, pairs = np.unique(pair[free], return_inverse=True)
        solution = _solve(cost, lower, upper, rows, pairs, len(group), "ipm").primal
        shares = self.start.copy()
        shares[free] = solution[: self.free_count]
        return np.where(self.active[pair], tunnels.normalised(shares), self.start)

    def _active_pairs(self, fill: FloatArray) -> BoolArray:
        """Pairs with a choice that can fill a link noticeably, [pairs]; ``fill`` [pairs] is relative to the optimum."""
        order = np.argsort(-np.where(self.tunnels.tunnels_of_pair > 1, fill, 0.0), kind="stable")[:MOST_ACTIVE_PAIRS]
        active = np.zeros(self.tunnels.pair_count, dtype=np.bool_)
        active[order] = True
        return active & (fill > NEGLIGIBLE) & (self.tunnels.tunnels_of_pair > 1)

    def _fixed_load(self, rate_bps: FloatArray) -> FloatArray:
        """Utilisation by pairs whose shares are not decided here, [links]."""
        return self.tunnels.utilisation(self.start, np.where(self.active, 0.0, rate_bps))

    def _scenario_rows(self, rows: _Rows, scenario: int) -> None:
        rate, optimum = self.view.matrices[scenario], float(self.optimum[scenario])
        fixed = self._fixed_load(rate) / optimum
        # r_k is at least 1 anyway, so links that can never be fuller than the optimum need no row
        pair = self.tunnels.tunnel_pair[self.tunnel]
        key = np.unique(self.link.astype(np.int64) * self.tunnels.pair_count + pair)
        most = np.bincount(
            key // self.tunnels.pair_count,
            weights=rate[key % self.tunnels.pair_count] / optimum,
            minlength=len(fixed),
        )
        possible = fixed + most / self.tunnels.topology.capacity_bps > 1.0
        self._load_rows(rows, rate / optimum, fixed, possible, self.ratio_column + scenario)

    def _load_rows(
        self,
        rows: _Rows,
        rate: FloatArray,
        fixed: FloatArray,
        wanted: BoolArray,
        bound_column: int,
        extra: bool = False,
    ) -> None:
        """``load_e(rate) + fixed_e (+ z_e) <= variable bound_column`` for the links wanted."""
        position = np.cumsum(wanted) - 1
        used = wanted[self.link]
        value = self.per_bps[used] * rate[self.tunnels.tunnel_pair[self.tunnel[used]]]
        chosen = np.nonzero(wanted)[0]
        row = [position[self.link[used]], position[chosen]]
        column = [self.column_of[self.tunnel[used]], np.full(len(chosen), bound_column)]
        values = [value, np.full(len(chosen), -1.0)]
        if extra:
            row.append(position[chosen])
            column.append(self.link_column + chosen)
            values.append(np.ones(len(chosen)))
        rows.add(np.concatenate(row), np.concatenate(column), np.concatenate(values), -fixed[wanted])

    def _burst_rows(self, rows: _Rows) -> None:
        expected = self.view.expected / self.scale
        fixed = self._fixed_load(expected)
        self._load_rows(rows, expected, fixed, np.ones(len(fixed), dtype=np.bool_), self.burst_column, extra=True)
        pair = self.tunnels.tunnel_pair[self.tunnel]
        value = self.per_bps * self.view.burst[pair] / self.scale
        kept = value > SMALLEST_BURST
        key = self.link[kept].astype(np.int64) * self.tunnels.pair_count + pair[kept]
        which, row = np.unique(key, return_inverse=True)
        count = len(which)
        rows.add(
            np.concatenate([row, np.arange(count)]),
            np.concatenate([self.column_of[self.tunnel[kept]], self.link_column + which // self.tunnels.pair_count]),
            np.concatenate([value[kept], np.full(count, -1.0)]),
            np.zeros(count),
        )

    def _pairs_needing_moves(self) -> BoolArray:
        """Pairs whose budget bounds on single shares do not express, [pairs].

        With up to three tunnels the changes of one sign are one tunnel's alone, so the largest is half of the sum.
        """
        return self.active & (self.tunnels.tunnels_of_pair > 3) & self.bounded

    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        lower, upper = np.zeros(self.column_count), np.full(self.column_count, np.inf)
        upper[: self.free_count] = 1.0
        lower[self.ratio_column : self.burst_column] = 1.0
        if self.bounded:
            present = self.start[self.column_of >= 0]
            lower[: self.free_count] = np.maximum(present - self.settings.reroute_budget, 0.0)
            upper[: self.free_count] = np.minimum(present + self.settings.reroute_budget, 1.0)
        return lower, upper

    def _move_rows(self, rows: _Rows, wide: BoolArray) -> None:
        """``x_p - present_p <= m_p`` and ``sum of m_p of a pair <= budget``."""
        tunnel = np.nonzero(wide[self.tunnels.tunnel_pair])[0]
        count = np.arange(len(tunnel))
        rows.add(
            np.concatenate([count, count]),
            np.concatenate([self.column_of[tunnel], self.move_column + count]),
            np.concatenate([np.ones(len(tunnel)), np.full(len(tunnel), -1.0)]),
            self.start[tunnel],
        )
        group, row = np.unique(self.tunnels.tunnel_pair[tunnel], return_inverse=True)
        budget = np.full(len(group), self.settings.reroute_budget)
        rows.add(row, self.move_column + count, np.ones(len(tunnel)), budget)


def _solve(
    cost: FloatArray, lower: FloatArray, upper: FloatArray, rows: _Rows, group: IntArray, groups: int, method: str
) -> _Solution:
    """Solve with the first ``len(group)`` variables summing to 1 in each of ``groups`` groups."""
    programme = Programme(
        cost=cost,
        lower=lower,
        upper=upper,
        row_lower=np.concatenate([np.full(rows.count, -np.inf), np.ones(groups)]),
        row_upper=np.concatenate([*rows.upper, np.ones(groups)]),
        row=np.concatenate([*rows.row, group + rows.count]),
        column=np.concatenate([*rows.column, np.arange(len(group))]),
        value=np.concatenate([*rows.value, np.ones(len(group))]),
    )
    solver = QuietHighs()  # type: ignore[no-untyped-call]
    for name, setting in (
        ("solver", method),
        ("run_crossover", "off" if method == "ipm" else "on"),
        ("ipm_optimality_tolerance", 1e-6),
        ("time_limit", SOLVER_TIME_S),
    ):
        solver.setOptionValue(name, setting)
    programme.hand_over(solver)
    solver.run()
    found = solver.getSolution()
    primal, dual = (np.asarray(values, dtype=np.float64) for values in (found.col_value, found.row_dual))
    if not found.value_valid or len(primal) != len(cost) or not np.isfinite(primal).all():
        status = solver.modelStatusToString(solver.getModelStatus())
        raise UnavailableError(f"the linear programme was not solved ({status})")
    return _Solution(primal, dual)
