"""Single-path optima of small networks, proven: every loop-free path of every demand in one mixed-integer programme."""

from __future__ import annotations

import highspy
import numpy as np

from optimizer.exact.flow_problem import FlowProblem
from optimizer.exact.highs import QuietHighs
from optimizer.exact.single_paths import SinglePaths

MOST_PATHS = 600


def prove_single_paths(
    problem: FlowProblem, known: SinglePaths, bound: float, time_limit_s: float
) -> tuple[SinglePaths, float]:
    """A routing no worse than ``known`` and a lower bound no worse than ``bound``, within about ``time_limit_s``.

    Both are returned as they are where the network has more than MOST_PATHS paths for its demands.
    """
    paths = _every_path(problem)
    if paths is None or time_limit_s <= 0:
        return known, bound
    value = known.max_utilisation(problem)
    demand = np.array([mover for mover, _ in paths])
    lengths = [len(links) for _, links in paths]
    hops = np.array([link for _, links in paths for link in links])
    column = np.repeat(np.arange(len(paths)), lengths)
    links = problem.link_count
    rows = np.concatenate([np.arange(links), hops, links + demand])
    variables = np.concatenate([np.zeros(links, dtype=np.int64), 1 + column, 1 + np.arange(len(paths))])
    shares = problem.rate[demand[column]] / problem.capacity[hops] / value  # theta is relative to the known value
    values = np.concatenate([np.full(links, -1.0), shares, np.ones(len(paths))])
    order = np.lexsort((variables, rows))
    row_count = links + problem.demand_count
    programme = highspy.HighsLp()
    programme.num_col_, programme.num_row_ = 1 + len(paths), row_count
    programme.col_cost_ = np.concatenate([[1.0], np.zeros(len(paths))])
    programme.col_lower_ = np.concatenate([[bound / value], np.zeros(len(paths))])
    programme.col_upper_ = np.ones(1 + len(paths))
    programme.row_lower_ = np.concatenate([np.full(links, -highspy.kHighsInf), np.ones(problem.demand_count)])
    programme.row_upper_ = np.concatenate([np.zeros(links), np.ones(problem.demand_count)])
    programme.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    programme.a_matrix_.start_ = np.searchsorted(rows[order], np.arange(row_count + 1)).astype(np.int32)
    programme.a_matrix_.index_ = variables[order].astype(np.int32)
    programme.a_matrix_.value_ = values[order]
    programme.integrality_ = [highspy.HighsVarType.kContinuous] + [highspy.HighsVarType.kInteger] * len(paths)
    highs = QuietHighs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("time_limit", time_limit_s)
    highs.setOptionValue("mip_rel_gap", 1e-7)
    highs.setOptionValue("mip_feasibility_tolerance", 1e-9)
    highs.passModel(programme)
    highs.run()
    info = highs.getInfo()
    if info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible):
        chosen = np.array(highs.getSolution().col_value)[1:]
        best = {int(demand[place]): paths[place][1] for place in np.flatnonzero(chosen > 0.5)}
        flat = [best[mover] for mover in range(problem.demand_count)]
        pointer = np.concatenate([[0], np.cumsum([len(own) for own in flat], dtype=np.int64)])
        found = SinglePaths.from_paths(problem, pointer, np.array([link for own in flat for link in own]))
        if found.max_utilisation(problem) < value:
            known = found
    proven = float(info.mip_dual_bound) * value
    return known, max(bound, min(proven, known.max_utilisation(problem))) if np.isfinite(proven) else bound


def _every_path(problem: FlowProblem) -> list[tuple[int, tuple[int, ...]]] | None:
    """(demand, links) of all loop-free paths within the delay limits; None where there are more than MOST_PATHS."""
    if problem.demand_count > MOST_PATHS:
        return None
    found: list[tuple[int, tuple[int, ...]]] = []
    for demand in range(problem.demand_count):
        target, limit = int(problem.target[demand]), float(problem.delay_limit_s[demand])
        waiting: list[tuple[int, tuple[int, ...], frozenset[int], float]] = [
            (int(problem.source[demand]), (), frozenset([int(problem.source[demand])]), 0.0)
        ]
        steps = 0
        while waiting:
            node, links, seen, delay = waiting.pop()
            steps += 1
            if node == target:
                found.append((demand, links))
            if len(found) > MOST_PATHS or steps > 20 * MOST_PATHS:
                return None
            if node == target:
                continue
            for link in problem.out_link[problem.out_pointer[node] : problem.out_pointer[node + 1]].tolist():
                end = int(problem.head[link])
                arrival = delay + float(problem.delay_s[link])
                if end not in seen and arrival <= limit:
                    waiting.append((end, (*links, link), seen | {end}, arrival))
    return found
