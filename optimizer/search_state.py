"""Where a search stands: a routing and schedulers, what is predicted for them, and the rough figures of its moves.

All parts of the search (``search_opening``, ``mending``, ``weighing``, ``lowering``, ``taking_back``) move this one
state, so that loads, changes and predictions always belong to the same routing.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np

from gnn_model.configurations import rescheduled
from gnn_model.predictor import Prediction, Predictor
from optimizer.candidates import CandidatePaths
from optimizer.goals import GoalTable, experienced_values, predicted_severity, predicted_violation
from optimizer.move_generation import MoveSource
from optimizer.move_judging import MoveJudging
from optimizer.rough_runs import RoughRuns
from optimizer.screening import LoadScreen, Move
from optimizer.search_limits import Changes, SearchLimits
from optimizer.weight_steps import Schedulers
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array

ESTIMATED_PER_STEP = 256  # moves that an incremental judge looks at, of which the best few are predicted in full
GREEDY_DEPTH = 8  # moves in a row by the rough figures, before the predictor judges every prefix of them
INDIFFERENT = 0.01  # an expected violation that grows by less is worth a lower maximum or fewer changes
SMALLEST_GAIN = 1e-6
UNCERTAIN_GAIN = 2e-3  # of an expected violation: smaller steps are not worth their time
HOT_LINKS = 6
FEW_MOVED = 100  # demands; of more, loads are summed up anew


@dataclass(frozen=True, eq=False)
class Standing:
    """A routing and schedulers, what is predicted for them, and how much they violate."""

    routing: Routing
    schedulers: Schedulers
    prediction: Prediction
    violation: float


@dataclass(eq=False)
class SearchState:
    """Begins at the scenario's routing and schedulers; its clock starts with it.

    ``severity`` [demands] is what each adds to ``violation``; both and ``prediction`` are as ``take`` has left them.
    """

    scenario: Scenario
    table: GoalTable
    predictor: Predictor
    candidates: CandidatePaths
    limits: SearchLimits
    began: float = field(init=False)
    deadline: float = field(init=False)
    random: np.random.Generator = field(init=False)
    start: Routing = field(init=False)
    start_schedulers: Schedulers = field(init=False)
    changes: Changes = field(init=False)
    screen: LoadScreen = field(init=False)
    source: MoveSource = field(init=False)
    rough: RoughRuns = field(init=False)
    judging: MoveJudging = field(init=False)
    routing: Routing = field(init=False)
    prediction: Prediction = field(init=False)
    severity: FloatArray = field(init=False)
    violation: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + self.limits.time_s
        self.random = np.random.default_rng(self.limits.seed)
        self.start = self.routing = self.scenario.routing
        self.start_schedulers = self.schedulers
        self.changes = Changes(self.start, self.start_schedulers, self.limits)
        self._look_at(self.scenario)

    def _look_at(self, scenario: Scenario) -> None:
        self.screen = LoadScreen(scenario.with_routing(self.routing), self.table)
        self.source = MoveSource(scenario, self.screen, self.candidates, self.random, self.may_move)
        self.rough = RoughRuns(self.screen, self.candidates.usable)
        self.judging = MoveJudging(scenario, self.table, self.predictor, self.limits.stop)

    def drop_traffic(self, demands: Collection[int]) -> None:
        """Leave demands that cannot arrive out of loads, predictions and promises."""
        rate = self.scenario.traffic.rate_bps.copy()
        rate[list(demands)] = 0.0
        self.scenario = replace(self.scenario, traffic=self.scenario.traffic.with_rates(float_array(rate)))
        self.table = replace(self.table, weight=np.where(rate > 0, self.table.weight, 0.0))
        self._look_at(self.scenario)

    # where it stands

    @property
    def schedulers(self) -> Schedulers:
        """Those that the search stands on, [nodes]."""
        return self.scenario.topology.schedulers

    @property
    def standing(self) -> Standing:
        """The routing that was predicted last, and what was predicted."""
        return Standing(self.routing, self.schedulers, self.prediction, self.violation)

    def stand_on(self, standing: Standing) -> None:
        """Go back to where the search has stood."""
        self.restore(standing.routing)
        self.schedule(standing.schedulers)
        self.take(standing.routing, standing.prediction)

    def move(self, move: Move) -> None:
        """Carry out a move; nothing is predicted for it yet."""
        self._apply(move)
        self.routing = self.routing.with_changes({move.demand: move.paths})

    def restore(self, routing: Routing) -> None:
        """Carry out whatever moves lead to this routing."""
        pairs = zip(self.routing.paths, routing.paths, strict=True)
        moved = [demand for demand, (mine, theirs) in enumerate(pairs) if mine is not theirs]
        if len(moved) <= FEW_MOVED:
            for demand in moved:
                self._apply(Move(demand, routing.paths[demand]))
        else:
            self.screen.reset(routing)
            for demand in moved:
                self.changes.note(Move(demand, routing.paths[demand]))
        self.routing = routing

    def _apply(self, move: Move) -> None:
        self.screen.apply(move)
        self.changes.note(move)

    def schedule(self, schedulers: Schedulers) -> None:
        """Give the nodes these schedulers; nothing is predicted for them yet."""
        if schedulers != self.schedulers:
            self.scenario = rescheduled(self.scenario, schedulers)
            self.judging.reschedule(self.scenario)

    def take(self, routing: Routing, prediction: Prediction) -> None:
        """Note what the predictor says of the routing that the search now stands on."""
        self.routing, self.prediction = routing, prediction
        self.severity = predicted_severity(experienced_values(prediction, self.table), self.table)
        self.violation = float(self.severity.sum())
        self.screen.calibrate(prediction)

    def take_best(self, routings: list[Routing], deadline: float = np.inf) -> bool:
        """Stand on the best of these, those first in the list that there is time for, if it breaks less."""
        routings = routings[: self.judging.affordable_predictions(deadline)]
        if not routings:
            return False
        predictions = self.judging.predict(routings)
        scores = [
            (predicted_violation(prediction, self.table), self.max_utilisation(routing))
            for routing, prediction in zip(routings, predictions, strict=True)
        ]
        best = min(range(len(routings)), key=scores.__getitem__)
        if scores[best][0] >= self.violation * (1 - self.least_gain):
            return False
        self.restore(routings[best])
        self.take(routings[best], predictions[best])
        return True

    # what may change

    def may_move(self, demand: int) -> bool:
        """Whether the limits let a demand move now."""
        return self.changes.allow(demand, self.schedulers)

    @property
    def change_count(self) -> int:
        """Changes so far that count."""
        return self.changes.count(self.schedulers)

    # what is better

    @property
    def least_gain(self) -> float:
        """By what part of the violation a step must lower it."""
        return UNCERTAIN_GAIN if any(self.table.uncertainty) else SMALLEST_GAIN

    @property
    def worth_mending(self) -> bool:
        """Whether so much is violated that a search for less pays."""
        return self.violation > (INDIFFERENT if any(self.table.uncertainty) else 0.0)

    @property
    def allowed_violation(self) -> float:
        """How much violation routings may have that are better otherwise."""
        return self.violation + (INDIFFERENT if any(self.table.uncertainty) else SMALLEST_GAIN * self.violation)

    def max_utilisation(self, routing: Routing) -> float:
        """Of the fullest link, were this the routing."""
        return routing.max_utilisation(self.scenario.traffic, self.scenario.topology)

    def links_that_hurt(self) -> list[int]:
        """Links that delay or drop most of what misses its goals."""
        time_s, loss = self.screen.waiting(self.screen.utilisation())
        service_s = 1.0 / self.scenario.topology.capacity_bps
        hurt = (self.severity @ self.screen.share) * (time_s / service_s * 1e-3 + loss * 10)
        order = np.argsort(-hurt, kind="stable")
        return [int(link) for link in order[:HOT_LINKS] if hurt[link] > 0]
