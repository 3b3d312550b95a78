"""``routewright bench failure-reoptimisation``: is there an SLA-meeting plan within a second of a link failure?

Networks and goals: topohub's demands in three classes (20, 30 and 50 % of each), scaled so that no routing at all could
keep the fullest link below ``load`` (``bounds.utilisation_lower_bound``).  The routing in force is the best that a
search finds; each class is promised ``slack`` times the worst 99th percentile predicted for it there, and at most 0.1,
0.5 and 1 % loss.  Then every cable fails in turn.  What is timed is a whole answer: detours and their prediction,
repair, search and the final prediction.  Where the search found no plan that keeps every promise, it is repeated with
ten times the time, to tell failures that need longer from those that may have no such plan.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from gnn_model.commands import PredictorName

if TYPE_CHECKING:
    from gnn_model.predictor import Predictor
    from topology_sync.scenario import Scenario

NETWORKS = {"NSFNET": "sndlib/nobel-us", "Germany50": "sndlib/germany50"}
CLASSES = (("voice", 0.2, 0.001), ("video", 0.3, 0.005), ("data", 0.5, 0.01))  # share of each demand, loss promised
PREPARATION_S = 10.0
BOUND_S = 5.0
LONGER = 10.0  # times the time limit


def failure_reoptimisation(
    network: Annotated[list[str] | None, typer.Option(help="NSFNET, Germany50 or GROUP/NAME of topohub.")] = None,
    load: Annotated[float, typer.Option(min=0.05, max=2.0, help="Fullest link of the best routing (bound).")] = 0.5,
    slack: Annotated[float, typer.Option(min=1.0, max=100.0, help="Promised delay over the best found.")] = 1.5,
    time_limit: Annotated[float, typer.Option(min=0.05, max=600.0, help="Seconds to search after a failure.")] = 0.8,
    predictor: Annotated[PredictorName, typer.Option(help="Who predicts.")] = PredictorName.GNN,
    first: Annotated[int | None, typer.Option(min=1, help="Only the first so many failures.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the scenarios there, for whatif.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Break each link in turn and search for a routing that keeps every promise; time and success."""
    from gnn_model.commands import predictor_named
    from topology_sync.scenario_json import write_scenario

    judge = predictor_named(predictor)
    answers = []
    for name in network or list(NETWORKS):
        scenario = promised_scenario(NETWORKS.get(name, name), judge, load, slack)
        if save is not None:
            write_scenario(scenario, save / f"{name.replace('/', '-')}.json")
        rows = list(failures(scenario, judge, time_limit, first))
        answers.append({"network": name, "predictor": judge.name, **summary(rows), "failures": rows})
    if as_json:
        typer.echo(json.dumps({"load": load, "slack": slack, "time_limit_s": time_limit, "networks": answers}))
        return
    for answer in answers:
        typer.echo(
            f"{answer['network']} ({answer['predictor']}): {answer['count']} failures, goals missed after "
            f"{answer['hurt']}, mended {answer['mended']} of them ({answer['mended_longer']} more in ten times the "
            f"time); plan in median {answer['seconds_median']:.3f} s, "
            f"p95 {answer['seconds_p95']:.3f} s, longest {answer['seconds_max']:.3f} s; "
            f"first plan that keeps every promise (mended ones): median {_shown(answer['met_median'])}, "
            f"p95 {_shown(answer['met_p95'])}"
        )


def promised_scenario(key: str, predictor: Predictor, load: float, slack: float) -> Scenario:
    """A topohub network in three classes whose promises the routing in force keeps by the factor ``slack``."""
    from optimizer.bounds import utilisation_lower_bound
    from optimizer.candidates import CandidatePaths, UsableLinks
    from optimizer.goals import goal_table
    from optimizer.local_search import SearchLimits, search
    from topology_sync.paths import fewest_hops_routing
    from topology_sync.scenario import Scenario, SlaGoal
    from topology_sync.source_options import SourceOptions
    from topology_sync.topohub_reader import read_topohub
    from topology_sync.traffic import Demand, TrafficMatrix

    options = SourceOptions(capacity_mbps=100.0, both_directions=True, propagation=True)
    plain = read_topohub(key, options)
    factor = load / utilisation_lower_bound(plain.topology, plain.traffic, time_s=BOUND_S)
    names = plain.topology.node_names
    demands = [
        Demand(names[int(s)], names[int(t)], float(rate) * factor * share, traffic_class)
        for s, t, rate in zip(plain.traffic.source, plain.traffic.target, plain.traffic.rate_bps, strict=True)
        for traffic_class, share, _ in CLASSES
    ]
    traffic = TrafficMatrix.from_demands(demands, plain.topology.node_index)
    scenario = Scenario(key, plain.topology, traffic, fewest_hops_routing(plain.topology, traffic))
    candidates = CandidatePaths(plain.topology, UsableLinks.all_of(plain.topology))
    found = search(scenario, goal_table(traffic, ()), predictor, candidates, SearchLimits(PREPARATION_S))
    worst = [float(found.after.delay_p99_s[traffic.traffic_class == index].max()) for index in range(len(CLASSES))]
    sla = tuple(
        SlaGoal(name, slack * delay_s, 99.0, None, loss)
        for (name, _, loss), delay_s in zip(CLASSES, worst, strict=True)
    )
    return replace(scenario.with_routing(found.routing), sla=sla)


def failures(
    scenario: Scenario, predictor: Predictor, time_limit_s: float, first: int | None = None
) -> Iterator[dict[str, Any]]:
    """One row per cable: violated demands on the detours and after the search, how long the whole answer took, and when
    the first plan that keeps every promise was judged (None: there was none).
    """
    from optimizer.exact.warm_up import warm_up
    from optimizer.local_search import SearchLimits
    from optimizer.what_if import Changes
    from optimizer.what_if_answer import answer_question, situation_before
    from optimizer.what_if_changes import all_cables

    warm_up()
    before = situation_before(scenario, predictor)
    names = scenario.topology.node_names
    for number, cable in enumerate(all_cables(scenario.topology)[:first]):
        watched = WatchedPredictor(predictor, scenario, frozenset(cable))
        began = time.perf_counter()
        answer = answer_question(
            before,
            Changes(failed_links=frozenset(cable)),
            predictor,
            limits=SearchLimits(time_limit_s, seed=1 + number, from_balanced=True),
            searcher=watched,
        )
        seconds = time.perf_counter() - began
        assert answer.reoptimised is not None
        met = not answer.reoptimised.violated.any()
        violated_longer = None
        if not met:
            limits = SearchLimits(time_limit_s * LONGER, seed=1 + number, from_balanced=True)
            longer = answer_question(before, Changes(failed_links=frozenset(cable)), predictor, limits=limits)
            violated_longer = int(longer.final.violated.sum())
        yield {
            "link": [
                names[int(ends[cable[0]])] for ends in (scenario.topology.link_source, scenario.topology.link_target)
            ],
            "violated_after": int(answer.after.violated.sum()),
            "violated_reoptimized": int(answer.reoptimised.violated.sum()),
            "max_utilisation": answer.reoptimised.score.max_utilisation,
            "changed_demands": len(answer.changed),
            "seconds": seconds,
            "violated_longer": violated_longer,
            "met_s": None if not met or watched.met_at is None else watched.met_at - began,
        }


class WatchedPredictor:
    """The predictor, and when it first judged a routing over working links that keeps every promise (``met_at``)."""

    def __init__(self, predictor: Predictor, scenario: Scenario, failed_links: frozenset[int]) -> None:
        from optimizer.goals import class_goals, goal_table

        self.name = predictor.name
        self.met_at: float | None = None
        self._predictor = predictor
        self._failed = list(failed_links)
        self._table = goal_table(scenario.traffic, class_goals(scenario.sla))

    def predict(self, scenario: Scenario) -> Any:
        """As the predictor does."""
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Any]) -> list[Any]:
        """As the predictor does."""
        from optimizer.goals import predicted_violation

        predictions = self._predictor.predict_batch(scenario, candidates)
        if self.met_at is None and any(
            predicted_violation(found, self._table) <= 0
            and not np.isin(self._failed, candidate.flat.hop_link).any()  # where the search came from
            for found, candidate in zip(predictions, candidates, strict=True)
        ):
            self.met_at = time.perf_counter()
        return predictions

    def judge_of(self, scenario: Scenario) -> Any:
        """As the predictor does; None where it judges no moves."""
        judge_of = getattr(self._predictor, "judge_of", None)
        return None if judge_of is None else judge_of(scenario)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts and percentiles of the rows; ``met_*`` are over failures that missed goals and were mended."""
    hurt = [row for row in rows if row["violated_after"]]
    mended = [row for row in hurt if not row["violated_reoptimized"]]
    seconds = [row["seconds"] for row in rows]
    met = [row["met_s"] for row in mended if row["met_s"] is not None]
    return {
        "count": len(rows),
        "hurt": len(hurt),
        "mended": len(mended),
        "mended_longer": sum(1 for row in rows if row["violated_longer"] == 0),
        "kept_anyway": len(rows) - len(hurt),
        "seconds_median": statistics.median(seconds),
        "seconds_p95": float(np.percentile(seconds, 95)),
        "seconds_max": max(seconds),
        "met_median": statistics.median(met) if met else None,
        "met_p95": float(np.percentile(met, 95)) if met else None,
    }


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"
