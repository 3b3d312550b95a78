"""HiGHS as all programmes here use it: silent, on one thread, matrices given by their entries."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from topology_sync.values import BoolArray, FloatArray, IntArray


class QuietHighs(highspy.Highs):
    """A HiGHS instance without output, on one thread: its banner would land between the lines of a command's JSON."""

    def enableCallbacks(self) -> None:  # noqa: N802  (highspy's name; called by its constructor, before the banner)
        """Turn output off first."""
        self.setOptionValue("output_flag", False)
        self.setOptionValue("threads", 1)
        super().enableCallbacks()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Programme:
    """min ``cost`` x  subject to  ``row_lower`` <= A x <= ``row_upper``,  ``lower`` <= x <= ``upper``.

    ``row``, ``column`` and ``value`` [entries] are A, every place at most once; ``whole`` [columns] says which
    variables are integers (none without).
    """

    cost: FloatArray
    lower: FloatArray
    upper: FloatArray
    row_lower: FloatArray
    row_upper: FloatArray
    row: IntArray
    column: IntArray
    value: FloatArray
    whole: BoolArray | None = None

    def hand_over(self, highs: QuietHighs) -> None:
        """Make it the model of ``highs``."""
        order = np.lexsort((self.column, self.row))
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(self.cost), len(self.row_lower)
        model.col_cost_, model.col_lower_, model.col_upper_ = self.cost, self.lower, self.upper
        model.row_lower_, model.row_upper_ = self.row_lower, self.row_upper
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        starts = np.searchsorted(self.row[order], np.arange(len(self.row_lower) + 1))
        model.a_matrix_.start_ = starts.astype(np.int32)
        model.a_matrix_.index_ = self.column[order].astype(np.int32)
        model.a_matrix_.value_ = self.value[order]
        if self.whole is not None:
            kinds = highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger
            model.integrality_ = [kinds[whole] for whole in self.whole.tolist()]
        highs.passModel(model)


@dataclass(frozen=True, eq=False)
class IntegerAnswer:
    """The best ``solution`` [columns] found, None without any, a proven lower ``bound`` (-inf without any), and whether
    the two met in time.
    """

    solution: FloatArray | None
    bound: float
    solved: bool


def solve_integers(programme: Programme, time_limit_s: float, gap: float = 1e-7) -> IntegerAnswer:
    """Solve a programme with integers until its relative gap is below ``gap`` or time is up."""
    highs = QuietHighs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("time_limit", max(time_limit_s, 0.0))
    highs.setOptionValue("mip_rel_gap", gap)
    highs.setOptionValue("mip_feasibility_tolerance", 1e-9)
    programme.hand_over(highs)
    highs.run()
    info = highs.getInfo()
    feasible = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    bound = float(info.mip_dual_bound)
    return IntegerAnswer(
        solution=np.array(highs.getSolution().col_value) if feasible else None,
        bound=bound if np.isfinite(bound) else -np.inf,
        solved=highs.getModelStatus() == highspy.HighsModelStatus.kOptimal,
    )
