"""Every single link failure of a network, one after the other or over several processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnn_model.figure_files import save_figure
from gnn_model.predictor import Predictor
from gnn_model.worker_processes import worker_processes
from optimizer.local_search import SearchLimits
from optimizer.what_if import Changes, FallbackKind
from optimizer.what_if_answer import Situation, answer_question, situation_before, situation_json
from optimizer.what_if_changes import all_cables
from topology_sync.errors import UnavailableError
from topology_sync.scenario import Scenario

MakePredictor = Callable[[], tuple[Predictor, Predictor]]


@dataclass(frozen=True, eq=False)
class FailureQuestion:
    """What is asked of every failure.  ``make_predictors`` gives the judge and the one used while searching; it is
    called once in every process, so it must be a function of a module.
    """

    scenario: Scenario
    make_predictors: MakePredictor
    fallback: FallbackKind = "bypass"
    limits: SearchLimits | None = None


@dataclass(eq=False)
class _Worker:
    question: FailureQuestion
    judge: Predictor
    searcher: Predictor
    before: Situation

    @classmethod
    def of(cls, question: FailureQuestion) -> _Worker:
        judge, searcher = question.make_predictors()
        return cls(question, judge, searcher, situation_before(question.scenario, judge))

    def row(self, cable: tuple[int, ...]) -> dict[str, Any]:
        """One failure's row of the survival table."""
        began = time.perf_counter()
        question = self.question
        changes = Changes(failed_links=frozenset(cable))
        answer = answer_question(self.before, changes, self.judge, question.fallback, question.limits, self.searcher)
        topology = question.scenario.topology
        names = topology.node_names
        after = answer.after
        row = {
            "link": [names[int(ends[cable[0]])] for ends in (topology.link_source, topology.link_target)],
            **situation_json(after),
            "cut_off": int((after.lost_share >= 1.0).sum()),
            "unreachable": len(answer.unreachable),
            "detoured": len(answer.fallback.rerouted),
            "reoptimized": None,
        }
        if answer.reoptimised is not None:
            row["reoptimized"] = {
                **situation_json(answer.reoptimised),
                "changed_demands": len(answer.changed),
                "search_s": answer.search_s,
            }
        return {**row, "seconds": time.perf_counter() - began}


_worker: _Worker | None = None  # of a process of the pool


def _prepare(question: FailureQuestion) -> None:
    global _worker
    _worker = _Worker.of(question)


def _row(cable: tuple[int, ...]) -> dict[str, Any]:
    assert _worker is not None
    return _worker.row(cable)


def failure_rows(
    question: FailureQuestion, processes: int, cables: Sequence[tuple[int, ...]] | None = None
) -> Iterator[dict[str, Any]]:
    """A row for each cable in the order of ``all_cables``; the same rows (times apart) for any number of processes."""
    cables = all_cables(question.scenario.topology) if cables is None else list(cables)
    if min(processes, len(cables)) <= 1:
        worker = _Worker.of(question)
        yield from map(worker.row, cables)
        return
    try:
        with worker_processes(min(processes, len(cables)), _prepare, (question,)) as pool:
            for row in [pool.submit(_row, cable) for cable in cables]:
                yield row.result()
    except BrokenProcessPool:
        problem = "a worker process ended without a word (killed, or out of memory)"
        raise UnavailableError(f"{problem}; try fewer --processes") from None


def survival(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many failures the network survives by itself and re-optimised, see ``survives``."""
    searched = [(row, row["reoptimized"]) for row in rows if row["reoptimized"] is not None]
    return {
        "failures": len(rows),
        "survived": sum(1 for row in rows if survives(row, row["cut_off"])),
        "survived_reoptimized": sum(1 for row, found in searched if survives(found, row["unreachable"])),
        "reoptimized": len(searched),
    }


def survives(situation: dict[str, Any], lost: int) -> bool:
    """Nothing is cut off and every goal is met; where nothing is promised, no link is offered more than it carries."""
    promised = any(entry["sla"] is not None for entry in situation["classes"])
    kept = not situation["violated"] if promised else bool(situation["max_utilisation"] <= 1.0)
    return kept and not lost


def draw_survival(rows: Sequence[dict[str, Any]], title: str, file: Path) -> None:
    """Violated demands and fullest link after each failure, worst first.  Raises InputError."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "routewright"
    rows = sorted(rows, key=lambda row: (-row["violated"], -row["max_utilisation"]))
    searched = any(row["reoptimized"] for row in rows)
    width = max(7.0, 0.16 * len(rows) + 2)
    figure, (upper, lower) = pyplot.subplots(2, 1, figsize=(width, 6), sharex=True)
    place = range(len(rows))
    for axes, key, label in (
        (upper, "violated", "demands that miss a goal"),
        (lower, "max_utilisation", "fullest link"),
    ):
        bar = 0.4 if searched else 0.8
        axes.bar([x - (bar / 2 if searched else 0) for x in place], [row[key] for row in rows], bar, label="by itself")
        if searched:
            values = [(row["reoptimized"] or row)[key] for row in rows]
            axes.bar([x + bar / 2 for x in place], values, bar, label="re-optimised", color="tab:green")
        axes.set_ylabel(label)
        axes.grid(axis="y", alpha=0.3)
    lower.axhline(1.0, color="tab:red", lw=0.8, ls="--")
    upper.set_ylim(0, max(upper.get_ylim()[1], 1.0))  # also where nobody misses a goal
    upper.legend(frameon=False)
    upper.set_title(title)
    lower.set_xticks(list(place), ["-".join(row["link"]) for row in rows], rotation=90, fontsize=7)
    lower.set_xlim(-0.8, len(rows) - 0.2)
    figure.tight_layout()
    try:
        save_figure(figure, file)
    finally:
        pyplot.close(figure)
