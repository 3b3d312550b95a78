"""How far a predictor is off near the goals of routings that a search chose: what ``prediction_error`` holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnn_model.predictor import Predictor
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.goals import GOAL_KINDS, class_goals, experienced_values, goal_table, value_ratios
from optimizer.local_search import SearchLimits, search
from optimizer.sla_suite import JUDGING_SEED, Problem, simulated
from topology_sync.values import FloatArray

NEAR = ((0.6, 1.5), (0.6, 1.5), (0.3, 3.0))  # predicted value over its goal, by kind: what counts as near
LARGEST = 1.0  # errors of the logarithm beyond this count as this: a few hopeless ones would hide all others
SEED_STEP = 500  # the packets that judge are those of another seed than in ``suite judge``


def logarithmic_errors(problem: Problem, predictor: Predictor, time_s: float, seed: int) -> list[FloatArray]:
    """ln(simulated / predicted) by kind of goal [demands near their goal each], under the routing that a search finds
    which believes ``predictor``.
    """
    scenario = problem.scenario
    table = goal_table(scenario.traffic, class_goals(scenario.sla))
    candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
    limits = SearchLimits(time_s, seed=seed, from_balanced=True)
    found = search(scenario, table, predictor, candidates, limits)
    seen = simulated(scenario.with_routing(found.routing), JUDGING_SEED + SEED_STEP)
    said, true = (value_ratios(experienced_values(values, table), table) for values in (found.after, seen))
    errors = []
    for kind, (low, high) in enumerate(NEAR):
        near = (said[kind] > low) & (said[kind] < high) & (true[kind] > 0) & (table.weight > 0)
        errors.append(np.clip(np.log(true[kind][near] / said[kind][near]), -LARGEST, LARGEST))
    return errors


def spread(errors: Sequence[FloatArray]) -> dict[str, dict[str, float]]:
    """Per kind of goal: demands, mean error and the root of the mean square (what ``prediction_error`` holds)."""
    return {
        kind: {
            "demands": len(values),
            "mean": float(values.mean()) if len(values) else 0.0,
            "root_mean_square": float(np.sqrt((values**2).mean())) if len(values) else 0.0,
        }
        for kind, values in zip(GOAL_KINDS, errors, strict=True)
    }
