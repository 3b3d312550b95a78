"""What the network says of a move when it is asked anew about the ports that the move changes.

The ports on old and new paths are laid out once per move as if they were links of their own, with all hops there.  They
are solved with the rates that reach them, the network encodes and updates their queues while what paths told them is
held, and every path through a queue that changed is read again in the last round.  Everything else stays as it was for
the routing held: other ports, what paths told queues, and the features of hops and paths that do not move.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gnn_model.analytic_fixed_point import Shared, Solution, compiled_fixed_point
from gnn_model.analytic_layout import Layout
from gnn_model.graph_tensors import HOP_FEATURES, GraphTensors, hop_features, link_features, queue_columns
from gnn_model.inflow import Inflow
from gnn_model.move_layout import LaidOut
from gnn_model.path_probe import PathProbe
from gnn_model.queue_features import HopBursts, queue_features
from gnn_model.routenet.batch import GraphBatch, side_by_side
from gnn_model.routenet.readout import PathPrediction
from gnn_model.solved_routing import SolvedRouting, by_load_per_weight
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, FloatArray, IntArray

_IN_UNITS = ("path_fixed", "path_deviation", "path_jitter", "path_own_deviation", "path_atoms")
THINNED = HOP_FEATURES.index("thinned")
UNCHANGED = 1e-3  # queues whose wait or loss changes by less (relative, absolute) are not read again


class Read(NamedTuple):
    """Demands of moves read again: ``counts`` [moves] of them, ``demand`` [entries], those that move first.

    ``layout`` numbers the paths' demands by entry; ``predicted`` and ``graph`` are of these paths.
    """

    counts: IntArray
    demand: IntArray
    layout: Layout
    graph: GraphTensors
    batch: GraphBatch
    predicted: PathPrediction


class _Hops(NamedTuple):
    """All hops at changed ports, segments of paths one after the other, [hops] but ``pointer`` [segments + 1]."""

    pointer: IntArray
    path: IntArray  # of the routing held, or as many beyond them as there are paths added before
    port: IntArray
    queue: IntArray  # port * queues + queue
    before: IntArray  # the link before, any where ``first``
    first: BoolArray
    held: IntArray  # the hop of the routing held, or as many beyond them as there are hops added before
    rate: FloatArray  # packets/s in the routing held, or sent along the path added


class _Ports(NamedTuple):
    """Ports that moves change, [ports], and where to find them: ``at`` [moves, links], -1 where nothing changes."""

    move: IntArray
    link: IntArray
    at: IntArray


class _Queues(NamedTuple):
    """Queues in use at changed ports: ``number`` (port * queues + queue), the network's states and their columns."""

    number: IntArray
    inputs: list[Any]
    state: Any
    columns: dict[str, Any]
    hop_features: Any  # of all hops there


@dataclass(frozen=True)
class Neighbourhood:
    """A routing with the network's states, for moves to be read."""

    probe: PathProbe

    @cached_property
    def hop_rate(self) -> FloatArray:
        """Packets/s at every hop of the routing held."""
        sent = self.probe.shared.flows.packets_per_s[self._layout.path_demand] * self._layout.share
        return _thinned_rates(self.probe.shared, self.probe.solved, sent)

    @cached_property
    def _link_hops(self) -> tuple[IntArray, IntArray]:
        """Hops by link: pointer [links + 1] and hops."""
        return _grouped(self._layout.flat_link, self.probe.scenario.topology.link_count)

    @cached_property
    def _demand_paths(self) -> tuple[IntArray, IntArray]:
        return _grouped(self._layout.path_demand, self.probe.scenario.traffic.demand_count)

    @cached_property
    def _hop_path(self) -> IntArray:
        return np.repeat(np.arange(len(self._layout.path_demand)), np.diff(self._layout.hop_pointer))

    @cached_property
    def _carried_bps(self) -> FloatArray:
        """Of every link, [links]."""
        bits = self.hop_rate * self.probe.scenario.traffic.packet_bits_mean[self._layout.path_demand[self._hop_path]]
        links = self.probe.scenario.topology.link_count
        return np.bincount(self._layout.flat_link, weights=bits, minlength=links).astype(np.float64)

    @property
    def _layout(self) -> Layout:
        return self.probe.solved.layout

    def read(self, moves: LaidOut) -> Read:
        """Read every demand that the moves reach at the ports of their old and new paths."""
        ports = self._ports(moves)
        hops = self._hops(moves, ports)
        scenario, shared = self._as_links(ports)
        solved = self._solve(moves, hops, scenario, shared)
        queues = self._queues(moves, ports, hops, scenario, solved)
        return self._read(moves, ports, hops, solved, queues)

    def _ports(self, moves: LaidOut) -> _Ports:
        layout, links = self._layout, self.probe.scenario.topology.link_count
        count = len(moves.pointer) - 1
        move_of = np.repeat(np.arange(count), np.diff(moves.pointer))
        entry, path = _members(*self._demand_paths, moves.demand)
        owner, hop = _ranges(layout.hop_pointer, path)
        old = move_of[entry[owner]] * links + layout.flat_link[hop]
        hop_entry = np.repeat(np.arange(len(moves.demand)), np.diff(moves.paths.pointer[moves.path_pointer]))
        touched = np.unique(np.concatenate([old, move_of[hop_entry] * links + moves.paths.link]))
        at = np.full(count * links, -1)
        at[touched] = np.arange(len(touched))
        return _Ports(touched // links, touched % links, at.reshape(count, links))

    def _moving(self, moves: LaidOut) -> BoolArray:
        """[moves, demands]."""
        count = len(moves.pointer) - 1
        moving = np.zeros((count, self.probe.scenario.traffic.demand_count), dtype=np.bool_)
        moving[np.repeat(np.arange(count), np.diff(moves.pointer)), moves.demand] = True
        return moving

    def _hops(self, moves: LaidOut, ports: _Ports) -> _Hops:
        layout, queues = self._layout, self.probe.shared.queues
        owner, hop = _members(*self._link_hops, ports.link)
        stays = ~self._moving(moves)[ports.move[owner], layout.path_demand[self._hop_path[hop]]]
        owner, hop = owner[stays], hop[stays]
        order = np.lexsort((hop, ports.move[owner]))
        owner, hop = owner[order], hop[order]
        path, move = self._hop_path[hop], ports.move[owner]
        first = hop == layout.hop_pointer[path]
        starts = first.copy()
        starts[:1] = True
        starts[1:] |= (hop[1:] != hop[:-1] + 1) | (move[1:] != move[:-1])
        queue = owner * queues + layout.flat_queue[hop] % queues
        paths = moves.paths
        new_path = np.repeat(np.arange(len(paths.demand)), np.diff(paths.pointer))
        entry = np.repeat(np.arange(len(moves.demand)), np.diff(moves.path_pointer))
        new_move = np.repeat(np.arange(len(moves.pointer) - 1), np.diff(moves.pointer))[entry[new_path]]
        new_port = ports.at[new_move, paths.link]
        new_first = np.zeros(len(new_path), dtype=np.bool_)
        new_first[paths.pointer[:-1]] = True
        sent = self.probe.shared.flows.packets_per_s[paths.demand] * paths.share
        return _Hops(
            pointer=np.concatenate([np.flatnonzero(starts), len(hop) + paths.pointer]),
            path=np.concatenate([path, len(layout.path_demand) + new_path]),
            port=np.concatenate([owner, new_port]),
            queue=np.concatenate([queue, new_port * queues + paths.queue % queues]),
            before=np.concatenate(
                [layout.flat_link[np.maximum(hop - 1, 0)], paths.link[np.maximum(np.arange(len(new_path)) - 1, 0)]]
            ),
            first=np.concatenate([first, new_first]),
            held=np.concatenate([hop, len(layout.flat_queue) + np.arange(len(new_path))]),
            rate=np.concatenate([self.hop_rate[hop], sent[new_path]]),
        )

    def _as_links(self, ports: _Ports) -> tuple[Scenario, Shared]:
        """Changed ports as links of their own."""
        topology = self.probe.scenario.topology
        names = ("link_source", "link_target", "capacity_bps", "delay_s", "queue_packets")
        alike = replace(topology, **{name: getattr(topology, name)[ports.link] for name in names})
        scenario = replace(self.probe.scenario, topology=alike)
        return scenario, self.probe.shared.rescheduled(scenario, self.probe.shared.queues)

    def _of_paths(self, moves: LaidOut, hops: _Hops) -> tuple[IntArray, FloatArray]:
        """Demand and share of every hop's path."""
        demand = np.concatenate([self._layout.path_demand, moves.paths.demand])[hops.path]
        return demand, np.concatenate([self._layout.share, moves.paths.share])[hops.path]

    def _solve(self, moves: LaidOut, hops: _Hops, scenario: Scenario, shared: Shared) -> SolvedRouting:
        """The fixed point of the changed ports.  Its ``paths`` stay those of the routing held."""
        starts = hops.pointer[:-1]
        demand, share = self._of_paths(moves, hops)
        layout = Layout(
            candidates=1,
            path_candidate=np.zeros(len(starts), np.int64),
            path_demand=demand[starts],
            share=share[starts],
            hop_pointer=hops.pointer,
            flat_queue=hops.queue,
            flat_link=hops.port,
        )

        def solve(ports: Shared, paths: Layout) -> Solution:
            return compiled_fixed_point(ports, paths, hops.rate[starts])

        traffic, state, waits, _ = solve(shared, layout)
        wait_s, loss, before, fair = by_load_per_weight(shared, layout, state, waits, solve)
        return replace(
            self.probe.solved,
            ports=shared.ports,
            layout=layout,
            traffic=traffic,
            state=state,
            waits=waits,
            ordered_wait_s=wait_s,
            ordered_loss=loss,
            ordered_before=before,
            fair_share=fair,
        )

    def _queues(self, moves: LaidOut, ports: _Ports, hops: _Hops, scenario: Scenario, solved: SolvedRouting) -> _Queues:
        probe, queues = self.probe, solved.queues
        topology, graph = probe.scenario.topology, probe.graph
        rate = _thinned_rates(probe.shared, solved, hops.rate[hops.pointer[:-1]])
        number, hop_used = np.unique(hops.queue, return_inverse=True)
        links, queue_link = np.unique(number // queues, return_inverse=True)
        demand, share = self._of_paths(moves, hops)
        arriving = np.bincount(hop_used, weights=rate)
        members = np.bincount(hop_used)
        some = arriving > 0
        part = np.where(some[hop_used], rate / np.where(some, arriving, 1.0)[hop_used], 1.0 / members[hop_used])
        service = solved.state.service_s.reshape(-1)
        load = rate * probe.scenario.traffic.packet_bits_mean[demand] / topology.capacity_bps[ports.link][hops.port]
        bursts = HopBursts.of(solved.bursts, demand, share, part, service[hops.queue])
        carried = solved.state.offered[0].sum(axis=-1) * topology.capacity_bps[ports.link]

        def upstream(behind: IntArray) -> FloatArray:
            port = ports.at[ports.move[:, None], behind]
            return np.where(port >= 0, carried[port], self._carried_bps[behind])

        inflow = Inflow.at(topology, ports.link, hops.port, hops.before, hops.first, load, upstream)
        features = queue_features(
            scenario, solved, number, hop_used, load, solved.arrivals.model[demand], bursts, inflow
        )
        of_hops = hop_features(
            scenario, solved, demand, hops.port, hops.queue, load, np.ones(len(load)), bursts, inflow
        )
        base = np.searchsorted(graph.queue_number, ports.link[number // queues] * queues + number % queues)
        base = np.minimum(base, len(graph.queue_number) - 1)
        known = graph.queue_number[base] == ports.link[number // queues] * queues + number % queues
        told = [np.where(known[:, None], gathered[base], np.float32(0)) for gathered in probe.states.gathered]
        inputs, state = probe.engine.changed_queues(
            features, link_features(scenario, solved, links, queue_link), queue_link, told
        )
        columns = {"queue_features": features, **queue_columns(scenario, solved, number, graph.unit_s)}
        return _Queues(number, inputs, state, columns, of_hops)

    def _read(self, moves: LaidOut, ports: _Ports, hops: _Hops, solved: SolvedRouting, queues: _Queues) -> Read:
        layout, graph, states, count = self._layout, self.probe.graph, self.probe.states, solved.queues
        demands = self.probe.scenario.traffic.demand_count
        changed = self._changed(ports, solved)[hops.queue] & (hops.path < len(layout.path_demand))
        reached = ports.move[hops.port[changed]] * demands + layout.path_demand[hops.path[changed]]
        others = np.unique(reached)
        # Demands in the order of moves, those that move first; then their paths.
        move_of = np.repeat(np.arange(len(moves.pointer) - 1), np.diff(moves.pointer))
        every_move = np.concatenate([move_of, others // demands])
        order = np.argsort(every_move, kind="stable")
        place = np.argsort(order, kind="stable")  # of an entry in the answer
        demand = np.concatenate([moves.demand, others % demands])
        owner, path = _members(*self._demand_paths, others % demands)
        path_move = (others // demands)[owner]
        hop_owner, hop = _ranges(layout.hop_pointer, path)
        port = ports.at[path_move[hop_owner], layout.flat_link[hop]]
        again = np.searchsorted(queues.number, port * count + layout.flat_queue[hop] % count)
        held_queues = len(graph.queue_number)
        hop_queue = np.where(port >= 0, held_queues + again, graph.hop_queue[hop])
        new = self.probe.graph_of(moves.paths)
        added = slice(len(hops.queue) - len(moves.paths.queue), None)
        new_queue = held_queues + np.searchsorted(queues.number, hops.queue[added])
        whole = _both(graph, new, path, hop, np.concatenate([hop_queue, new_queue]), queues.columns)
        # Features of hops at changed ports; how far packets are thinned before stays as it was.
        key = ports.move[hops.port] * (len(layout.flat_queue) + len(moves.paths.queue)) + hops.held
        here = np.flatnonzero(port >= 0)
        wanted = path_move[hop_owner[here]] * (len(layout.flat_queue) + len(moves.paths.queue)) + hop[here]
        features = whole.hop_features
        thinned = features[:, THINNED].copy()
        features[here] = queues.hop_features[np.searchsorted(key[: added.start], wanted)]
        features[len(hop) :] = queues.hop_features[added]
        features[:, THINNED] = thinned
        read = self.probe.engine.resumed(
            whole,
            states.path_start[path],
            [np.concatenate(both) for both in zip(states.queue_inputs, queues.inputs, strict=True)],
            np.concatenate([states.queue_state, queues.state]),
        )
        batch = side_by_side(whole)
        entry = np.concatenate(
            [
                place[len(moves.demand) + owner],
                place[np.repeat(np.arange(len(moves.demand)), np.diff(moves.path_pointer))],
            ]
        )
        read_layout = Layout(
            candidates=1,
            path_candidate=np.zeros(len(entry), np.int64),
            path_demand=entry,
            share=np.concatenate([layout.share[path], moves.paths.share]),
            hop_pointer=whole.hop_pointer,
            flat_queue=whole.hop_queue,
            flat_link=np.concatenate([layout.flat_link[hop], moves.paths.link]),
        )
        counts = np.bincount(every_move, minlength=len(moves.pointer) - 1)
        return Read(counts, demand[order], read_layout, whole, batch, self.probe.engine.combine(read, batch))

    def _changed(self, ports: _Ports, solved: SolvedRouting) -> BoolArray:
        """Queues of changed ports that are not as they were, [ports * queues]."""
        held = self.probe.solved

        def both(now: FloatArray, before: FloatArray) -> tuple[FloatArray, FloatArray]:
            return now[0].reshape(-1), before[0][ports.link].reshape(-1)

        changed = np.zeros(len(ports.link) * solved.queues, dtype=np.bool_)
        for name in ("mean_s", "variance_s2"):
            now, before = both(getattr(solved.waits, name), getattr(held.waits, name))
            changed |= np.abs(now - before) > UNCHANGED * before
        now, before = both(solved.state.loss, held.state.loss)
        return changed | (np.abs(now - before) > UNCHANGED)


def _thinned_rates(shared: Shared, solved: SolvedRouting, path_rate: FloatArray) -> FloatArray:
    """Packets/s that reach every hop of a solved layout when ``path_rate`` [paths] enter its paths."""
    from gnn_model import analytic_kernel

    layout = solved.layout
    rate = np.empty(len(layout.flat_queue))
    analytic_kernel.walk_paths(
        layout.hop_pointer,
        layout.flat_queue,
        path_rate,
        shared.powers[layout.path_demand],
        np.ascontiguousarray(solved.state.loss.reshape(-1)),
        rate,
        np.zeros((solved.state.loss.size, 5)),
        np.empty(len(path_rate)),
    )
    return rate


def _both(
    held: GraphTensors,
    new: GraphTensors,
    path: IntArray,
    hop: IntArray,
    hop_queue: IntArray,
    columns: dict[str, Any],
) -> GraphTensors:
    """These paths and hops of one graph and all of another; queues are those held, then the others of ``columns``."""
    values: dict[str, Any] = {"hop_queue": hop_queue}
    lengths = np.concatenate([np.diff(held.hop_pointer)[path], np.diff(new.hop_pointer)])
    stretch = np.float32(new.unit_s / held.unit_s)
    values["hop_pointer"] = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    for field in fields(held):
        name = field.name
        if name in values or not isinstance(getattr(held, name), np.ndarray):
            continue
        if name.startswith("path_"):
            added = getattr(new, name) * (stretch if name in _IN_UNITS else np.float32(1))
            values[name] = np.concatenate([getattr(held, name)[path], added.astype(getattr(held, name).dtype)])
        elif name.startswith("hop_"):
            values[name] = np.concatenate([getattr(held, name)[hop], getattr(new, name)])
        elif name in columns:
            values[name] = np.concatenate([getattr(held, name), columns[name]])
    return replace(held, **values)


def _grouped(values: IntArray, count: int) -> tuple[IntArray, IntArray]:
    pointer = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(values, minlength=count))])
    return pointer, np.argsort(values, kind="stable")


def _ranges(pointer: IntArray, chosen: IntArray) -> tuple[IntArray, IntArray]:
    """Numbers ``pointer[c]:pointer[c + 1]`` of every chosen c, each with the place of its c."""
    counts = pointer[chosen + 1] - pointer[chosen]
    owner = np.repeat(np.arange(len(chosen)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - pointer[chosen], counts)


def _members(pointer: IntArray, members: IntArray, chosen: IntArray) -> tuple[IntArray, IntArray]:
    """Members of every chosen group, each with the place of its group."""
    owner, place = _ranges(pointer, chosen)
    return owner, members[place]
