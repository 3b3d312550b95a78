"""Judging moves that touch few demands without predicting the whole network again.

:class:`RoutingJudge` holds a routing that a predictor has judged in full: its fixed point and, for a learned predictor,
what it corrected.  A move is judged by ``incremental_kernel``: the analytic fixed point is followed from the ports on
old and new paths to wherever losses carry the change, down to ``tolerance``; with tolerance 0 it is followed everywhere
and the analytic answer is that of a full prediction.  What was learned is carried over: every hop keeps its correction
of the wait, every demand those of tail, jitter and loss; what has been learned about the new path of a demand that
moves is asked for (``Held.probe``).  ``accept`` predicts in full again, so these corrections are never older than the
routing held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from gnn_model.analytic_delay import DelayStatistics
from gnn_model.analytic_fixed_point import (
    BURSTS_TOLERANCE,
    MAXIMUM_ROUNDS,
    SLOW_PROGRESS,
    SMALLEST_STEP,
    TOLERANCE,
    Shared,
    Solution,
)
from gnn_model.analytic_layout import Layout
from gnn_model.predictor import MoveEffects, Prediction
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, IntArray

if TYPE_CHECKING:
    from gnn_model import moves_kernel

Move = Mapping[int, Sequence[PathShare]]
FOLLOWED = 1e-3  # a queue whose loss or load changes by less (absolute, relative) does not pass the change on
ESTIMATE_TOLERANCE, ESTIMATE_ROUNDS = 1e-5, 20  # where the fixed point of an estimate stops
FACTOR_LIMITS = (0.02, 50.0)
RATIO_LIMITS = (0.1, 10.0)
LOSS_FLOOR = 1e-6
LOSS_LIMIT = 1.5  # of the logarithm of a correction of loss
MOVES_PER_PART = 16
PROBED_AT_ONCE = 128  # demands: more would change by their number what the network is told of shares in queues


@dataclass(frozen=True)
class AddedPaths:
    """Paths side by side: ``demand`` and ``share`` [paths], hops ``pointer[p]:pointer[p + 1]`` with queue and link."""

    demand: IntArray
    share: FloatArray
    pointer: IntArray
    queue: IntArray
    link: IntArray

    def part(self, first: int, last: int) -> AddedPaths:
        """Some of them."""
        hops = slice(int(self.pointer[first]), int(self.pointer[last]))
        pointer = self.pointer[first : last + 1] - self.pointer[first]
        return AddedPaths(self.demand[first:last], self.share[first:last], pointer, self.queue[hops], self.link[hops])


@dataclass(frozen=True)
class Corrections:
    """Predicted over analytic values: of waits [hops], of what the 99th percentile is beyond the mean and of jitter
    [demands]; ``loss_excess`` [demands] is predicted loss over analytic, less one.
    """

    hop_factor: FloatArray
    tail_ratio: FloatArray
    jitter_ratio: FloatArray
    loss_excess: FloatArray

    @classmethod
    def between(cls, hop_factor: FloatArray, said: DelayStatistics, analytic: DelayStatistics) -> Corrections:
        """What lies between two statements about the same demands [demands]."""
        mine, theirs = np.maximum(analytic.loss_ratio, LOSS_FLOOR), np.maximum(said.loss_ratio, LOSS_FLOOR)
        return cls(
            np.clip(hop_factor, *FACTOR_LIMITS),
            _ratio(said.p99_s - said.mean_s, analytic.p99_s - analytic.mean_s),
            _ratio(said.jitter_s, analytic.jitter_s),
            np.expm1(np.clip(np.log(theirs / mine), -LOSS_LIMIT, LOSS_LIMIT)),
        )


@dataclass(frozen=True)
class Held:
    """A routing judged in full: what the analytic predictor solved, and what the predictor itself says.

    ``analytic`` is the analytic prediction of the same routing (the same object where nothing is learned);
    ``hop_factor`` [hops] is the predicted wait over the analytic one at every hop of the layout; ``probe`` says what
    has been learned about other paths (None: nothing).
    """

    scenario: Scenario
    shared: Shared
    layout: Layout
    solution: Solution
    prediction: Prediction
    analytic: Prediction
    hop_factor: FloatArray
    probe: Callable[[AddedPaths, IntArray], Corrections] | None = None


class RoutingJudge:
    """Judges moves against one routing.  Not to be used from several threads at once; it uses ``threads`` itself."""

    def __init__(
        self, scenario: Scenario, hold: Callable[[Scenario], Held], threads: int = 1, tolerance: float = FOLLOWED
    ) -> None:
        self._hold = hold
        self._tolerance = tolerance
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._take(hold(scenario))

    @property
    def routing(self) -> Routing:
        """The routing that moves start from."""
        return self._held.scenario.routing

    @property
    def prediction(self) -> Prediction:
        """The full prediction of that routing."""
        return self._held.prediction

    def accept(self, move: Move) -> Prediction:
        """Carry a move out and predict in full."""
        held = self._held
        self._take(self._hold(held.scenario.with_routing(held.scenario.routing.with_changes(move))))
        return self._held.prediction

    def judge(self, moves: Sequence[Move]) -> MoveEffects:
        """What each move alone would change; the routing held stays as it is."""
        if not moves:
            return MoveEffects(np.zeros(1, np.int64), np.zeros(0, np.int64), *(np.zeros(0),) * 4)
        laid_out = _LaidOut.of(moves, self._queue_of)
        learned = self._learned_of(laid_out)
        for_kernel = laid_out.for_kernel(learned.hop_factor)
        threads = min(self._threads, max(len(moves) // MOVES_PER_PART, 1))
        bounds = np.linspace(0, len(moves), threads + 1).astype(int).tolist()
        parts = list(zip(bounds[:-1], bounds[1:], range(threads), strict=True))
        if self._pool is None or threads == 1:
            results = [self._judge(for_kernel, *part) for part in parts]
        else:
            results = list(self._pool.map(lambda part: self._judge(for_kernel, *part), parts))
        counts, demands, values = (np.concatenate(rows) for rows in zip(*results, strict=True))
        return self._corrected(laid_out, learned, counts, demands, values)

    def _judge(
        self, moves: moves_kernel.Moves, begin: int, end: int, thread: int
    ) -> tuple[IntArray, IntArray, FloatArray]:
        from gnn_model import demand_kernel, followed_kernel, incremental_kernel

        estimate = self._tolerance > 0
        limits = followed_kernel.Limits(
            rounds=ESTIMATE_ROUNDS if estimate else MAXIMUM_ROUNDS,
            tolerance=self._tolerance,
            fixed_point_tolerance=ESTIMATE_TOLERANCE if estimate else TOLERANCE,
            bursts_tolerance=BURSTS_TOLERANCE,
            slow_progress=SLOW_PROGRESS,
            smallest_step=SMALLEST_STEP,
        )
        room = (end - begin) * 64 + 4 * self._demand_count
        while True:
            judged = incremental_kernel.Judged(
                np.zeros(len(moves.pointer) - 1, np.int64),
                np.empty(room, np.int64),
                np.empty((room, demand_kernel.VALUES)),
            )
            found = incremental_kernel.judge_moves(
                self._network,
                self._base,
                self._workspaces[thread],
                begin,
                end,
                moves,
                limits,
                judged,
            )
            if found >= 0:
                return judged.counts[begin:end], judged.demand[:found], judged.values[:found]
            room *= 4

    def _learned_of(self, moves: _LaidOut) -> Corrections:
        """What has been learned about the paths that demands move to, hops and demands in the moves' order."""
        probe = self._held.probe
        entries = len(moves.demand)
        if probe is None:
            ones = np.ones(entries)
            return Corrections(np.ones(len(moves.paths.queue)), ones, ones, np.zeros(entries))
        paths_of = np.diff(moves.path_pointer)
        found = []
        for first in range(0, entries, PROBED_AT_ONCE):
            last = min(first + PROBED_AT_ONCE, entries)
            part = moves.paths.part(int(moves.path_pointer[first]), int(moves.path_pointer[last]))
            found.append(probe(part, np.repeat(np.arange(last - first), paths_of[first:last])))
        return Corrections(
            *(np.concatenate([getattr(part, field.name) for part in found]) for field in fields(Corrections))
        )

    def _corrected(
        self, moves: _LaidOut, learned: Corrections, counts: IntArray, demands: IntArray, values: FloatArray
    ) -> MoveEffects:
        pointer = np.concatenate([[0], np.cumsum(counts)])
        offset, tail = self._delay_offset[demands], self._present.tail_ratio[demands]
        jitter, excess = self._present.jitter_ratio[demands], self._present.loss_excess[demands]
        # The first ones of every move are those that moved, in the move's order.
        starts = np.repeat(pointer[:-1], np.diff(moves.pointer))
        moved = starts + np.arange(len(starts)) - np.repeat(moves.pointer[:-1], np.diff(moves.pointer))
        offset[moved], tail[moved] = 0.0, learned.tail_ratio
        jitter[moved], excess[moved] = learned.jitter_ratio, learned.loss_excess
        delay = values[:, 0] + offset
        p99 = delay + values[:, 1] * tail
        if self._held.probe is not None:
            p99 = np.maximum(p99, delay)  # as learned predictions are
        loss = values[:, 3] + np.maximum(values[:, 3], LOSS_FLOOR) * excess
        return MoveEffects(pointer, demands, delay, p99, values[:, 2] * jitter, np.clip(loss, 0.0, 1.0))

    def _take(self, held: Held) -> None:
        from gnn_model import analytic_kernel, moves_kernel, path_kernel

        self._held = held
        scenario, shared, layout, solution = held.scenario, held.shared, held.layout, held.solution
        topology, traffic = scenario.topology, scenario.traffic
        flows, ports = shared.flows, shared.ports
        demand, pointer = layout.path_demand, layout.hop_pointer
        queue_count, demand_count = shared.links * shared.queues, traffic.demand_count
        self._demand_count = demand_count
        hop_path = np.repeat(np.arange(len(demand)), np.diff(pointer))
        queue_hops = np.argsort(layout.flat_queue, kind="stable")
        demand_paths = np.argsort(demand, kind="stable")
        queue_pointer = _pointer(layout.flat_queue, queue_count)
        link_queue = scenario.topology.link_source  # the queue of a class is chosen by the scheduler of the sender
        queue_of = np.array(
            [[scheduler.queue_of(name) for name in traffic.class_names] for scheduler in topology.schedulers],
            dtype=np.int64,
        )
        self._queue_of = _QueueOf(
            (np.arange(topology.link_count)[:, None] * shared.queues + queue_of[link_queue]), traffic.traffic_class
        )

        state, waits = solution.state, solution.waits
        traffic_table = _table(*(getattr(solution.traffic, name) for name in solution.traffic.__dataclass_fields__))
        state_table = _table(
            state.service_s, state.offered, state.share, state.ratio, state.variability, state.room, state.loss
        )
        waits_table = _table(*(getattr(waits, name) for name in waits.__dataclass_fields__))
        memory = np.empty((queue_count, path_kernel.MEMORY))
        ratio = state.ratio.reshape(-1)
        path_kernel.queue_memory(np.minimum(ratio, 1 / ratio), waits_table, memory)
        loss = np.ascontiguousarray(state.loss.reshape(-1))
        sums, rate = np.zeros((queue_count, 5)), np.empty(len(layout.flat_queue))
        powers = shared.powers
        analytic_kernel.walk_paths(
            pointer,
            layout.flat_queue,
            flows.packets_per_s[demand] * layout.share,
            powers[demand],
            loss,
            rate,
            sums,
            np.empty(len(demand)),
        )
        self._network = moves_kernel.Network(
            capacity=ports.capacity_bps,
            port_room=ports.room,
            strict=ports.strict,
            weighted=ports.weighted,
            share_values=shared.share_values,
            bit_time_s=1 / topology.capacity_bps,
            propagation_s=topology.delay_s,
            flow_rate=flows.packets_per_s,
            powers=powers,
            bursts=shared.burst_rows,
            constant_spacing=flows.constant_spacing,
            bits=flows.bits,
            second=flows.second,
            third=flows.third,
            size_difference_ratio=flows.size_difference_ratio,
            spacing_ratio=flows.spacing_ratio,
            demand_pointer=_pointer(demand, demand_count),
            demand_paths=demand_paths,
            path_demand=demand,
            path_share=layout.share,
            hop_pointer=pointer,
            hop_queue=layout.flat_queue,
            hop_link=layout.flat_link,
            hop_path=hop_path,
            hop_factor=held.hop_factor,
            queue_pointer=queue_pointer,
            queue_hops=queue_hops,
            queue_bursts=np.ascontiguousarray(shared.burst_rows[:, demand[hop_path[queue_hops]]]),
            poisson=flows.bursts.poisson,
            two_terms=bool(flows.bursts.weight[:, 1].any()),
        )
        self._base = moves_kernel.Workspace(
            sums=sums,
            traffic=traffic_table,
            state=state_table,
            busy=np.ascontiguousarray(state.busy.reshape(-1)),
            waits=waits_table,
            memory=memory,
            loss=loss,
            bursts=np.ascontiguousarray(solution.traffic.dispersion.reshape(-1)),
            rate=rate,
        )
        self._workspaces = [
            moves_kernel.Workspace(*(table.copy() for table in self._base)) for _ in range(self._threads)
        ]
        self._learn(held, waits_table[:, 1], hop_path)

    def _learn(self, held: Held, wait_s: FloatArray, hop_path: IntArray) -> None:
        """What the predictor says beyond the analytic values: per demand an offset, ratios and an excess."""
        layout, analytic, said = held.layout, held.analytic, held.prediction
        survival = held.solution.survival
        demand_count = self._demand_count
        weight = layout.share * np.maximum(survival, 1e-12)
        weight = weight / np.bincount(layout.path_demand, weights=weight, minlength=demand_count)[layout.path_demand]
        extra = (held.hop_factor - 1) * wait_s[layout.flat_queue] * weight[hop_path]
        corrected = analytic.delay_s + np.bincount(layout.path_demand[hop_path], weights=extra, minlength=demand_count)
        self._delay_offset = said.delay_s - corrected
        if held.probe is None:
            ones = np.ones(demand_count)
            self._present = Corrections(held.hop_factor, ones, ones, np.zeros(demand_count))
        else:
            self._present = Corrections.between(held.hop_factor, _statistics(said), _statistics(analytic))


@dataclass(frozen=True)
class _QueueOf:
    """``at`` [links, classes]: the queue of a class at a link; ``traffic_class`` [demands]."""

    at: IntArray
    traffic_class: IntArray


@dataclass(frozen=True)
class _LaidOut:
    """Moves one after the other, see ``moves_kernel.Moves``: entries are demands that move."""

    pointer: IntArray  # [moves + 1]
    demand: IntArray  # [entries]
    path_pointer: IntArray  # [entries + 1]
    paths: AddedPaths

    @classmethod
    def of(cls, moves: Sequence[Move], queue_of: _QueueOf) -> _LaidOut:
        entries = [(demand, paths) for move in moves for demand, paths in move.items()]
        paths = list(chain.from_iterable(paths for _, paths in entries))
        demand = np.array([demand for demand, _ in entries], dtype=np.int64)
        paths_of = np.array([len(paths) for _, paths in entries], dtype=np.int64)
        hops_of = np.array([len(path.links) for path in paths], dtype=np.int64)
        link = np.fromiter(chain.from_iterable(path.links for path in paths), dtype=np.int64)
        path_demand = np.repeat(demand, paths_of)
        return cls(
            pointer=_cumulated(np.array([len(move) for move in moves], dtype=np.int64)),
            demand=demand,
            path_pointer=_cumulated(paths_of),
            paths=AddedPaths(
                demand=path_demand,
                share=np.array([path.share for path in paths], dtype=np.float64),
                pointer=_cumulated(hops_of),
                queue=queue_of.at[link, queue_of.traffic_class[np.repeat(path_demand, hops_of)]],
                link=link,
            ),
        )

    def for_kernel(self, hop_factor: FloatArray) -> moves_kernel.Moves:
        """The same with the predicted wait over the analytic one at every hop, [hops]."""
        from gnn_model import moves_kernel

        paths = self.paths
        return moves_kernel.Moves(
            pointer=self.pointer,
            demand=self.demand,
            path_pointer=self.path_pointer,
            path_demand=paths.demand,
            share=paths.share,
            hop_pointer=paths.pointer,
            hop_path=np.repeat(np.arange(len(paths.demand)), np.diff(paths.pointer)),
            queue=paths.queue,
            link=paths.link,
            factor=hop_factor,
        )


def _cumulated(counts: IntArray) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _pointer(values: IntArray, count: int) -> IntArray:
    return _cumulated(np.bincount(values, minlength=count).astype(np.int64))


def _table(*columns: FloatArray) -> FloatArray:
    return np.stack([np.asarray(column, dtype=np.float64).reshape(-1) for column in columns], axis=1)


def _statistics(prediction: Prediction) -> DelayStatistics:
    return DelayStatistics(prediction.delay_s, prediction.delay_p99_s, prediction.jitter_s, prediction.loss_ratio)


def _ratio(said: FloatArray, analytic: FloatArray) -> FloatArray:
    some = analytic > 0
    result: FloatArray = np.where(some, np.clip(said / np.where(some, analytic, 1.0), *RATIO_LIMITS), 1.0)
    return result
