"""Rules have one canonical form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.rules import (
    ETHERTYPE_IPV4,
    ETHERTYPE_MPLS,
    Bucket,
    FlowRule,
    GroupRule,
    Match,
    Output,
    RuleSet,
    ToGroup,
    demand_group_id,
    is_own_group,
    link_group_id,
)


def test_a_match_carries_the_ethertype_that_its_fields_need() -> None:
    assert Match(ipv4_dst=("10.0.0.1", 32)) == Match(eth_type=ETHERTYPE_IPV4, ipv4_dst=("10.0.0.1", 32))
    assert Match(mpls_label=16) == Match(eth_type=ETHERTYPE_MPLS, mpls_label=16)


def test_host_bits_and_empty_prefixes_do_not_count() -> None:
    assert Match(ipv4_dst=("10.1.2.3", 16)) == Match(ipv4_dst=("10.1.0.0", 16))
    assert Match(ipv4_dst=("10.1.2.3", 0)) == Match(eth_type=ETHERTYPE_IPV4)


def test_buckets_keep_only_what_their_kind_of_group_uses() -> None:
    bucket = Bucket((Output(1),), weight=5, watch_port=1)
    assert GroupRule(1, "select", (bucket,)).buckets == (Bucket((Output(1),), weight=5),)
    assert GroupRule(1, "fast_failover", (bucket,)).buckets == (Bucket((Output(1),), watch_port=1),)


def test_rules_know_the_groups_they_refer_to() -> None:
    assert FlowRule(0, 1, Match(), (ToGroup(4), Output(1))).groups() == {4}
    assert GroupRule(1, "select", (Bucket((ToGroup(2),), 1), Bucket((ToGroup(3),), 1))).groups() == {2, 3}


def test_of_two_flows_with_one_key_the_later_stays() -> None:
    first, second = FlowRule(0, 1, Match(), cookie=1), FlowRule(0, 1, Match(), cookie=2)
    assert RuleSet.of([first, second]).flows == {second.key: second}


@given(st.integers(1, (1 << 28) - 1), st.integers(1, 0xFFFFE), st.integers(0, 255))
def test_group_ids_are_ours_legal_and_distinct(port: int, demand: int, version: int) -> None:
    ids = link_group_id(port), demand_group_id(demand, version)
    assert all(is_own_group(group_id) and group_id <= 0xFFFFFF00 for group_id in ids)
    assert ids[0] < ids[1]
    assert ids[1] & 0xFFFFF == demand


def test_a_port_that_fits_no_group_id_is_refused() -> None:
    with pytest.raises(ValueError, match="port"):
        link_group_id(0xFFFFFFFE)
