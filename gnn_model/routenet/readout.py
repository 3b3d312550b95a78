"""Readout: waits, spreads and losses as corrections of the analytic fixed point.

Per hop: wait * exp(o_wait), loss through its logit, deviation and skew of the wait; o_wait and o_loss move between
physical alternatives (see queue_features) and beyond.  Cumulants of the hops add up along the path; what hops have in
common is corrected per path: deviation of the waits * exp(o_deviation), what own sizes add * exp(o_size), jitter *
exp(o_jitter), the part of packets that wait nowhere to the power exp(o_idle), and the quantiles (delay_quantile).  All
corrections are 0 in a fresh network, whose moments then equal those of the analytic predictor.  What is certain
(certain_limits) bounds waits, their deviations and jitter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnn_model.certain_limits import UNKNOWN
from gnn_model.queue_features import ALTERNATIVES
from gnn_model.routenet.batch import GraphBatch
from gnn_model.routenet.delay_quantile import PathWaits

LOGIT_LIMIT = 16.0
LOSS_FLOOR = 1e-7
NORMAL_90, NORMAL_99 = 1.2815515655446004, 2.3263478740408408
TAIL_FROM = 2.0
HOP_OUTPUTS = 4  # corrections of wait, loss, deviation and skew; then the steps towards the alternatives
PATH_OUTPUTS = 6  # corrections of deviation, body, jitter, tail, idle part and own sizes


@dataclass(frozen=True)
class PathPrediction:
    """Per path [paths] in the batch's order, times in units: mean, deviation, skew of the delay, jitter, loss.

    ``tail`` stretches the waits for the 99th percentile, ``body`` shifts them for the 90th (in deviations): one gamma
    distribution fits both badly.  ``fixed`` is own transmission and propagation, ``waits`` what varies around it.
    ``hop_wait`` [hops]: the mean wait of the path's packets at each hop; ``queue_wait`` [queues]: that of all packets.
    """

    mean: Tensor
    deviation: Tensor
    skew: Tensor
    tail: Tensor
    body: Tensor
    jitter: Tensor
    loss: Tensor
    fixed: Tensor
    waits: PathWaits
    hop_wait: Tensor
    queue_wait: Tensor

    def quantile(self, normal: float) -> Tensor:
        """Quantile of the delay; ``normal`` is that of the standard normal distribution."""
        if normal < TAIL_FROM:
            return self.fixed + self.waits.quantile(normal, shift=self.body)
        return self.fixed + self.waits.quantile(normal, stretch=self.tail)


class Readout(nn.Module):
    """Two small perceptrons: one reads every hop's message, one every path's final state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hop = _perceptron(2 * width, width, HOP_OUTPUTS + 2 * ALTERNATIVES)
        self.path = _perceptron(width, width, PATH_OUTPUTS)

    def forward(self, path_state: Tensor, messages: Tensor, queue_state: Tensor, batch: GraphBatch) -> PathPrediction:
        """Path states [paths, width], messages [hops, width] and queue states [queues, width] -> predictions."""
        correction = self.hop(torch.cat([messages, queue_state.index_select(0, batch.hop_queue)], dim=1))
        return self.combine(correction, self.path(path_state), batch)

    def combine(self, correction: Tensor, on_path: Tensor, batch: GraphBatch) -> PathPrediction:
        """What the perceptrons say of hops [hops, ...] and paths [paths, ...] applied to the fixed point's answer.

        Holds for hops and paths in any order, as long as they agree with each other.
        """
        # How far to move towards each alternative physical answer, and what is still missing then.
        alternatives = batch.queue_features[:, -2 * ALTERNATIVES :].index_select(0, batch.hop_queue)
        towards = correction[:, HOP_OUTPUTS:] * alternatives
        wait_correction = correction[:, 0] + towards[:, :ALTERNATIVES].sum(1)
        loss_correction = correction[:, 1] + 4 * towards[:, ALTERNATIVES:].sum(1)
        factor = torch.exp(_bounded(wait_correction, 10.0))
        hop_wait = batch.queue_wait.index_select(0, batch.hop_queue) * factor
        hop_wait = torch.minimum(hop_wait, batch.hop_limit)
        hop_deviation = batch.queue_deviation.index_select(0, batch.hop_queue) * factor
        believed_deviation = hop_deviation * torch.exp(_bounded(correction[:, 2], 4.0))
        limited = bool((batch.hop_longest < UNKNOWN).any())  # mostly nothing is: the rest would change nothing
        hop_deviation = believed_deviation
        if limited:
            # Values between 0 and a limit vary by mean (limit - mean) at most (Bhatia and Davis).
            most_variance = hop_wait * (batch.hop_longest - hop_wait)
            hop_deviation = torch.minimum(believed_deviation, torch.sqrt(most_variance.clamp_min(1e-12)))
        hop_skew = batch.queue_skew.index_select(0, batch.hop_queue)
        hop_skew = hop_skew + _bounded(correction[:, 3], 4.0) * (1 + hop_skew.abs())

        def along(values: Tensor) -> Tensor:
            return values.new_zeros(batch.path_count).index_add(0, batch.hop_path, values)

        wait = along(hop_wait)
        mean = batch.path_fixed + wait
        loss = batch.queue_loss.clamp(LOSS_FLOOR, 1 - 1e-4)
        logit = torch.log(loss / (1 - loss)).index_select(0, batch.hop_queue) + _bounded(loss_correction, 20.0)
        # log(1 - sigmoid(x)) = -softplus(x); what is lost at the floor is no loss.
        log_pass = -nn.functional.softplus(logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT))
        loss_path = -torch.expm1(along(log_pass))
        scale = torch.exp(_bounded(on_path[:, 0], 4.0))
        variance = along(hop_deviation**2) * scale**2 + 1e-12
        third = along(hop_skew * hop_deviation**3) * scale**3
        size_scale = torch.exp(_bounded(on_path[:, 5], 2.0))
        own_deviation = batch.path_own_deviation * size_scale
        own_variance, own_third = own_deviation**2, batch.path_own_skew * own_deviation**3
        deviation = torch.sqrt(variance + own_variance)
        skew = (third + own_third) / deviation**3
        hop_log_idle = batch.queue_log_idle.index_select(0, batch.hop_queue)
        log_idle = along(hop_log_idle * (batch.hop_limit > 0) if limited else hop_log_idle)
        continuous = batch.path_continuous
        waits = PathWaits.of(
            wait,
            variance + continuous * own_variance,
            third + continuous * own_third,
            log_idle * torch.exp(_bounded(on_path[:, 4], 4.0)),
            continuous,
            batch.path_atoms * size_scale[:, None],
            batch.path_atom_chance,
        )
        # What was learned of jitter was learned with deviations that had no limit.
        believed = torch.sqrt(along(believed_deviation**2) * scale**2 + 1e-12 + own_variance) if limited else deviation
        jitter = (
            batch.path_jitter
            * believed
            / batch.path_deviation.clamp_min(1e-6)
            * torch.exp(_bounded(on_path[:, 2], 4.0))
        )
        lost_between = loss_path / (1 - loss_path).clamp_min(1e-4)
        half = torch.minimum(batch.path_half_jitter + batch.path_spacing * lost_between, deviation)
        jitter = torch.minimum(jitter, 2 * half)
        carried = hop_wait * batch.hop_weight
        queue_wait = carried.new_zeros(len(batch.queue_wait)).index_add(0, batch.hop_queue, carried)
        return PathPrediction(
            mean=mean,
            deviation=deviation,
            skew=skew,
            tail=torch.exp(_bounded(on_path[:, 3], 2.0)),
            body=_bounded(on_path[:, 1], 4.0),
            jitter=jitter,
            loss=loss_path,
            fixed=batch.path_fixed,
            waits=waits,
            hop_wait=hop_wait,
            queue_wait=queue_wait,
        )


def _bounded(values: Tensor, limit: float) -> Tensor:
    """Smoothly kept within +-limit; about the value itself near 0."""
    return limit * torch.tanh(values / limit)


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    first = nn.Linear(inputs, hidden)
    nn.init.kaiming_uniform_(first.weight, a=math.sqrt(5))
    return nn.Sequential(first, nn.SiLU(), last)
