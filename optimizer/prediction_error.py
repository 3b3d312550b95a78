"""How far predictors are off, near goals, on routings that a search chose: what its score allows for.

Standard deviations of ln(simulated / predicted) over demands whose prediction lies near their goal, on the training
half of the SLA suite (docs/sla_suite.md says how they were measured).  They are larger than the error over all demands,
since a search prefers routings that are predicted too well.
"""

from __future__ import annotations

from gnn_model.predictor import Predictor
from optimizer.goals import CERTAIN, GoalTable, Uncertainty

UNCERTAINTY: dict[str, Uncertainty] = {
    "gnn": (0.09, 0.08, 0.43),
    "analytic": (0.19, 0.29, 0.68),
}


def allowing_for_error(table: GoalTable, predictor: Predictor) -> GoalTable:
    """The same goals, scored by the violation to be expected of this predictor; as predicted where nothing is known."""
    return table.with_uncertainty(UNCERTAINTY.get(predictor.name, CERTAIN))
