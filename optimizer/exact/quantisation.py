"""Shares that switches really make of a split, chosen so that the maximum utilisation hardly grows.

A switch spreads two to four paths over 16 slots, unless a path with a small share makes it use more
(``topology_sync.shares``): steps of 1/16 of a large demand are coarse.  So the split demands are fixed from the
largest down, each at the best of a few realisable choices (the nearest shares, those around them, and finer ones that
send one slot over a further path), the programme solved again for all that is still free: smaller demands make up for
what rounding larger ones costs.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np

from optimizer.exact.column_generation import SMALLEST_SHARE, ColumnGeneration
from topology_sync.shares import DEFAULT_SLOTS, realisable_shares
from topology_sync.values import FloatArray

FURTHER_PATHS = 3
LARGE = 0.2  # of the largest link; its table is so coarse that for such a demand further paths are sought
TABLES = (16, 32, DEFAULT_SLOTS)
MOST_ROUNDINGS = 500
MOST_CHOICES = 12
WORTH_CHOOSING = 1e-4  # a demand that is this much of the capacity of its narrowest link, per maximum utilisation
WORTH_MORE_PATHS = 1e-5  # what fixing may cost before the other demands get further paths

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
            until = time.monotonic() + (deadline - time.monotonic()) / len(split)
            best = nearest if small else _best(generation, demand, split[demand], nearest, until)
            generation.fix(demand, best)
            fixed.add(demand)
        generation.solve_again()
        generation.run(deadline, WORTH_MORE_PATHS)


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


def _best(generation: ColumnGeneration, demand: int, parts: Fractions, nearest: Fractions, until: float) -> Fractions:
    """The choice with the lowest optimum of the programme when all else that is free adapts.

    Tried from the one nearest to ``parts`` outwards, ``until`` time is up.
    """
    spare = len(generation.columns.of_demand(demand)) - len(parts)
    if spare < FURTHER_PATHS and generation.problem.rate[demand] > LARGE:
        generation.add_detours(demand, FURTHER_PATHS - spare)
    best, best_value = nearest, np.inf
    choices = _choices(generation, demand, parts, nearest)
    for choice in sorted(choices, key=lambda choice: _distance(choice, parts)):
        if time.monotonic() > until and best_value < np.inf:
            break
        generation.fix(demand, choice)
        generation.solve_again()
        if generation.value < best_value - 1e-12:
            best, best_value = choice, generation.value
    return best


def _distance(one: Fractions, other: Fractions) -> float:
    return sum(abs(one.get(column, 0.0) - other.get(column, 0.0)) for column in one.keys() | other.keys())


def _choices(generation: ColumnGeneration, demand: int, parts: Fractions, nearest: Fractions) -> list[Fractions]:
    """Realisable fractions near ``parts``, at most MOST_CHOICES of each table size: those with the lowest utilisation
    while all other demands stay; column -1 stands for the key path while they are made.
    """
    whole = {-1: max(1.0 - sum(parts.values()), 0.0), **parts}
    columns = [-1, *generation.columns.of_demand(demand)]
    used = [column for column in columns if whole.get(column, 0.0) > SMALLEST_SHARE]
    spare = [column for column in columns if column not in used][:FURTHER_PATHS]
    judge = _Judge(generation, demand, parts, columns)
    choices, known = [nearest], set()
    for slots in TABLES:
        found = _around([whole[column] for column in used], slots)
        tables = [dict(zip(used, counts, strict=True)) for counts in found]
        for further in spare:
            found = _around([whole[column] * (1.0 - 1.0 / slots) for column in used], slots, slots - 1)
            tables += [{**dict(zip(used, counts, strict=True)), further: 1} for counts in found]
        fitting: list[tuple[float, Fractions]] = []
        for table in tables:
            shares = {column: count / slots for column, count in table.items() if count}
            name = tuple(sorted(shares.items()))
            if name not in known and realisable_shares(list(shares.values())) == tuple(shares.values()):
                known.add(name)
                choice = {column: share for column, share in shares.items() if column >= 0}
                fitting.append((judge.utilisation(choice), choice))
        fitting.sort(key=lambda entry: entry[0])
        choices += [choice for _, choice in fitting[:MOST_CHOICES]]
    return choices


@dataclass(eq=False)
class _Judge:
    """The maximum utilisation that choices for one demand give while all others stay as they are."""

    generation: ColumnGeneration
    demand: int
    parts: Fractions
    columns: list[int]

    def __post_init__(self) -> None:
        problem = self.generation.problem
        found = np.array([column for column in self.columns if column >= 0], dtype=int)
        movers = np.full(len(found), self.demand)
        start, index, value = self.generation.key.differences(problem, movers, *self.generation.columns.flat(found))
        self._place = {column: position for position, column in enumerate(found.tolist())}
        self._adds = np.zeros((len(found), problem.link_count))
        self._adds[np.repeat(np.arange(len(found)), np.diff(start)), index] = value
        self._others = self.generation.load() / problem.capacity - self._adds.T @ self._shares(self.parts)

    def _shares(self, fractions: Fractions) -> FloatArray:
        shares: FloatArray = np.zeros(len(self._place))
        for column, share in fractions.items():
            shares[self._place[column]] = share
        return shares

    def utilisation(self, fractions: Fractions) -> float:
        return float(np.max(self._others + self._adds.T @ self._shares(fractions), initial=0.0))


def _around(parts: list[float], slots: int, total: int | None = None) -> list[tuple[int, ...]]:
    """Counts of slots that sum to ``total`` (all without): every part rounded down or up, MOST_ROUNDINGS at most."""
    below = [int(part * slots + 1e-9) for part in parts]
    up = (slots if total is None else total) - sum(below)
    if not 0 <= up <= len(parts):
        return []
    # nearest to the next first
    order = sorted(range(len(parts)), key=lambda place: below[place] - parts[place] * slots)
    return [
        tuple(count + (place in raised) for place, count in enumerate(below))
        for raised in itertools.islice(itertools.combinations(order, up), MOST_ROUNDINGS)
    ]
