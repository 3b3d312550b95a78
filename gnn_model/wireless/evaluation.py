"""Side by side on the same layouts: WCGCN, the hybrid, WMMSE after more and fewer iterations, and simple methods.

Rates are those of ``rates.sum_rate`` in 64 bits for all.  Times are processor time of one thread (the wall clock of an
otherwise idle machine), median over many runs, each method in the number format that suits it best (32 bits), from the
gains as they lie in memory to the powers; what the model computes as features, and the choice of its best output, is
part of it.  On a GPU the wall clock is taken around a synchronised region.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnn_model.wireless.baselines import fplinq, full_power, greedy
from gnn_model.wireless.channel import Setting, generate
from gnn_model.wireless.model_file import TrainedModel
from gnn_model.wireless.rates import sum_rate
from gnn_model.wireless.solving import solve
from gnn_model.wireless.wmmse import random_starts, wmmse
from topology_sync.values import FloatArray

ITERATIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
REFERENCE = "wmmse_100"
BEST_ITERATIONS = 500
TIMED_LAYOUTS = 16
TIMED_RUNS = 5


@dataclass(frozen=True)
class EvaluationSettings:
    """One row of the evaluation: ``layouts`` layouts of ``links`` links."""

    links: int
    layouts: int
    seed: int = 2021
    best_of: int = 10
    setting: Setting = field(default_factory=Setting)
    distances_only: bool = False
    weighted: bool = False
    timed: bool = True


@dataclass(frozen=True)
class Seconds:
    """Time per layout, ``single``: one layout at a time, ``batch``: many layouts in one call."""

    single: float
    batch: float


@dataclass(frozen=True)
class SizeResult:
    """Mean (weighted) sum rates in bit/s/Hz, times, and the ratios' standard errors, by method.

    ``wmmse_N``: N iterations from random powers, ``wmmse_full_N``: from full power, ``wmmse_best``: the best of
    ``best_of`` random starts with 500 iterations.
    """

    settings: EvaluationSettings
    rates: dict[str, float]
    errors: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, Seconds] = field(default_factory=dict)


@dataclass(frozen=True)
class _Question:
    """The layouts in the forms the methods want them: 64 bits to judge, 32 bits to solve."""

    true: FloatArray
    seen: Any
    seen_tensor: Tensor
    weights: FloatArray | None
    weights_single: Any
    weights_tensor: Tensor | None


def evaluate_size(settings: EvaluationSettings, trained: TrainedModel) -> SizeResult:
    """Evaluate all methods at one size.  With ``distances_only`` only the reference sees the channels."""
    question = _question(settings)
    methods = _methods(settings, question, trained)
    per_layout = {name: _judge(question, method()) for name, method in methods.items()}
    reference = per_layout[REFERENCE]
    rates = {name: float(found.mean()) for name, found in per_layout.items()}
    errors = {name: _error(found, reference) for name, found in per_layout.items()}
    seconds = _times(settings, question, trained) if settings.timed else {}
    return SizeResult(settings, rates, errors, seconds)


def _question(settings: EvaluationSettings) -> _Question:
    drawn = generate(settings.setting, settings.links, settings.layouts, settings.seed)
    seen = (drawn.median_gains if settings.distances_only else drawn.gains).astype(np.float32)
    weights = None
    if settings.weighted:
        weights = np.random.default_rng((settings.seed, 1)).uniform(0.05, 1.0, seen.shape[:2])
    single = None if weights is None else weights.astype(np.float32)
    tensor = None if single is None else torch.from_numpy(single)
    return _Question(drawn.gains, seen, torch.from_numpy(seen), weights, single, tensor)


def _methods(
    settings: EvaluationSettings, question: _Question, trained: TrainedModel
) -> dict[str, Callable[[], FloatArray]]:
    layouts, links = question.true.shape[:2]
    true, weights = question.true.astype(np.float32), question.weights_single
    started = random_starts(layouts, max(1, settings.best_of), links, settings.seed).astype(np.float32)
    full = np.ones((layouts, 1, links), dtype=np.float32)
    methods: dict[str, Callable[[], FloatArray]] = {
        "full_power": lambda: full_power(question.true),
        REFERENCE: lambda: wmmse(true, started[:, :1], 100, weights),
        "wcgcn": lambda: _by_model(trained, question, False),
        "hybrid": lambda: _by_model(trained, question, True),
    }
    if not settings.weighted:
        methods |= {"greedy": lambda: greedy(question.seen), "fplinq": lambda: fplinq(question.seen)}
    for count in ITERATIONS:
        methods[f"wmmse_full_{count}"] = lambda count=count: wmmse(question.seen, full, count, weights)  # type: ignore[misc]
    if settings.best_of:
        methods["wmmse_best"] = lambda: wmmse(true, started, BEST_ITERATIONS, weights)
    return methods


def _by_model(trained: TrainedModel, question: _Question, refine: bool) -> FloatArray:
    found = solve(trained.model, question.seen_tensor, question.weights_tensor, refine)
    return np.asarray(found.double().numpy())


def _judge(question: _Question, powers: FloatArray) -> FloatArray:
    """(Weighted) sum rate of every layout in the true channels."""
    powers = np.asarray(powers, dtype=np.float64)
    if powers.min() < 0.0 or powers.max() > 1.0:
        raise ValueError("a method gave powers outside 0 to 1")
    return sum_rate(question.true, powers, question.weights)


def _error(found: FloatArray, reference: FloatArray) -> float:
    """Standard error of the ratio of two means over the same layouts (first order)."""
    if len(found) < 2:
        return 0.0
    ratio = found.mean() / reference.mean()
    return float((found - ratio * reference).std(ddof=1) / reference.mean() / np.sqrt(len(found)))


def _times(settings: EvaluationSettings, question: _Question, trained: TrainedModel) -> dict[str, Seconds]:
    """Time per layout of the model and of WMMSE, in turns so that all meet the same disturbances."""
    links = settings.links
    count = min(TIMED_LAYOUTS, settings.layouts)
    gains, tensor = question.seen[:count], question.seen_tensor[:count]
    weights, weights_tensor = question.weights_single, question.weights_tensor
    full = np.ones((count, 1, links), dtype=np.float32)
    starts = random_starts(count, max(1, settings.best_of), links, settings.seed).astype(np.float32)

    def by_model(refine: bool) -> Callable[[slice], object]:
        return lambda rows: solve(
            trained.model, tensor[rows], None if weights_tensor is None else weights_tensor[:count][rows], refine
        )

    def by_wmmse(start: Any, iterations: int) -> Callable[[slice], object]:
        return lambda rows: wmmse(
            gains[rows], start[rows], iterations, None if weights is None else weights[:count][rows]
        )

    methods = {"wcgcn": by_model(False), "hybrid": by_model(True)}
    methods |= {f"wmmse_full_{iterations}": by_wmmse(full, iterations) for iterations in ITERATIONS}
    if settings.best_of:
        methods["wmmse_best"] = by_wmmse(starts, BEST_ITERATIONS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measured(methods, count)
    finally:
        torch.set_num_threads(threads)


def _measured(methods: dict[str, Callable[[slice], object]], count: int) -> dict[str, Seconds]:
    single: dict[str, list[float]] = {name: [] for name in methods}
    batch: dict[str, list[float]] = {name: [] for name in methods}
    every = slice(0, count)
    for run in range(TIMED_RUNS + 1):
        for name, method in methods.items():
            alone = [_processor_s(method, slice(index, index + 1)) for index in range(min(count, 4))]
            together = _processor_s(method, every) / count
            if run > 0:  # the first is for warming up
                single[name] += alone
                batch[name].append(together)
    found = {name: Seconds(statistics.median(single[name]), statistics.median(batch[name])) for name in methods}
    found[REFERENCE] = found["wmmse_full_100"]  # the start does not change the time
    return found


def _processor_s(method: Callable[[slice], object], rows: slice) -> float:
    started = time.process_time()
    method(rows)
    return time.process_time() - started


def equal_quality(result: SizeResult, method: str) -> dict[str, float] | None:
    """The fastest WMMSE that is at least as good as ``method``: its rate and times; None where none is that good."""
    good = [name for name, rate in result.rates.items() if name.startswith("wmmse") and rate >= result.rates[method]]
    timed = [name for name in good if name in result.seconds]
    if not timed:
        return None
    fastest = min(timed, key=lambda name: result.seconds[name].batch)
    took = result.seconds[fastest]
    return {"by": fastest, "rate": result.rates[fastest], "single": took.single, "batch": took.batch}  # type: ignore[dict-item]


def result_to_json(result: SizeResult) -> dict[str, Any]:
    """One entry of ``sizes`` of ``routewright wireless evaluate --json``."""
    reference, best = result.rates[REFERENCE], result.rates.get("wmmse_best")
    entry: dict[str, Any] = {
        "links": result.settings.links,
        "layouts": result.settings.layouts,
        "wcgcn_to_wmmse": result.rates["wcgcn"] / reference,
        "hybrid_to_wmmse": result.rates["hybrid"] / reference,
        "wcgcn_to_wmmse_error": result.errors["wcgcn"],
        "hybrid_to_wmmse_error": result.errors["hybrid"],
        "wcgcn_to_best": None if best is None else result.rates["wcgcn"] / best,
        "hybrid_to_best": None if best is None else result.rates["hybrid"] / best,
        "sum_rates_bit_s_hz": result.rates,
    }
    if result.seconds:
        shown = {"wcgcn": "wcgcn", "hybrid": "hybrid", "wmmse": REFERENCE}
        entry["seconds_per_layout"] = {name: result.seconds[method].batch for name, method in shown.items()}
        entry["seconds_single"] = {name: seconds.single for name, seconds in result.seconds.items()}
        entry["seconds_batch"] = {name: seconds.batch for name, seconds in result.seconds.items()}
        entry["wmmse_of_equal_quality"] = {name: equal_quality(result, name) for name in ("wcgcn", "hybrid")}
    return entry
