"""Where a search for kept promises may begin: at the routing that is exact about utilisation.

Queues are longest on the fullest links, so a routing that loads none more than it must breaks few promises, and local
search mends the rest in a few moves where from shortest paths it would need hundreds.
"""

from __future__ import annotations

from optimizer.candidates import UsableLinks
from optimizer.exact.least_utilisation import UtilisationLimits, least_utilisation
from topology_sync.errors import InputError
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario


def balanced_openings(
    scenario: Scenario, usable: UsableLinks, time_s: float, seed: int, single_path: bool
) -> list[Routing]:
    """Routings of least maximum utilisation over the usable links: with realisable splits (left out for single paths),
    and with every demand on its largest share's path.

    Empty where nodes under maintenance limit some demands only, or where a demand has no way at all.
    """
    if usable.end_only_nodes:
        return []
    limits = UtilisationLimits(time_s, seed, realisable=not single_path)
    try:
        plan = least_utilisation(scenario, limits, usable.allowed)
    except InputError:
        return []
    unsplit = Routing(
        tuple((PathShare(max(paths, key=lambda path: path.share).links),) for paths in plan.routing.paths)
    )
    return [unsplit] if single_path or not plan.split_demands else [plan.routing, unsplit]
