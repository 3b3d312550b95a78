"""The same network as :class:`gnn_model.routenet.model.RouteNet`, run on the processor several times as fast.

Weights and shapes are read from the torch model, which stays the reference: it is what is trained and what runs on
CUDA.  The formulas of the readout are shared (``Readout.combine``); only layers are computed here
(``network_kernel``).  Results agree to 32-bit rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gnn_model.graph_tensors import GraphTensors
from gnn_model.routenet import network_kernel
from gnn_model.routenet.batch import GraphBatch, side_by_side
from gnn_model.routenet.model import RouteNet
from gnn_model.routenet.readout import PathPrediction
from topology_sync.values import IntArray

Floats = npt.NDArray[np.float32]
PRODUCT_SIZE = 200_000  # multiplications of one block: BLAS starts threads of its own beyond 262,144
MOST_ROWS = 64
PATHS_PER_PART = 1024  # fewer are not worth handing to another thread


@dataclass(frozen=True)
class NetworkStates:
    """What the network holds of a graph after its rounds, for those who go on from there.

    ``queue_inputs``: [queues, 3 width] of every round, the projected queues that paths read; ``gathered`` [queues,
    width] of every round but the last, what paths told queues; ``path_start`` [paths, width] before the last round;
    ``queue_state`` [queues, width] after the rounds; and what the perceptrons of the readout say, ``hop_outputs``
    [hops, ...] and ``path_outputs`` [paths, ...].
    """

    queue_inputs: tuple[Floats, ...]
    gathered: tuple[Floats, ...]
    path_start: Floats
    queue_state: Floats
    hop_outputs: Floats
    path_outputs: Floats


class Engine:
    """Runs one graph at a time.  Holds nothing that changes: one instance may be used from any thread."""

    def __init__(self, model: RouteNet) -> None:
        """Raises TypeError where the model is built of other layers than this engine knows."""
        self._model = model
        self.width = model.config.width
        self._rounds = model.config.rounds
        self._path_encoder = _Perceptron.of(model.path_encoder)
        self._queue_encoder = _Perceptron.of(model.queue_encoder)
        self._link_encoder = _Perceptron.of(model.link_encoder)
        message = model.message
        self._queue_weight = _transposed(message.queue_projection.weight)
        self._feature_weight = _transposed(message.hop_projection.weight)
        self._recurrent_weight = _transposed(message.recurrence.weight)
        self._recurrent_bias = _values(message.recurrence.bias)
        # Biases of r and z are simply added; that of n stands inside the product with r.
        added = _values(message.hop_projection.bias).copy()
        added[: 2 * self.width] += self._recurrent_bias[: 2 * self.width]
        self._added_bias = added
        self._link_cell = _Cell.of(model.link_update.cell)
        self._queue_cell = _Cell.of(model.queue_update.cell)
        hop = _Perceptron.of(model.readout.hop)
        if len(hop.weight_1) != 2 * self.width or len(_Perceptron.of(model.readout.path).weight_1) != self.width:
            raise TypeError("the readout has inputs that the engine does not know")
        self._hop_weight, self._hop_queue_weight = hop.weight_1[: self.width], hop.weight_1[self.width :]
        self._hop = hop
        self._path = _Perceptron.of(model.readout.path)
        self._scan_rows = self._rows(3 * self.width, self.width)

    def run(self, graph: GraphTensors, pool: ThreadPoolExecutor | None = None) -> tuple[GraphBatch, PathPrediction]:
        """Predict all paths of a graph, in its own order; ``pool``: threads to share the paths with."""
        batch = side_by_side(graph)
        return batch, self.combine(self.states(graph, pool), batch)

    def combine(self, states: NetworkStates, batch: GraphBatch) -> PathPrediction:
        """The readout's formulas."""
        with torch.inference_mode():
            hop, path = torch.from_numpy(states.hop_outputs), torch.from_numpy(states.path_outputs)
            predicted: PathPrediction = self._model.readout.combine(hop, path, batch)
        return predicted

    def along(self, graph: GraphTensors, known: IntArray, others: NetworkStates) -> NetworkStates:
        """Paths that read queues which stay as another graph's states have them.

        ``known`` are the rows of the graph's queues that the others have, in their order; queues that they lack stay as
        they are encoded.
        """
        queue_state = self._queue_encoder(graph.queue_features, bounded=True)
        queue_input = self._queue_input(queue_state)
        walk = self._walk(graph, None)
        start = walk.path_state
        for given in others.queue_inputs:
            queue_input[known] = given
            start = walk.path_state.copy()
            walk.read(queue_input)
        queue_state[known] = others.queue_state
        return self._read_out(walk, queue_state, others.queue_inputs, (), start)

    def changed_queues(
        self, queue_features: Floats, link_features: Floats, queue_link: IntArray, gathered: Sequence[Floats]
    ) -> tuple[list[Floats], Floats]:
        """Queues of changed ports that are told the same by their paths: ``queue_inputs`` and ``queue_state``."""
        queue_state = self._queue_encoder(queue_features, bounded=True)
        link_state = self._link_encoder(link_features, bounded=True)
        inputs = [self._queue_input(queue_state)]
        for told in gathered:
            link_state, queue_state = self._updated(queue_link, told, link_state, queue_state)
            inputs.append(self._queue_input(queue_state))
        return inputs, queue_state

    def resumed(
        self, graph: GraphTensors, path_start: Floats, queue_inputs: Sequence[Floats], queue_state: Floats
    ) -> NetworkStates:
        """Read paths along queues in these states: the first ones in the last round alone, from ``path_start``."""
        walk = self._walk(graph, None)
        held = len(path_start)
        added = replace(walk, order=walk.order[walk.order >= held], parts=[(0, graph.path_count - held)])
        for queue_input in queue_inputs[:-1]:
            added.read(queue_input)
        walk.path_state[:held] = path_start
        start = walk.path_state.copy()
        walk.read(queue_inputs[-1])
        return self._read_out(walk, queue_state, tuple(queue_inputs), (), start)

    def states(self, graph: GraphTensors, pool: ThreadPoolExecutor | None = None) -> NetworkStates:
        """Encoders, rounds and the readout's perceptrons."""
        queue_state = self._queue_encoder(graph.queue_features, bounded=True)
        link_state = self._link_encoder(graph.link_features, bounded=True)
        walk = self._walk(graph, pool)
        inputs: list[Floats] = []
        gathered: list[Floats] = []
        start = walk.path_state
        for round_number in range(self._rounds):
            inputs.append(self._queue_input(queue_state))
            start = walk.path_state.copy()
            walk.read(inputs[-1])
            if round_number + 1 < self._rounds:
                gathered.append(np.empty_like(queue_state))
                network_kernel.weighted_sum(graph.hop_queue, graph.hop_weight, walk.messages, gathered[-1])
                link_state, queue_state = self._updated(graph.queue_link, gathered[-1], link_state, queue_state)
        return self._read_out(walk, queue_state, tuple(inputs), tuple(gathered), start)

    def _queue_input(self, queue_state: Floats) -> Floats:
        result = np.empty((len(queue_state), 3 * self.width), np.float32)
        network_kernel.linear(self._scan_rows, queue_state, self._queue_weight, self._added_bias, result)
        return result

    def _updated(
        self, queue_link: IntArray, gathered: Floats, link_state: Floats, queue_state: Floats
    ) -> tuple[Floats, Floats]:
        """Links from their queues, then queues from what they were told and from their links."""
        from_queues = np.empty_like(link_state)
        network_kernel.plain_sum(queue_link, queue_state, from_queues)
        link_state = self._link_cell(from_queues, link_state)
        return link_state, self._queue_cell(np.concatenate([gathered, link_state[queue_link]], axis=1), queue_state)

    def _walk(self, graph: GraphTensors, pool: ThreadPoolExecutor | None) -> _Walk:
        lengths = np.diff(graph.hop_pointer)
        # Longest first; as 16 bits this is sorted digit by digit.
        order = np.argsort((int(lengths.max(initial=0)) - lengths).astype(np.uint16), kind="stable")
        path_state = self._path_encoder(graph.path_features, bounded=True)
        messages = np.zeros((len(graph.hop_queue), self.width), np.float32)
        return _Walk(self, graph, order, _parts(lengths[order], pool), pool, path_state, messages)

    def _read_out(
        self,
        walk: _Walk,
        queue_state: Floats,
        inputs: tuple[Floats, ...],
        gathered: tuple[Floats, ...],
        path_start: Floats,
    ) -> NetworkStates:
        hop_queue = walk.graph.hop_queue
        hop_outputs = np.empty((len(hop_queue), len(self._hop.bias_2)), np.float32)
        queue_part = np.empty((len(queue_state), len(self._hop.bias_1)), np.float32)
        network_kernel.linear(self._scan_rows, queue_state, self._hop_queue_weight, self._hop.bias_1, queue_part)

        def read_out(begin: int, end: int) -> None:
            network_kernel.hop_perceptron(
                self._scan_rows,
                begin,
                end,
                hop_queue,
                walk.messages,
                queue_part,
                self._hop_weight,
                self._hop.weight_2,
                self._hop.bias_2,
                hop_outputs,
            )

        _shared(read_out, _parts(np.ones(len(hop_queue), np.int64), walk.pool), walk.pool)
        path_outputs = self._path(walk.path_state, bounded=False)
        return NetworkStates(inputs, gathered, path_start, queue_state, hop_outputs, path_outputs)

    @staticmethod
    def _rows(outputs: int, inputs: int) -> int:
        return int(np.clip(PRODUCT_SIZE // max(outputs * inputs, 1), 4, MOST_ROWS))


@dataclass(frozen=True)
class _Walk:
    """Paths of a graph being read round by round: their states and what they say at every hop."""

    engine: Engine
    graph: GraphTensors
    order: IntArray
    parts: list[tuple[int, int]]
    pool: ThreadPoolExecutor | None
    path_state: Floats
    messages: Floats

    def read(self, queue_input: Floats) -> None:
        """One round along all paths."""
        _shared(lambda begin, end: self._read(queue_input, begin, end), self.parts, self.pool)

    def _read(self, queue_input: Floats, begin: int, end: int) -> None:
        engine = self.engine
        network_kernel.scan(
            engine._scan_rows,
            begin,
            end,
            self.order,
            self.graph.hop_pointer,
            self.graph.hop_queue,
            self.graph.hop_features,
            queue_input,
            engine._feature_weight,
            engine._recurrent_weight,
            engine._recurrent_bias,
            self.path_state,
            self.messages,
        )


@dataclass(frozen=True)
class _Perceptron:
    """Linear, SiLU, linear and perhaps tanh."""

    weight_1: Floats
    bias_1: Floats
    weight_2: Floats
    bias_2: Floats

    @classmethod
    def of(cls, layers: nn.Module) -> _Perceptron:
        kinds = [type(layer) for layer in layers.children()]
        if kinds[:3] != [nn.Linear, nn.SiLU, nn.Linear] or kinds[3:] not in ([], [nn.Tanh]):
            raise TypeError(f"a perceptron of {[kind.__name__ for kind in kinds]} is not known to the engine")
        first, last = layers[0], layers[2]  # type: ignore[index]
        return cls(_transposed(first.weight), _values(first.bias), _transposed(last.weight), _values(last.bias))

    def __call__(self, values: Floats, bounded: bool) -> Floats:
        result = np.empty((len(values), len(self.bias_2)), np.float32)
        rows = Engine._rows(max(self.weight_1.shape[1], self.weight_2.shape[1]), len(self.weight_1))
        network_kernel.perceptron(
            rows,
            np.ascontiguousarray(values),
            self.weight_1,
            self.bias_1,
            self.weight_2,
            self.bias_2,
            bounded,
            result,
        )
        return result


@dataclass(frozen=True)
class _Cell:
    input_weight: Floats
    input_bias: Floats
    weight: Floats
    bias: Floats

    @classmethod
    def of(cls, cell: nn.Module) -> _Cell:
        if type(cell) is not nn.GRUCell:
            raise TypeError(f"a cell of kind {type(cell).__name__} is not known to the engine")
        return cls(
            _transposed(cell.weight_ih), _values(cell.bias_ih), _transposed(cell.weight_hh), _values(cell.bias_hh)
        )

    def __call__(self, inputs: Floats, state: Floats) -> Floats:
        result = np.empty_like(state)
        rows = Engine._rows(self.weight.shape[1], len(self.input_weight))
        network_kernel.recurrent_cell(
            rows, inputs, state, self.input_weight, self.input_bias, self.weight, self.bias, result
        )
        return result


def _parts(cost: npt.NDArray[np.int64], pool: ThreadPoolExecutor | None) -> list[tuple[int, int]]:
    """Ranges of about equal cost, one per thread."""
    count = len(cost)
    threads = 1 if pool is None else min(pool._max_workers, max(count // PATHS_PER_PART, 1))
    if threads == 1:
        return [(0, count)]
    total = np.cumsum(cost)
    cuts = np.searchsorted(total, total[-1] * np.arange(1, threads) / threads).tolist()
    bounds = [0, *cuts, count]
    return list(pairwise(bounds))


def _shared(
    work: Callable[[int, int], None], parts: Sequence[tuple[int, int]], pool: ThreadPoolExecutor | None
) -> None:
    """Do the parts, the first one in this thread."""
    waiting = [pool.submit(work, *part) for part in parts[1:]] if pool is not None else []
    work(*parts[0])
    for future in waiting:
        future.result()


def _values(tensor: Tensor) -> Floats:
    result: Floats = np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
    return result


def _transposed(tensor: Tensor) -> Floats:
    result: Floats = np.ascontiguousarray(tensor.detach().cpu().numpy().T, dtype=np.float32)
    return result
