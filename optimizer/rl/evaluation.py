"""Side by side at equal time: shortest paths, local search, the policy alone, and proposers inside the search.

Questions are drawn on networks that no training saw.  What every method found is kept with its routing, judged by the
analytic predictor (which all of them searched with) and, when asked, by the packet simulator.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np

from gnn_model.predictor import Predictor
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.goals import GoalTable, experienced_values, goal_table, violated_demands
from optimizer.local_search import SearchLimits, SearchResult, search
from optimizer.rl.environment import Policy, within_changes
from optimizer.rl.proposer import RankPolicy, TurnSettings, UniformPolicy, policy_search
from optimizer.rl.training import task_of
from optimizer.rl.training_scenarios import Question, question_on
from topology_sync.errors import InputError
from topology_sync.output_files import write_output
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.sources import load_scenario

FORMAT = "routewright-bench-rl/1"
Method = Literal["shortest-path", "local-search", "policy-alone", "rank-alone", "policy", "rank", "random"]
METHODS: tuple[Method, ...] = (
    "shortest-path",
    "local-search",
    "policy-alone",
    "rank-alone",
    "policy",
    "rank",
    "random",
)
UNTRAINED: dict[Method, Method] = {"policy": "rank", "policy-alone": "rank-alone"}
HELD_OUT = (
    "sndlib/polska",
    "sndlib/nobel-us",
    "sndlib/nobel-germany",
    "sndlib/geant",
    "sndlib/france",
    "sndlib/norway",
    "sndlib/nobel-eu",
    "sndlib/india35",
    "sndlib/cost266",
    "sndlib/germany50",
    "topozoo/Geant2012",
    "topozoo/Bics",
)
EVALUATION = 3  # second part of the seeds of questions: training and validation have 1 and 2
MOST_TRIES = 50
DEMANDS_PER_NODE = (8, 20)
LOADS = (1.0, 1.7)
SLACK = (1.0, 1.05)
WARM_UP_S = 0.3
DESCENT_STEPS = 64  # of the plain descent whose number of changes is the measure of a limit
SIMULATED_ERROR = 0.01
SIMULATED_HOPS = 10_000_000


@dataclass(frozen=True)
class Trial:
    """One method on one question."""

    network: str
    question: int
    method: Method
    time_limit_s: float
    seed: int
    changes_part: float | None = None  # of the changes that plain descent makes: what is allowed; None: any number

    @property
    def key(self) -> str:
        """What names the trial in the file of results."""
        limited = "" if self.changes_part is None else f" {self.changes_part:g} of the changes"
        return f"{self.network}#{self.question} {self.method} {self.time_limit_s:g} s seed {self.seed}{limited}"


def trials(
    networks: Sequence[str],
    questions: int,
    methods: Sequence[Method],
    limits_s: Sequence[float],
    seeds: int,
    changes_part: float | None = None,
    first: int = 0,
) -> list[Trial]:
    """Every combination, methods side by side; shortest paths need neither time nor seed."""
    return [
        Trial(network, question, method, limit, seed, changes_part)
        for network in networks
        for question in range(first, first + questions)
        for limit in limits_s
        for seed in range(1, seeds + 1)
        for method in methods
        if method != "shortest-path" or (limit == limits_s[0] and seed == 1)
    ]


def held_out_question(network: str, number: int, predictor: Predictor) -> Question:
    """The ``number``-th question on a network of topohub.  Raises InputError for a network that has none."""
    topology = load_scenario(f"topohub:{network}?capacity_mbps=10&propagation=true&demands=none").topology
    demands = (DEMANDS_PER_NODE[0] * topology.node_count, DEMANDS_PER_NODE[1] * topology.node_count)
    for attempt in range(MOST_TRIES):
        seed = (0, EVALUATION, number, attempt, *network.encode())
        question = question_on(
            topology, np.random.default_rng(seed), predictor, demands, f"{network}#{number}", LOADS, SLACK
        )
        if question is not None and question.solvable:
            return question
    raise InputError(network, f"no question in {MOST_TRIES} tries", "name another network")


def changes_allowed(question: Question, part: float | None, predictor: Predictor) -> int | None:
    """How many demands may change: ``part`` of those that plain descent changes; None: any number."""
    if part is None:
        return None
    return within_changes(task_of(question), predictor, part, DESCENT_STEPS).max_changes


def run_trial(
    trial: Trial, question: Question, predictor: Predictor, policy: Policy, max_changes: int | None = None
) -> dict[str, Any]:
    """What a method finds: scores, counts and the paths it changed."""
    scenario, table = question.scenario, question.table
    result = _solve(trial, question, predictor, policy, max_changes)
    routing = scenario.routing if result is None else result.routing
    prediction = predictor.predict(scenario.with_routing(routing))
    changed = routing.changed_demands(scenario.routing)
    return {
        "key": trial.key,
        "network": trial.network,
        "question": trial.question,
        "method": trial.method,
        "time_limit_s": trial.time_limit_s,
        "seed": trial.seed,
        "demands": scenario.traffic.demand_count,
        "max_changes": max_changes,
        "seconds": 0.0 if result is None else result.seconds,
        "judged": 0 if result is None else result.routings_judged,
        "violation": None if result is None else result.score.violation,
        "violated": int(violated_demands(experienced_values(prediction, table), table).sum()),
        "max_utilisation": routing.max_utilisation(scenario.traffic, scenario.topology),
        "changed": len(changed),
        "paths": {str(demand): [list(path.links) for path in routing.paths[demand]] for demand in changed},
        "simulated_violated": None,
    }


def _solve(
    trial: Trial, question: Question, predictor: Predictor, policy: Policy, max_changes: int | None
) -> SearchResult | None:
    scenario, table = question.scenario, question.table
    # every trial finds its candidate paths anew: that is part of what a search costs
    candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
    limits = SearchLimits(trial.time_limit_s, max_changes, seed=trial.seed, from_balanced=True)
    if trial.method == "shortest-path":
        return None
    if trial.method == "local-search":
        return search(scenario, table, predictor, candidates, limits)
    proposers: dict[str, Policy] = {"policy": policy, "rank": RankPolicy(), "random": UniformPolicy()}
    chosen = proposers[trial.method.removesuffix("-alone")]
    turns = TurnSettings(finish=not trial.method.endswith("-alone"))
    return policy_search(scenario, table, predictor, candidates, limits, chosen, turns)


def simulated_violated(record: dict[str, Any], question: Question, simulator: Predictor) -> int:
    """How many demands miss a goal in the packet simulator under the routing of a record."""
    scenario = question.scenario
    simulated = simulator.predict(scenario.with_routing(_routing_of(record, scenario)))
    table: GoalTable = goal_table(scenario.traffic, question.classes)
    return int(violated_demands(experienced_values(simulated, table), table).sum())


def _routing_of(record: dict[str, Any], scenario: Scenario) -> Routing:
    changes = {
        int(demand): [PathShare(tuple(links), 1.0 / len(paths)) for links in paths]
        for demand, paths in record["paths"].items()
    }
    return scenario.routing.with_changes(changes)


class Results:
    """Records in a file, written after each: an interrupted bench goes on where it was."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            try:
                data = json.loads(path.read_text("utf-8"))
                assert data["format"] == FORMAT
                self.records = {record["key"]: record for record in data["records"]}
            except (OSError, ValueError, KeyError, TypeError, AssertionError):
                raise InputError(str(path), "is no file of this bench", "give another --out") from None

    def keep(self, record: dict[str, Any]) -> None:
        """Add or replace a record."""
        self.records[record["key"]] = record
        if self.path is not None:
            records = ",\n".join(json.dumps(record) for record in self.records.values())
            write_output(self.path, f'{{"format": "{FORMAT}", "records": [\n{records}\n]}}\n')


@contextmanager
def processor_clock() -> Iterator[None]:
    """Let searches count this process's processor time instead of the time of day: what else runs does not matter."""
    with mock.patch.object(time, "monotonic", time.process_time):
        yield


def measure(
    chosen: Sequence[Trial], results: Results, predictor: Predictor, policy: Policy, report: Callable[[str], None]
) -> None:
    """Run the trials that have no record yet; the first search of a process, which compiles, is not counted."""
    questions = _Questions(predictor)
    missing = [trial for trial in chosen if trial.key not in results.records]
    if missing:
        for method in ("local-search", "policy"):
            warm_up = dataclasses.replace(missing[0], method=method, time_limit_s=WARM_UP_S)
            run_trial(warm_up, questions.get(warm_up.network, warm_up.question), predictor, policy)
    for trial in missing:
        question = questions.get(trial.network, trial.question)
        allowed = questions.changes_allowed(trial.changes_part)
        results.keep(run_trial(trial, question, predictor, policy, allowed))
        report(trial.key)


def simulate(
    chosen: Sequence[Trial], results: Results, predictor: Predictor, simulator: Predictor, report: Callable[[str], None]
) -> None:
    """Judge the records of these trials by the simulator, equal routings once."""
    questions = _Questions(predictor)
    known: dict[str, int] = {}
    for trial in chosen:
        record = results.records.get(trial.key)
        if record is None or record["simulated_violated"] is not None:
            continue
        same = f"{trial.network}#{trial.question} {json.dumps(record['paths'], sort_keys=True)}"
        if same not in known:
            known[same] = simulated_violated(record, questions.get(trial.network, trial.question), simulator)
        results.keep({**record, "simulated_violated": known[same]})
        report(f"simulated {trial.key}")


class _Questions:
    """The question last asked for, drawn once."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._last: tuple[str, int, Question] | None = None
        self._allowed: dict[float | None, int | None] = {}

    def get(self, network: str, number: int) -> Question:
        """The question of that number on that network."""
        if self._last is None or self._last[:2] != (network, number):
            self._last = (network, number, held_out_question(network, number, self._predictor))
            self._allowed = {}
        return self._last[2]

    def changes_allowed(self, part: float | None) -> int | None:
        """How many demands may change in the question last asked for."""
        assert self._last is not None
        if part not in self._allowed:
            self._allowed[part] = changes_allowed(self._last[2], part, self._predictor)
        return self._allowed[part]


def summary(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per time limit and method what is left, and how it compares on the same question and seed.

    ``better``, ``worse`` count trials against the local search, ``untrained_...`` the trained policy against the
    ranking that it started from.  ``sign_test`` is the two-sided probability that so uneven a count comes of chance.
    """
    records = list(records)
    rows = []
    for limit in sorted({record["time_limit_s"] for record in records if record["method"] != "shortest-path"}):
        for method in METHODS:
            mine = [
                record
                for record in records
                if record["method"] == method and (record["time_limit_s"] == limit or method == "shortest-path")
            ]
            if not mine:
                continue
            simulated = [record["simulated_violated"] for record in mine]
            compared = method not in ("shortest-path", "local-search")
            better, worse = _compared(mine, records if compared else [], "local-search")
            untrained = _compared(mine, records, UNTRAINED[method]) if method in UNTRAINED else None
            rows.append(
                {
                    "time_limit_s": limit,
                    "method": method,
                    "trials": len(mine),
                    "violated": float(np.mean([record["violated"] for record in mine])),
                    "answered": float(np.mean([record["violated"] == 0 for record in mine])),
                    "simulated_violated": None if None in simulated else float(np.mean(simulated)),
                    "max_utilisation": float(np.mean([record["max_utilisation"] for record in mine])),
                    "changed": float(np.mean([record["changed"] for record in mine])),
                    "seconds": float(np.mean([record["seconds"] for record in mine])),
                    "better": better,
                    "worse": worse,
                    "sign_test": _sign_test(better, worse),
                    "untrained_better": None if untrained is None else untrained[0],
                    "untrained_worse": None if untrained is None else untrained[1],
                    "untrained_sign_test": None if untrained is None else _sign_test(*untrained),
                }
            )
    return rows


def _compared(mine: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]], other: str) -> tuple[int, int]:
    """How many of these trials left less, and how many left more, than another method on the same question."""

    def place(record: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(record[name] for name in ("network", "question", "seed", "time_limit_s"))

    others = {place(record): _rank(record) for record in records if record["method"] == other}
    pairs = [(_rank(record), others[place(record)]) for record in mine if place(record) in others]
    return sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)


def _rank(record: dict[str, Any]) -> float:
    """The violation score, rounded so that only real differences count."""
    violation: float = record["violation"]
    return round(violation, 6)


def _sign_test(better: int, worse: int) -> float:
    count = better + worse
    tail = sum(math.comb(count, wins) for wins in range(min(better, worse) + 1))
    return min(1.0, float(2 * tail / 2**count))
