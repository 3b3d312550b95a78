"""Is the predictor there?  Without one nothing is searched, and the network keeps its routing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from gnn_model.predictor import Predictor, problem_of

log = logging.getLogger(__name__)

REST_S = 5.0  # after a question that failed, before the next


class PredictorWatch:
    """What is known against the predictor.  ``look`` once per step; ``failed`` when a question was not answered."""

    def __init__(self, predictor: Predictor, addresses: tuple[str, ...], clock: Callable[[], float] = time.monotonic):
        self.problem: str | None = None
        self._predictor = predictor
        self._addresses = addresses
        self._clock = clock
        self._rest_until_s = 0.0
        self._reason = ""

    def look(self) -> None:
        """Ask whether a server is up (a look at connections, not a call); log what changes."""
        problem = problem_of(self._predictor)
        if problem is None and self._clock() < self._rest_until_s:
            problem = self._reason
        if problem is not None and self.problem is None:
            log.warning("%s; the routing stays as it is", problem)
        if problem is None and self.problem is not None:
            log.info("the predictor answers")
        self.problem = problem

    def failed(self, reason: str) -> None:
        """A question was not answered although a server seemed to be up."""
        self._rest_until_s = self._clock() + REST_S
        self._reason = reason

    def status(self) -> dict[str, Any]:
        """For the operator."""
        return {
            "kind": self._predictor.name,
            "addresses": list(self._addresses),
            "up": self.problem is None,
            "problem": self.problem,
        }
