"""A bound of single-path routings in which only the largest demands are whole, and the paths it gives them.

    min theta   s.t.   sum_{large d} rate_d x_{d,e} + sum_t f_{t,e} <= theta c_e     every link e
                       x_d is a unit flow from source to target of d, binary         every large demand d
                       f_t brings all other demands to t                             every target t

Every single-path routing is a solution, so the optimum is a lower bound.  What keeps a network from its optimum with
splitting is a few demands of about the size of a link; a handful of binary flows settles them, and the others are small
enough to be fitted around them by local search.
"""

from __future__ import annotations

import numpy as np

from optimizer.exact.delay_pricing import DELAY_TOLERANCE_S
from optimizer.exact.flow_problem import FlowProblem
from optimizer.exact.highs import Programme, solve_integers
from optimizer.exact.single_paths import SinglePaths
from topology_sync.values import BoolArray, FloatArray, IntArray

MOST_VARIABLES = 20_000
FEW_VARIABLES = 2_500  # of a programme of all demands that is solved however small the gap, for the proof
NOTICEABLE = 2e-3
MIP_GAP = 1e-6
PROVEN = 1e-5


def worth_settling(problem: FlowProblem, gap: float, whole: int) -> bool:
    """Whether the programme with ``whole`` demands is small enough, and the gap large enough, to be worth its time."""
    links = len(problem.out_link)
    if problem.demand_count * links <= FEW_VARIABLES:
        return gap > PROVEN
    fewer = min(whole, problem.demand_count) + (problem.node_count if whole < problem.demand_count else 0)
    return gap > NOTICEABLE and fewer * links <= MOST_VARIABLES


def settle_large_demands(
    problem: FlowProblem, known: SinglePaths, bound: float, whole: int, time_limit_s: float
) -> tuple[SinglePaths, float, bool]:
    """``known`` with the paths that the programme gives the ``whole`` largest demands, a bound no lower than ``bound``
    and whether the programme was solved within ``time_limit_s``.

    The routing may be worse than ``known`` until others give way, but where all demands are whole it is optimal.
    """
    large = np.argsort(-problem.rate, kind="stable")[:whole]
    links = np.sort(problem.out_link)
    small = np.ones(problem.demand_count, dtype=np.bool_)
    small[large] = False
    targets = np.unique(problem.target[small])
    value = known.max_utilisation(problem)
    programme = _programme(problem, large, links, small, targets, bound, value)
    answer = solve_integers(programme, time_limit_s, MIP_GAP)
    bound = max(bound, min(answer.bound * value, value))
    if answer.solution is None:
        return known, bound, False
    flows = answer.solution[1 : 1 + len(large) * len(links)].reshape(len(large), len(links)) > 0.5
    paths = {int(demand): _path(problem, int(demand), links[flow]) for demand, flow in zip(large, flows, strict=True)}
    flat = [paths.get(demand) or known.path(demand) for demand in range(problem.demand_count)]
    pointer = np.concatenate([[0], np.cumsum([len(path) for path in flat], dtype=np.int64)])
    return (
        SinglePaths.from_paths(problem, pointer, np.array([link for path in flat for link in path])),
        bound,
        answer.solved,
    )


def _programme(
    problem: FlowProblem,
    large: IntArray,
    links: IntArray,
    small: BoolArray,
    targets: IntArray,
    bound: float,
    value: float,
) -> Programme:
    """Variables: theta relative to the known ``value``, then flows of ``large``, then those to ``targets``."""
    nodes, count = problem.node_count, len(links)
    flows = len(large) + len(targets)
    balance: FloatArray = np.zeros((flows, nodes))
    balance[np.arange(len(large)), problem.source[large]] = 1.0
    balance[np.arange(len(large)), problem.target[large]] = -1.0
    position = len(large) + np.searchsorted(targets, problem.target[small])
    np.add.at(balance, (position, problem.source[small]), problem.rate[small])
    np.add.at(balance, (position, problem.target[small]), -problem.rate[small])
    scale = np.concatenate([problem.rate[large], np.ones(len(targets))])
    flow, link = (axis.ravel() for axis in np.indices((flows, count)))
    column = 1 + np.arange(flows * count)
    delayed = np.flatnonzero(np.isfinite(problem.delay_limit_s[large]))
    first, late = count, count + flows * nodes
    row = [np.arange(count), link, first + flow * nodes + problem.tail[links][link]]
    row += [first + flow * nodes + problem.head[links][link], late + np.repeat(np.arange(len(delayed)), count)]
    columns = [np.zeros(count, dtype=np.int64), column, column, column]
    columns.append(1 + (delayed[:, None] * count + np.arange(count)).ravel())
    values = [np.full(count, -1.0), scale[flow] / problem.capacity[links][link] / value, np.ones(flows * count)]
    values += [np.full(flows * count, -1.0), np.tile(problem.delay_s[links], len(delayed))]
    upper = np.concatenate([[1.0 + 1e-9], np.ones(len(large) * count), np.full(len(targets) * count, np.inf)])
    whole = np.zeros(len(upper), dtype=np.bool_)
    whole[1 : 1 + len(large) * count] = True
    cost = np.zeros(len(upper))
    cost[0] = 1.0
    return Programme(
        cost=cost,
        lower=np.concatenate([[bound / value], np.zeros(flows * count)]),
        upper=upper,
        row_lower=np.concatenate([np.full(count, -np.inf), balance.ravel(), np.full(len(delayed), -np.inf)]),
        row_upper=np.concatenate(
            [np.zeros(count), balance.ravel(), problem.delay_limit_s[large][delayed] + DELAY_TOLERANCE_S]
        ),
        row=np.concatenate(row),
        column=np.concatenate(columns),
        value=np.concatenate(values),
        whole=whole,
    )


def _path(problem: FlowProblem, demand: int, links: IntArray) -> tuple[int, ...]:
    """A way of few hops over ``links``, which hold one (and may hold circles besides)."""
    source, target = int(problem.source[demand]), int(problem.target[demand])
    ways: dict[int, tuple[int, ...]] = {source: ()}
    waiting = [source]
    for node in waiting:
        for link in links[problem.tail[links] == node].tolist():
            end = int(problem.head[link])
            if end not in ways:
                ways[end] = (*ways[node], link)
                waiting.append(end)
    return ways[target]
