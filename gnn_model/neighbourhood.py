"""What the network says of moves when it is asked anew about the ports that they change.

The network encodes and updates the queues there while what paths told them is held, and every path through a queue that
changed is read again in the last round.  Everything else stays as it was for the routing held: other ports, what paths
told queues, and the features of paths and of hops elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gnn_model.analytic_delay import PathDelays, path_statistics
from gnn_model.analytic_layout import Layout
from gnn_model.analytic_queues import Waits
from gnn_model.certain_limits import UNKNOWN
from gnn_model.changed_ports import ChangedPorts, HeldRouting, members_of, ranges_of
from gnn_model.graph_tensors import HOP_FEATURES, Features, GraphTensors, link_features, queue_columns
from gnn_model.move_layout import LaidOut
from gnn_model.path_probe import PathProbe
from gnn_model.queue_features import wait_limit
from gnn_model.routenet.batch import GraphBatch, side_by_side
from gnn_model.routenet.readout import PathPrediction
from topology_sync.values import BoolArray, FloatArray, IntArray

UNCHANGED = 1e-3  # queues whose wait or loss changes by less (relative, absolute) are not read again
THINNED = HOP_FEATURES.index("thinned")


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


class _Reached(NamedTuple):
    """What is read again: entries as in ``Read``, then paths and hops of the routing held.

    ``moving`` are the places of the demands that move; ``port`` [hops] is -1 where nothing changes.
    """

    counts: IntArray
    demand: IntArray  # [entries]
    moving: IntArray
    entry: IntArray  # [paths]
    path: IntArray
    move: IntArray  # [hops] and so on
    hop: IntArray
    port: IntArray

    @classmethod
    def of(cls, held: HeldRouting, moves: LaidOut, ports: ChangedPorts) -> _Reached:
        layout, demands = held.layout, held.scenario.traffic.demand_count
        hops = len(ports.hops.hop)
        changed = np.flatnonzero(ports.differ(UNCHANGED)[ports.hops.queue[:hops]])
        others = np.unique(ports.move[ports.hops.port[changed]] * demands + ports.hops.demand[changed])
        every_move = np.concatenate([moves.entry_move, others // demands])
        order = np.argsort(every_move, kind="stable")
        place = np.argsort(order, kind="stable")
        owner, path = members_of(*held.demand_paths, others % demands)
        hop_owner, hop = ranges_of(layout.hop_pointer, path)
        move = (others // demands)[owner][hop_owner]
        return cls(
            counts=np.bincount(every_move, minlength=len(moves.pointer) - 1),
            demand=np.concatenate([moves.demand, others % demands])[order],
            moving=place[: len(moves.demand)],
            entry=place[len(moves.demand) + owner],
            path=path,
            move=move,
            hop=hop,
            port=ports.at[move, layout.flat_link[hop]],
        )


@dataclass(frozen=True)
class Neighbourhood:
    """A routing with the network's states, for moves to be read."""

    probe: PathProbe

    @cached_property
    def _held(self) -> HeldRouting:
        return HeldRouting(self.probe.scenario, self.probe.shared, self.probe.solved)

    def read(self, moves: LaidOut) -> Read:
        """Read every demand that the moves reach at the ports of their old and new paths."""
        probe, held = self.probe, self._held
        ports = ChangedPorts.of(held, moves)
        number, queue_features, hop_features = ports.features()
        reached = _Reached.of(held, moves, ports)
        layout = self._layout(moves, ports, reached)
        columns = {
            "queue_features": queue_features,
            **queue_columns(ports.scenario, ports.solved, number, self._unit_s),
        }
        graph = self._graph(moves, ports, reached, layout, number, columns, hop_features)
        inputs, state = self._queues(ports, number, queue_features)
        states = probe.engine.resumed(
            graph,
            probe.states.path_start[reached.path],
            [np.concatenate(both) for both in zip(probe.states.queue_inputs, inputs, strict=True)],
            np.concatenate([probe.states.queue_state, state]),
        )
        batch = side_by_side(graph)
        by_entry = replace(layout, path_demand=self._entries(moves, reached))
        return Read(reached.counts, reached.demand, by_entry, graph, batch, probe.engine.combine(states, batch))

    @property
    def _unit_s(self) -> float:
        return self.probe.graph.unit_s

    def _entries(self, moves: LaidOut, reached: _Reached) -> IntArray:
        return np.concatenate([reached.entry, reached.moving[moves.path_entry]])

    def _layout(self, moves: LaidOut, ports: ChangedPorts, reached: _Reached) -> Layout:
        """Paths of the routing held, then those added; queues of changed ports are numbered after all others."""
        held, added, queues = self._held.layout, moves.paths, self._held.shared.queues
        flat_queue = np.concatenate([held.flat_queue[reached.hop], added.queue])
        port = np.concatenate([reached.port, ports.hops.port[len(ports.hops.hop) :]])
        first = self.probe.scenario.topology.link_count * queues
        lengths = np.concatenate([np.diff(held.hop_pointer)[reached.path], np.diff(added.pointer)])
        return Layout(
            candidates=1,
            path_candidate=np.zeros(len(lengths), np.int64),
            path_demand=np.concatenate([held.path_demand[reached.path], added.demand]),
            share=np.concatenate([held.share[reached.path], added.share]),
            hop_pointer=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            flat_queue=np.where(port >= 0, first + port * queues + flat_queue % queues, flat_queue),
            flat_link=np.concatenate([held.flat_link[reached.hop], added.link]),
        )

    def _graph(
        self,
        moves: LaidOut,
        ports: ChangedPorts,
        reached: _Reached,
        layout: Layout,
        number: IntArray,
        columns: dict[str, Features],
        hop_features: Features,
    ) -> GraphTensors:
        """The paths for the network; its queues are those of the routing held, then ``number`` with its columns."""
        held, new = self.probe.graph, self.probe.graph_of(moves.paths, moves.path_entry)
        first = self.probe.scenario.topology.link_count * self._held.shared.queues
        again = layout.flat_queue >= first
        hop_queue = np.concatenate([held.hop_queue[reached.hop], new.hop_queue])
        hop_queue[again] = len(held.queue_number) + np.searchsorted(number, layout.flat_queue[again] - first)
        delays = self._delays(layout, ports, self._entries(moves, reached))
        graph = replace(
            _joined(held, new, reached, columns),
            hop_pointer=layout.hop_pointer,
            hop_queue=hop_queue,
            path_deviation=(delays.deviation_s / self._unit_s).astype(np.float32),
            path_jitter=(delays.jitter_s / self._unit_s).astype(np.float32),
        )
        # Features of hops at changed ports; how far packets are thinned before stays as it was.
        hops, all_hops = ports.hops, len(self._held.layout.flat_queue)
        here = np.flatnonzero(reached.port >= 0)
        known = ports.move[hops.port[: len(hops.hop)]] * all_hops + hops.hop
        place = np.searchsorted(known, reached.move[here] * all_hops + reached.hop[here])
        thinned = graph.hop_features[:, THINNED].copy()
        graph.hop_features[here] = hop_features[place]
        graph.hop_features[len(reached.hop) :] = hop_features[len(hops.hop) :]
        graph.hop_features[:, THINNED] = thinned
        self._limit(graph, ports, reached, layout, again, first)
        return graph

    def _limit(
        self, graph: GraphTensors, ports: ChangedPorts, reached: _Reached, layout: Layout, again: BoolArray, first: int
    ) -> None:
        """Limits of waits at changed ports: what is certain of hops stays so, of those added nothing is certain."""
        graph.hop_longest[len(reached.hop) :] = UNKNOWN
        believed = np.flatnonzero(again & ~(graph.hop_longest < UNKNOWN))
        queue = layout.flat_queue[believed] - first
        service_s = ports.solved.state.service_s.reshape(-1)[queue]
        limit_s = wait_limit(ports.scenario, queue // self._held.shared.queues) * service_s
        graph.hop_limit[believed] = limit_s / self._unit_s

    def _delays(self, layout: Layout, ports: ChangedPorts, entry: IntArray) -> PathDelays:
        """The analytic delays of these paths."""
        held, solved, topology = self.probe.solved, ports.solved, self.probe.scenario.topology

        def joined(before: FloatArray, now: FloatArray) -> FloatArray:
            return np.concatenate([before.reshape(-1), now.reshape(-1)])

        names = [field.name for field in fields(Waits)]
        ratio = joined(held.state.ratio, solved.state.ratio)
        kept = np.log1p(-np.minimum(joined(held.state.loss, solved.state.loss), 1 - 1e-12))[layout.flat_queue]
        path = np.repeat(np.arange(len(entry)), np.diff(layout.hop_pointer))
        return path_statistics(
            layout,
            waits=Waits(*(joined(getattr(held.waits, name), getattr(solved.waits, name)) for name in names)),
            load=np.minimum(ratio, 1 / ratio),
            survival=np.exp(np.bincount(path, weights=kept, minlength=len(entry))),
            capacity_bps=topology.capacity_bps,
            propagation_s=topology.delay_s,
            flows=self.probe.shared.flows,
            group=entry,
        )

    def _queues(
        self, ports: ChangedPorts, number: IntArray, queue_features: Features
    ) -> tuple[Sequence[Features], Features]:
        """What paths read of these queues in every round, and their states."""
        probe, queues = self.probe, self._held.shared.queues
        links, queue_link = np.unique(number // queues, return_inverse=True)
        before = ports.link[number // queues] * queues + number % queues
        place = np.minimum(np.searchsorted(probe.graph.queue_number, before), len(probe.graph.queue_number) - 1)
        known = probe.graph.queue_number[place] == before
        told = [np.where(known[:, None], gathered[place], np.float32(0)) for gathered in probe.states.gathered]
        of_links = link_features(ports.scenario, ports.solved, links, queue_link)
        return probe.engine.changed_queues(queue_features, of_links, queue_link, told)


_IN_UNITS = ("path_fixed", "path_own_deviation", "path_atoms", "path_spacing", "path_half_jitter")


def _joined(held: GraphTensors, new: GraphTensors, reached: _Reached, columns: dict[str, Features]) -> GraphTensors:
    """Paths and hops that are reached and all of another graph; queues held, then those of ``columns``."""
    values: dict[str, Any] = {}
    stretch = np.float32(new.unit_s / held.unit_s)
    for field in fields(held):
        name, before, after = field.name, getattr(held, field.name), getattr(new, field.name)
        if not isinstance(before, np.ndarray) or name in ("hop_pointer", "hop_queue"):
            continue
        if name.startswith("path_"):
            values[name] = np.concatenate([before[reached.path], after * stretch if name in _IN_UNITS else after])
        elif name.startswith("hop_"):
            values[name] = np.concatenate([before[reached.hop], after])
        elif name in columns:
            values[name] = np.concatenate([before, columns[name]])
    return replace(held, **values)
