"""The audit finds what others did to our rules, has just that put right, and else sends nothing but its questions."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rule_audit import Differences, differences
from controller.rules import Bucket, FlowRule, GroupRule, Match, Output, RuleSet
from tests.controller.test_process import eventually, running
from tests.controller.test_restart import SWITCHES, Restarting
from topology_sync.cookies import Cookie

AUDIT_S = 0.8
FOREIGN_FLOW = (0, 999, b"\x00\x01\x00\x0a\x80\x00\x0a\x02\x12\x34" + bytes(6))
FOREIGN_GROUP = 77


def flow(label: int, port: int = 1) -> FlowRule:
    match = Match(mpls_label=label)
    return FlowRule(0, 200, match, (Output(port),), cookie=Cookie(1, 5, label).pack())


def foreign(number: int) -> FlowRule:
    return FlowRule(0, 300 + number, Match(in_port=number), (), cookie=0xABC)


def group(port: int, out: int = 9) -> GroupRule:
    return GroupRule(0x40000000 | port, "fast_failover", (Bucket((Output(out),), watch_port=out),))


def test_each_kind_of_difference_is_counted() -> None:
    expected = RuleSet.of([flow(20), flow(21), flow(22)], [group(1), group(2)])
    found = RuleSet.of([flow(20), flow(21, port=2), flow(23)], [group(1, out=3), group(4)])
    assert differences(expected, found) == Differences(missing=2, unasked=2, changed=2)


@given(
    st.sets(st.integers(16, 40)), st.sets(st.integers(16, 40)), st.sets(st.integers(1, 5)), st.sets(st.integers(1, 5))
)
def test_rules_of_others_never_count(labels: set[int], others: set[int], before: set[int], after: set[int]) -> None:
    expected = RuleSet.of([*map(flow, labels), *map(foreign, before)], [])
    found = RuleSet.of([*map(flow, others), *map(foreign, after)], [GroupRule(FOREIGN_GROUP, "select", ())])
    assert differences(expected, found) == Differences(len(labels - others), len(others - labels), 0)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarting]:
    """A network at rest under a controller that audits every switch about once a second."""
    place = Restarting(tmp_path_factory.mktemp("audit"))
    place.prepare()
    place.settings = replace(place.settings, audit_period_s=AUDIT_S)
    with running(place.settings, place.directory):
        for dpid in SWITCHES:
            place.network.connect(place.settings.openflow_port, dpid)
        place.rest()
        yield place


def metric(place: Restarting, name: str) -> float:
    transport = httpx.HTTPTransport(uds=place.settings.api_socket)
    with httpx.Client(transport=transport, base_url="http://controller", timeout=10) as client:
        text = client.get("/metrics").text
    found = re.search(rf"^routewright_{name} (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_nothing_is_sent_while_nothing_differs(audited: Restarting) -> None:
    before, checked = audited.network.changes, metric(audited, "rules_audited_total")
    time.sleep(2.5 * AUDIT_S)
    rules = sum(len(tables.flows) + len(tables.groups) for tables in audited.network.tables.values())
    assert metric(audited, "rules_audited_total") - checked >= 2 * rules
    assert audited.network.changes == before
    assert metric(audited, "rules_put_right_total") == 0


def test_a_flow_deleted_by_hand_comes_back_alone_and_foreign_rules_stay(audited: Restarting) -> None:
    tables = audited.network.tables[2]
    tables.flows[FOREIGN_FLOW] = 0xABC, b"", time.monotonic(), 0
    tables.groups[FOREIGN_GROUP] = 1, b""
    key = next(key for key in tables.flows if key[:2] == (1, 100))
    gone = tables.flows.pop(key)
    before = audited.network.changes
    eventually(lambda: key in tables.flows, 5)
    assert tables.flows[key][:2] == gone[:2]
    time.sleep(2.5 * AUDIT_S)
    assert audited.network.changes == before + 1
    assert metric(audited, "rules_put_right_total") == 1
    assert FOREIGN_FLOW in tables.flows
    assert FOREIGN_GROUP in tables.groups
    assert "s2: 1 rules missing, 0 unasked for, 0 changed" in str(audited.ask("/api/v1/events"))


def test_a_changed_group_and_a_rule_of_a_form_that_we_never_write_are_put_right(
    audited: Restarting,
) -> None:
    tables = audited.network.tables[3]
    number = next(number for number in tables.groups if number & 0x40000000)
    kind, buckets = tables.groups[number]
    tables.groups[number] = kind, b""
    odd = (0, 7, FOREIGN_FLOW[2])
    tables.flows[odd] = Cookie(1, 9, 99).pack(), b"", time.monotonic(), 0
    eventually(lambda: tables.groups[number] == (kind, buckets) and odd not in tables.flows, 8)
