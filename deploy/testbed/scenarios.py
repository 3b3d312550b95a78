"""What a run does to the network: steady traffic, a hotspot that shortest paths cannot carry, or a cable that breaks.

Everything is drawn from a seed and checked with the analytic predictor beforehand: with fewest-hops routing the base
traffic meets all goals with margin, the event violates goals (hotspot), and another routing meets all of them with
margin.  A draw that fails a check is drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import networkx as nx
import numpy as np

from deploy.testbed.emulated_network import paired_links
from deploy.testbed.traffic_plan import RateStep, TrafficDemand
from gnn_model.analytic import AnalyticPredictor
from optimizer.goals import class_goals, excess_ratios, experienced_values, goal_table
from topology_sync.errors import ScenarioError
from topology_sync.paths import fewest_hops_routing, k_shortest_paths
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix
from topology_sync.values import FloatArray, float_array

Kind = Literal["hotspot", "failure", "steady"]
KINDS: tuple[Kind, ...] = ("hotspot", "failure", "steady")

CAPACITY_BPS = 2e6  # a packet of 700 bytes takes 2.8 ms: twenty times what an emulated switch needs for it
QUEUE_PACKETS = 50
FORWARDING_DELAY_S = 0.00014  # per hop, measured: what an emulated switch itself takes at light load
EMULATOR_SWITCH_HOPS_PER_S = 76_000.0  # carried without loss on 2 cores: `routewright bench emulator`
MAX_EMULATOR_LOAD = 0.30

PRIMING_S = 6.0
"""At first every demand sends a packet a second: the controller makes its rules at the first one."""
EVENT_S = 20.0
"""Seconds of the plan at which the hotspot begins to grow or the cable breaks: priming, then a window of calm."""
RAMP_S = 2.0
RAMP_STEPS = 4

_BASE_UTILISATION = 0.40
_FULLEST_BASE = 0.46  # the loop levels out fuller links even while all goals are met
_HOT_UTILISATION = 1.25
_FAILURE_UTILISATION = 0.48  # below what the loop would level out before the cable breaks
_CALM = 0.8  # largest part of a goal that may be predicted for the base traffic
_GOOD = 0.75  # ... and for the routing that solves the event
_CLEARLY_VIOLATED = 1.3  # a demand counts as violated from this multiple of a goal
_LEAST_VIOLATED = 4
_DRAWS = 90
_SHARES = (1.0, 0.6, 0.35)  # of the usual number of demands, tried in turn
_PATHS_TRIED = 8
_MOST_BASE_DEMANDS = 100
_LEAST_PACKETS_PER_S = 6.0


@dataclass(frozen=True)
class TestbedClass:
    """A class as the configuration promises it, and what its base traffic looks like.

    ``rate_bps`` 0: what the calibration leaves; ``pairs`` 0: as many as the network has, up to a bound.  Packets of a
    demand have one size, drawn from ``packet_spread`` times ``packet_bits``: the distribution around the mean, which
    counters cannot tell, is then what the optimizer assumes by default.
    """

    name: str
    dscp: tuple[int, ...]
    priority: int
    goal: SlaGoal
    rate_bps: float
    packet_bits: float
    packet_size: PacketSize
    arrivals: Literal["poisson", "cbr"]
    pairs: int
    packet_spread: tuple[float, float] = (1.0, 1.0)

    __test__ = False  # for pytest, which would take the name for a test


CLASSES = (
    TestbedClass(
        name="voice",
        dscp=(46,),
        priority=1,
        goal=SlaGoal("voice", delay_s=0.040, percentile=99.0, jitter_s=0.010, loss_ratio=0.001),
        rate_bps=40e3,
        packet_bits=200 * 8.0,
        packet_size=PacketSize("constant"),
        arrivals="cbr",
        pairs=25,
    ),
    TestbedClass(
        name="video",
        dscp=(34,),
        priority=2,
        goal=SlaGoal("video", delay_s=0.060, percentile=99.0, jitter_s=0.015, loss_ratio=0.005),
        rate_bps=90e3,
        packet_bits=800 * 8.0,
        packet_size=PacketSize("constant"),
        arrivals="poisson",
        pairs=25,
        packet_spread=(0.9, 1.1),
    ),
    TestbedClass(
        name="default",
        dscp=(),
        priority=3,
        goal=SlaGoal("default", delay_s=0.100, percentile=99.0, jitter_s=None, loss_ratio=0.01),
        rate_bps=0.0,  # what the calibration leaves
        packet_bits=700 * 8.0,
        packet_size=PacketSize("constant"),
        arrivals="poisson",
        pairs=0,
        packet_spread=(0.75, 1.25),
    ),
)


@dataclass(frozen=True)
class TestbedScenario:
    """A run's plan.

    ``base`` is the network with its traffic before the event, ``stressed`` after it (for ``failure`` without the broken
    cable), both with the routing that the network would have without us.  ``hot`` are demands that grow or that load
    the cable, ``failed_link`` the link (its cable, both directions) that breaks.  ``demands`` tell the whole course
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
        base = _base_scenario(topology_name, topology, source.traffic, random, share)
        if not _meets(base, base.routing, _CALM):
            reason = "fewest-hops routing misses goals already with the base traffic"
        elif base.routing.max_utilisation(base.traffic, topology) > _FULLEST_BASE:
            reason = "the base traffic alone fills a link"
        elif kind == "steady":
            return _finish(kind, topology_name, seed, base, base, (), None)
        else:
            outcome = (_draw_hotspot if kind == "hotspot" else _draw_failure)(base, random)
            if isinstance(outcome, _Event):
                return _finish(kind, topology_name, seed, outcome.base, outcome.stressed, outcome.hot, outcome.link)
            reason = outcome
        refused[reason] = refused.get(reason, 0) + 1
    most = max(refused, key=lambda reason: refused[reason])
    raise ScenarioError("testbed", f"no '{kind}' found on {topology_name} ({most})", "try another topology or seed")


def emulated_topology(topology: Topology) -> Topology:
    """The same network at the testbed's scale: its capacity per cable, queue and forwarding delay."""
    paired_links(topology)
    return Topology.from_links(
        topology.node_names,
        [
            Link(link.source, link.target, CAPACITY_BPS, FORWARDING_DELAY_S, QUEUE_PACKETS)
            for link in topology.links_of()
        ],
    )


def emulator_load_ratio(scenario: Scenario) -> float:
    """Packets per second times switches that each visits, over what the emulator can do."""
    flat = scenario.routing.flat
    switches = np.diff(flat.hop_pointer) + 1
    rate = scenario.traffic.packets_per_s[flat.path_demand] * flat.share
    return float(rate @ switches) / EMULATOR_SWITCH_HOPS_PER_S


def _base_scenario(
    name: str, topology: Topology, shape: TrafficMatrix, random: np.random.Generator, share: float
) -> Scenario:
    """Voice, video and default between some pairs, default scaled so that the fullest link is as wanted.

    ``share`` of the usual number of demands: sparse networks cannot carry all of them.
    """
    pairs = [(one, two) for one in range(topology.node_count) for two in range(topology.node_count) if one != two]
    weight = _pair_weights(pairs, topology, shape, random)
    names = topology.node_names
    demands: list[Demand] = []
    for entry in CLASSES:
        wanted = max(1, round(share * (entry.pairs or _MOST_BASE_DEMANDS)))
        chosen = random.choice(len(pairs), min(wanted, len(pairs)), replace=False).tolist()
        for index in chosen:
            one, two = pairs[index]
            demands.append(
                Demand(
                    names[one],
                    names[two],
                    entry.rate_bps or float(weight[index]),
                    entry.name,
                    8.0 * round(entry.packet_bits * random.uniform(*entry.packet_spread) / 8),
                    entry.packet_size,
                    Arrivals(entry.arrivals),
                )
            )
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, [entry.name for entry in CLASSES])
    routing = fewest_hops_routing(topology, traffic)
    scaled = np.array([not entry.rate_bps for entry in CLASSES])[traffic.traffic_class]
    fixed = traffic.with_rates(np.where(scaled, 0.0, traffic.rate_bps))
    loads = [routing.link_load_bps(part, topology.link_count) for part in (fixed, traffic)]
    room = np.maximum(_BASE_UTILISATION * topology.capacity_bps - loads[0], 0.0)
    own = loads[1] - loads[0]
    factor = float(np.min(room[own > 0] / own[own > 0], initial=np.inf))
    least = np.array([_LEAST_PACKETS_PER_S * entry.packet_bits for entry in CLASSES])[traffic.traffic_class]
    rates = np.where(scaled, np.maximum(traffic.rate_bps * factor, least), traffic.rate_bps)
    return Scenario(name, topology, traffic.with_rates(rates), routing, tuple(entry.goal for entry in CLASSES))


def _pair_weights(
    pairs: Sequence[tuple[int, int]], topology: Topology, shape: TrafficMatrix, random: np.random.Generator
) -> FloatArray:
    """Relative rates: the source's own demands flattened to a factor of 4 around their median, shaken by the seed."""
    given = np.zeros((topology.node_count, topology.node_count))
    np.add.at(given, (shape.source, shape.target), shape.rate_bps)
    weight = np.array([given[pair] for pair in pairs])
    if not (weight > 0).any():
        mass = random.lognormal(0.0, 0.5, topology.node_count)
        weight = np.array([mass[one] * mass[two] for one, two in pairs])
    middle = float(np.median(weight[weight > 0]))
    return float_array(np.clip(weight, middle / 2, middle * 2) * random.lognormal(0.0, 0.25, len(pairs)))


@dataclass(frozen=True)
class _Event:
    base: Scenario
    stressed: Scenario
    hot: tuple[int, ...]
    link: int | None


def _draw_hotspot(base: Scenario, random: np.random.Generator) -> _Event | str:
    """Two demands over one link grow until it is overloaded; another way for both must solve it."""
    link = int(random.choice(_full_links(base)))
    hot = _two_over(base, link, ("default", "video"), random)
    if hot is None:
        return "no two demands share a link"
    stressed = base_with = _grown(base, hot, link, _HOT_UTILISATION)
    if base_with is None or stressed is None:
        return "the link has no room to grow"
    if _violated(stressed) < _LEAST_VIOLATED or len(_violated_classes(stressed)) < len(CLASSES):
        return "the hotspot violates too few goals"
    if emulator_load_ratio(stressed) > MAX_EMULATOR_LOAD:
        return "the load is more than the emulator should carry"
    if _solved_by_moving(stressed, hot) is None:
        return "moving the growing demands alone does not meet all goals"
    return _Event(base, stressed, hot, None)


def _draw_failure(base: Scenario, random: np.random.Generator) -> _Event | str:
    """Two demands load a cable well; when it breaks, another way for them must exist that meets all goals."""
    link = int(random.choice(_full_links(base)))
    hot = _two_over(base, link, ("default", "video"), random)
    if hot is None:
        return "no two demands share a link"
    loaded = _grown(base, hot, link, _FAILURE_UTILISATION)
    if loaded is None or not _meets(loaded, loaded.routing, _CALM):
        return "the loaded cable misses goals before it breaks"
    if emulator_load_ratio(loaded) > MAX_EMULATOR_LOAD:
        return "the load is more than the emulator should carry"
    topology = base.topology
    cable = next(pair for pair in paired_links(topology) if link in pair)
    usable = np.ones(topology.link_count, dtype=np.bool_)
    usable[list(cable)] = False
    graph = nx.Graph(
        (int(topology.link_source[other]), int(topology.link_target[other]))
        for other in range(topology.link_count)
        if usable[other]
    )
    if graph.number_of_nodes() < topology.node_count or not nx.is_connected(graph):
        return "the cable has no way around it"
    rerouted = fewest_hops_routing(topology, loaded.traffic, usable)
    displaced = {
        demand: rerouted.paths[demand]
        for demand, paths in enumerate(loaded.routing.paths)
        if any(other in path.links for path in paths for other in cable)
    }
    stressed = loaded.with_routing(loaded.routing.with_changes(displaced))
    if _solved_by_moving(stressed, hot, usable) is None:
        return "no routing around the broken cable meets all goals"
    return _Event(loaded, stressed, hot, link)


def _full_links(scenario: Scenario) -> FloatArray:
    """The fuller half of the links."""
    load = scenario.routing.link_load_bps(scenario.traffic, scenario.topology.link_count)
    return np.argsort(-load, kind="stable")[: max(1, len(load) // 2)]


def _two_over(
    scenario: Scenario, link: int, classes: tuple[str, ...], random: np.random.Generator
) -> tuple[int, int] | None:
    traffic = scenario.traffic
    over = [
        demand
        for demand, paths in enumerate(scenario.routing.paths)
        if traffic.class_name(demand) in classes and len(paths[0].links) <= 3 and link in paths[0].links
    ]
    ends: dict[tuple[int, int], int] = {}
    for demand in over:  # one demand per pair of ends, so that two ways are needed
        ends.setdefault((int(traffic.source[demand]), int(traffic.target[demand])), demand)
    if len(ends) < 2:
        return None
    one, two = random.choice(list(ends.values()), 2, replace=False)
    return int(one), int(two)


def _grown(scenario: Scenario, hot: tuple[int, ...], link: int, utilisation: float) -> Scenario | None:
    """The demands in ``hot`` grow alike until ``link`` is offered ``utilisation`` times its capacity."""
    topology, traffic = scenario.topology, scenario.traffic
    others = np.array(traffic.rate_bps)
    others[list(hot)] = 0.0
    load = scenario.routing.link_load_bps(traffic.with_rates(float_array(others)), topology.link_count)
    rate = (utilisation * float(topology.capacity_bps[link]) - float(load[link])) / len(hot)
    if rate <= max(float(traffic.rate_bps[demand]) for demand in hot):
        return None
    others[list(hot)] = rate
    return replace(scenario, traffic=traffic.with_rates(float_array(others)))


def _solved_by_moving(
    scenario: Scenario, hot: tuple[int, ...], usable: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None = None
) -> Routing | None:
    """A routing that differs only in the paths of ``hot`` and is predicted to meet all goals with margin."""
    topology, traffic = scenario.topology, scenario.traffic
    ones = np.ones(topology.link_count)
    choices = [
        k_shortest_paths(topology, int(traffic.source[d]), int(traffic.target[d]), _PATHS_TRIED, ones, usable)
        for d in hot
    ]
    routings = [
        scenario.routing.with_changes(
            {demand: (PathShare(path),) for demand, path in zip(hot, combination, strict=True)}
        )
        for combination in product(*choices)
    ]
    routings.sort(key=lambda routing: routing.max_utilisation(traffic, topology))
    return next((routing for routing in routings[:16] if _meets(scenario, routing, _GOOD)), None)


def _excess(scenario: Scenario, routing: Routing, part: float) -> FloatArray:
    table = goal_table(scenario.traffic, class_goals(scenario.sla)).with_headroom(1.0 - part)
    prediction = AnalyticPredictor().predict(scenario.with_routing(routing))
    return excess_ratios(experienced_values(prediction, table), table)


def _meets(scenario: Scenario, routing: Routing, part: float) -> bool:
    """Whether every demand is predicted to stay within ``part`` of its goals."""
    return not (_excess(scenario, routing, part) > 0).any()


def _violated(scenario: Scenario) -> int:
    return int((_excess(scenario, scenario.routing, _CLEARLY_VIOLATED) > 0).any(axis=0).sum())


def _violated_classes(scenario: Scenario) -> set[int]:
    violated = (_excess(scenario, scenario.routing, _CLEARLY_VIOLATED) > 0).any(axis=0)
    return set(scenario.traffic.traffic_class[violated].tolist())


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
        predicted_violated=_violated(stressed),
        emulator_load_ratio=max(emulator_load_ratio(base), emulator_load_ratio(stressed)),
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
