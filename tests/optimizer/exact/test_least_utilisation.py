"""The exact search: optimal against an independent programme, sound bounds, and every limit respected."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.bounds import utilisation_lower_bound
from optimizer.exact.balanced_start import shortest_start
from optimizer.exact.flow_problem import FlowProblem
from optimizer.exact.large_demands import settle_large_demands
from optimizer.exact.least_utilisation import UtilisationLimits, UtilisationPlan, least_utilisation
from optimizer.exact.pricing import ShortestPathPricing
from tests.optimizer.exact.networks import arc_flow_optimum, scenarios
from topology_sync.errors import InputError, ScenarioError
from topology_sync.paths import fewest_hops_routing
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.shares import realisable_shares
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix

EXAMPLES = settings(max_examples=40, deadline=None)


def checked(scenario: Scenario, limits: UtilisationLimits) -> UtilisationPlan:
    """The plan, once its routing is sound (conservation, shares), its value real and its bound below it."""
    plan = least_utilisation(scenario, limits)
    plan.routing.check(scenario.topology, scenario.traffic)
    value = plan.routing.max_utilisation(scenario.traffic, scenario.topology)
    assert plan.max_utilisation == pytest.approx(value, rel=1e-12)
    assert plan.lower_bound <= value
    assert value <= scenario.routing.max_utilisation(scenario.traffic, scenario.topology) * (1 + 1e-9)
    assert plan.split_demands == sum(len(paths) > 1 for paths in plan.routing.paths)
    return plan


@EXAMPLES
@given(scenarios())
def test_value_and_bound_are_the_optimum_of_arc_flows(scenario: Scenario) -> None:
    plan = checked(scenario, UtilisationLimits())
    optimum = arc_flow_optimum(scenario)
    assert plan.max_utilisation == pytest.approx(optimum, rel=3e-6)
    assert plan.lower_bound == pytest.approx(optimum, rel=3e-6)
    # a vertex splits at most one demand per full link
    assert plan.split_demands <= scenario.topology.link_count
    assert utilisation_lower_bound(scenario.topology, scenario.traffic) == pytest.approx(optimum, rel=3e-6)


@EXAMPLES
@given(scenarios(zero_rates=False))
def test_an_already_optimal_routing_is_kept(scenario: Scenario) -> None:
    plan = checked(scenario, UtilisationLimits())
    again = checked(scenario.with_routing(plan.routing), UtilisationLimits())
    if plan.split_demands == 0:
        assert not again.routing.changed_demands(plan.routing)
    assert again.max_utilisation == pytest.approx(plan.max_utilisation, rel=3e-6)


@settings(max_examples=10, deadline=None)
@given(scenarios(largest=4))
def test_single_paths_are_single_and_as_good_as_trying_them_all(scenario: Scenario) -> None:
    traffic, topology = scenario.traffic, scenario.topology
    plan = checked(scenario, UtilisationLimits(0.1, single_path=True))
    assert plan.split_demands == 0
    active = np.flatnonzero(traffic.rate_bps > 0).tolist()[:4]
    few = replace(
        scenario, traffic=traffic.with_rates(np.isin(np.arange(traffic.demand_count), active) * traffic.rate_bps)
    )
    choices = [all_paths(topology, int(traffic.source[demand]), int(traffic.target[demand])) for demand in active]
    if np.prod([float(len(paths)) for paths in choices]) > 5000:
        return
    best = min(
        Routing(scenario.routing.paths)
        .with_changes({demand: [PathShare(path)] for demand, path in zip(active, combination, strict=True)})
        .max_utilisation(few.traffic, topology)
        for combination in itertools.product(*choices)
    )
    found = checked(few, UtilisationLimits(30.0, single_path=True))  # it ends when it is proven
    assert found.max_utilisation == pytest.approx(best, rel=1e-5)
    assert found.lower_bound == pytest.approx(best, rel=1e-5)  # so small a network is proven


def all_paths(topology: Topology, source: int, target: int) -> list[tuple[int, ...]]:
    found, waiting = [], [(source, (), frozenset([source]))]
    while waiting:
        node, links, seen = waiting.pop()
        if node == target:
            found.append(links)
            continue
        for link in topology.links_from[node]:
            end = int(topology.link_target[link])
            if end not in seen:
                waiting.append((end, (*links, link), seen | {end}))
    return found


@EXAMPLES
@given(scenarios(), st.integers(0, 5))
def test_no_more_demands_change_than_allowed(scenario: Scenario, allowed: int) -> None:
    plan = checked(scenario, UtilisationLimits(2.0, max_changes=allowed))
    assert len(plan.routing.changed_demands(scenario.routing)) <= allowed
    assert plan.lower_bound >= arc_flow_optimum(scenario) * (1 - 3e-6)


@settings(max_examples=25, deadline=None)
@given(scenarios(zero_rates=False))
def test_one_change_is_the_best_single_change(scenario: Scenario) -> None:
    plan = checked(scenario, UtilisationLimits(2.0, max_changes=1))
    best = scenario.routing.max_utilisation(scenario.traffic, scenario.topology)
    for demand in range(scenario.traffic.demand_count):
        for path in all_paths(
            scenario.topology, int(scenario.traffic.source[demand]), int(scenario.traffic.target[demand])
        ):
            moved = scenario.routing.with_changes({demand: [PathShare(path)]})
            best = min(best, moved.max_utilisation(scenario.traffic, scenario.topology))
    assert plan.lower_bound <= best * (1 + 1e-9)
    assert plan.max_utilisation <= best * (1 + 1e-3)  # splitting the one demand may even be better


@EXAMPLES
@given(scenarios())
def test_realisable_shares_come_out_exactly_and_cost_little(scenario: Scenario) -> None:
    plan = checked(scenario, UtilisationLimits(realisable=True))
    for paths in plan.routing.paths:
        shares = tuple(path.share for path in paths)
        assert realisable_shares(shares) == pytest.approx(shares, abs=1e-9)


@EXAMPLES
@given(scenarios(), st.sampled_from([1.0, 1.3, 2.0, 5.0]), st.booleans())
def test_paths_stay_within_their_delay_limit(scenario: Scenario, stretch: float, single_path: bool) -> None:
    from optimizer.delay_limits import delay_limits

    limit = delay_limits(scenario, (), stretch)
    assert limit is not None
    late = UtilisationLimits(0.1 if single_path else 5.0, single_path=single_path, delay_limit_s=limit)
    plan = least_utilisation(scenario, late)
    plan.routing.check(scenario.topology, scenario.traffic)
    delay_s = scenario.topology.delay_s
    for demand in np.flatnonzero(scenario.traffic.rate_bps > 0):
        for path in plan.routing.paths[demand]:
            assert delay_s[list(path.links)].sum() <= limit[demand] + 1e-9
    if not single_path:
        assert plan.max_utilisation == pytest.approx(optimum_over_paths(scenario, limit), rel=3e-6)


def optimum_over_paths(scenario: Scenario, limit: np.ndarray) -> float:
    """The optimum over all simple paths within the limits, enumerated."""
    from scipy.optimize import linprog

    topology, traffic = scenario.topology, scenario.traffic
    columns = [
        (demand, path)
        for demand in np.flatnonzero(traffic.rate_bps > 0).tolist()
        for path in all_paths(topology, int(traffic.source[demand]), int(traffic.target[demand]))
        if topology.delay_s[list(path)].sum() <= limit[demand] + 1e-12
    ]
    if not columns:
        return 0.0
    upper = np.zeros((topology.link_count, len(columns) + 1))
    upper[:, -1] = -1.0
    equal = np.zeros((traffic.demand_count, len(columns) + 1))
    for column, (demand, path) in enumerate(columns):
        upper[list(path), column] = traffic.rate_bps[demand] / topology.capacity_bps[list(path)]
        equal[demand, column] = 1.0
    active = traffic.rate_bps > 0
    result = linprog(
        np.eye(len(columns) + 1)[-1],
        A_ub=upper,
        b_ub=np.zeros(topology.link_count),
        A_eq=equal[active],
        b_eq=np.ones(active.sum()),
        method="highs",
    )
    assert result.status == 0
    return float(result.x[-1])


def line(rate: float, *, back: bool = True) -> Scenario:
    """Two nodes joined by two parallel links of 1 and 3 Mbit/s."""
    links = [Link("a", "b", 1e6), Link("a", "b", 3e6)] + [Link("b", "a", 1e6)] * back
    topology = Topology.from_links(("a", "b"), links)
    traffic = TrafficMatrix.from_demands([Demand("a", "b", rate)], topology.node_index)
    return Scenario("line", topology, traffic, Routing(((PathShare((1,)),),)))


def test_one_demand_larger_than_any_link_is_split_over_parallel_links() -> None:
    plan = checked(line(4e6), UtilisationLimits())
    assert plan.max_utilisation == pytest.approx(1.0)
    assert {path.links: pytest.approx(path.share) for path in plan.routing.paths[0]} == {(0,): 0.25, (1,): 0.75}
    single = checked(line(4e6), UtilisationLimits(0.2, single_path=True))
    assert single.max_utilisation == pytest.approx(4 / 3)
    assert single.lower_bound == pytest.approx(4 / 3)  # proven by the widest path
    assert single.splitting_bound == pytest.approx(1.0)


def test_no_traffic_needs_no_search() -> None:
    plan = least_utilisation(line(0.0), UtilisationLimits())
    assert (plan.max_utilisation, plan.lower_bound, plan.gap) == (0.0, 0.0, None)
    assert utilisation_lower_bound(line(0.0).topology, line(0.0).traffic) == 0.0


def test_demands_without_a_way_are_named_in_one_line() -> None:
    scenario = line(1e6, back=False)
    with pytest.raises(ScenarioError, match="there is no way from 'a' to 'b'"):
        least_utilisation(scenario, UtilisationLimits(), np.zeros(2, dtype=np.bool_))


def test_links_that_may_not_be_used_are_not_used() -> None:
    scenario = line(1e6)
    plan = least_utilisation(scenario, UtilisationLimits(), np.array([True, False, True]))
    assert [path.links for path in plan.routing.paths[0]] == [(0,)]
    assert (plan.max_utilisation, plan.lower_bound) == pytest.approx((1.0, 1.0), rel=1e-6)


def test_a_limit_that_no_path_meets_is_refused() -> None:
    scenario = line(1e6)
    slow = replace(scenario, topology=replace(scenario.topology, delay_s=np.array([0.002, 0.003, 0.001])))
    with pytest.raises(InputError, match="1 demands have no path that is fast enough, such as 'a' to 'b' \\(1 ms\\)"):
        least_utilisation(slow, UtilisationLimits(delay_limit_s=np.array([0.001])))
    with pytest.raises(InputError, match="1 demands must leave their present paths"):
        least_utilisation(slow, UtilisationLimits(max_changes=1, delay_limit_s=np.array([0.002])))
    kept = least_utilisation(slow, UtilisationLimits(delay_limit_s=np.array([0.002])))
    assert [path.links for path in kept.routing.paths[0]] == [(0,)]


@pytest.mark.parametrize("limits", [{"max_changes": 3}, {"realisable": True}, {"single_path": True}, {}])
def test_without_time_the_answer_is_still_sound(limits: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    names = tuple(f"n{number}" for number in range(12))
    pairs = [(a, b) for a in range(12) for b in range(12) if (a != b and random.random() < 0.4) or (a + 1) % 12 == b]
    topology = Topology.from_links(names, [Link(names[a], names[b], 1e6) for a, b in pairs])
    demands = [Demand(names[a], names[b], 1e5 * random.random()) for a in range(12) for b in range(12) if a != b]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    scenario = Scenario("random", topology, traffic, fewest_hops_routing(topology, traffic))
    plan = checked(scenario, UtilisationLimits(1e-6, **limits))
    if "max_changes" in limits:
        assert len(plan.routing.changed_demands(scenario.routing)) <= 3
    if "single_path" in limits:
        assert plan.split_demands == 0


@settings(max_examples=10, deadline=None)
@given(scenarios(), st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_plan(scenario: Scenario, seed: int) -> None:
    first, second = (least_utilisation(scenario, UtilisationLimits(seed=seed)) for _ in range(2))
    assert first.routing == second.routing


def three_pipes(parallel: int, rates: list[float]) -> Scenario:
    """Two nodes joined by ``parallel`` equal links each way, and demands from one to the other."""
    links = [Link(*ends, 1e6) for ends in (("a", "b"), ("b", "a")) for _ in range(parallel)]
    topology = Topology.from_links(("a", "b"), links)
    demands = [Demand("a", "b", rate, f"class{number}") for number, rate in enumerate(rates)]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, tuple(f"class{n}" for n in range(len(rates))))
    return Scenario("pipes", topology, traffic, fewest_hops_routing(topology, traffic))


def test_what_large_demands_cost_is_proven_where_small_ones_fit_around_them() -> None:
    # 4 demands of 0.6 on 3 links: two must share one, whatever the 40 small ones do
    scenario = three_pipes(3, [6e5] * 4 + [1e3] * 40)
    plan = checked(scenario, UtilisationLimits(5.0, single_path=True))
    assert plan.splitting_bound == pytest.approx((2.4 + 0.04) / 3, rel=1e-6)
    assert plan.max_utilisation == pytest.approx(1.2)
    assert plan.lower_bound == pytest.approx(1.2)


def test_many_demands_of_one_source_leave_room_for_their_new_paths() -> None:
    scenario = three_pipes(3, [1e4 * (1 + number % 7) for number in range(60)])
    assert checked(scenario, UtilisationLimits(5.0)).gap == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(scenarios(zero_rates=False), st.integers(1, 6))
def test_a_programme_with_some_whole_demands_proves_no_more_than_is_true(scenario: Scenario, whole: int) -> None:
    problem = FlowProblem.of(scenario.topology, scenario.traffic)
    known = shortest_start(problem, ShortestPathPricing(problem))
    splitting = arc_flow_optimum(scenario)
    _, some, _ = settle_large_demands(problem, known, splitting, whole, 10.0)
    settled, best, solved = settle_large_demands(problem, known, splitting, problem.demand_count, 10.0)
    assert solved
    assert splitting * (1 - 1e-6) <= some <= best * (1 + 1e-6)
    assert settled.max_utilisation(problem) == pytest.approx(best, rel=1e-5)  # all whole: the optimum of single paths


def test_a_demand_split_over_many_paths_gets_better_than_the_nearest_shares() -> None:
    capacity = np.array([1.0, 0.93, 0.87, 0.81, 0.74, 0.66, 0.59]) * 1e6
    links = [Link("a", "b", float(bps)) for bps in capacity] + [Link("b", "a", 1e6)]
    topology = Topology.from_links(("a", "b"), links)
    traffic = TrafficMatrix.from_demands([Demand("a", "b", 5e6)], topology.node_index)
    scenario = Scenario("wide", topology, traffic, fewest_hops_routing(topology, traffic))
    nearest = np.max(5e6 * np.array(realisable_shares(tuple(capacity / capacity.sum()))) / capacity)
    plan = checked(scenario, UtilisationLimits(realisable=True))
    assert plan.lower_bound == pytest.approx(5e6 / capacity.sum())
    assert plan.max_utilisation < nearest * 0.99
    shares = tuple(path.share for path in plan.routing.paths[0])
    assert realisable_shares(shares) == shares
