"""Runs of moves carried out on the rough queue model alone, so that one prediction in full can confirm many.

``rough_run_kernel`` prices links by what load on them adds to the violation score, seeks every urgent demand the paths
of least price, and judges each by the same figures as ``LoadScreen``, its error against the predictor added back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from optimizer import rough_kernel, rough_run_kernel
from optimizer.candidates import UsableLinks
from optimizer.exact.flow_problem import leaving_links
from optimizer.goals import SMALLEST_GOAL, SURE
from optimizer.screening import LoadScreen, Move
from topology_sync.routing import PathShare
from topology_sync.values import BoolArray, FloatArray, IntArray

Values = TypeVar("Values", FloatArray, IntArray, BoolArray)

WEIGHTED = ("wfq", "drr")  # disciplines
SHARPEST = 0.05  # derivatives look at goals as if predictions scattered at least so much: of those just kept, too
TRIED = 48  # demands in a round
MOVED = 8  # of them, at most, before links are priced anew
LEAST_GAIN = 2e-3  # of the violation, by one move
LONGEST = 64  # run
SPARE = LONGEST  # demands that may join those on a link during a run


@dataclass(eq=False)
class RoughRuns:
    """Runs from wherever ``screen`` stands; not to be used from several threads at once.

    ``reach`` is how many moves the rough figures are trusted with, which is for the caller to adapt; ``foreseen`` is
    the rough score at the end of the last run.
    """

    screen: LoadScreen
    usable: UsableLinks
    foreseen: float = field(default=0.0, init=False)
    reach: int = field(default=LONGEST, init=False)
    _ground: rough_kernel.Ground = field(init=False)
    _memory: rough_kernel.Memory = field(init=False)

    def __post_init__(self) -> None:
        screen, usable = self.screen, self.usable
        topology, traffic, table = screen.scenario.topology, screen.scenario.traffic, screen.table
        demands, links, nodes = traffic.demand_count, topology.link_count, topology.node_count
        out_pointer, out_link = leaving_links(topology)
        end_only = np.zeros(nodes, dtype=np.bool_)
        end_only[list(usable.end_only_nodes)] = True
        spread = np.array(table.uncertainty)
        weight = np.zeros(demands)
        weight[screen.judged] = table.weight[screen.judged]
        self._ground = rough_kernel.Ground(
            out_pointer=_own(out_pointer),
            out_link=_own(out_link),
            head=_own(topology.link_target),
            tail=_own(topology.link_source),
            allowed=_own(usable.allowed),
            end_only=end_only,
            capacity_bps=_own(topology.capacity_bps),
            room=_own(topology.queue_packets.astype(np.float64) + 1.0),
            delay_s=_own(topology.delay_s),
            longest_s=_own(screen.longest_s),
            source=_own(traffic.source),
            target=_own(traffic.target),
            rate_bps=_own(traffic.rate_bps),
            limit=_own(table.limit),
            unit=_own(np.maximum(table.limit, np.array(SMALLEST_GOAL)[:, None])),
            weight=weight,
            spread=np.maximum(spread, 1e-9) if spread.any() else spread,
            sure=np.exp(-SURE * spread),
            sharpest=np.maximum(spread, SHARPEST),
            packet_bits=screen.packet_bits,
            waiting_factor=screen.waiting_factor,
        )
        self._memory = rough_kernel.Memory(
            change=np.zeros((demands, 4)),
            mark=np.zeros(demands, dtype=np.int64),
            touched=np.full(demands + 1, -1, dtype=np.int64),
            stamp=np.zeros(1, dtype=np.int64),
            row=np.zeros(links),
            changed=np.full(links + 1, -1, dtype=np.int64),
            after=np.zeros((links, 4)),
        )

    def moves(self, movable: BoolArray, go_on: Callable[[], bool]) -> list[Move]:
        """Up to ``reach`` moves of ``movable`` demands [demands], one after the other and each of another demand, every
        one of which lowers the rough score; ``go_on`` says before every round whether there is time for it.
        """
        run = self._begin(movable)
        links = len(run.members)
        found: list[Move] = []
        while len(found) < self.reach and go_on():
            room = min(MOVED, self.reach - len(found))
            moved, hops = np.zeros(room, dtype=np.int64), np.zeros(room, dtype=np.int64)
            paths = np.zeros((room, links), dtype=np.int64)
            worth = LEAST_GAIN * float(run.severity.sum())
            if worth <= 0.0:
                break
            done = rough_run_kernel.descend(TRIED, room, worth, run, self._ground, self._memory, moved, hops, paths)
            if not done:
                break
            found += [
                Move(int(moved[index]), (PathShare(tuple(paths[index, : hops[index]].tolist())),))
                for index in range(done)
            ]
        self.foreseen = float(run.severity.sum())
        return found

    @property
    def know_queues(self) -> bool:
        """False where any node weighs its queues: the rough model has one queue per link, and runs end in worse places
        than single moves do.
        """
        topology = self.screen.scenario.topology
        return not any(scheduler.discipline in WEIGHTED for scheduler in topology.schedulers)

    def _begin(self, movable: BoolArray) -> rough_kernel.Run:
        screen = self.screen
        demands, links = screen.share.shape
        room = int((screen.share > 0).sum(axis=0).max(initial=0)) + SPARE
        run = rough_kernel.Run(
            share=screen.share,
            member=np.zeros((links, room), dtype=np.int64),
            member_share=np.zeros((links, room)),
            members=np.zeros(links, dtype=np.int64),
            load_bps=screen.load_bps.copy(),
            figure=np.zeros((links, 4)),
            sums=np.zeros((demands, 4)),
            offset=screen.offset,
            severity=np.zeros(demands),
            movable=movable.copy(),
        )
        rough_kernel.begin(run, self._ground)
        return run


def _own(values: Values) -> Values:
    """In one layout, so that kernels are compiled once."""
    return np.array(values, order="C")
