"""Which moves are worth a look: demands off certain links, to candidate paths and to what present load favours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from optimizer.candidates import CandidatePaths
from optimizer.cheapest_paths import CheapestPaths
from optimizer.promise_prices import PromisePrices
from optimizer.screening import LoadScreen, Move, soft_maximum
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario

SCREENED_PER_STEP = 240
ROUGH_FIGURES = 5e7  # moves x demands x links, at most, so that large networks keep to their time


@dataclass(eq=False)
class MoveSource:
    """Makes moves for a search.  ``permitted`` says which demands may move, ``tabu`` which paths have done harm."""

    scenario: Scenario
    screen: LoadScreen
    candidates: CandidatePaths
    random: np.random.Generator
    permitted: Callable[[int], bool]
    screened: int = 0
    tabu: set[tuple[int, tuple[int, ...]]] = field(default_factory=set)
    offered: dict[tuple[int, int], dict[tuple[int, ...], None]] = field(default_factory=dict)
    _cheapest: CheapestPaths = field(init=False)

    def __post_init__(self) -> None:
        self._cheapest = CheapestPaths(self.scenario.topology)

    def off(self, links: Iterable[int], routing: Routing, deadline: float = np.inf) -> list[Move]:
        """Every demand on these links to each of its candidate paths and to the one that present load favours.

        Demands for which there is no time before ``deadline`` (of the monotonic clock) are left out.
        """
        rate = self.scenario.traffic.rate_bps
        crossing: dict[int, None] = {}
        for link in links:
            on_link = np.nonzero(self.screen.share[:, link] * rate > 0)[0]
            for demand in on_link[np.argsort(-rate[on_link], kind="stable")]:
                crossing[int(demand)] = None
        movable = [demand for demand in crossing if self.permitted(demand)]
        most = SCREENED_PER_STEP // 4
        if len(movable) > most:
            kept = movable[: most // 2]
            rest = self.random.choice(movable[most // 2 :], size=most - len(kept), replace=False)
            movable = kept + [int(demand) for demand in rest]
        moves: list[Move] = []
        for demand in movable:
            present = routing.paths[demand]
            moves += [
                Move(demand, (PathShare(path),))
                for path in self.options(demand)
                if (len(present) > 1 or path != present[0].links) and (demand, path) not in self.tabu
            ]
            if time.monotonic() > deadline:
                break
        self.screened += len(moves)
        return moves

    def options(self, demand: int) -> tuple[tuple[int, ...], ...]:
        """The paths that a demand might take: its candidates, columns offered for its ends, what load favours."""
        ends = self.ends(demand)
        options = dict.fromkeys(self.candidates.between(*ends))
        options.update(self.offered.get(ends, {}))
        by_load = self.path_by_load(demand)
        if by_load is not None:
            options[by_load] = None
        return tuple(options)

    def offer(self, columns: Iterable[tuple[int, tuple[int, ...]]]) -> None:
        """Take paths (demand, links) of another search as candidates for all demands between the same ends."""
        for demand, path in columns:
            self.offered.setdefault(self.ends(demand), {})[path] = None

    def path_by_price(self, demand: int, prices: PromisePrices) -> tuple[int, ...] | None:
        """The path that costs promises least by these prices, None without any way."""
        source, target = self.ends(demand)
        usable = self.candidates.usable.for_ends(self.scenario.topology, source, target)
        return self._cheapest.between(source, target, prices.weight_of(demand), usable)

    def ranked(self, moves: list[Move]) -> list[Move]:
        """Moves by rough violation score, then by how full the fullest link becomes."""
        if not moves:
            return []
        roughly_judged = int(ROUGH_FIGURES // max(self.screen.share.size, 1)) + 1
        if len(moves) > roughly_judged:
            moves = self.by_load(moves)[:roughly_judged]
        utilisation = self.screen.utilisation_after(moves)
        violation = self.screen.violation_after(moves, utilisation)
        order = np.lexsort((soft_maximum(utilisation), np.round(violation, 9)))
        return [moves[int(index)] for index in order]

    def by_load(self, moves: list[Move]) -> list[Move]:
        """Moves by how full the fullest link becomes, without a look at delays."""
        order = np.argsort(soft_maximum(self.screen.utilisation_after(moves)), kind="stable")
        return [moves[int(index)] for index in order]

    def path_by_load(self, demand: int) -> tuple[int, ...] | None:
        """The cheapest path by ``LoadScreen.load_weights``, None without any way."""
        source, target = self.ends(demand)
        weight = self.screen.load_weights([demand])[0]
        usable = self.candidates.usable.for_ends(self.scenario.topology, source, target)
        return self._cheapest.between(source, target, weight, usable)

    def ends(self, demand: int) -> tuple[int, int]:
        """Source and target of a demand."""
        return int(self.scenario.traffic.source[demand]), int(self.scenario.traffic.target[demand])
