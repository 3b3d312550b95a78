"""Plans and transaction reports: exact round trips; a plan that does not fit the network is refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.topology_sync.strategies import names, routings, scenarios, transaction_reports
from tests.topology_sync.test_scenario_json import example
from topology_sync.errors import PlanError
from topology_sync.plan import RoutingPlan, TransactionReport
from topology_sync.plan_json import (
    plan_from_json,
    plan_routes,
    plan_schedulers,
    plan_to_json,
    routing_with_plan,
    topology_with_plan,
    transaction_from_json,
    transaction_to_json,
)
from topology_sync.scenario_json import scenario_from_json
from topology_sync.strict_json import format_json, parse_json


@settings(max_examples=40, deadline=None)
@given(st.data(), names)
def test_a_plan_carries_exactly_the_change_from_one_routing_to_another(data: st.DataObject, plan_id: str) -> None:
    scenario = data.draw(scenarios())
    wanted = data.draw(routings(scenario.topology, scenario.traffic))
    changed = wanted.changed_demands(scenario.routing)
    plan = RoutingPlan(plan_id, 7, plan_routes(scenario, wanted, changed))
    received = plan_from_json(parse_json(format_json(plan_to_json(plan))))
    assert received == plan
    result = routing_with_plan(scenario, received)
    assert result.changed_demands(wanted) == ()
    assert result.changed_demands(scenario.routing) == changed


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_plan_carries_exactly_the_schedulers_that_change(data: st.DataObject) -> None:
    before, after = (data.draw(scenarios()).topology for _ in range(2))
    wanted = before.with_schedulers(dict(enumerate(after.schedulers[: before.node_count])))
    plan = RoutingPlan("p", 7, (), plan_schedulers(before, wanted))
    sent = plan_to_json(plan)
    assert ("nodes" in sent) == (wanted != before)
    received = plan_from_json(parse_json(format_json(sent)))
    assert received == plan
    assert topology_with_plan(before, received) == wanted


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([{"id": "x"}], "nodes[0].id: there is no node 'x'; name nodes of the present state"),
        ([{"id": "a"}, {"id": "a"}], "nodes[1].id: 'a' is there before; name every node once"),
        ([{"id": "a", "scheduler": "wfq"}], "nodes[0].weights: is missing; wfq needs one weight per queue"),
        ([{"id": "a", "weight": [1]}], "nodes[0].weight: unknown key; did you mean weights?"),
    ],
)
def test_schedulers_that_do_not_fit_are_refused(nodes: list[dict[str, Any]], expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        topology_with_plan(scenario_from_json(example()).topology, plan_from_json(small_plan() | {"nodes": nodes}))
    assert str(caught.value) == expected


@given(transaction_reports)
def test_reports_read_back_equal(report: TransactionReport) -> None:
    assert transaction_from_json(parse_json(format_json(transaction_to_json(report)))) == report


def small_plan() -> dict[str, Any]:
    route = {"source": "a", "target": "d", "class": "voice", "paths": [{"nodes": ["a", "c", "d"]}]}
    return {"format": "routewright-plan/1", "plan_id": "p1", "topology_version": 1, "routes": [route]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"target": "c"}, "routes[0]: there is no demand from 'a' to 'c' of class 'voice'; name demands of"),
        ({"paths": [{"nodes": ["a", "x", "d"]}]}, "routes[0].paths[0].nodes[1]: there is no node 'x'"),
        ({"paths": [{"nodes": ["a", "d"]}]}, "routes[0].paths[0].nodes: there is no link from 'a' to 'd'"),
        ({"paths": [{"nodes": ["a", "c", "d"], "share": 0.5}]}, "routes[0].paths: shares sum to 0.5"),
        ({"path": []}, "routes[0].path: unknown key; did you mean paths?"),
        ({"paths": [{"nodes": ["a", "c", "d"], "share": 1e400}]}, "routes[0].paths[0].share: is inf"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(change: dict[str, Any], expected: str) -> None:
    data = small_plan()
    data["routes"][0].update(change)
    with pytest.raises(PlanError) as caught:
        routing_with_plan(scenario_from_json(example()), plan_from_json(data))
    assert str(caught.value).startswith(expected)


def test_a_demand_is_routed_once_in_a_plan() -> None:
    data = small_plan()
    data["routes"] *= 2
    with pytest.raises(PlanError, match=r"^routes\[1\]: routes a demand that is routed before"):
        routing_with_plan(scenario_from_json(example()), plan_from_json(data))
