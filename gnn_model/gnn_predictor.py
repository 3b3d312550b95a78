"""The learned predictor: RouteNet on the analytic fixed point, behind the protocol that all predictors share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gnn_model.acceleration import COMPILED
from gnn_model.analytic_delay import DelayStatistics, PathDelays
from gnn_model.analytic_fixed_point import Solution
from gnn_model.configurations import Configuration, in_parts, rescheduled
from gnn_model.graph_tensors import GraphTensors, tensors_of_solved
from gnn_model.incremental import FACTOR_LIMITS, AddedPaths, Corrections, Held, RoutingJudge
from gnn_model.model_file import SHIPPED, load_model
from gnn_model.path_probe import PathProbe
from gnn_model.predictor import Prediction
from gnn_model.routenet.batch import GraphBatch, collate, side_by_side
from gnn_model.routenet.engine import Engine
from gnn_model.routenet.model import RouteNet
from gnn_model.routenet.readout import NORMAL_99, PathPrediction
from gnn_model.solved_routing import RoutingSolver, SolvedRouting
from gnn_model.validity import Envelope
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler
from topology_sync.values import FloatArray, IntArray, float_array

HOPS_AT_ONCE = 8_000  # hops of candidates that torch runs together: more fall out of the processor's cache
LEAST_LOSS_PER_HOP = 1e-6  # no label shows less; a promise of no loss could never be kept if it were predicted
HOPS_AT_ONCE_GPU = 512_000  # a GPU is idle below some hundred thousand hops


class _Candidate(NamedTuple):
    """A routing to be predicted, and the question (by number) that it belongs to."""

    question: int
    scenario: Scenario
    solver: RoutingSolver
    routing: Routing


class _Solved(NamedTuple):
    """A candidate whose fixed point is known, and the question (by number) that it belongs to."""

    question: int
    scenario: Scenario
    routing: SolvedRouting
    graph: GraphTensors


class GnnPredictor:
    """Loads its weights once; predicting changes nothing, so one instance may be used from any thread.

    On the processor the network is run by :class:`gnn_model.routenet.engine.Engine`, candidates side by side on
    ``threads`` threads (default: as many as there are processors); a prediction does not depend on their number.
    """

    name = "gnn"

    def __init__(self, weights: Path = SHIPPED, threads: int | None = None, device: str = "cpu") -> None:
        """Raises ModelFileError (one line) where the weights are missing, damaged or not for this version."""
        model, self.card = load_model(weights)
        self._use(model.to(torch.device(device)), threads)

    @classmethod
    def of_model(cls, model: RouteNet, threads: int | None = None, engine: bool = True) -> GnnPredictor:
        """A predictor of a model in memory, without a card; without ``engine`` torch runs it, on the model's device."""
        predictor = cls.__new__(cls)
        predictor.card = {}
        predictor._use(model.eval(), threads, engine)
        return predictor

    @cached_property
    def envelope(self) -> Envelope | None:
        """The ranges of inputs that the model was trained on, where its card says them."""
        return Envelope.from_json(self.card["ranges"], "ranges of the model") if "ranges" in self.card else None

    def _use(self, model: RouteNet, threads: int | None, engine: bool = True) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._engine = Engine(model) if engine and self._device.type == "cpu" and COMPILED else None
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._threads) if self._engine is not None and self._threads > 1 else None

    @property
    def device(self) -> str:
        """Where the network runs: ``cpu`` or ``cuda``."""
        return self._device.type

    def predict(self, scenario: Scenario) -> Prediction:
        """Predict one scenario as it stands.  Demands with rate 0 get what a packet of theirs would see."""
        return self.predict_batch(scenario, [scenario.routing])[0]

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Predict each candidate routing; a prediction does not depend on the other candidates."""
        return self.predict_many([(scenario, candidates)])[0]

    @property
    def model(self) -> RouteNet:
        """The torch model behind."""
        return self._model

    def prepare(self, scenario: Scenario, candidates: Sequence[Routing]) -> GraphBatch:
        """The candidates as the network's input, side by side."""
        solver = RoutingSolver.of(scenario)
        return collate([tensors_of_solved(scenario, solver.solve(candidate)) for candidate in candidates])

    def judge_of(self, scenario: Scenario) -> RoutingJudge | None:
        """A judge of moves that follows the fixed point and carries what was learned about the routing it holds."""
        if not COMPILED:
            return None
        engine = self._engine or Engine(self._model)
        return RoutingJudge(scenario, lambda held: _hold(held, engine, self._pool), self._threads)

    def predict_many(self, questions: Sequence[tuple[Scenario, Sequence[Routing]]]) -> list[list[Prediction]]:
        """Predict the candidates of several scenarios, all of them side by side; one list per scenario."""
        work = [
            _Candidate(number, scenario, solver, candidate)
            for number, (scenario, candidates) in enumerate(questions)
            for solver in (RoutingSolver.of(scenario),)
            for candidate in candidates
        ]
        return self._answers(work, len(questions))

    def predict_configurations(self, scenario: Scenario, candidates: Sequence[Configuration]) -> list[Prediction]:
        """Predict each candidate; what does not depend on schedulers is worked out once."""
        base = RoutingSolver.of(scenario)
        return in_parts(lambda part: self._rescheduled(scenario, base, part), candidates)

    def _rescheduled(
        self, scenario: Scenario, base: RoutingSolver, candidates: Sequence[Configuration]
    ) -> list[Prediction]:
        solvers: dict[tuple[Scheduler, ...], tuple[Scenario, RoutingSolver]] = {}
        for schedulers in dict.fromkeys(candidate.schedulers for candidate in candidates):
            other = rescheduled(scenario, schedulers)
            solvers[schedulers] = other, base if other is scenario else base.rescheduled(other)
        work = [_Candidate(0, *solvers[candidate.schedulers], candidate.routing) for candidate in candidates]
        return self._answers(work, 1)[0]

    def _answers(self, work: list[_Candidate], questions: int) -> list[list[Prediction]]:
        answers: list[list[Prediction]] = [[] for _ in range(questions)]
        engine, pool = self._engine, self._pool
        if engine is None:
            self._by_torch(work, answers)
            return answers

        def one(item: _Candidate, helpers: ThreadPoolExecutor | None) -> Prediction:
            solved = item.solver.solve(item.routing, helpers)
            graph = tensors_of_solved(item.scenario, solved)
            batch, predicted = engine.run(graph, helpers)
            return _prediction(item.scenario, solved, graph, _in_order(batch, predicted))

        if pool is None or len(work) < 2:
            predictions = [one(item, pool) for item in work]
        else:
            predictions = list(pool.map(lambda item: one(item, None), work))
        for item, prediction in zip(work, predictions, strict=True):
            answers[item.question].append(prediction)
        return answers

    def _by_torch(self, work: list[_Candidate], answers: list[list[Prediction]]) -> None:
        waiting: list[_Solved] = []
        hops = 0
        at_once = HOPS_AT_ONCE if self._device.type == "cpu" else HOPS_AT_ONCE_GPU
        for item in work:
            solved = item.solver.solve(item.routing)
            graph = tensors_of_solved(item.scenario, solved)
            if waiting and hops + len(graph.hop_queue) > at_once:
                self._run(waiting, answers)
                waiting, hops = [], 0
            waiting.append(_Solved(item.question, item.scenario, solved, graph))
            hops += len(graph.hop_queue)
        if waiting:
            self._run(waiting, answers)

    def _run(self, solved: list[_Solved], answers: list[list[Prediction]]) -> None:
        batch = collate([item.graph for item in solved])
        with torch.inference_mode():
            predicted: PathPrediction = self._model(batch.to(self._device))
        columns = _in_order(batch, predicted)
        bounds = np.cumsum([0, *(item.graph.path_count for item in solved)])
        for item, start, end in zip(solved, bounds[:-1], bounds[1:], strict=True):
            paths = {name: values[start:end] for name, values in columns.items()}
            answers[item.question].append(_prediction(item.scenario, item.routing, item.graph, paths))


def _hold(scenario: Scenario, engine: Engine, pool: ThreadPoolExecutor | None) -> Held:
    solver = RoutingSolver.of(scenario)
    solved = solver.solve(scenario.routing, pool)
    graph = tensors_of_solved(scenario, solved)
    states = engine.states(graph, pool)
    batch = side_by_side(graph)
    predicted = engine.combine(states, batch)
    said = _prediction(scenario, solved, graph, _in_order(batch, predicted))
    statistics = solved.paths.demands(solved.layout, scenario.traffic.demand_count)
    analytic = replace(
        said,
        delay_s=statistics.mean_s[0],
        delay_p99_s=statistics.p99_s[0],
        jitter_s=statistics.jitter_s[0],
        loss_ratio=statistics.loss_ratio[0],
    )
    probe = PathProbe(scenario, solver.shared, solved, graph, engine, states)
    return Held(
        scenario,
        solver.shared,
        solved.layout,
        Solution(solved.traffic, solved.state, solved.waits, solved.paths.survival),
        said,
        analytic,
        np.clip(_factor(solved, predicted.hop_wait.double().numpy() * graph.unit_s), *FACTOR_LIMITS),
        lambda added, entry: _corrections(probe, added, entry),
    )


def _corrections(probe: PathProbe, added: AddedPaths, entry: IntArray) -> Corrections:
    found = probe.read(added, entry)
    count = int(entry[-1]) + 1
    said = _statistics(found.solved, found.graph, _in_order(found.batch, found.predicted), count)
    analytic = found.solved.paths.demands(found.solved.layout, count)
    return Corrections.between(_factor(found.solved, found.hop_wait_s), _alone(said), _alone(analytic))


def _alone(statistics: DelayStatistics) -> DelayStatistics:
    """Of the only candidate, [demands]."""
    return DelayStatistics(*(getattr(statistics, field.name)[0] for field in fields(statistics)))


def _factor(solved: SolvedRouting, hop_wait_s: FloatArray) -> FloatArray:
    """Predicted over analytic wait at every hop."""
    analytic = solved.waits.mean_s.reshape(-1)[solved.layout.flat_queue]
    result: FloatArray = np.where(analytic > 0, hop_wait_s / np.where(analytic > 0, analytic, 1.0), 1.0)
    return result


def _in_order(batch: GraphBatch, predicted: PathPrediction) -> dict[str, FloatArray]:
    place = np.argsort(batch.order.numpy(), kind="stable")
    with torch.inference_mode():
        columns = {"p99": predicted.quantile(NORMAL_99)}
    columns |= {name: getattr(predicted, name) for name in ("mean", "deviation", "skew", "jitter", "loss")}
    return {name: values.double().cpu().numpy()[place] for name, values in columns.items()}


def _statistics(
    solved: SolvedRouting, graph: GraphTensors, paths: dict[str, FloatArray], demand_count: int
) -> DelayStatistics:
    """Paths put together to demands, [1, demands]."""
    delays = PathDelays(
        paths["mean"] * graph.unit_s,
        paths["deviation"] * graph.unit_s,
        paths["skew"],
        paths["jitter"] * graph.unit_s,
        np.where(paths["loss"] < LEAST_LOSS_PER_HOP * np.diff(solved.layout.hop_pointer), 1.0, 1 - paths["loss"]),
    )
    demands = delays.demands(solved.layout, demand_count)
    stretched = delays.stretched(paths["p99"] * graph.unit_s).demands(solved.layout, demand_count)
    return replace(demands, p99_s=np.maximum(stretched.p99_s, demands.mean_s))


def _prediction(
    scenario: Scenario, solved: SolvedRouting, graph: GraphTensors, paths: dict[str, FloatArray]
) -> Prediction:
    demands = _statistics(solved, graph, paths, scenario.traffic.demand_count)
    # Link values stay those of the fixed point: the network corrects what flows see.
    carried = (solved.state.offered * (1 - solved.state.loss)).sum(axis=-1)[0]
    arriving = solved.traffic.packets_per_s.sum(axis=-1)[0]
    lost = (solved.traffic.packets_per_s * solved.state.loss).sum(axis=-1)[0]
    some = arriving > 0
    return Prediction(
        delay_s=float_array(demands.mean_s[0]),
        delay_p99_s=float_array(demands.p99_s[0]),
        jitter_s=float_array(demands.jitter_s[0]),
        loss_ratio=float_array(demands.loss_ratio[0]),
        link_utilisation_ratio=float_array(np.minimum(carried, 1.0)),
        link_loss_ratio=float_array(np.where(some, lost / np.where(some, arriving, 1.0), 0.0)),
    )
