"""Which demands to move when few may be: a small mixed-integer programme over the columns found."""

from __future__ import annotations

import highspy
import numpy as np

from optimizer.exact.column_generation import SMALLEST_SHARE, ColumnGeneration
from optimizer.exact.highs import QuietHighs

MOST_COLUMNS = 3000


def choose_movers(generation: ColumnGeneration, limit: int, worse_than: float, time_limit_s: float) -> set[int]:
    """At most ``limit`` demands whose moves over the columns of ``generation`` lower the maximum utilisation most.

    Empty where nothing below ``worse_than`` was found in time, or there are too many columns to try.
    """
    problem, columns = generation.problem, generation.columns
    count = len(columns)
    if not count or count > MOST_COLUMNS or time_limit_s <= 0:
        return set()
    demands = sorted(set(columns.demand))
    place = {demand: position for position, demand in enumerate(demands)}
    movers = np.array(columns.demand)
    start, index, value = generation.key.differences(problem, movers, *columns.flat(np.arange(count)))
    column_of = np.repeat(np.arange(count), np.diff(start))
    links, shares, choices = problem.link_count, len(demands), len(demands)
    first_choice = 1 + count
    # rows: links, then shares of a demand <= its choice, then the limit
    rows = np.concatenate(
        [
            np.arange(links),
            index,
            links + np.array([place[mover] for mover in columns.demand]),
            links + np.arange(shares),
            np.full(choices, links + shares),
        ]
    )
    variables = np.concatenate(
        [
            np.zeros(links, dtype=np.int64),
            1 + column_of,
            1 + np.arange(count),
            first_choice + np.arange(shares),
            first_choice + np.arange(choices),
        ]
    )
    values = np.concatenate([np.full(links, -1.0), value, np.ones(count), np.full(shares, -1.0), np.ones(choices)])
    order = np.lexsort((variables, rows))
    row_count, variable_count = links + shares + 1, 1 + count + choices
    programme = highspy.HighsLp()
    programme.num_col_, programme.num_row_ = variable_count, row_count
    programme.col_cost_ = np.concatenate([[1.0], np.zeros(variable_count - 1)])
    programme.col_lower_ = np.zeros(variable_count)
    programme.col_upper_ = np.concatenate([[worse_than], np.ones(variable_count - 1)])
    programme.row_lower_ = np.full(row_count, -highspy.kHighsInf)
    programme.row_upper_ = np.concatenate([-generation.key.load / problem.capacity, np.zeros(shares), [float(limit)]])
    programme.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    programme.a_matrix_.start_ = np.searchsorted(rows[order], np.arange(row_count + 1)).astype(np.int32)
    programme.a_matrix_.index_ = variables[order].astype(np.int32)
    programme.a_matrix_.value_ = values[order]
    programme.integrality_ = [highspy.HighsVarType.kContinuous] * first_choice + [
        highspy.HighsVarType.kInteger
    ] * choices
    highs = QuietHighs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("time_limit", time_limit_s)
    highs.setOptionValue("mip_rel_gap", 1e-4)
    highs.passModel(programme)
    highs.run()
    if highs.getInfo().primal_solution_status != int(highspy.SolutionStatus.kSolutionStatusFeasible):
        return set()
    solution = np.array(highs.getSolution().col_value)
    moved = solution[1:first_choice] > SMALLEST_SHARE
    return set(movers[moved].tolist())
