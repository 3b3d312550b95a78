"""A search on the rates to come whose result must also stand on the rates that were measured."""

from __future__ import annotations

from dataclasses import replace

from gnn_model.configurations import Configuration, predict_configurations
from gnn_model.predictor import Predictor
from optimizer.candidates import CandidatePaths
from optimizer.displaced import cut_off, demands_over
from optimizer.goals import GoalTable, Score, predicted_violation
from optimizer.local_search import SearchLimits, SearchResult, search
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray

AHEAD_SHARE = 0.6  # of the search time; the rest is for the measured rates if the plan ahead does not stand


def search_ahead(
    scenario: Scenario,
    planned_bps: FloatArray,
    table: GoalTable,
    predictor: Predictor,
    candidates: CandidatePaths,
    limits: SearchLimits,
) -> SearchResult:
    """Search for ``planned_bps`` [demands] and judge the result on the rates of ``scenario``.

    A plan for the rates to come is taken where it is also predicted better than the present routing, or as good with
    fewer violations ahead, under the measured rates; else the search is repeated for those.  Predictions and scores of
    the result are for the measured rates, so that they can be compared with measurements.
    """
    expected = replace(scenario, traffic=scenario.traffic.with_rates(planned_bps))
    shares = (
        replace(limits, time_s=limits.time_s * AHEAD_SHARE),
        replace(limits, time_s=limits.time_s * (1.0 - AHEAD_SHARE)),
    )
    ahead = search(expected, table, predictor, candidates, shares[0])
    stands = ahead if ahead.unroutable else _on_measured_rates(ahead, scenario, table, predictor, candidates)
    if not ahead.unroutable and stands.score.violation <= stands.start_score.violation:
        better_ahead = ahead.score.better_than(ahead.start_score) or bool(ahead.repaired)
        if better_ahead and (stands.repaired or stands.score.better_than(stands.start_score)):
            return stands
    return search(scenario, table, predictor, candidates, shares[1])


def _on_measured_rates(
    ahead: SearchResult, scenario: Scenario, table: GoalTable, predictor: Predictor, candidates: CandidatePaths
) -> SearchResult:
    """The same plan, judged where the network is now."""
    topology, traffic = scenario.topology, scenario.traffic
    present = Configuration(scenario.routing, topology.schedulers)
    planned = Configuration(ahead.routing, ahead.schedulers)
    before, after = predict_configurations(predictor, scenario, [present, planned])
    before = cut_off(before, demands_over(scenario.routing, ~candidates.usable.up))
    start_score = Score(predicted_violation(before, table), scenario.routing.max_utilisation(traffic, topology), 0)
    score = Score(
        predicted_violation(after, table),
        ahead.routing.max_utilisation(traffic, topology),
        len(set(ahead.changed) - set(ahead.repaired)),
        ahead.score.changed_weights,
    )
    return replace(ahead, start_score=start_score, score=score, before=before, after=after)
