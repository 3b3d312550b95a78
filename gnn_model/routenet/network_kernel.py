"""The network's layers for the processor: products of small blocks by BLAS, everything between them in one pass.

A block of rows stays in the first-level cache from its product through gates and activations.  Weights come transposed
[inputs, outputs], all 32 bits.  Every function works on a range, so that threads can share the rows; results do not
depend on how they are shared.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gnn_model.compiled import kernel
from gnn_model.vector_math_kernel import F32, sigmoid32, tanh32

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@kernel
def linear(rows: int, values: Floats, weight: Floats, bias: Floats, result: Floats) -> None:
    """``values`` [n, inputs] -> ``result`` [n, outputs]."""
    for first in range(0, len(values), rows):
        last = min(first + rows, len(values))
        np.dot(values[first:last], weight, result[first:last])
        for row in range(first, last):
            for column in range(len(bias)):
                result[row, column] += bias[column]


@kernel
def perceptron(
    rows: int,
    values: Floats,
    weight_1: Floats,
    bias_1: Floats,
    weight_2: Floats,
    bias_2: Floats,
    bounded: bool,
    result: Floats,
) -> None:
    """Linear, SiLU, linear and, where ``bounded``, tanh."""
    hidden = np.empty((rows, weight_1.shape[1]), F32)
    for first in range(0, len(values), rows):
        last = min(first + rows, len(values))
        count = last - first
        np.dot(values[first:last], weight_1, hidden[:count])
        for row in range(count):
            for column in range(len(bias_1)):
                value = hidden[row, column] + bias_1[column]
                hidden[row, column] = value * sigmoid32(value)
        np.dot(hidden[:count], weight_2, result[first:last])
        for row in range(first, last):
            if bounded:
                for column in range(len(bias_2)):
                    result[row, column] = tanh32(result[row, column] + bias_2[column])
            else:
                for column in range(len(bias_2)):
                    result[row, column] += bias_2[column]


@kernel
def scan(
    rows: int,
    begin: int,
    end: int,
    order: Ints,
    hop_pointer: Ints,
    hop_queue: Ints,
    hop_features: Floats,
    queue_input: Floats,
    feature_weight: Floats,
    weight: Floats,
    bias: Floats,
    state: Floats,
    messages: Floats,
) -> None:
    """Gated recurrent unit along the paths ``order[begin:end]``, longest first: see ``path_scan``.

    ``queue_input`` [queues, 3 width] holds the projected queues and every bias that is simply added.  ``state`` [paths,
    width] is changed in place, ``messages`` [hops, width] gets the state after every hop.
    """
    width = state.shape[1]
    gates = np.empty((rows, 3 * width), F32)
    product = np.empty((rows, 3 * width), F32)
    hidden = np.empty((rows, width), F32)
    for first in range(begin, end, rows):
        count = min(rows, end - first)
        for row in range(count):
            hidden[row] = state[order[first + row]]
        position = 0
        while True:
            while (
                count > 0
                and hop_pointer[order[first + count - 1]] + position >= hop_pointer[order[first + count - 1] + 1]
            ):
                count -= 1
                state[order[first + count]] = hidden[count]
            if count == 0:
                break
            np.dot(hidden[:count], weight, product[:count])
            for row in range(count):
                hop = hop_pointer[order[first + row]] + position
                queue = hop_queue[hop]
                gate, linear_part, here = gates[row], product[row], hidden[row]
                for column in range(3 * width):
                    gate[column] = queue_input[queue, column]
                for feature in range(hop_features.shape[1]):
                    value = hop_features[hop, feature]
                    for column in range(3 * width):
                        gate[column] += value * feature_weight[feature, column]
                for column in range(2 * width):
                    gate[column] = sigmoid32(gate[column] + linear_part[column])
                for column in range(width):
                    last = linear_part[2 * width + column] + bias[2 * width + column]
                    new = tanh32(gate[2 * width + column] + gate[column] * last)
                    new = new + gate[width + column] * (here[column] - new)
                    here[column] = new
                    messages[hop, column] = new
            position += 1


@kernel
def weighted_sum(hop_queue: Ints, hop_weight: Floats, messages: Floats, result: Floats) -> None:
    """What the messages [hops, width] come to in every queue: ``result`` [queues, width]."""
    result[:] = 0.0
    for hop in range(len(hop_queue)):
        weight, queue = hop_weight[hop], hop_queue[hop]
        for column in range(result.shape[1]):
            result[queue, column] += weight * messages[hop, column]


@kernel
def plain_sum(target: Ints, values: Floats, result: Floats) -> None:
    """Rows of ``values`` added up by ``target``."""
    result[:] = 0.0
    for row in range(len(target)):
        for column in range(result.shape[1]):
            result[target[row], column] += values[row, column]


@kernel
def recurrent_cell(
    rows: int,
    inputs: Floats,
    state: Floats,
    input_weight: Floats,
    input_bias: Floats,
    weight: Floats,
    bias: Floats,
    result: Floats,
) -> None:
    """One step of a gated recurrent unit, gates in the order r, z, n."""
    width = state.shape[1]
    given, product = np.empty((rows, 3 * width), F32), np.empty((rows, 3 * width), F32)
    for first in range(0, len(state), rows):
        last = min(first + rows, len(state))
        np.dot(inputs[first:last], input_weight, given[: last - first])
        np.dot(state[first:last], weight, product[: last - first])
        for row in range(last - first):
            x, u = given[row], product[row]
            for column in range(2 * width):
                x[column] = sigmoid32(x[column] + input_bias[column] + u[column] + bias[column])
            for column in range(width):
                rest = u[2 * width + column] + bias[2 * width + column]
                new = tanh32(x[2 * width + column] + input_bias[2 * width + column] + x[column] * rest)
                result[first + row, column] = new + x[width + column] * (state[first + row, column] - new)


@kernel
def hop_perceptron(
    rows: int,
    begin: int,
    end: int,
    hop_queue: Ints,
    messages: Floats,
    queue_part: Floats,
    weight_1: Floats,
    weight_2: Floats,
    bias_2: Floats,
    result: Floats,
) -> None:
    """Perceptron of [message, queue state] for hops ``begin:end``; ``queue_part`` is the queue's half and bias."""
    hidden = np.empty((rows, weight_1.shape[1]), F32)
    for first in range(begin, end, rows):
        last = min(first + rows, end)
        np.dot(messages[first:last], weight_1, hidden[: last - first])
        for row in range(last - first):
            queue = hop_queue[first + row]
            for column in range(hidden.shape[1]):
                value = hidden[row, column] + queue_part[queue, column]
                hidden[row, column] = value * sigmoid32(value)
        np.dot(hidden[: last - first], weight_2, result[first:last])
        for row in range(first, last):
            for column in range(len(bias_2)):
                result[row, column] += bias_2[column]
