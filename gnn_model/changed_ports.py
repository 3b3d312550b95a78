"""The ports that moves change, laid out once per move as if they were links of their own, with all hops there.

They are solved with the rates that reach them in the routing held: losses elsewhere stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gnn_model.analytic_fixed_point import Shared, Solution, compiled_fixed_point
from gnn_model.analytic_layout import Layout
from gnn_model.graph_tensors import Features, hop_features
from gnn_model.inflow import Inflow
from gnn_model.move_layout import LaidOut, pointer_of
from gnn_model.queue_features import HopBursts, queue_features
from gnn_model.solved_routing import SolvedRouting, by_load_per_weight
from topology_sync.scenario import Scenario
from topology_sync.values import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class HeldRouting:
    """A routing that moves start from, and where its hops and paths are."""

    scenario: Scenario
    shared: Shared
    solved: SolvedRouting

    @property
    def layout(self) -> Layout:
        """Its paths."""
        return self.solved.layout

    @cached_property
    def link_hops(self) -> tuple[IntArray, IntArray]:
        """Hops by link: pointer [links + 1] and hops."""
        return _grouped(self.layout.flat_link, self.scenario.topology.link_count)

    @cached_property
    def demand_paths(self) -> tuple[IntArray, IntArray]:
        """Paths by demand: pointer [demands + 1] and paths."""
        return _grouped(self.layout.path_demand, self.scenario.traffic.demand_count)

    @cached_property
    def hop_path(self) -> IntArray:
        """The path of every hop."""
        return np.repeat(np.arange(len(self.layout.path_demand)), np.diff(self.layout.hop_pointer))

    @cached_property
    def hop_rate(self) -> FloatArray:
        """Packets/s at every hop."""
        sent = self.shared.flows.packets_per_s[self.layout.path_demand] * self.layout.share
        return _thinned_rates(self.shared, self.solved, sent)

    @cached_property
    def carried_bps(self) -> FloatArray:
        """What reaches every link, [links]."""
        bits = self.hop_rate * self.scenario.traffic.packet_bits_mean[self.layout.path_demand[self.hop_path]]
        links = self.scenario.topology.link_count
        return np.bincount(self.layout.flat_link, weights=bits, minlength=links).astype(np.float64)


@dataclass(frozen=True)
class PortHops:
    """All hops at changed ports, segments of paths one after the other: [hops], but ``pointer`` [segments + 1].

    ``hop`` is that of the routing held, in the order of moves and hops; those of the paths added come last, in their
    order.  ``queue`` is port * queues + queue; ``before`` the link before, any where ``first``; ``rate`` packets/s in
    the routing held, or as sent along the path added.
    """

    pointer: IntArray
    demand: IntArray
    share: FloatArray
    hop: IntArray
    port: IntArray
    queue: IntArray
    before: IntArray
    first: BoolArray
    rate: FloatArray

    @classmethod
    def of(cls, held: HeldRouting, moves: LaidOut, move: IntArray, link: IntArray, at: IntArray) -> PortHops:
        """Hops at the ``link`` that each ``move`` [ports] changes; ``at`` [moves, links] says which port that is."""
        layout, queues, paths = held.layout, held.shared.queues, moves.paths
        owner, hop = members_of(*held.link_hops, link)
        moving = np.zeros((len(at), held.scenario.traffic.demand_count), dtype=np.bool_)
        moving[moves.entry_move, moves.demand] = True
        stays = ~moving[move[owner], layout.path_demand[held.hop_path[hop]]]
        owner, hop = owner[stays], hop[stays]
        order = np.lexsort((hop, move[owner]))
        owner, hop = owner[order], hop[order]
        path, of_move = held.hop_path[hop], move[owner]
        first = hop == layout.hop_pointer[path]
        starts = first.copy()
        starts[:1] = True
        starts[1:] |= (hop[1:] != hop[:-1] + 1) | (of_move[1:] != of_move[:-1])
        new_path = np.repeat(np.arange(len(paths.demand)), np.diff(paths.pointer))
        new_port = at[moves.entry_move[moves.path_entry[new_path]], paths.link]
        new_first = np.zeros(len(new_path), dtype=np.bool_)
        new_first[paths.pointer[:-1]] = True
        number = np.arange(len(new_path))
        sent = held.shared.flows.packets_per_s[paths.demand] * paths.share
        return cls(
            pointer=np.concatenate([np.flatnonzero(starts), len(hop) + paths.pointer]),
            demand=np.concatenate([layout.path_demand[path], paths.demand[new_path]]),
            share=np.concatenate([layout.share[path], paths.share[new_path]]),
            hop=hop,
            port=np.concatenate([owner, new_port]),
            queue=np.concatenate([owner, new_port]) * queues
            + np.concatenate([layout.flat_queue[hop], paths.queue]) % queues,
            before=np.concatenate([layout.flat_link[np.maximum(hop - 1, 0)], paths.link[np.maximum(number - 1, 0)]]),
            first=np.concatenate([first, new_first]),
            rate=np.concatenate([held.hop_rate[hop], sent[new_path]]),
        )


@dataclass(frozen=True)
class ChangedPorts:
    """Ports by ``move`` and ``link`` [ports], and where to find them: ``at`` [moves, links], -1 where nothing changes.

    ``scenario`` has the ports as its links.
    """

    held: HeldRouting
    move: IntArray
    link: IntArray
    at: IntArray
    hops: PortHops
    scenario: Scenario
    shared: Shared

    @classmethod
    def of(cls, held: HeldRouting, moves: LaidOut) -> ChangedPorts:
        """The ports on old and new paths of each move."""
        layout, topology = held.layout, held.scenario.topology
        links, count = topology.link_count, len(moves.pointer) - 1
        entry, path = members_of(*held.demand_paths, moves.demand)
        owner, hop = ranges_of(layout.hop_pointer, path)
        old = moves.entry_move[entry[owner]] * links + layout.flat_link[hop]
        new_path = np.repeat(np.arange(len(moves.paths.demand)), np.diff(moves.paths.pointer))
        new = moves.entry_move[moves.path_entry[new_path]] * links + moves.paths.link
        touched = np.unique(np.concatenate([old, new]))
        at = np.full((count, links), -1)
        at.reshape(-1)[touched] = np.arange(len(touched))
        move, link = touched // links, touched % links
        names = ("link_source", "link_target", "capacity_bps", "delay_s", "queue_packets")
        alike = replace(topology, **{name: getattr(topology, name)[link] for name in names})
        scenario = replace(held.scenario, topology=alike)
        shared = held.shared.rescheduled(scenario, held.shared.queues)
        return cls(held, move, link, at, PortHops.of(held, moves, move, link, at), scenario, shared)

    @cached_property
    def solved(self) -> SolvedRouting:
        """Their fixed point.  ``paths`` stay those of the routing held."""
        hops = self.hops
        starts = hops.pointer[:-1]
        layout = Layout(
            candidates=1,
            path_candidate=np.zeros(len(starts), np.int64),
            path_demand=hops.demand[starts],
            share=hops.share[starts],
            hop_pointer=hops.pointer,
            flat_queue=hops.queue,
            flat_link=hops.port,
        )

        def solve(ports: Shared, paths: Layout) -> Solution:
            return compiled_fixed_point(ports, paths, hops.rate[starts])

        traffic, state, waits, _ = solve(self.shared, layout)
        wait_s, loss, before, fair = by_load_per_weight(self.shared, layout, state, waits, solve)
        return replace(
            self.held.solved,
            ports=self.shared.ports,
            layout=layout,
            traffic=traffic,
            state=state,
            waits=waits,
            ordered_wait_s=wait_s,
            ordered_loss=loss,
            ordered_before=before,
            fair_share=fair,
        )

    def features(self) -> tuple[IntArray, Features, Features]:
        """Queues in use (port * queues + queue) and the network's features of them and of all hops.

        How far packets were thinned on the way is not known here: hops have the feature of packets just sent.
        """
        hops, solved, held = self.hops, self.solved, self.held
        rate = _thinned_rates(self.shared, solved, hops.rate[hops.pointer[:-1]])
        number, queue = np.unique(hops.queue, return_inverse=True)
        arriving, members = np.bincount(queue, weights=rate), np.bincount(queue)
        some = arriving > 0
        part = np.where(some[queue], rate / np.where(some, arriving, 1.0)[queue], 1.0 / members[queue])
        capacity = self.scenario.topology.capacity_bps
        load = rate * self.scenario.traffic.packet_bits_mean[hops.demand] / capacity[hops.port]
        service = solved.state.service_s.reshape(-1)
        bursts = HopBursts.of(solved.bursts, hops.demand, hops.share, part, service[hops.queue])
        carried = solved.state.offered[0].sum(axis=-1) * capacity

        def upstream(behind: IntArray) -> FloatArray:
            port = self.at[self.move[:, None], behind]
            return np.where(port >= 0, carried[port], held.carried_bps[behind])

        inflow = Inflow.at(held.scenario.topology, self.link, hops.port, hops.before, hops.first, load, upstream)
        model = solved.arrivals.model[hops.demand]
        return (
            number,
            queue_features(self.scenario, solved, number, queue, load, model, bursts, inflow),
            hop_features(
                self.scenario, solved, hops.demand, hops.port, hops.queue, load, np.ones(len(load)), bursts, inflow
            ),
        )

    def differ(self, tolerance: float) -> BoolArray:
        """Queues whose wait or loss is another by more than this (relative, absolute), [ports * queues]."""
        solved, held = self.solved, self.held.solved

        def both(now: FloatArray, before: FloatArray) -> tuple[FloatArray, FloatArray]:
            return now[0].reshape(-1), before[0][self.link].reshape(-1)

        changed = np.zeros(len(self.link) * solved.queues, dtype=np.bool_)
        for name in ("mean_s", "variance_s2"):
            now, before = both(getattr(solved.waits, name), getattr(held.waits, name))
            changed |= np.abs(now - before) > tolerance * before
        now, before = both(solved.state.loss, held.state.loss)
        return changed | (np.abs(now - before) > tolerance)


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


def _grouped(values: IntArray, count: int) -> tuple[IntArray, IntArray]:
    return pointer_of(values, count), np.argsort(values, kind="stable")


def ranges_of(pointer: IntArray, chosen: IntArray) -> tuple[IntArray, IntArray]:
    """Numbers ``pointer[c]:pointer[c + 1]`` of every chosen c, each with the place of its c."""
    counts = pointer[chosen + 1] - pointer[chosen]
    owner = np.repeat(np.arange(len(chosen)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - pointer[chosen], counts)


def members_of(pointer: IntArray, members: IntArray, chosen: IntArray) -> tuple[IntArray, IntArray]:
    """Members of every chosen group, each with the place of its group."""
    owner, place = ranges_of(pointer, chosen)
    return owner, members[place]
