"""Which links to upgrade: the price of capacity says where to look, predictions say what it brings.

The price of a link is its dual in the linear programme of least maximum utilisation: how much the optimum would fall if
the link grew a little.  A link may also be worth upgrading because demands over it miss their goals, or because the
present routing fills it.  Every cable that any of the three points to is upgraded alone and predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnn_model.predictor import Predictor
from optimizer.local_search import SearchLimits
from optimizer.moving_traffic.hedging import link_prices
from optimizer.moving_traffic.tunnels import TunnelSet
from optimizer.what_if import Changes
from optimizer.what_if_answer import Answer, Situation, answer_question, situation_before, situation_json
from optimizer.what_if_changes import all_cables
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray

CANDIDATES_PER_UPGRADE = 3
FEWEST_CANDIDATES = 12
LARGEST_PRICED_NETWORK = 60  # nodes; beyond it the programme takes longer than the predictions it would save


@dataclass(frozen=True, eq=False)
class Upgrade:
    """One cable (its links) with more capacity: where it stood and what it is predicted to bring."""

    links: tuple[int, ...]
    price: float | None
    utilisation: float
    answer: Answer


def rank_upgrades(
    scenario: Scenario,
    count: int,
    predictor: Predictor,
    factor: float = 2.0,
    limits: SearchLimits | None = None,
    progress: Callable[[int, int], None] | None = None,
    searcher: Predictor | None = None,
) -> tuple[Situation, list[Upgrade]]:
    """The ``count`` best upgrades of one cable to ``factor`` times its capacity, best first, and the situation before.

    With ``limits`` each is judged by what a search under the new capacity reaches, else under the present routing.
    """
    before = situation_before(scenario, predictor)
    if not np.any(scenario.traffic.rate_bps > 0):
        return before, []
    utilisation = _utilisation(before)
    price = _prices(scenario)
    cables = all_cables(scenario.topology)
    chosen = _worth_trying(cables, before, utilisation, price, max(CANDIDATES_PER_UPGRADE * count, FEWEST_CANDIDATES))
    upgrades = []
    for position, cable in enumerate(chosen):
        capacity = {link: float(scenario.topology.capacity_bps[link]) * factor for link in cable}
        answer = answer_question(before, Changes(capacity_bps=capacity), predictor, limits=limits, searcher=searcher)
        worth = None if price is None else float(price[list(cable)].sum())
        upgrades.append(Upgrade(cable, worth, float(utilisation[list(cable)].max()), answer))
        if progress is not None:
            progress(position + 1, len(chosen))
    upgrades.sort(key=lambda upgrade: (upgrade.answer.final.rank, -upgrade.utilisation))
    return before, upgrades[:count]


def _utilisation(situation: Situation) -> FloatArray:
    scenario = situation.scenario
    load = scenario.routing.link_load_bps(scenario.traffic, scenario.topology.link_count)
    return load / scenario.topology.capacity_bps


def _prices(scenario: Scenario) -> FloatArray | None:
    """Dual of each link in the programme of least maximum utilisation, [links], None for networks too large for it."""
    topology, traffic = scenario.topology, scenario.traffic
    if topology.node_count > LARGEST_PRICED_NETWORK:
        return None
    pairs: dict[tuple[int, int], float] = {}
    for source, target, rate in zip(traffic.source, traffic.target, traffic.rate_bps, strict=True):
        if rate > 0:
            ends = int(source), int(target)
            pairs[ends] = pairs.get(ends, 0.0) + float(rate)
    tunnels = TunnelSet.own(topology, list(pairs))
    rates = [pairs[int(s), int(t)] for s, t in zip(tunnels.pair_source, tunnels.pair_target, strict=True)]
    return link_prices(tunnels, np.array(rates))


def _worth_trying(
    cables: Sequence[tuple[int, ...]],
    before: Situation,
    utilisation: FloatArray,
    price: FloatArray | None,
    count: int,
) -> list[tuple[int, ...]]:
    """Cables by turns from three rankings: price, load of violated demands, utilisation; those above 0 in any."""
    scenario = before.scenario
    flat = scenario.routing.flat
    suffering = before.violated[flat.path_demand] * flat.share
    crossing = np.bincount(flat.hop_link, suffering[flat.hop_path], minlength=len(utilisation))
    figures = [figure for figure in (price, crossing * utilisation, utilisation) if figure is not None]
    rankings = []
    for figure in figures:
        value = [float(figure[list(cable)].max()) for cable in cables]
        order = sorted(range(len(cables)), key=lambda index: (-value[index], index))
        rankings.append([cables[index] for index in order if value[index] > 1e-12])
    chosen: dict[tuple[int, ...], None] = {}
    for place in range(len(cables)):
        for ranking in rankings:
            if place < len(ranking) and len(chosen) < count:
                chosen[ranking[place]] = None
    return list(chosen)


def upgrade_json(scenario: Scenario, before: Situation, upgrade: Upgrade) -> dict[str, Any]:
    """One row of the answer."""
    topology = scenario.topology
    link = upgrade.links[0]
    names = topology.node_names
    reached = upgrade.answer.final
    return {
        "link": [names[int(topology.link_source[link])], names[int(topology.link_target[link])]],
        "capacity_bps": float(topology.capacity_bps[link]),
        "upgraded_bps": float(reached.scenario.topology.capacity_bps[link]),
        "price": upgrade.price,
        "utilisation": upgrade.utilisation,
        "violated_fewer": int(before.violated.sum()) - int(reached.violated.sum()),
        "max_utilisation_lower": before.score.max_utilisation - reached.score.max_utilisation,
        "mean_delay_lower_s": before.mean_delay_s - reached.mean_delay_s,
        **situation_json(reached),
    }
