"""Where a search for kept promises may begin: at the routing that is exact about utilisation.

Queues are longest on the fullest links, so a routing that loads none more than it must breaks few promises, and local
search mends the rest in a few moves where from shortest paths it would need hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass

from optimizer.candidates import UsableLinks
from optimizer.exact.least_utilisation import UtilisationLimits, least_utilisation
from topology_sync.errors import InputError
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario


@dataclass(frozen=True, eq=False)
class BalancedOpening:
    """``routings`` of least maximum utilisation; ``columns`` (demand, links) that led to them."""

    routings: tuple[Routing, ...]
    columns: tuple[tuple[int, tuple[int, ...]], ...] = ()


def balanced_opening(
    scenario: Scenario,
    usable: UsableLinks,
    time_s: float,
    seed: int,
    single_path: bool = False,
    max_changes: int | None = None,
) -> BalancedOpening:
    """Routings of least maximum utilisation over the usable links: with realisable splits (left out for single paths),
    and with every demand on its largest share's path; at most ``max_changes`` demands off the scenario's routing.

    No routing where nodes under maintenance limit some demands only, or where a demand has no way at all.
    """
    if usable.end_only_nodes:
        return BalancedOpening(())
    limits = UtilisationLimits(time_s, seed, realisable=not single_path, max_changes=max_changes)
    try:
        plan = least_utilisation(scenario, limits, usable.allowed)
    except InputError:
        return BalancedOpening(())
    unsplit = Routing(
        tuple(
            paths if paths == present else (PathShare(max(paths, key=lambda path: path.share).links),)
            for paths, present in zip(plan.routing.paths, scenario.routing.paths, strict=True)
        )
    )
    routings = (unsplit,) if single_path or not plan.split_demands else (plan.routing, unsplit)
    return BalancedOpening(routings, plan.columns)
