"""One recurrent pass along all paths at once, with its own backward pass.

The cell is the gated recurrent unit of Cho et al. (2014) with the reset gate after the product, as in PyTorch:

    r = sigmoid(x_r + U_r h + b_r)    z = sigmoid(x_z + U_z h + b_z)    n = tanh(x_n + r (U_n h + b_n))    h' = n + z
    (h - n)

The input ``x`` is the projected state of the queue (computed once per queue, then gathered) plus the projected
features of the hop.  A hand-written backward pass saves the bookkeeping of one small operation after the other: it
needs about half the time of automatic differentiation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _PathScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        state: Tensor,
        queue_input: Tensor,
        hop_input: Tensor,
        weight: Tensor,
        bias: Tensor,
        hop_queue: Tensor,
        active: tuple[int, ...],
    ) -> tuple[Tensor, Tensor]:
        hops, width = hop_input.shape[0], state.shape[1]
        hidden = state.clone()
        gates = queue_input.index_select(0, hop_queue).add_(hop_input)
        learning = any(ctx.needs_input_grad)
        before = state.new_empty(hops if learning else 0, width)
        recurrent = state.new_empty(hops if learning else 0, width)
        messages = state.new_empty(hops, width)
        start = 0
        for count in active:
            part = slice(start, start + count)
            current = hidden[:count]
            product = torch.addmm(bias, current, weight.t())
            gate = gates[part]
            gate[:, : 2 * width].add_(product[:, : 2 * width]).sigmoid_()
            last = product[:, 2 * width :]
            if learning:
                before[part] = current
                recurrent[part] = last
            reset, keep, new = gate[:, :width], gate[:, width : 2 * width], gate[:, 2 * width :]
            new.addcmul_(reset, last).tanh_()
            torch.lerp(new, current, keep, out=messages[part])
            hidden[:count] = messages[part]
            start += count
        if learning:
            ctx.save_for_backward(gates, before, recurrent, weight, hop_queue)
            ctx.active, ctx.queues = active, queue_input.shape[0]
        return hidden, messages

    @staticmethod
    def backward(ctx: Any, grad_hidden: Tensor, grad_messages: Tensor) -> Any:
        gates, before, recurrent, weight, hop_queue = ctx.saved_tensors
        width = before.shape[1]
        grad_state = grad_hidden.clone()
        grad_gates = torch.empty_like(gates)
        grad_product = torch.empty_like(gates)
        ends = torch.tensor(ctx.active).cumsum(0).tolist()
        for count, end in zip(reversed(ctx.active), reversed(ends), strict=True):
            part = slice(end - count, end)
            reset, keep, new = gates[part, :width], gates[part, width : 2 * width], gates[part, 2 * width :]
            flow = grad_state[:count] + grad_messages[part]
            to_gate, to_product = grad_gates[part], grad_product[part]
            through_new = torch.mul(flow * (1 - keep), 1 - new * new, out=to_gate[:, 2 * width :])
            torch.mul(flow * (before[part] - new), keep * (1 - keep), out=to_gate[:, width : 2 * width])
            torch.mul(through_new * recurrent[part], reset * (1 - reset), out=to_gate[:, :width])
            to_product[:, : 2 * width] = to_gate[:, : 2 * width]
            torch.mul(through_new, reset, out=to_product[:, 2 * width :])
            grad_state[:count] = torch.addmm(flow * keep, to_product, weight)
        grad_weight = grad_product.t() @ before
        grad_bias = grad_product.sum(0)
        grad_queue = gates.new_zeros(ctx.queues, 3 * width).index_add_(0, hop_queue, grad_gates)
        return grad_state, grad_queue, grad_gates, grad_weight, grad_bias, None, None


def path_scan(
    state: Tensor,
    queue_input: Tensor,
    hop_input: Tensor,
    weight: Tensor,
    bias: Tensor,
    hop_queue: Tensor,
    active: tuple[int, ...],
) -> tuple[Tensor, Tensor]:
    """Final states [paths, d] and the state after every hop [hops, d].

    ``state`` [paths, d] sorted by length, longest first; ``queue_input`` [queues, 3d], ``hop_input`` [hops, 3d] in
    gate order r, z, n; ``weight`` [3d, d], ``bias`` [3d]; ``hop_queue`` [hops]; ``active[k]`` paths have a hop at
    position k.
    """
    result: tuple[Tensor, Tensor] = _PathScan.apply(  # type: ignore[no-untyped-call]
        state, queue_input, hop_input, weight, bias, hop_queue, active
    )
    return result
