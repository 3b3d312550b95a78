"""From a scenario to the routing of least maximum utilisation, with the bound that proves how good it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from optimizer.exact.balanced_start import balance, shortest_start
from optimizer.exact.column_generation import SMALLEST_SHARE, TOLERANCE, ColumnGeneration, Split
from optimizer.exact.delay_pricing import DELAY_TOLERANCE_S, DelayBoundPricing, check_limits
from optimizer.exact.fewer_changes import with_fewer_changes
from optimizer.exact.flow_problem import FlowProblem, check_routable
from optimizer.exact.key_routing import KeyRouting
from optimizer.exact.large_demands import settle_large_demands, worth_settling
from optimizer.exact.limited_changes import few_changes
from optimizer.exact.pricing import PathPricing, ShortestPathPricing
from optimizer.exact.quantisation import quantise_splits
from optimizer.exact.single_path import improve_single_paths, widest_path_bound
from optimizer.exact.single_paths import SinglePaths
from topology_sync.errors import InputError
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.shares import realisable_shares
from topology_sync.values import BoolArray, FloatArray

SPLIT_BALANCE_TIME_SHARE = 0.7  # of the time, at most, goes into the start of a search that may split
MANY_DEMANDS, FEW_SWEEPS, FEW_ROUNDS = 300, 4, 8
BALANCE_TIME_SHARE = 0.6  # of the time of a single-path search, at most, goes into its start,
BOUND_TIME_SHARE = 0.2  # and into its lower bound
PROOF_AFTER = 0.3  # then a programme settles where the large demands go, if that is worth it:
FIRST_WHOLE, WHOLE_GROWTH = 20, 3  # so many of them first,
SETTLING_TIME_SHARE = 0.6  # in this part of the time left,
FITTING_TIME_SHARE = 0.75  # and the others are fitted around them until then
ASSEMBLY_S_PER_DEMAND = 4e-6
QUANTISATION_TIME_SHARE = 0.2
SAME_SHARE = 1e-9


@dataclass(frozen=True)
class UtilisationLimits:
    """What a routing of least maximum utilisation must respect.

    ``time_s`` to search; ``single_path`` splits nothing; ``realisable`` makes shares that switches realise exactly;
    ``max_changes`` bounds the demands that differ from the present routing (not with ``single_path``);
    ``delay_limit_s`` [demands] bounds the propagation delay of every path, infinite without a limit.
    ``near_present`` keeps the present routing where nothing better was found, and its paths where they do no harm.
    """

    time_s: float = 10.0
    seed: int = 1
    single_path: bool = False
    realisable: bool = False
    max_changes: int | None = None
    delay_limit_s: FloatArray | None = None
    near_present: bool = True


@dataclass(frozen=True, eq=False)
class UtilisationPlan:
    """A routing, its maximum utilisation and a proven lower bound of that of every routing within the same limits.

    ``splitting_bound`` is the bound of routings that may split (the same, except for single paths).  ``columns`` are
    paths (demand, links) that column generation found worth a try, which a search with other goals may begin with; none
    where nothing was generated.
    """

    routing: Routing
    max_utilisation: float
    lower_bound: float
    splitting_bound: float
    split_demands: int
    seconds: float
    columns: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def gap(self) -> float | None:
        """Value over bound - 1; None without traffic."""
        return self.max_utilisation / self.lower_bound - 1.0 if self.lower_bound > 0 else None


def least_utilisation(
    scenario: Scenario, limits: UtilisationLimits, usable: BoolArray | None = None
) -> UtilisationPlan:
    """The best routing found over ``usable`` links [links] (all without).

    Raises ScenarioError for a demand without any way and InputError for one without a way that is fast enough.
    """
    began = time.monotonic()
    topology, traffic, present = scenario.topology, scenario.traffic, scenario.routing
    problem = FlowProblem.of(topology, traffic, usable, limits.delay_limit_s)
    if not problem.demand_count:
        return UtilisationPlan(present, 0.0, 0.0, 0.0, 0, time.monotonic() - began)
    if not np.isfinite(ShortestPathPricing(problem).price(np.ones(problem.link_count))).all():
        check_routable(topology, traffic, usable)
    if problem.delay_bound:
        check_limits(problem, topology.node_names)
    deadline = began + limits.time_s
    generation: ColumnGeneration | None = None
    if limits.single_path:
        paths, bound, splitting_bound = _single_paths(problem, limits, began)
        load, moved = paths.load, Split()
        routing = _routing(problem, present, paths, moved)
    elif limits.max_changes is not None:
        _check_present(problem, present, replace(limits, realisable=False), usable)
        key = KeyRouting.of_routing(problem, present)
        generation = ColumnGeneration(problem, _pricing(problem), key, limits.max_changes)
        moved, bound = few_changes(generation, deadline)
        routing = _with_moved(problem, present, moved, limits.realisable)
        splitting_bound, load = bound, KeyRouting.of_routing(problem, routing).load
    else:
        generation = split_optimum(problem, limits.seed, deadline)
        if limits.realisable:
            quantise_splits(generation, deadline + QUANTISATION_TIME_SHARE * limits.time_s)
        assert generation.start is not None
        splitting_bound = bound = generation.bound
        load, moved = generation.load(), generation.moved()
        routing = _routing(problem, present, generation.start, moved)
    value = float(np.max(load / problem.capacity))
    if limits.near_present:
        routing = _near_present(
            problem, scenario, routing, value, _permitted(problem, limits, usable), limits, deadline
        )
        value = routing.max_utilisation(traffic, topology)
    return UtilisationPlan(
        routing=routing,
        max_utilisation=value,
        lower_bound=min(bound, value),
        splitting_bound=min(splitting_bound, value),
        split_demands=sum(len(paths) > 1 for paths in routing.paths),
        seconds=time.monotonic() - began,
        columns=() if generation is None else _found(problem, generation),
    )


def _found(problem: FlowProblem, generation: ColumnGeneration) -> tuple[tuple[int, tuple[int, ...]], ...]:
    columns = zip(generation.columns.demand, generation.columns.links, strict=True)
    return tuple((int(problem.original[demand]), links) for demand, links in columns)


def split_optimum(
    problem: FlowProblem,
    seed: int,
    deadline: float,
    balance_deadline: float | None = None,
    tolerance: float = TOLERANCE,
    few_sweeps: bool = True,
) -> ColumnGeneration:
    """Balanced single paths, then column generation until it is proven optimal within ``tolerance`` or time is up.

    With many demands ``few_sweeps`` tries first whether a coarsely balanced start is enough.
    """
    now = time.monotonic()
    balanced = now + SPLIT_BALANCE_TIME_SHARE * (deadline - now) if balance_deadline is None else balance_deadline
    pricing = _pricing(problem)
    start = shortest_start(problem, pricing)
    random = np.random.default_rng(seed)
    if few_sweeps and problem.demand_count >= MANY_DEMANDS:
        balance(problem, start, random, FEW_SWEEPS, balanced)
        generation = _generation(problem, pricing, start)
        generation.run(deadline, tolerance, FEW_ROUNDS)
        if generation.value <= generation.bound * (1.0 + tolerance):
            return generation
        bound = generation.bound
    else:
        bound = 0.0
    balance(problem, start, random, deadline=balanced)
    generation = _generation(problem, pricing, start)
    generation.bound = max(generation.bound, bound)
    generation.run(deadline, tolerance)
    return generation


def _generation(problem: FlowProblem, pricing: PathPricing, start: SinglePaths) -> ColumnGeneration:
    generation = ColumnGeneration(problem, pricing, KeyRouting.of_paths(start))
    generation.start = start
    generation.prove_from_loads()
    return generation


def _single_paths(problem: FlowProblem, limits: UtilisationLimits, began: float) -> tuple[SinglePaths, float, float]:
    search_s = max(limits.time_s - ASSEMBLY_S_PER_DEMAND * problem.demand_count, 0.5 * limits.time_s)
    balanced = began + BALANCE_TIME_SHARE * search_s
    generation = split_optimum(problem, limits.seed, balanced + BOUND_TIME_SHARE * search_s, balanced, few_sweeps=False)
    assert generation.start is not None
    bound = max(generation.bound, widest_path_bound(problem, generation.bound))
    paths, shortest = generation.start, shortest_start(problem, _pricing(problem))

    def improve(paths: SinglePaths, until: float, seed: int) -> SinglePaths:
        return improve_single_paths(problem, paths, bound, until, seed, shortest)

    paths = improve(paths, began + PROOF_AFTER * search_s, limits.seed)
    whole = FIRST_WHOLE
    while worth_settling(problem, paths.max_utilisation(problem) / bound - 1.0, whole):
        now = time.monotonic()
        left_s = began + search_s - now
        trial, bound, solved = settle_large_demands(problem, paths, bound, whole, SETTLING_TIME_SHARE * left_s)
        if whole < problem.demand_count:
            trial = improve(trial, now + FITTING_TIME_SHARE * left_s, limits.seed)
        paths = min(paths, trial, key=lambda one: one.max_utilisation(problem))
        if not solved or whole >= problem.demand_count:
            break
        whole *= WHOLE_GROWTH
    return improve(paths, began + search_s, limits.seed + 1), bound, generation.bound


def _near_present(
    problem: FlowProblem,
    scenario: Scenario,
    routing: Routing,
    value: float,
    permitted: Callable[[int, tuple[PathShare, ...]], bool],
    limits: UtilisationLimits,
    deadline: float,
) -> Routing:
    """The present routing where nothing better was found, else ``routing`` with as few changes as its value needs."""
    present = scenario.routing
    if value >= present.max_utilisation(scenario.traffic, scenario.topology) * (1.0 - SAME_SHARE) and all(
        permitted(position, present.paths[demand]) for position, demand in enumerate(problem.original.tolist())
    ):
        return present
    if limits.max_changes is not None:
        return routing
    return with_fewer_changes(problem, routing, present, value, permitted, deadline)


def _check_present(problem: FlowProblem, present: Routing, limits: UtilisationLimits, usable: BoolArray | None) -> None:
    permitted = _permitted(problem, limits, usable)
    wrong = sum(
        not permitted(position, present.paths[demand]) for position, demand in enumerate(problem.original.tolist())
    )
    if wrong:
        raise InputError(
            "max_changes", f"{wrong} demands must leave their present paths, which break other limits", "leave it out"
        )


def _pricing(problem: FlowProblem) -> PathPricing:
    return DelayBoundPricing(problem) if problem.delay_bound else ShortestPathPricing(problem)


def _routing(problem: FlowProblem, present: Routing, start: SinglePaths, moved: Split) -> Routing:
    """Paths of every demand; demands without traffic keep theirs."""
    paths = list(present.paths)
    pointer, links = start.flat()
    ends, hops = pointer.tolist(), links.tolist()
    for position, demand in enumerate(problem.original.tolist()):
        own = (PathShare(tuple(hops[ends[position] : ends[position + 1]])),)
        paths[demand] = _split(own, moved[position]) if position in moved else own
    return Routing(tuple(paths))


def _with_moved(problem: FlowProblem, present: Routing, moved: Split, realisable: bool) -> Routing:
    """The present routing with what is moved."""
    changes = {}
    for position, columns in moved.items():
        demand = int(problem.original[position])
        paths = _split(present.paths[demand], columns)
        if realisable and len(paths) > 1:
            rounded = realisable_shares([path.share for path in paths])
            paths = tuple(PathShare(path.links, share) for path, share in zip(paths, rounded, strict=True) if share > 0)
        changes[demand] = paths
    return present.with_changes(changes)


def _split(key: tuple[PathShare, ...], columns: list[tuple[tuple[int, ...], float]]) -> tuple[PathShare, ...]:
    """What ``columns`` (links, share) leave over goes to the paths of ``key``."""
    share: dict[tuple[int, ...], float] = {}
    left = max(1.0 - sum(part for _, part in columns), 0.0)
    for path in key:
        share[path.links] = share.get(path.links, 0.0) + left * path.share
    for links, part in columns:
        share[links] = share.get(links, 0.0) + part
    kept = {links: part for links, part in share.items() if part > SMALLEST_SHARE}
    total = sum(kept.values())
    return tuple(PathShare(links, part / total) for links, part in sorted(kept.items(), key=lambda item: -item[1]))


def _permitted(
    problem: FlowProblem, limits: UtilisationLimits, usable: BoolArray | None
) -> Callable[[int, tuple[PathShare, ...]], bool]:
    """Whether a demand (its position in ``problem``) may take these paths."""

    def permitted(position: int, paths: tuple[PathShare, ...]) -> bool:
        shares = tuple(path.share for path in paths)
        if len(paths) > 1 and (limits.single_path or (limits.realisable and realisable_shares(shares) != shares)):
            return False
        for path in paths if usable is not None or problem.delay_bound else ():
            links = list(path.links)
            if usable is not None and not usable[links].all():
                return False
            if problem.delay_s[links].sum() > problem.delay_limit_s[position] + DELAY_TOLERANCE_S:
                return False
        return True

    return permitted
