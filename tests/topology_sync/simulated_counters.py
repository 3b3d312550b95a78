"""A source of flow counters that publishes in epochs, as Open vSwitch does, with the truth beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from topology_sync.cookies import Cookie
from topology_sync.demand_traffic import DemandEnds
from topology_sync.events import FlowCounter, FlowCountersRead

FRAME_BYTES = 500


@dataclass
class SimulatedDemand:
    ends: DemandEnds
    sent_s: np.ndarray
    arrived_s: np.ndarray  # sorted; lost ones are not there
    lost_sent_s: np.ndarray

    def truth(self, start_s: float, end_s: float) -> tuple[int, int]:
        """Packets sent, and of those lost, in a span of time."""
        sent = np.searchsorted(self.sent_s, [start_s, end_s])
        lost = np.searchsorted(self.lost_sent_s, [start_s, end_s])
        return int(sent[1] - sent[0]), int(lost[1] - lost[0])


@dataclass
class SimulatedCounters:
    """``straddle``: chance that a switch's answer of a round shows the publication before the newest."""

    demands: list[SimulatedDemand]
    switches: int
    epoch_s: float
    straddle: float
    random: np.random.Generator
    period_s: float = 1.0
    drop_replies: float = 0.0

    def __post_init__(self):
        self.phase_s = self.random.uniform(0, self.epoch_s)
        self.drift = 1 + self.random.uniform(0.001, 0.02)

    def published_s(self, time_s: float, back: int = 0) -> float:
        step_s = self.epoch_s * self.drift
        return self.phase_s + (np.floor((time_s - self.phase_s) / step_s) - back) * step_s

    def readings(self, end_s: float):
        """All answers up to ``end_s`` in order of time."""
        for number in range(int(end_s / self.period_s)):
            for switch in range(self.switches):
                now_s = 1.0 + number * self.period_s + 0.002 * switch + self.random.uniform(0, 0.001)
                at_s = self.published_s(now_s, back=int(self.random.random() < self.straddle))
                self.last_at = at_s
                if self.random.random() >= self.drop_replies:
                    yield FlowCountersRead(now_s, switch, tuple(self._entries(switch, at_s, now_s)))

    def _entries(self, switch, at_s, now_s):
        for demand in self.demands:
            number, source, target = demand.ends
            if switch == source:
                count = int(np.searchsorted(demand.sent_s, at_s))
                yield FlowCounter(Cookie(1, number, 0).pack(), 1, count, count * FRAME_BYTES, now_s + 1)
            if switch == target:
                count = int(np.searchsorted(demand.arrived_s, at_s))
                yield FlowCounter(Cookie(1, number, number).pack(), 0, count, count * (FRAME_BYTES + 4), now_s + 1)


def random_demand(random, number, switches, end_s, rate=None, loss=None) -> SimulatedDemand:
    """Poisson packets of 5..500 per second, 0..20 % lost (every fourth demand none), 5..60 ms on the way."""
    source, target = random.choice(switches, 2, replace=False)
    rate = rate or float(np.exp(random.uniform(np.log(5), np.log(500))))
    loss = loss if loss is not None else (0.0 if number % 4 == 0 else random.uniform(0, 0.2))
    sent_s = np.sort(random.uniform(0, end_s, random.poisson(rate * end_s)))
    lost = random.random(len(sent_s)) < loss
    delay_s = random.uniform(0.005, 0.04) + random.exponential(0.005, len(sent_s))
    return SimulatedDemand(
        DemandEnds(number, int(source), int(target)), sent_s, np.sort((sent_s + delay_s)[~lost]), sent_s[lost]
    )


def random_network(random, switches, demands, end_s, epoch_s, straddle, **options) -> SimulatedCounters:
    """A network of random demands."""
    made = [random_demand(random, number + 1, switches, end_s) for number in range(demands)]
    return SimulatedCounters(made, switches, epoch_s, straddle, random, **options)
