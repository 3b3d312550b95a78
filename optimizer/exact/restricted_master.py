"""The linear programme over the columns found so far, kept warm in HiGHS from round to round.

Every demand has a key routing at the start and column p moves a fraction x_p of it to path p:

    min theta   s.t.   key_load_e / c_e + sum_p x_p rate_d(p) ([e in p] - share of key over e) / c_e <= theta   links e
                       sum_{p of d} x_p <= 1                                                                   demands d
                       sum_{p charged} x_p <= changes left                                          (only with a limit)

A demand with one column needs a bound and no row, and one without columns does not appear at all, so that the
programme has about as many rows as links, however many demands there are.  Its vertices split at most one demand per
full link.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import highspy
import numpy as np

from optimizer.exact.highs import QuietHighs
from topology_sync.values import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class MasterSolution:
    """``theta`` and fractions [columns] of an optimal vertex, and its duals: the price per unit of rate of every link,
    scaled so that prices times capacities sum to 1, and the price of a change.
    """

    theta: float
    fraction: FloatArray
    price: FloatArray
    change_price: float


@dataclass(eq=False)
class RestrictedMaster:
    """The programme over links of ``capacity`` [links] loaded by ``key_load`` [links] where nothing is moved."""

    capacity: FloatArray
    key_load: FloatArray
    change_limit: float | None = None
    _columns_of: dict[int, list[int]] = field(default_factory=dict)
    _row_of: dict[int, int] = field(default_factory=dict)
    _freed: set[int] = field(default_factory=set)
    _rows: int = 0
    _columns: int = 0

    def __post_init__(self) -> None:
        highs = self._highs = QuietHighs()  # type: ignore[no-untyped-call]
        highs.setOptionValue("presolve", "off")
        highs.setOptionValue("simplex_strategy", 4)  # primal: added columns leave the last vertex feasible
        links = len(self.capacity)
        highs.addCol(1.0, 0.0, highspy.kHighsInf, 0, np.zeros(0, dtype=np.int32), np.zeros(0))
        highs.addRows(
            links,
            np.full(links, -highspy.kHighsInf),
            -self.key_load / self.capacity,
            links,
            np.arange(links, dtype=np.int32),
            np.zeros(links, dtype=np.int32),
            np.full(links, -1.0),
        )
        self._rows = links
        if self.change_limit is not None:
            self._add_rows([self.change_limit], [[]])
        self._start_at_key()

    def _start_at_key(self) -> None:
        fullest = int(np.argmax(self.key_load / self.capacity))
        basis = highspy.HighsBasis()
        basis.col_status = [highspy.HighsBasisStatus.kBasic]
        basis.row_status = [
            highspy.HighsBasisStatus.kUpper if row == fullest else highspy.HighsBasisStatus.kBasic
            for row in range(self._rows)
        ]
        basis.valid = True
        self._highs.setBasis(basis)

    def _add_rows(self, upper: list[float], members: list[list[int]]) -> None:
        index = np.array([1 + column for columns in members for column in columns], dtype=np.int32)
        start = np.cumsum([0, *(len(columns) for columns in members)])[:-1].astype(np.int32)
        self._highs.addRows(
            len(upper),
            np.full(len(upper), -highspy.kHighsInf),
            np.array(upper),
            len(index),
            start,
            index,
            np.ones(len(index)),
        )
        self._rows += len(upper)

    def add(self, demand: IntArray, start: IntArray, index: IntArray, value: FloatArray) -> None:
        """Add a column per entry of ``demand``; moving it whole adds ``value`` to utilisations of links ``index``."""
        first = self._columns
        crowded: dict[int, list[int]] = {}
        for offset, mover in enumerate(demand.tolist()):
            columns = self._columns_of.setdefault(mover, [])
            if columns and mover not in self._row_of and mover not in crowded:
                crowded[mover] = [column for column in columns if column < first]
            columns.append(first + offset)
        if crowded:
            self._row_of.update({mover: self._rows + position for position, mover in enumerate(crowded)})
            self._add_rows([1.0] * len(crowded), list(crowded.values()))
        extra = [
            [self._row_of[mover] for _ in range(mover in self._row_of)]
            + [len(self.capacity) for _ in range(self.change_limit is not None and mover not in self._freed)]
            for mover in demand.tolist()
        ]
        counts = np.diff(start) + [len(rows) for rows in extra]
        if any(extra):
            index = np.concatenate(
                [part for n, rows in enumerate(extra) for part in (index[start[n] : start[n + 1]], rows)]
            )
            value = np.concatenate(
                [part for n, rows in enumerate(extra) for part in (value[start[n] : start[n + 1]], np.ones(len(rows)))]
            )
        count = len(demand)
        self._highs.addCols(
            count,
            np.zeros(count),
            np.zeros(count),
            np.ones(count),
            len(index),
            (np.cumsum(counts) - counts).astype(np.int32),
            index.astype(np.int32),
            value,
        )
        self._columns += count

    def free(self, demands: set[int], limit: float) -> None:
        """Changes of ``demands`` alone cost nothing from now on, those of all others together at most ``limit``."""
        row = len(self.capacity)
        for demand in demands | self._freed:
            for column in self._columns_of.get(demand, ()):
                self._highs.changeCoeff(row, 1 + column, 0.0 if demand in demands else 1.0)
        self._freed = set(demands)
        self._highs.changeRowBounds(row, -highspy.kHighsInf, limit)

    def fix(self, demand: int, fractions: dict[int, float]) -> None:
        """Columns of ``demand`` get these fractions from now on, its other columns none."""
        for column in self._columns_of.get(demand, ()):
            value = fractions.get(column, 0.0)
            self._highs.changeColBounds(1 + column, value, value)

    def solve(self, time_limit_s: float = np.inf) -> MasterSolution | None:
        """Solve from the last vertex on; None where ``time_limit_s`` was too short."""
        highs = self._highs
        if np.isfinite(time_limit_s):
            highs.setOptionValue("time_limit", highs.getRunTime() + max(time_limit_s, 0.01))
        highs.run()
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = highs.getSolution()
        values = np.array(solution.col_value)
        dual = np.maximum(-np.array(solution.row_dual), 0.0)
        links = len(self.capacity)
        total = float(dual[:links].sum()) or 1.0
        return MasterSolution(
            theta=float(values[0]),
            fraction=np.clip(values[1:], 0.0, 1.0),
            price=dual[:links] / self.capacity / total,
            change_price=float(dual[links]) / total if self.change_limit is not None else 0.0,
        )
