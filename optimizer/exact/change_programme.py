"""Which demands to move when few may be: a small mixed-integer programme over the columns found."""

from __future__ import annotations

import numpy as np

from optimizer.exact.column_generation import SMALLEST_SHARE, ColumnGeneration
from optimizer.exact.highs import Programme, solve_integers

MOST_COLUMNS = 3000
MIP_GAP = 1e-4


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
    row_count, variable_count = links + shares + 1, 1 + count + choices
    programme = Programme(
        cost=np.concatenate([[1.0], np.zeros(variable_count - 1)]),
        lower=np.zeros(variable_count),
        upper=np.concatenate([[worse_than], np.ones(variable_count - 1)]),
        row_lower=np.full(row_count, -np.inf),
        row_upper=np.concatenate([-generation.key.load / problem.capacity, np.zeros(shares), [float(limit)]]),
        row=rows,
        column=variables,
        value=values,
        whole=np.arange(variable_count) >= first_choice,
    )
    solution = solve_integers(programme, time_limit_s, MIP_GAP).solution
    if solution is None:
        return set()
    moved = solution[1:first_choice] > SMALLEST_SHARE
    return set(movers[moved].tolist())
