"""Steps of queue weights in a search: taken where they lessen what is violated, taken back where they keep nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from optimizer.goals import predicted_violation
from optimizer.search_state import SMALLEST_GAIN, SearchState
from optimizer.weight_steps import ClassNeeds, Schedulers, WeightSteps, put_back

WORTH_ANOTHER = 0.1  # of the violation: a step of the weights that brought so much is followed by another
WEIGHT_TRIES = 2  # steps of the weights, each smaller, where no move of paths helps


@dataclass(eq=False)
class Weighing:
    """Changes the weights that a search stands on, if its limits let them change; remembers how large steps help."""

    state: SearchState
    _steps: WeightSteps | None = field(init=False)

    def __post_init__(self) -> None:
        limits = self.state.limits
        self._steps = WeightSteps(self.state.scenario, limits.frozen_nodes) if limits.queue_weights else None

    def weigh(self, deadline: float) -> None:
        """Steps of the weights, one after the other as long as each lessens the violation much."""
        while self.state.worth_mending and self.state.judging.has_time(deadline):
            before = self.state.violation
            if not self._step(deadline) or self.state.violation > before * (1 - WORTH_ANOTHER):
                return

    def mend(self, deadline: float) -> bool:
        """A step of the weights, or a smaller one if that does not lessen what is violated."""
        return any(
            self.state.worth_mending and self.state.judging.has_time(deadline) and self._step(deadline)
            for _ in range(WEIGHT_TRIES)
        )

    def _step(self, deadline: float) -> bool:
        """The best step of the weights if it lessens what is violated; the next is larger then, else smaller."""
        if self._steps is None or not self._steps.nodes:
            return False
        state = self.state
        needs = ClassNeeds.of(state.severity, state.prediction, state.table, state.scenario.traffic)
        link_source = state.scenario.topology.link_source
        hot_nodes = list(dict.fromkeys(int(link_source[link]) for link in state.links_that_hurt()))
        most = np.inf if state.limits.max_changes is None else state.limits.max_changes
        proposals = self._steps.proposals(state.schedulers, needs, hot_nodes)
        proposals = [proposal for proposal in proposals if state.changes.count(proposal) <= most]
        proposals = proposals[: state.judging.affordable_predictions(deadline)]
        better = self._take_best(proposals, state.violation * (1 - state.least_gain))
        self._steps.adapt(better)
        return better

    def _take_best(self, proposals: Sequence[Schedulers], below: float) -> bool:
        """Stand on the schedulers that violate least, if that is less than ``below``."""
        predictions = self.state.judging.predict_schedulers(self.state.routing, proposals)
        violations = [predicted_violation(prediction, self.state.table) for prediction in predictions]
        best = min(range(len(proposals)), key=violations.__getitem__, default=None)
        if best is None or violations[best] >= below:
            return False
        self.state.schedule(proposals[best])
        self.state.take(self.state.routing, predictions[best])
        return True

    def take_back(self) -> None:
        """Undo changes of weights that keep no promise: all at once, or node by node."""
        allowed = self.state.allowed_violation + SMALLEST_GAIN
        while any(
            self.state.judging.has_time(self.state.deadline) and self._take_best([schedulers], allowed)
            for schedulers in put_back(self.state.start_schedulers, self.state.schedulers)
        ):
            continue
