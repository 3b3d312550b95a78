"""Shares that switches really make of a split, chosen so that the maximum utilisation hardly grows.

A switch spreads two to four paths over 16 slots, unless a path with a small share makes it use more
(``topology_sync.shares``): steps of 1/16 of a large demand are coarse.  So the split demands are fixed from the
largest down, each at the best of a few realisable choices (the nearest shares, those around them, and finer ones that
send one slot over a further path), the programme solved again for all that is still free: smaller demands make up for
what rounding larger ones costs.
"""

from __future__ import annotations

import time

import numpy as np

from optimizer.exact.column_generation import SMALLEST_SHARE, ColumnGeneration
from topology_sync.shares import DEFAULT_SLOTS, realisable_shares

FURTHER_PATHS = 3
WORTH_CHOOSING = 1e-4  # a demand that is this much of the capacity of its narrowest link, per maximum utilisation

Fractions = dict[int, float]  # by column; what is missing to 1 stays on the key path


def quantise_splits(generation: ColumnGeneration, deadline: float = np.inf) -> None:
    """Round the fractions of ``generation`` to realisable ones in place, ``value`` included.

    Its key routing must be single paths.  After the deadline each demand gets the nearest shares.
    """
    problem = generation.problem
    narrowest = float(problem.capacity.min())
    fixed: set[int] = set()
    while True:
        split = {demand: parts for demand, parts in _split(generation).items() if demand not in fixed}
        if not split:
            return
        order = sorted(split, key=lambda demand: (-problem.rate[demand], demand))
        small = time.monotonic() > deadline or (problem.rate[order[0]] < WORTH_CHOOSING * generation.value * narrowest)
        for demand in order if small else order[:1]:
            nearest = _nearest(split[demand])
            generation.fix(demand, nearest if small else _best(generation, demand, split[demand], nearest))
            fixed.add(demand)
        generation.solve_again()


def _split(generation: ColumnGeneration) -> dict[int, Fractions]:
    """Columns in use, and their fractions, of every demand that is split."""
    used: dict[int, Fractions] = {}
    for column in np.flatnonzero(generation.fraction > SMALLEST_SHARE).tolist():
        used.setdefault(generation.columns.demand[column], {})[column] = float(generation.fraction[column])
    return {
        demand: parts
        for demand, parts in used.items()
        if len(parts) > 1 or next(iter(parts.values())) < 1.0 - SMALLEST_SHARE
    }


def _nearest(parts: Fractions) -> Fractions:
    rounded = realisable_shares([max(1.0 - sum(parts.values()), 0.0), *parts.values()])
    return dict(zip(parts, rounded[1:], strict=True))


def _best(generation: ColumnGeneration, demand: int, parts: Fractions, nearest: Fractions) -> Fractions:
    """The choice with the lowest optimum of the programme when all else that is free adapts."""
    best, best_value = nearest, np.inf
    for choice in _choices(generation, demand, parts, nearest):
        generation.fix(demand, choice)
        generation.solve_again()
        if generation.value < best_value - 1e-12:
            best, best_value = choice, generation.value
    return best


def _choices(generation: ColumnGeneration, demand: int, parts: Fractions, nearest: Fractions) -> list[Fractions]:
    """Realisable fractions near ``parts``; column -1 stands for the key path while they are made."""
    whole = {-1: max(1.0 - sum(parts.values()), 0.0), **parts}
    spare = [
        column for column in (-1, *generation.columns.of_demand(demand)) if whole.get(column, 0.0) <= SMALLEST_SHARE
    ]
    used = {column: part for column, part in whole.items() if part > SMALLEST_SHARE}
    raw: list[dict[int, float]] = []
    for slots in (16, 32, DEFAULT_SLOTS):
        raw += _around(used, slots)
    for column in spare[:FURTHER_PATHS]:
        left = 1.0 - 1.0 / DEFAULT_SLOTS
        for wanted in _around({other: part * left for other, part in used.items()}, DEFAULT_SLOTS, left):
            raw.append({**wanted, column: 1.0 / DEFAULT_SLOTS})
    choices, known = [nearest], set()
    for shares in raw:
        realised = realisable_shares(list(shares.values()))
        name = tuple(sorted(zip(shares, realised, strict=True)))
        if name not in known and all(abs(a - b) < 1e-9 for a, b in zip(shares.values(), realised, strict=True)):
            known.add(name)
            choices.append({column: share for column, share in shares.items() if column >= 0})
    return choices


def _around(parts: dict[int, float], slots: int, total: float = 1.0) -> list[dict[int, float]]:
    """Multiples of 1/slots that sum to ``total``; the largest part takes what each rounding of the others leaves."""
    largest = max(parts, key=lambda column: parts[column])
    found: list[dict[int, float]] = [{}]
    for column, part in parts.items():
        if column != largest:
            below = int(part * slots)
            found = [{**entry, column: count / slots} for entry in found for count in (below, below + 1)]
        if len(found) > 16:
            return []
    complete = [{**entry, largest: total - sum(entry.values())} for entry in found]
    return [entry for entry in complete if entry[largest] > 0]
