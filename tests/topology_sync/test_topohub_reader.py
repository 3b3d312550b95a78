"""topohub networks become scenarios with the capacities and the load that the options say."""

from pathlib import Path

import pytest

from topology_sync.errors import ScenarioError
from topology_sync.sources import load_scenario
from topology_sync.topohub_reader import read_topohub

pytest.importorskip("topohub")


def test_nobel_us_has_14_switches_42_directed_links_and_its_demands() -> None:
    scenario = read_topohub("sndlib/nobel-us")
    assert (scenario.topology.node_count, scenario.topology.link_count) == (14, 42)
    assert scenario.topology.node_names[0] == "Palo-Alto"
    assert scenario.traffic.demand_count == 91
    scenario.routing.check(scenario.topology, scenario.traffic)
    rates = scenario.traffic.rate_bps
    assert rates[0] / rates.sum() == pytest.approx(52 / 5420)


def test_options_set_capacity_load_and_delay() -> None:
    scenario = load_scenario(
        "topohub:sndlib/germany50?capacity_mbps=10&max_utilisation=0.7&propagation=true&queue_packets=20&packet_bits=1000"
    )
    assert set(scenario.topology.capacity_bps) == {1e7}
    assert set(scenario.topology.queue_packets) == {20}
    assert set(scenario.traffic.packet_bits_mean) == {1000}
    assert scenario.routing.max_utilisation(scenario.traffic, scenario.topology) == pytest.approx(0.7)
    assert 1e-5 < scenario.topology.delay_s.min() <= scenario.topology.delay_s.max() < 5e-3  # 2 km to 1000 km


def test_demands_can_go_both_ways_or_count_in_units() -> None:
    once = load_scenario("topohub:sndlib/nobel-us?unit_mbps=2")
    twice = load_scenario("topohub:sndlib/nobel-us?unit_mbps=2&both_directions=true")
    assert once.traffic.rate_bps.sum() == pytest.approx(5420 * 2e6)
    assert twice.traffic.demand_count == 2 * once.traffic.demand_count
    assert twice.traffic.rate_bps.sum() == pytest.approx(2 * once.traffic.rate_bps.sum())


def test_a_network_without_demands_gets_the_same_between_all_pairs() -> None:
    scenario = load_scenario("topohub:topozoo/Abilene")
    assert scenario.traffic.demand_count == 11 * 10
    assert scenario.routing.max_utilisation(scenario.traffic, scenario.topology) == pytest.approx(0.5)
    assert load_scenario("topohub:topozoo/Abilene?demands=none").traffic.demand_count == 0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("topohub:sndlib/nobel", "topohub:sndlib/nobel: there is no such network; did you mean sndlib/nobel-us?"),
        ("topohub:abc/x", "topohub:abc/x: there is no such network; the groups are sndlib, topozoo"),
        ("topohub:../secret", "topohub:../secret: is no topohub key"),
        ("topohub:", "topohub:: is no topohub key"),
        ("topohub:sndlib/abilene?capacity=3", "option capacity: unknown key; did you mean capacity_mbps?"),
        ("topohub:sndlib/abilene?capacity_mbps=0", "option capacity_mbps: is '0'; give a number from"),
        ("topohub:sndlib/abilene?capacity_mbps=nan", "option capacity_mbps: is 'nan'; give a number from"),
        ("topohub:sndlib/abilene?capacity_mbps", "option capacity_mbps: has no value"),
        ("topohub:sndlib/abilene?demands=some", "option demands: is 'some'; give given, uniform or none"),
        ("topohub:sndlib/abilene?propagation=1", "option propagation: is '1'; give true or false"),
        ("topohub:sndlib/abilene?queue_packets=1.5", "option queue_packets: is '1.5'; give a whole number"),
        ("topohub:sndlib/abilene?unit_mbps=1&max_utilisation=1", "option unit_mbps: contradicts max_utilisation"),
        ("topohub:sndlib/abilene?unit_mbps=1&unit_mbps=1", "option unit_mbps: is given twice"),
    ],
)
def test_bad_sources_are_refused(source: str, expected: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(source)
    assert str(caught.value).startswith(expected)


def test_demands_of_a_file_do_not_go_with_topohub() -> None:
    with pytest.raises(ScenarioError, match="--demands: does not go with topohub networks"):
        load_scenario("topohub:sndlib/abilene", demands=Path("x"))
