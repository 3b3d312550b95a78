"""A scenario as dimensionless arrays for a graph network: flows (their paths), queues and links.

Every number is a ratio: to the mean service time, to the capacity, to the room of a queue.  Scaling all rates and
capacities by k and all times by 1/k therefore changes nothing here but ``unit_s``, and predictions scale exactly.

The analytic fixed point (:mod:`gnn_model.analytic`) is solved first; what it says about every queue and path is both an
input of the network and what its outputs are residuals on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gnn_model.certain_limits import UNKNOWN, spacing, wait_limits
from gnn_model.inflow import Inflow
from gnn_model.queue_features import DISPERSION_SERVICES, QUEUE_FEATURES, HopBursts, queue_features, wait_limit
from gnn_model.solved_routing import SolvedRouting, solve_routing
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.traffic import ARRIVAL_MODELS
from topology_sync.values import FloatArray, IntArray

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

Features = npt.NDArray[np.float32]

SKEW_LIMIT = 1e3
MOST_WAITING = 0.999  # part of packets that wait, where its rest is a factor
LEAST_WAIT = 1e-7  # of a service time: waits that are corrected by a factor must not be 0
PATH_FEATURES = (
    *ARRIVAL_MODELS,
    "log_peak_over_mean",
    "correlation",
    "sigma",
    "second_moment",
    "log_burst_packets",
    "log_dispersion",
    "log_rate_variation",
    "hops",
    "log_wait_over_own",
    "log_deviation_over_mean",
    "skew",
    "survival",
    "log_idle",
    "log_largest_size",
)
HOP_FEATURES = (
    "log_part_of_queue",
    "log_load",
    "log_size_ratio",
    "log_period_over_drain",
    "thinned",
    *(f"log_dispersion_{services:g}" for services in DISPERSION_SERVICES),
    "first",
    "same_link_part",
    "log_capacity_step",
    "log_wait_in_trains",
    "log_deviation_in_trains",
)
LINK_FEATURES = ("offered", "busy", "queues", "log_room")


@dataclass(frozen=True)
class GraphTensors:
    """One scenario under one routing, or several side by side (:func:`gnn_model.routenet.batch.collate`).

    Paths are in any order; the hops of path p are ``hop_pointer[p]:hop_pointer[p + 1]``, in order of travel.  Queues
    and links are those that some path uses; ``queue_number`` is link * queues + queue in the scenario.  Times are in
    units of ``unit_s``, the mean transmission time of a packet over all hops.
    """

    unit_s: float
    demand_count: int
    path_demand: IntArray  # [paths]
    path_share: Features  # [paths] share of the demand that is sent along the path
    path_weight: Features  # [paths] share of the demand's delivered packets that came along the path
    path_features: Features  # [paths, len(PATH_FEATURES)]
    path_fixed: Features  # [paths] own transmission and propagation, in units
    path_deviation: Features  # [paths] analytic: standard deviation of the delay, in units
    path_jitter: Features  # [paths] analytic, in units
    path_own_deviation: Features  # [paths] deviation of the own transmission times, in units
    path_own_skew: Features  # [paths] skew of the own transmission times
    path_atoms: Features  # [paths, ATOMS] own transmission times less their mean, in units: sizes of few values
    path_atom_chance: Features  # [paths, ATOMS]
    path_spacing: Features  # [paths] mean time between its packets, in units; UNKNOWN where the demand is split or idle
    path_half_jitter: Features  # [paths] what half of the jitter cannot exceed where nothing is lost, in units
    path_continuous: Features  # [paths] 1 where sizes have many values (one atom, at the mean)
    hop_pointer: IntArray  # [paths + 1]
    hop_queue: IntArray  # [hops]
    hop_features: Features  # [hops, len(HOP_FEATURES)]
    hop_weight: Features  # [hops] part of the queue's packets that belong to the path; sums to 1 per queue
    hop_limit: (
        Features  # [hops] longest mean wait possible or believed, in units: a starved queue serves hardly anybody
    )
    hop_longest: Features  # [hops] longest wait that is possible, in units; UNKNOWN where none is certain
    queue_features: Features  # [queues, len(QUEUE_FEATURES)]
    queue_wait: Features  # [queues] analytic mean wait of accepted packets, in units
    queue_deviation: Features  # [queues] analytic deviation of that wait, in units
    queue_skew: Features  # [queues] analytic skew of that wait
    queue_loss: Features  # [queues] analytic
    queue_log_idle: Features  # [queues] analytic: logarithm of the part of packets that need not wait
    queue_link: IntArray  # [queues] position in the links here
    queue_number: IntArray  # [queues]
    link_features: Features  # [links, len(LINK_FEATURES)]

    @property
    def path_count(self) -> int:
        """Number of paths."""
        return len(self.path_demand)

    def to_hetero_data(self) -> HeteroData:
        """The same as a PyTorch Geometric HeteroData: node types ``path``, ``queue``, ``link``."""
        import torch
        from torch_geometric.data import HeteroData

        data = HeteroData()
        for field in fields(self):
            value = getattr(self, field.name)
            store, _, name = field.name.partition("_")
            if store in ("path", "queue", "link") and isinstance(value, np.ndarray):
                data[store]["x" if name == "features" else name] = torch.from_numpy(value.copy())
        lengths = np.diff(self.hop_pointer)
        hop_path = np.repeat(np.arange(self.path_count), lengths)
        through = data["path", "through", "queue"]
        through.edge_index = torch.from_numpy(np.stack([hop_path, self.hop_queue]))
        through.edge_attr = torch.from_numpy(self.hop_features.copy())
        through.position = torch.from_numpy(np.arange(len(hop_path)) - self.hop_pointer[hop_path])
        through.weight = torch.from_numpy(self.hop_weight.copy())
        at = data["queue", "at", "link"]
        at.edge_index = torch.from_numpy(np.stack([np.arange(len(self.queue_link)), self.queue_link]))
        return data


def graph_tensors(scenario: Scenario, routing: Routing | None = None) -> GraphTensors:
    """Solve the fixed point of a scenario (under ``routing``, else its own) and lay it out for the network."""
    return tensors_of_solved(scenario, solve_routing(scenario, scenario.routing if routing is None else routing))


def tensors_of_solved(scenario: Scenario, solved: SolvedRouting) -> GraphTensors:
    """Lay out a routing whose fixed point is known."""
    topology, traffic = scenario.topology, scenario.traffic
    layout, state, waits = solved.layout, solved.state, solved.waits
    paths = len(layout.path_demand)
    demand = layout.path_demand
    pointer, hop_queue, hop_link = layout.hop_pointer, layout.flat_queue, layout.flat_link
    lengths = np.diff(pointer)
    hop_path = np.repeat(np.arange(paths), lengths)

    service = state.service_s.reshape(-1)
    loss = np.clip(state.loss.reshape(-1), 0.0, 1.0)
    wait = waits.mean_s.reshape(-1)
    used, hop_used = _renumbered(hop_queue, len(service))
    links, used_link = _renumbered(used // solved.queues, topology.link_count)
    unit = float(np.mean(service[hop_queue])) if len(hop_queue) else 1.0

    # Packets that still arrive at each hop: products of (1 - loss) of the hops before.
    log_pass = np.log1p(-np.minimum(loss, 1 - 1e-9))[hop_queue]
    before = np.cumsum(log_pass) - log_pass
    starts = np.minimum(pointer[:-1], max(len(before) - 1, 0))
    before -= np.repeat(before[starts] if len(before) else np.zeros(0), lengths)
    thinned = np.exp(np.minimum(before, 0.0))
    packets = (traffic.packets_per_s[demand] * layout.share)[hop_path] * thinned
    arriving = np.bincount(hop_used, weights=packets, minlength=len(used))
    members = np.bincount(hop_used, minlength=len(used))
    # Queues without any traffic: every path counts the same.
    part = np.where(
        arriving[hop_used] > 0,
        packets / np.where(arriving[hop_used] > 0, arriving[hop_used], 1.0),
        1.0 / np.maximum(members[hop_used], 1),
    )
    bits = traffic.packet_bits_mean[demand]
    capacity = topology.capacity_bps[hop_link]
    own = bits[hop_path] / capacity
    arrivals = solved.arrivals
    model, on, off = arrivals.model[demand], arrivals.on_s[demand], arrivals.off_s[demand]
    room = np.maximum(topology.queue_packets[hop_link], 1.0)
    hop_demand = demand[hop_path]
    bursts = HopBursts.of(solved.bursts, hop_demand, layout.share[hop_path], part, service[hop_queue])
    load = packets * own
    inflow = Inflow.of(topology, pointer, hop_link, load)
    period = bursts.period_s
    bursty = period > 0
    drain = room * service[hop_queue]
    hop_table = [
        _log(part, 1e-6),
        _log(load, 1e-6),
        np.log(own / service[hop_queue]),
        np.where(bursty, _log(period / drain, 1e-4), 0.0) / 4,
        np.log(np.maximum(thinned, 1e-3)),
        *(np.log(np.clip(1 + excess, 1e-2, 1e4)) / 2 for excess in bursts.excess),
        inflow.first.astype(np.float64),
        inflow.same_part,
        inflow.capacity_step,
        *_in_trains(
            load,
            np.bincount(hop_link, weights=load, minlength=topology.link_count)[hop_link].astype(np.float64),
            np.where(model == ARRIVAL_MODELS.index("autocorrelated"), arrivals.correlation[demand], 0.0)[hop_path],
            wait[hop_queue] / own,
            waits.variance_s2.reshape(-1)[hop_queue] / own**2,
        ),
    ]
    log_idle = np.log1p(-np.clip(waits.waiting_probability.reshape(-1), 0.0, MOST_WAITING))
    idle_total = np.bincount(hop_path, weights=log_idle[hop_queue], minlength=paths)
    atoms = solved.atoms
    per_bit = np.bincount(hop_path, weights=1 / capacity, minlength=paths)
    own_total = per_bit * bits
    propagation = np.bincount(hop_path, weights=topology.delay_s[hop_link], minlength=paths)
    wait_total = np.bincount(hop_path, weights=wait[hop_queue], minlength=paths)
    burst = traffic.packets_per_s[demand] * on * np.where(on > 0, (on + off) / np.where(on > 0, on, 1.0), 0.0)
    variation = np.maximum(solved.bursts.weight * solved.bursts.per_packet / 2, 0.0)
    delays = solved.paths
    mean = np.maximum(wait_total + own_total, 1e-300)
    one_hot = [(model == code).astype(np.float64) for code in range(len(ARRIVAL_MODELS))]
    path_table = [
        *one_hot,
        np.where(on > 0, np.log(np.where(on > 0, on + off, 1.0) / np.where(on > 0, on, 1.0)), 0.0),
        arrivals.correlation[demand],
        arrivals.sigma[demand],
        traffic.second_moment_ratio[demand] - 1,
        np.log1p(burst) / 4,
        np.log1p(np.maximum(solved.bursts.weight.sum(axis=1), 0.0))[demand] / 4,
        np.log1p(variation.sum(axis=1))[demand],
        lengths / 4.0,
        _log(wait_total / np.maximum(own_total, 1e-300), 1e-4) / 2,
        _log(delays.deviation_s / mean, 1e-4),
        np.clip(delays.skew, -2.0, 4.0),
        np.log(np.maximum(delays.survival, 1e-3)),
        np.maximum(idle_total, -8.0) / 2,
        np.log(atoms.largest[demand]),
    ]
    second = traffic.second_moment_ratio[demand]
    weight = layout.share * np.maximum(delays.survival, 1e-12)
    weight = weight / np.bincount(demand, weights=weight, minlength=traffic.demand_count)[demand]
    room_of_link = np.maximum(topology.queue_packets[links], 1.0)
    link_table = [
        np.minimum(state.offered.sum(axis=-1).reshape(-1)[links], 5.0),
        state.busy.reshape(-1)[links],
        np.bincount(used_link, minlength=len(links)) / 3.0,
        np.log(room_of_link) / 4,
    ]
    deviation = np.sqrt(np.maximum(waits.variance_s2.reshape(-1), 0.0))
    third = waits.third_s3.reshape(-1)
    own_deviation = own_total * np.sqrt(np.maximum(second - 1, 0.0))
    varied = second > 1 + 1e-9
    own_skew = (solved.size_third[demand] - 3 * second + 2) / np.where(varied, second - 1, 1.0) ** 1.5
    limit = wait_limit(scenario, used // solved.queues) * service[used]
    queues_at = np.bincount(used // solved.queues, minlength=topology.link_count)
    most_mean, longest = wait_limits(scenario, solved, inflow, load, queues_at)
    mean_spacing, half_jitter = spacing(scenario, solved)
    return GraphTensors(
        unit_s=unit,
        demand_count=traffic.demand_count,
        path_demand=demand.astype(np.int64),
        path_share=_single(layout.share),
        path_weight=_single(weight),
        path_features=_stack(path_table, paths),
        path_fixed=_single((own_total + propagation) / unit),
        path_deviation=_single(delays.deviation_s / unit),
        path_jitter=_single(delays.jitter_s / unit),
        path_own_deviation=_single(own_deviation / unit),
        path_own_skew=_single(np.where(varied, np.clip(own_skew, -SKEW_LIMIT, SKEW_LIMIT), 0.0)),
        path_atoms=_single(atoms.offset[demand] * (own_total / unit)[:, None]),
        path_atom_chance=_single(atoms.chance[demand]),
        path_spacing=_in_units(mean_spacing, unit),
        path_half_jitter=_in_units(half_jitter, unit),
        path_continuous=_single(atoms.continuous[demand].astype(np.float64)),
        hop_pointer=pointer.astype(np.int64),
        hop_queue=hop_used.astype(np.int64),
        hop_features=_stack(hop_table, len(hop_queue)),
        hop_weight=_single(part),
        hop_limit=_single(np.minimum(most_mean, limit[hop_used]) / unit),
        hop_longest=_in_units(longest, unit),
        queue_features=queue_features(scenario, solved, used, hop_used, load, model[hop_path], bursts, inflow),
        queue_wait=_single(np.clip(wait[used], LEAST_WAIT * service[used], limit) / unit),
        queue_deviation=_single(np.clip(deviation[used], LEAST_WAIT * service[used], limit) / unit),
        queue_skew=_single(_skew(third, deviation)[used]),
        queue_loss=_single(loss[used]),
        queue_log_idle=_single(log_idle[used]),
        queue_link=used_link.astype(np.int64),
        queue_number=used.astype(np.int64),
        link_features=_stack(link_table, len(links)),
    )


def _in_trains(
    load: FloatArray, port_load: FloatArray, correlation: FloatArray, wait: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """How far packets that wait for those of their own flow, in trains, raise wait and deviation: logarithms, [hops].

    Correlated gaps g come in trains of about 1 / (1 - c) packets; where g is below a = 1 / (1 - load of the others),
    the services that one packet takes of what is left, each packet of a train waits a - g longer than the one before.
    With exponential gaps E(a - g)+ and E((a - g)+)^2 have closed forms.  ``wait``, ``variance`` in own services.
    """
    length = 1 / (1 - np.clip(correlation, 0.0, 0.99))
    left = 1 / np.clip(1 - port_load + load, 0.05, 1.0)
    some = np.maximum(load, 1e-9)
    x = left * some
    small = x < 0.02
    gone = -np.expm1(-x)
    one = np.where(small, left * x / 2, left - gone / some)
    two = np.where(small, left**2 * x / 3, left**2 - 2 * left / some + 2 * gone / some**2)
    mean = np.log1p((length - 1) * one / np.maximum(wait, 1e-3))
    spread = np.log1p((length**2 - 1) * two / np.maximum(variance, 1e-4)) / 2
    return np.minimum(mean, 8.0), np.minimum(spread, 8.0)


def _renumbered(numbers: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """The distinct ones of ``numbers`` below ``count``, and the place of every number among them."""
    present = np.zeros(count, dtype=np.bool_)
    present[numbers] = True
    place = np.cumsum(present) - 1
    return np.flatnonzero(present), place[numbers]


def _log(values: FloatArray, floor: float) -> FloatArray:
    result: FloatArray = np.log(np.maximum(values, floor))
    return result


def _skew(third: FloatArray, deviation: FloatArray) -> FloatArray:
    """Third cumulant over the cube of the deviation (divided step by step: the cube may leave the range of floats)."""
    some = np.where(deviation > 0, deviation, np.inf)
    result: FloatArray = np.clip(third / some / some / some, -SKEW_LIMIT, SKEW_LIMIT)
    return result


def _in_units(values_s: FloatArray, unit_s: float) -> Features:
    """Times in units; what is UNKNOWN stays so."""
    return _single(np.where(values_s < UNKNOWN, np.minimum(values_s / unit_s, UNKNOWN), UNKNOWN))


def _single(values: FloatArray) -> Features:
    return np.asarray(values, dtype=np.float32)


def _stack(columns: list[FloatArray], rows: int) -> Features:
    return np.stack([np.asarray(column, dtype=np.float64).reshape(rows) for column in columns], axis=1).astype(
        np.float32
    )


__all__ = [
    "HOP_FEATURES",
    "LINK_FEATURES",
    "PATH_FEATURES",
    "QUEUE_FEATURES",
    "GraphTensors",
    "graph_tensors",
    "tensors_of_solved",
]
