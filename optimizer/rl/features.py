"""What the policy sees of a re-routing: dimensionless numbers of links, demands and moves.

Nothing here has a unit: rates are relative to capacities, times to goals or to the time of sending a packet, violations
to the present violation.  Scaling all rates and capacities by k and all times by 1/k changes nothing
(goals below a microsecond apart, see ``goals.SMALLEST_GOAL``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimizer.goals import SMALLEST_GOAL, VIOLATION_TOLERANCE
from optimizer.rl.rerouting import Rerouting
from optimizer.screening import Move, soft_maximum
from topology_sync.values import FloatArray, IntArray

LINK_FEATURES = (
    "utilisation",
    "utilisation_to_fullest",
    "loss",
    "queue_filling",
    "log_capacity_to_mean",
    "log_propagation_in_packets",
    "log_queue_length",
    "hurt_share",
)
DEMAND_FEATURES = (
    "log_rate_to_bottleneck",
    "weight",
    "promised_delay",
    "promised_jitter",
    "promised_loss",
    "log_delay_to_goal",
    "log_jitter_to_goal",
    "log_loss_to_goal",
    "severity",
    "severity_share",
    "hops",
    "bottleneck_utilisation",
    "movable",
    "changed",
    "served_later",
    "queue_share",
)
MOVE_FEATURES = (
    "log_rank",
    "rough_violation_change",
    "soft_maximum_change",
    "new_bottleneck_after",
    "old_bottleneck_now",
    "hops_change",
    "back_to_start",
    "by_changed_demand",
    "changes_left",
)
GLOBAL_FEATURES = ("violation_to_first", "maximum_to_first", "steps_left", "violated_share", "log_violation", "maximum")

SingleArray = npt.NDArray[np.float32]
LOG_LIMIT = 3.0
MANY_CHANGES = 20


@dataclass(frozen=True, eq=False)
class PolicyInput:
    """One re-routing as the policy sees it.

    ``links`` [links, LINK_FEATURES], ``demands`` [demands, DEMAND_FEATURES], ``moves`` [moves, MOVE_FEATURES],
    ``whole`` [GLOBAL_FEATURES].  ``hop_demand``/``hop_link`` say which demand is on which link, ``hop_load`` the part
    of the link's load that it is.  ``move_hop``/``move_hop_link`` are the links of each move's new paths.
    """

    links: SingleArray
    demands: SingleArray
    moves: SingleArray
    whole: SingleArray
    link_source: IntArray
    link_target: IntArray
    node_count: int
    hop_demand: IntArray
    hop_link: IntArray
    hop_load: SingleArray
    move_demand: IntArray
    move_hop: IntArray
    move_hop_link: IntArray


def policy_input(rerouting: Rerouting, moves: Sequence[Move], whole: Sequence[float]) -> PolicyInput:
    """The policy's view of a re-routing and of the moves it may choose from; ``whole`` is for the critic alone."""
    topology = rerouting.task.scenario.topology
    rate = rerouting.task.scenario.traffic.rate_bps
    hop_demand, hop_link = np.nonzero(rerouting.screen.share)
    load = rerouting.screen.share[hop_demand, hop_link] * rate[hop_demand]
    total = np.maximum(rerouting.screen.load_bps[hop_link], 1e-12)
    lengths, move_links = _links_of(moves)
    return PolicyInput(
        links=_single(_link_features(rerouting)),
        demands=_single(_demand_features(rerouting, hop_demand, hop_link)),
        moves=_single(_move_features(rerouting, moves, lengths, move_links)),
        whole=_single(np.array(whole, dtype=np.float64)),
        link_source=topology.link_source,
        link_target=topology.link_target,
        node_count=topology.node_count,
        hop_demand=hop_demand,
        hop_link=hop_link,
        hop_load=_single(load / total),
        move_demand=np.array([move.demand for move in moves], dtype=np.int64),
        move_hop=np.repeat(np.arange(len(moves)), lengths),
        move_hop_link=move_links,
    )


def global_features(
    rerouting: Rerouting, first_violation: float, first_maximum: float, steps_left: float
) -> list[float]:
    """What only the critic is told, in the order of GLOBAL_FEATURES; ``steps_left`` is a part of the episode."""
    score = rerouting.score
    promised = np.maximum(float((rerouting.task.table.weight > 0).sum()), 1.0)
    return [
        score.violation / max(first_violation, 1e-9) if first_violation > 0 else 0.0,
        score.max_utilisation / max(first_maximum, 1e-12),
        steps_left,
        float((rerouting.severity > 0).sum()) / float(promised),
        float(np.log1p(score.violation)),
        min(score.max_utilisation, 4.0),
    ]


def _link_features(rerouting: Rerouting) -> FloatArray:
    topology = rerouting.task.scenario.topology
    utilisation, hurt = rerouting.utilisation, rerouting.hurt
    service_s = rerouting.packet_bits / topology.capacity_bps
    return np.stack(
        [
            np.minimum(utilisation, 4.0),
            utilisation / max(float(utilisation.max(initial=0.0)), 1e-12),
            rerouting.loss,
            np.minimum(rerouting.time_s / service_s / (topology.queue_packets + 1.0), 2.0),
            np.log(topology.capacity_bps / topology.capacity_bps.mean()),
            np.log1p(topology.delay_s / service_s) / 4,
            np.log1p(topology.queue_packets) / 4,
            hurt / max(float(hurt.sum()), 1e-12),
        ],
        axis=1,
    )


def _demand_features(rerouting: Rerouting, hop_demand: IntArray, hop_link: IntArray) -> FloatArray:
    scenario, table = rerouting.task.scenario, rerouting.task.table
    topology, rate = scenario.topology, scenario.traffic.rate_bps
    count = len(rate)
    bottleneck = np.full(count, np.inf)
    np.minimum.at(bottleneck, hop_demand, topology.capacity_bps[hop_link])
    fullest = np.zeros(count)
    np.maximum.at(fullest, hop_demand, rerouting.utilisation[hop_link])
    hops = np.bincount(hop_demand, minlength=count).astype(np.float64)
    promised = np.isfinite(table.limit) & (table.weight > 0)
    limit = np.maximum(table.limit, np.array(SMALLEST_GOAL)[:, None])
    value = np.maximum(np.nan_to_num(rerouting.values, nan=0.0, posinf=1e9), 1e-12)
    with np.errstate(divide="ignore"):  # no promise: an infinite limit
        ratio = np.where(promised, np.clip(np.log(value / limit), -LOG_LIMIT, LOG_LIMIT), 0.0)
    changed = np.zeros(count)
    changed[list(rerouting.changed)] = 1.0
    severity = rerouting.severity
    served_later, queue_share = _queues(rerouting)
    return np.stack(
        [
            np.clip(np.log(np.maximum(rate, 1e-12) / bottleneck), -12.0, 3.0) / 4,
            table.weight / max(float(table.weight.max(initial=0.0)), 1e-12),
            *promised.astype(np.float64),
            *ratio,
            severity / max(float(table.weight.max(initial=0.0)), 1e-12) / 4,
            severity / max(float(severity.sum()), 1e-12),
            hops / 8,
            np.minimum(fullest, 4.0),
            rerouting.task.movable.astype(np.float64),
            changed,
            served_later,
            queue_share,
        ],
        axis=1,
    )


def _queues(rerouting: Rerouting) -> tuple[FloatArray, FloatArray]:
    """How late strict priority serves each demand (0 first or never, 1 last) and its queue's part of the weights.

    Both as the node says where the demand enters: networks have one way of scheduling as a rule.
    """
    topology, traffic = rerouting.task.scenario.topology, rerouting.task.scenario.traffic
    later = np.zeros((topology.node_count, len(traffic.class_names)))
    share = np.ones_like(later)
    for node, scheduler in enumerate(topology.schedulers):
        for index, name in enumerate(traffic.class_names):
            queue = scheduler.queue_of(name)
            if scheduler.discipline == "strict":
                later[node, index] = queue / max(scheduler.queue_count - 1, 1)
            elif scheduler.weights:
                share[node, index] = scheduler.weights[queue] / sum(scheduler.weights)
    return later[traffic.source, traffic.traffic_class], share[traffic.source, traffic.traffic_class]


def _links_of(moves: Sequence[Move]) -> tuple[IntArray, IntArray]:
    """How many links each move's paths have, and those links in a row."""
    lengths = np.array([sum(len(path.links) for path in move.paths) for move in moves], dtype=np.int64)
    links = np.array([link for move in moves for path in move.paths for link in path.links], dtype=np.int64)
    return lengths, links


def _move_features(rerouting: Rerouting, moves: Sequence[Move], lengths: IntArray, move_links: IntArray) -> FloatArray:
    if not moves:
        return np.zeros((0, len(MOVE_FEATURES)))
    screen = rerouting.screen
    now = rerouting.utilisation
    after = screen.utilisation_after(moves)
    violation = screen.violation_after(moves, after)
    present = max(rerouting.score.violation, 0.0)
    soft = soft_maximum(after)
    rank = _rank(np.round(violation, 9), np.round(soft, 9))
    demands = [move.demand for move in moves]
    start = rerouting.task.scenario.routing.paths
    old = screen.share[demands] > 0
    new = after[np.repeat(np.arange(len(moves)), lengths), move_links]
    soft_now = max(float(soft_maximum(now)), 1e-12)
    return np.stack(
        [
            np.log1p(rank),
            np.clip((violation - present) / max(present, VIOLATION_TOLERANCE), -2.0, 2.0) if present > 0 else violation,
            np.clip((soft - soft_now) / soft_now, -1.0, 1.0),
            np.minimum(np.maximum.reduceat(new, np.cumsum(lengths) - lengths), 4.0),
            np.minimum((now * old).max(axis=1), 4.0),
            (lengths - old.sum(axis=1)) / 4,
            [float(move.paths == start[move.demand]) for move in moves],
            [float(move.demand in rerouting.changed) for move in moves],
            np.full(len(moves), _changes_left(rerouting)),
        ],
        axis=1,
    )


def _changes_left(rerouting: Rerouting) -> float:
    """How many more demands may leave their paths, on a scale that ends at MANY_CHANGES."""
    limit = rerouting.task.max_changes
    left = MANY_CHANGES if limit is None else min(max(limit - len(rerouting.changed), 0), MANY_CHANGES)
    return float(np.log1p(left) / np.log1p(MANY_CHANGES))


def _rank(first: FloatArray, second: FloatArray) -> FloatArray:
    """How many are smaller by ``first``, then by ``second``; equals share a rank."""
    order = np.lexsort((second, first))
    keys = np.stack([first[order], second[order]])
    new = np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(axis=0)])
    rank = np.empty(len(order))
    rank[order] = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    return rank


def _single(values: FloatArray) -> SingleArray:
    return np.asarray(values, dtype=np.float32)
