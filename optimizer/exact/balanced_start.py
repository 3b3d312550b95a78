"""A nearly optimal routing over single paths, and the prices that show how nearly, before any linear programme."""

from __future__ import annotations

import time

import numpy as np

from optimizer.exact.balancing import link_prices, sweep
from optimizer.exact.flow_problem import FlowProblem
from optimizer.exact.pricing import PathPricing
from optimizer.exact.single_paths import SinglePaths
from topology_sync.values import FloatArray

FIRST_ETA = 12.0
LAST_ETA = 4000.0
SWEEPS = 24


def shortest_start(problem: FlowProblem, pricing: PathPricing) -> SinglePaths:
    """Every demand on its shortest permitted path by 1/capacity (of equals one with few hops)."""
    weight = 1.0 / problem.capacity
    pricing.price(weight + 1e-6 * weight.max(initial=0.0))
    pointer, links = pricing.paths(np.arange(problem.demand_count))
    return SinglePaths.from_paths(problem, pointer, links)


def balance(
    problem: FlowProblem,
    paths: SinglePaths,
    random: np.random.Generator,
    sweeps: int = SWEEPS,
    deadline: float = np.inf,
    first_eta: float = FIRST_ETA,
    last_eta: float = LAST_ETA,
) -> FloatArray:
    """Improve ``paths`` in place by ``sweeps`` sweeps of rising eta; returns link prices [links] that are good duals.

    ``eta`` is relative to the maximum utilisation.
    """
    price = np.empty(problem.link_count)
    spare = problem.node_count * int(np.diff(problem.source_pointer).max(initial=0))  # new paths of any one source fit
    eta = first_eta
    began = time.monotonic()
    for turn in range(sweeps):
        if turn:  # as many steps as are left, or as time is left for
            now = time.monotonic()
            in_time = int(min((deadline - now) * turn / max(now - began, 1e-9), sweeps))
            if in_time < 1:
                break
            eta *= (last_eta / eta) ** (1.0 / min(sweeps - turn, in_time))
        fullest = paths.max_utilisation(problem)
        if fullest <= 0:
            break
        order = random.permutation(problem.node_count)
        position = 0
        while position < problem.node_count:
            position, paths.used, _ = sweep(
                order,
                position,
                problem.out_pointer,
                problem.out_link,
                problem.head,
                problem.tail,
                problem.capacity,
                problem.source_pointer,
                problem.target,
                problem.rate,
                problem.delay_s,
                problem.delay_limit_s,
                eta / fullest,
                paths.load,
                paths.start,
                paths.length,
                paths.links,
                paths.used,
            )
            if position < problem.node_count:
                paths.compact(spare)
    fullest = paths.max_utilisation(problem)
    link_prices(paths.load, problem.capacity, eta / fullest if fullest > 0 else 0.0, price)
    return price
