"""Which moves are worth a look: demands off certain links, to candidate paths and to what present load favours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from optimizer.candidates import CandidatePaths
from optimizer.screening import LoadScreen, Move, soft_maximum
from topology_sync.paths import shortest_path
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario

SCREENED_PER_STEP = 240


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

    def off(self, links: Iterable[int], routing: Routing) -> list[Move]:
        """Every demand on these links to each of its candidate paths and to the one that present load favours."""
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
            options = dict.fromkeys(self.candidates.between(*self.ends(demand)))
            by_load = self.path_by_load(demand)
            if by_load is not None:
                options[by_load] = None
            moves += [
                Move(demand, (PathShare(path),))
                for path in options
                if (len(present) > 1 or path != present[0].links) and (demand, path) not in self.tabu
            ]
        self.screened += len(moves)
        return moves

    def ranked(self, moves: list[Move]) -> list[Move]:
        """Moves by rough violation score, then by how full the fullest link becomes."""
        if not moves:
            return []
        utilisation = self.screen.utilisation_after(moves)
        violation = self.screen.violation_after(moves, utilisation)
        order = np.lexsort((soft_maximum(utilisation), np.round(violation, 9)))
        return [moves[int(index)] for index in order]

    def by_load(self, moves: list[Move]) -> list[Move]:
        """Moves by how full the fullest link becomes, without a look at delays."""
        order = np.argsort(soft_maximum(self.screen.utilisation_after(moves)), kind="stable")
        return [moves[int(index)] for index in order]

    def path_by_load(self, demand: int) -> tuple[int, ...] | None:
        """The cheapest path when a full link costs far more than an empty one, the demand's own load set aside."""
        source, target = self.ends(demand)
        rate = self.scenario.traffic.rate_bps[demand]
        after = self.screen.load_bps + rate * (1 - self.screen.share[demand])
        after = after / self.scenario.topology.capacity_bps
        scale = max(float(self.screen.utilisation().max(initial=0.0)), 1e-9)
        weight = 0.02 + np.minimum(after / scale, 4.0) ** 6
        usable = self.candidates.usable.for_ends(self.scenario.topology, source, target)
        return shortest_path(self.scenario.topology, source, target, weight.tolist(), usable)

    def ends(self, demand: int) -> tuple[int, int]:
        """Source and target of a demand."""
        return int(self.scenario.traffic.source[demand]), int(self.scenario.traffic.target[demand])
