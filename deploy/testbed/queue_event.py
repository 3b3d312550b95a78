"""The event of scenario ``queues``: every way out of a node fills up, and its weights let the wrong class wait.

What fills the links begins at the node itself, so no other path avoids them all.  Checked beforehand with the analytic
predictor: promises are clearly broken with the weights at the start, and other weights keep them with margin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from deploy.testbed.base_traffic import MAX_EMULATOR_LOAD, emulator_load_ratio
from deploy.testbed.scenario_events import CALM, Event, meets, solved_by_moving, violated
from topology_sync.class_queues import ClassQueues
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import float_array, int_array

QUEUES = ClassQueues("wfq", ("voice", "video", "default"), (2.0, 8.0, 90.0), change_weights=True)
"""As an operator may well begin: weights in proportion to the volume of each class."""
_UTILISATION = 0.88
_GOOD = 0.9  # part of a goal that may be predicted with the weights that solve it
_LEAST_VIOLATED = 2
_STEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def with_queues(scenario: Scenario, weights: tuple[float, ...] = QUEUES.weights) -> Scenario:
    """The scenario with a queue per class at every node, these weights at each."""
    scheduler = QUEUES.scheduler(weights)
    changes = dict.fromkeys(range(scenario.topology.node_count), scheduler)
    return replace(scenario, topology=scenario.topology.with_schedulers(changes))


def draw_queues(base: Scenario, random: np.random.Generator) -> Event | str:
    """Demands of class default grow at a node until each of its links is busy, however they are led."""
    node = _node_with_voice(base, random)
    if node is None:
        return "no node has a demand of class default over each of its links, and voice"
    base = _without_transit(base, node)
    if not meets(base, base.routing, CALM):
        return "the weights at the start miss goals already with the base traffic"
    hot = tuple(int(random.choice(demands)) for demands in _default_demands(base, node))
    stressed = _grown(base, hot)
    if emulator_load_ratio(stressed) > MAX_EMULATOR_LOAD:
        return "the load is more than the emulator should carry"
    if violated(stressed) < _LEAST_VIOLATED:
        return "the weights at the start violate too few goals"
    if solved_by_moving(stressed, hot, part=1.0) is not None:
        return "other paths alone keep the promises"
    if not any(meets(with_queues(stressed, weights), stressed.routing, _GOOD) for weights in _weights()):
        return "no weights keep the promises"
    return Event(base, stressed, hot, None)


def _weights() -> Iterator[tuple[float, ...]]:
    for voice, video in product(_STEPS, _STEPS):
        if voice + video < 0.95:
            yield voice, video, 1.0 - voice - video


def _node_with_voice(scenario: Scenario, random: np.random.Generator) -> int | None:
    """A node with few links where voice begins, and a demand of class default over each link."""
    traffic, topology = scenario.traffic, scenario.topology
    voice = {int(traffic.source[d]) for d in range(traffic.demand_count) if traffic.class_name(d) == "voice"}
    order = random.permutation(sorted(voice)).tolist()
    fitting = (
        node
        for node in sorted(order, key=lambda node: len(topology.links_from[node]))
        if all(_default_demands(scenario, node))
    )
    return next(fitting, None)


def _default_demands(scenario: Scenario, node: int) -> list[list[int]]:
    """Demands of class default that begin at the node, by the link that they leave by."""
    traffic = scenario.traffic
    begin = [d for d in range(traffic.demand_count) if int(traffic.source[d]) == node]
    default = [d for d in begin if traffic.class_name(d) == "default"]
    return [
        [d for d in default if scenario.routing.paths[d][0].links[0] == link]
        for link in scenario.topology.links_from[node]
    ]


def _without_transit(scenario: Scenario, node: int) -> Scenario:
    """Without the demands that only pass the node: re-routing could take them away."""
    traffic = scenario.traffic
    links = set(scenario.topology.links_from[node])
    kept = [
        demand
        for demand, paths in enumerate(scenario.routing.paths)
        if int(traffic.source[demand]) == node or not links & set(paths[0].links)
    ]
    matrix = TrafficMatrix(
        traffic.class_names,
        int_array(traffic.source[kept]),
        int_array(traffic.target[kept]),
        int_array(traffic.traffic_class[kept]),
        float_array(traffic.rate_bps[kept]),
        float_array(traffic.packet_bits_mean[kept]),
        tuple(traffic.packet_size[demand] for demand in kept),
        tuple(traffic.arrivals[demand] for demand in kept),
    )
    return replace(scenario, traffic=matrix, routing=Routing(tuple(scenario.routing.paths[demand] for demand in kept)))


def _grown(base: Scenario, hot: Sequence[int]) -> Scenario:
    """Each of these demands fills the link that it leaves its node by."""
    topology = base.topology
    rates = np.array(base.traffic.rate_bps)
    load = base.routing.link_load_bps(base.traffic, topology.link_count)
    for demand in hot:
        link = base.routing.paths[demand][0].links[0]
        rates[demand] += _UTILISATION * float(topology.capacity_bps[link]) - float(load[link])
    return replace(base, traffic=base.traffic.with_rates(float_array(rates)))
