"""What a run does to the network: steady traffic, a hotspot, a cable that breaks, or queues that serve the wrong class.

Everything is drawn from a seed and checked with the analytic predictor beforehand: with fewest-hops routing the base
traffic meets all goals with margin, the event violates goals (hotspot), and another routing meets all of them with
margin.  A draw that fails a check is drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deploy.testbed.base_traffic import CLASSES, base_scenario, emulated_topology, emulator_load_ratio
from deploy.testbed.queue_event import QUEUES, draw_queues, with_queues
from deploy.testbed.scenario_events import CALM, Event, draw_failure, draw_hotspot, meets, violated
from deploy.testbed.traffic_plan import RateStep, TrafficDemand
from topology_sync.class_queues import ClassQueues
from topology_sync.errors import ScenarioError
from topology_sync.scenario import Scenario, SlaGoal

Kind = Literal["hotspot", "failure", "steady", "queues"]
KINDS: tuple[Kind, ...] = ("hotspot", "failure", "steady", "queues")

PRIMING_S = 6.0
"""At first every demand sends a packet a second: the controller makes its rules at the first one."""
EVENT_S = 20.0
"""Seconds of the plan at which the hotspot begins to grow or the cable breaks: priming, then a window of calm."""
RAMP_S = 2.0
RAMP_STEPS = 4

_FULLEST_BASE = 0.46  # the loop levels out fuller links even while all goals are met
_DRAWS = 90
_SHARES = (1.0, 0.6, 0.35)  # of the usual number of demands, tried in turn

_DRAW = {"hotspot": draw_hotspot, "failure": draw_failure, "queues": draw_queues}


@dataclass(frozen=True)
class TestbedScenario:
    """A run's plan.

    ``base`` is the network with its traffic before the event, ``stressed`` after it (for ``failure`` without the broken
    cable), both with the routing that the network would have without us.  ``hot`` are demands that grow or that load
    the cable, ``failed_link`` the link (its cable, both directions) that breaks, ``queues`` what the operator asks for
    per class.  ``demands`` tell the whole course
    with the event at ``event_s``; a run that has to wait with the event takes ``calm_demands`` and ``surge_demands``.
    """

    kind: Kind
    topology_name: str
    seed: int
    base: Scenario
    stressed: Scenario
    demands: tuple[TrafficDemand, ...]
    hot: tuple[int, ...]
    failed_link: int | None
    event_s: float
    predicted_violated: int
    emulator_load_ratio: float
    queues: ClassQueues | None = None

    __test__ = False

    @property
    def calm_demands(self) -> tuple[TrafficDemand, ...]:
        """The demands as they are without the event."""
        return tuple(replace(demand, steps=demand.steps[:2]) for demand in self.demands)

    @property
    def surge_demands(self) -> tuple[TrafficDemand, ...]:
        """What the event adds to each demand, from second 0 on; two Poisson streams together are one again."""
        return tuple(
            replace(
                demand,
                steps=(
                    RateStep(0.0, 0.0),
                    *(
                        RateStep(step.start_s - self.event_s, step.rate_bps - demand.steps[1].rate_bps)
                        for step in demand.steps[2:]
                    ),
                ),
            )
            for demand in self.demands
        )

    @property
    def goals(self) -> tuple[SlaGoal | None, ...]:
        """The goal of each demand."""
        return tuple(self.base.goal_of(demand.traffic_class) for demand in self.demands)


def make_scenario(kind: Kind, topology_name: str, source: Scenario, seed: int) -> TestbedScenario:
    """Draw a run on the topology of ``source`` (its traffic only shapes the demands).

    Raises ScenarioError when the topology allows no such run.
    """
    topology = emulated_topology(source.topology)
    random = np.random.default_rng([seed, KINDS.index(kind)])
    refused: dict[str, int] = {}
    for draw in range(_DRAWS):
        share = _SHARES[draw * len(_SHARES) // _DRAWS]
        base = base_scenario(topology_name, topology, source.traffic, random, share)
        if kind == "queues":
            base = with_queues(base)
        if not meets(base, base.routing, CALM):
            reason = "fewest-hops routing misses goals already with the base traffic"
        elif base.routing.max_utilisation(base.traffic, topology) > _FULLEST_BASE:
            reason = "the base traffic alone fills a link"
        elif kind == "steady":
            return _finish(kind, topology_name, seed, base, base, (), None)
        else:
            outcome = _DRAW[kind](base, random)
            if isinstance(outcome, Event):
                return _finish(kind, topology_name, seed, outcome.base, outcome.stressed, outcome.hot, outcome.link)
            reason = outcome
        refused[reason] = refused.get(reason, 0) + 1
    most = max(refused, key=lambda reason: refused[reason])
    raise ScenarioError("testbed", f"no '{kind}' found on {topology_name} ({most})", "try another topology or seed")


def _finish(
    kind: Kind,
    topology_name: str,
    seed: int,
    base: Scenario,
    stressed: Scenario,
    hot: tuple[int, ...],
    failed_link: int | None,
) -> TestbedScenario:
    return TestbedScenario(
        kind=kind,
        topology_name=topology_name,
        seed=seed,
        base=base,
        stressed=stressed,
        demands=_traffic_demands(base, stressed),
        hot=hot,
        failed_link=failed_link,
        event_s=EVENT_S,
        predicted_violated=violated(stressed),
        emulator_load_ratio=max(emulator_load_ratio(base), emulator_load_ratio(stressed)),
        queues=QUEUES if kind == "queues" else None,
    )


def _traffic_demands(base: Scenario, stressed: Scenario) -> tuple[TrafficDemand, ...]:
    """The rates over time of both scenarios' demands."""
    classes = {entry.name: entry for entry in CLASSES}
    traffic = base.traffic
    demands = []
    for demand in range(traffic.demand_count):
        entry = classes[traffic.class_name(demand)]
        calm, after = float(traffic.rate_bps[demand]), float(stressed.traffic.rate_bps[demand])
        steps = [RateStep(0.0, float(traffic.packet_bits_mean[demand])), RateStep(PRIMING_S, calm)]
        if after != calm:
            steps += [
                RateStep(EVENT_S + RAMP_S * step / RAMP_STEPS, calm + (after - calm) * (step + 1) / RAMP_STEPS)
                for step in range(RAMP_STEPS)
            ]
        demands.append(
            TrafficDemand(
                source=base.topology.node_names[int(traffic.source[demand])],
                target=base.topology.node_names[int(traffic.target[demand])],
                traffic_class=entry.name,
                dscp=entry.dscp[0] if entry.dscp else 0,
                steps=tuple(steps),
                packet_bits_mean=float(traffic.packet_bits_mean[demand]),
                packet_size=entry.packet_size,
                arrivals=entry.arrivals,
            )
        )
    return tuple(demands)
