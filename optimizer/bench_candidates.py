"""``routewright bench candidates``: moves judged per second, in full and incrementally, and the estimates' error."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer

from gnn_model.command_options import JsonOption
from gnn_model.predictor import IncrementalPredictor, MoveEffects, Prediction, Predictor
from optimizer.goals import GoalTable, predicted_violation
from optimizer.move_judging import CLOSELY_ONE_IN
from optimizer.screening import Move
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray

FULL_BATCH = 16
PROMISED_QUANTILE = 0.8  # of the 99th percentiles of a class: a fifth of its demands misses the goal at first
PROMISED_LOSS = 1e-3
NOTICEABLE = 1e-3  # relative changes by more than this are told apart
BEST = 10
Asked = Sequence[Mapping[int, Sequence[PathShare]]]
Effects = TypeVar("Effects", MoveEffects, MoveEffects | None)
FIELDS = ("delay_s", "delay_p99_s", "jitter_s")


def register_bench(group: typer.Typer) -> None:
    """Add to the ``bench`` group, which other rooms share."""
    group.command("candidates")(candidates)


def candidates(
    nodes: Annotated[int, typer.Option(help="50, 100, 200 or 300.")] = 50,
    moves: Annotated[int, typer.Option(min=BEST, max=100_000, help="Moves of one demand each.")] = 256,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads to compute with.")] = 2,
    load: Annotated[float, typer.Option(min=0.05, max=5.0, help="Of the fullest link.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the moves.")] = 1,
    report: Annotated[Path | None, typer.Option(help="Write the figures (JSON) here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Candidates judged per second, full and incremental, and the incremental judge's error against full."""
    import json

    from gnn_model.bench_scenarios import NETWORK_OF
    from topology_sync.errors import InputError
    from topology_sync.output_files import check_output, write_output

    if nodes not in NETWORK_OF:
        raise InputError("--nodes", f"{nodes} is no size of this bench", f"give one of {list(NETWORK_OF)}")
    if report is not None:
        check_output(report)
    figures = measure(nodes, moves, threads, load, seed, lambda line: typer.echo(line, err=True))
    if report is not None:
        write_output(report, json.dumps(figures, indent=1) + "\n")
    typer.echo(json.dumps(figures) if as_json else table(figures))


def measure(
    nodes: int, count: int, threads: int, load: float, seed: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Speed and error of both predictors on a network with every scheduler and on one with FIFO and Poisson traffic."""
    from gnn_model.analytic import AnalyticPredictor
    from gnn_model.bench_scenarios import NETWORK_OF, mixed_scenario, single_moves
    from gnn_model.gnn_predictor import GnnPredictor

    learned = GnnPredictor(threads=threads)
    rows = []
    for plain in (False, True):
        scenario = mixed_scenario(nodes, load, plain=plain)
        moves = [Move(demand, paths) for demand, paths in islice(single_moves(scenario, seed), count)]
        for predictor in (AnalyticPredictor(threads), learned):
            traffic = "FIFO, Poisson" if plain else "all schedulers and sources"
            progress(f"{nodes} nodes, {traffic}, {predictor.name}")
            rows += [
                {"traffic": traffic, "predictor": predictor.name, **row} for row in _rows(scenario, predictor, moves)
            ]
    return {
        "nodes": nodes,
        "network": NETWORK_OF[nodes],
        "threads": threads,
        "moves": count,
        "load": load,
        "rows": rows,
    }


def _rows(scenario: Scenario, predictor: Predictor, moves: Sequence[Move]) -> list[dict[str, Any]]:
    """One row per way of judging: all moves estimated, the best of them judged closely too, all judged closely."""
    assert isinstance(predictor, IncrementalPredictor)
    judge = predictor.judge_of(scenario)
    if judge is None:
        return []
    routings = [scenario.routing.with_changes({move.demand: move.paths}) for move in moves]
    predictor.predict_batch(scenario, routings[:FULL_BATCH])
    started = time.perf_counter()
    full = [
        prediction
        for first in range(0, len(routings), FULL_BATCH)
        for prediction in predictor.predict_batch(scenario, routings[first : first + FULL_BATCH])
    ]
    full_s = time.perf_counter() - started
    asked = [{move.demand: move.paths} for move in moves]
    present, table = judge.prediction, _goals(scenario, judge.prediction)
    wanted = np.array([predicted_violation(prediction, table) for prediction in full])

    def row(way: str, seconds: float, reached: float, found: list[Prediction]) -> dict[str, Any]:
        scores = np.array([predicted_violation(prediction, table) for prediction in found])
        return {
            "way": way,
            "full_per_s": len(moves) / full_s,
            "incremental_per_s": len(moves) / seconds,
            "demands_reached": reached,
            **_errors(present, found, full, moves),
            "violation": _scores(predicted_violation(present, table), scores, wanted),
        }

    def applied(effects: MoveEffects) -> list[Prediction]:
        return [effects.applied(index, present) for index in range(len(effects.pointer) - 1)]

    estimates, estimate_s = _timed(judge.judge, asked)
    found = applied(estimates)
    rows = [row("estimated", estimate_s, len(estimates.demand) / len(moves), found)]
    closely, closely_s = _timed(judge.judge_closely, asked)
    if closely is not None:
        scores = np.array([predicted_violation(prediction, table) for prediction in found])
        likely = np.argsort(np.round(scores, 9), kind="stable")[: len(moves) // CLOSELY_ONE_IN].tolist()
        some, some_s = _timed(judge.judge_closely, [asked[index] for index in likely])
        assert some is not None
        mixed = list(found)
        for index, prediction in zip(likely, applied(some), strict=True):
            mixed[index] = prediction
        reached = (len(estimates.demand) + len(some.demand)) / len(moves)
        rows.append(row(f"best {len(likely)} closely", estimate_s + some_s, reached, mixed))
        rows.append(row("all closely", closely_s, len(closely.demand) / len(moves), applied(closely)))
    return rows


def _timed(judge: Callable[[Asked], Effects], asked: Asked) -> tuple[Effects, float]:
    """The answer, and the least seconds of three."""
    effects = judge(asked[:FULL_BATCH])
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        effects = judge(asked)
        seconds.append(time.perf_counter() - started)
    return effects, min(seconds)


def _errors(
    present: Prediction, found: Sequence[Prediction], full: Sequence[Prediction], moves: Sequence[Move]
) -> dict[str, Any]:
    """Relative error of delays where a move changes them noticeably and of demands that moved; absolute of loss."""
    result: dict[str, Any] = {}
    for name in FIELDS:
        before = getattr(present, name)
        errors, changes, moved = [], [], []
        for index, wanted in enumerate(full):
            error = np.abs(getattr(found[index], name) / getattr(wanted, name) - 1)
            change = np.abs(getattr(wanted, name) / before - 1)
            noticed = change > NOTICEABLE
            errors.append(error[noticed])
            changes.append(change[noticed])
            moved.append(error[moves[index].demand])
        result[name] = {
            "change": _spread(np.concatenate(changes)),
            "error": _spread(np.concatenate(errors)),
            "moved": _spread(np.array(moved)),
        }
    losses = [np.abs(mine.loss_ratio - wanted.loss_ratio) for mine, wanted in zip(found, full, strict=True)]
    result["loss_ratio"] = {"error": _spread(np.concatenate(losses))}
    return result


def _scores(start: float, found: FloatArray, wanted: FloatArray) -> dict[str, Any]:
    """How moves are ordered by the violation score, [moves]: judged against predicted in full."""
    best = set(np.argsort(wanted, kind="stable")[:BEST].tolist())
    order = np.argsort(found, kind="stable")
    error = np.abs(found - wanted)
    return {
        "start": start,
        "change": _spread(np.abs(wanted - start)),
        "error": _spread(error),
        "rank_correlation": float(np.corrcoef(_ranks(found), _ranks(wanted))[0, 1]),
        "best_in_first": {str(k): len(best & set(order[:k].tolist())) for k in (BEST, 2 * BEST)},
        "best_found_first": bool(wanted[order[0]] <= wanted.min() + 1e-9),
    }


def _goals(scenario: Scenario, present: Prediction) -> GoalTable:
    """Goals that a fifth of every class misses at first.

    Each lies between two predictions: a demand exactly at its goal would miss it after every move that changes its last
    digit.
    """
    traffic = scenario.traffic
    limit = np.full((3, traffic.demand_count), np.inf)
    for number in range(len(traffic.class_names)):
        of_class = traffic.traffic_class == number
        if of_class.any():
            sorted_s = np.sort(present.delay_p99_s[of_class])
            kept = min(int(np.ceil(PROMISED_QUANTILE * len(sorted_s))), len(sorted_s) - 1)
            limit[0, of_class] = (sorted_s[max(kept - 1, 0)] + sorted_s[kept]) / 2
    limit[2] = PROMISED_LOSS
    return GoalTable(limit, np.full(traffic.demand_count, 99.0), (traffic.rate_bps > 0).astype(np.float64))


def _ranks(values: FloatArray) -> FloatArray:
    _, place, counts = np.unique(np.round(values, 9), return_inverse=True, return_counts=True)
    result: FloatArray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return result


def _spread(values: FloatArray) -> dict[str, float]:
    if not len(values):
        return {"median": 0.0, "p90": 0.0, "p99": 0.0}
    return {name: float(np.quantile(values, part)) for name, part in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))}


def table(figures: dict[str, Any]) -> str:
    """The figures as markdown."""
    lines = [
        f"{figures['nodes']} nodes ({figures['network']}), load {figures['load']:g}, {figures['moves']} moves of one "
        f"demand, {figures['threads']} threads.",
        "",
        "| traffic | predictor | moves | full/s | incremental/s | demands reached | mean delay: change, error (p90) % "
        "| p99: error (p90) % | moved: mean, p99 (p90) % | rank correlation | best 10 in first 10 / 20 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        mean, p99, score = row["delay_s"], row["delay_p99_s"], row["violation"]
        first = score["best_in_first"]
        lines.append(
            f"| {row['traffic']} | {row['predictor']} | {row['way']} | {row['full_per_s']:.0f} "
            f"| {row['incremental_per_s']:.0f} | {row['demands_reached']:.0f} "
            f"| {_percent(mean['change']['median'])}, {_pair(mean['error'])} "
            f"| {_pair(p99['error'])} | {_pair(mean['moved'])}, {_pair(p99['moved'])} "
            f"| {score['rank_correlation']:.3f} | {first[str(BEST)]} / {first[str(2 * BEST)]} |"
        )
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{100 * value:.2g}"


def _pair(spread: dict[str, float]) -> str:
    return f"{_percent(spread['median'])} ({_percent(spread['p90'])})"
