"""The scenario format: exact round trips, strict reading, defaults of the contract."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.topology_sync.strategies import scenarios
from topology_sync.errors import ScenarioError
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.scenario_json import read_scenario, scenario_from_json, scenario_to_json, write_scenario
from topology_sync.strict_json import format_json, parse_json
from topology_sync.topology import Scheduler
from topology_sync.traffic import Arrivals, PacketSize


def example() -> dict[str, Any]:
    """A square a-b-d-c-a with a second, larger link from a to b."""
    sides = ["ab", "ba", "ac", "ca", "bd", "db", "cd", "dc"]
    links: list[dict[str, Any]] = [{"source": ends[0], "target": ends[1], "capacity_bps": 1e6} for ends in sides]
    links.append({"source": "a", "target": "b", "capacity_bps": 2e6, "delay_s": 0.001, "queue_packets": 8})
    return {
        "format": "routewright-scenario/1",
        "name": "square",
        "topology": {"nodes": [{"id": name} for name in "abcd"], "links": links},
        "traffic": [
            {"source": "a", "target": "d", "rate_bps": 1e5},
            {"source": "a", "target": "d", "class": "voice", "rate_bps": 2e5, "packet_bits_mean": 1000},
        ],
        "routing": [
            {
                "source": "a",
                "target": "d",
                "class": "voice",
                "paths": [
                    {"nodes": ["a", "b", "d"], "share": 0.25, "links": [0, 4]},
                    {"nodes": list("acd"), "share": 0.75},
                ],
            }
        ],
        "sla": [{"class": "voice", "delay_s": 0.03, "jitter_s": None, "loss_ratio": 0.001}],
    }


@settings(max_examples=60, deadline=None)
@given(scenarios())
def test_what_is_written_reads_back_equal(scenario: Scenario) -> None:
    scenario.routing.check(scenario.topology, scenario.traffic)
    assert scenario_from_json(parse_json(format_json(scenario_to_json(scenario)))) == scenario


@pytest.mark.parametrize("suffix", ["json", "json.gz", "json.xz"])
def test_files_round_trip(tmp_path: Path, suffix: str) -> None:
    scenario = scenario_from_json(example())
    write_scenario(scenario, tmp_path / f"square.{suffix}")
    assert read_scenario(tmp_path / f"square.{suffix}") == scenario


def test_missing_keys_take_the_defaults() -> None:
    scenario = scenario_from_json(example())
    assert scenario.topology.schedulers == (Scheduler(),) * 4
    assert scenario.topology.queue_packets[0] == 32
    assert scenario.topology.delay_s[0] == 0
    assert scenario.traffic.class_names == ("default", "voice")
    assert scenario.traffic.packet_size == (PacketSize(),) * 2
    assert scenario.traffic.arrivals == (Arrivals(),) * 2
    assert scenario.sla == (SlaGoal("voice", 0.03, 99.0, None, 0.001),)


def test_the_variant_of_a_scheduler_is_written_only_where_it_is_not_the_standard_one() -> None:
    data = example()
    data["topology"]["nodes"][0] |= {"scheduler": "wfq", "weights": [2.0, 1.0]}
    assert scenario_from_json(data).topology.schedulers[0].variant == "standard"
    assert "variant" not in scenario_to_json(scenario_from_json(data))["topology"]["nodes"][0]
    data["topology"]["nodes"][0]["variant"] = "datanet"
    assert scenario_from_json(data).topology.schedulers[0].variant == "datanet"
    data["topology"]["nodes"][0]["variant"] = "other"
    with pytest.raises(ScenarioError, match="standard, datanet"):
        scenario_from_json(data)


def test_demands_without_routing_take_fewest_hops_over_the_larger_parallel_link() -> None:
    scenario = scenario_from_json(example())
    assert scenario.routing.paths[0] == (PathShare((8, 4)),)
    assert scenario.routing.paths[1] == (PathShare((0, 4), 0.25), PathShare((2, 6), 0.75))
    data = example()
    del data["routing"]
    assert scenario_from_json(data).routing.paths == ((PathShare((8, 4)),),) * 2


def test_link_ids_are_written_only_where_a_smaller_parallel_link_is_meant() -> None:
    written = scenario_to_json(scenario_from_json(example()))["routing"]
    assert "links" not in written[0]["paths"][0]
    assert written[1]["paths"][0]["links"] == [0, 4]
    assert "links" not in written[1]["paths"][1]


def at(data: Any, *steps: Any) -> Any:
    for step in steps:
        data = data[step]
    return data


BAD: list[tuple[tuple[Any, ...], Any, str]] = [
    (("format",), "routewright-scenario/2", "format: is 'routewright-scenario/2'; give \"routewright-scenario/1\""),
    (("traffic", 0, "rate"), 3, "traffic[0].rate: unknown key; did you mean rate_bps?"),
    (("traffic", 0, "rate_bps"), True, "traffic[0].rate_bps: is true; give a number of 0 or more, up to 1e+18"),
    (("traffic", 0, "rate_bps"), -1, "traffic[0].rate_bps: is -1; give a number of 0 or more, up to 1e+18"),
    (("traffic", 0, "target"), "x", "traffic[0].target: there is no node 'x'; name a node of topology.nodes"),
    (("traffic", 0, "target"), "a", "traffic[0].target: is the source 'a' itself; remove the demand"),
    (("traffic", 0, "class"), "voice", "traffic[1]: is the same source, target and class as traffic[0]"),
    (
        ("traffic", 0, "packet_size"),
        "big",
        "traffic[0].packet_size: is 'big'; give one of exponential, constant, bimodal",
    ),
    (("traffic", 0, "packet_size"), {"sizes": [1]}, "traffic[0].packet_size.probabilities: is missing"),
    (("traffic", 0, "packet_size"), {"sizes": [1, 2], "probabilities": [1]}, "has 1 entries for 2 sizes"),
    (("traffic", 0, "packet_size"), {"sizes": [1], "probabilities": [0.5]}, "sums to 0.5"),
    (("traffic", 0, "arrivals"), "cbr", "traffic[0].arrivals: is 'cbr'; give an object"),
    (("traffic", 0, "arrivals"), {"model": "x"}, "traffic[0].arrivals.model: is 'x'; give one of poisson, cbr"),
    (("topology", "links", 2, "capacity_bps"), 0, "topology.links[2].capacity_bps: is 0"),
    (("topology", "links", 2, "queue_packets"), 1.5, "topology.links[2].queue_packets: is 1.5; give a whole number"),
    (("topology", "links", 2, "target"), "a", "topology.links[2]: leads from 'a' to itself"),
    (("topology", "nodes", 1, "id"), "a", "topology.nodes: 'a' is there twice"),
    (
        ("topology", "nodes", 1, "scheduler"),
        "wfq",
        "topology.nodes[1].weights: is missing; wfq needs one weight per queue",
    ),
    (("topology", "nodes", 1, "class_queues"), {"voice": "0"}, "topology.nodes[1].class_queues.voice: is '0'"),
    (("topology", "nodes"), {}, "topology.nodes: is an empty object; give a list"),
    (("routing", 0, "class"), "video", "routing[0]: there is no traffic from 'a' to 'd' of class 'video'"),
    (("routing", 0, "paths"), [], "routing[0].paths: is an empty list"),
    (("routing", 0, "paths", 0, "share"), 0.5, "routing[0].paths: shares sum to 1.25"),
    (("routing", 0, "paths", 0, "nodes"), ["a", "b"], "does not lead from 'a' to 'd'"),
    (("routing", 0, "paths", 0, "nodes"), ["a", "d"], "there is no link from 'a' to 'd'"),
    (("routing", 0, "paths", 0, "nodes"), list("abacd"), "passes a node twice"),
    (
        ("routing", 0, "paths", 0, "links"),
        [1, 4],
        "routing[0].paths[0].links[0]: link 1 is not on this hop; give one of 8, 0",
    ),
    (("routing", 0, "paths", 0, "links"), [0], "has 1 ids for 2 hops"),
    (("routing", 0, "paths", 1), {"nodes": list("abd"), "links": [0, 4]}, "has the same path twice"),
    (("sla", 0, "loss_ratio"), 2, "sla[0].loss_ratio: is 2"),
    (("sla", 0, "percentile"), 100, "sla[0].percentile: is 100"),
    (("sla", 0, "percentile"), 0.99, "sla[0].percentile: is 0.99; give a number of 1 or more, up to 99.9999"),
    (("sla", 0, "class"), 5, "sla[0].class: is 5"),
]


@pytest.mark.parametrize(("place", "value", "expected"), BAD)
def test_bad_input_is_refused_with_place_and_remedy(place: tuple[Any, ...], value: Any, expected: str) -> None:
    data = copy.deepcopy(example())
    at(data, *place[:-1])[place[-1]] = value
    with pytest.raises(ScenarioError) as caught:
        scenario_from_json(data)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["format", "topology", "traffic"])
def test_keys_without_default_must_be_there(key: str) -> None:
    data = example()
    del data[key]
    with pytest.raises(ScenarioError, match=f"^{key}: is missing"):
        scenario_from_json(data)


def test_a_demand_without_any_way_is_refused() -> None:
    data = example()
    data["topology"]["nodes"].append({"id": "island"})
    data["traffic"].append({"source": "a", "target": "island", "rate_bps": 1})
    with pytest.raises(ScenarioError, match=r"^traffic\[2\]: there is no way from 'a' to 'island'; add links"):
        scenario_from_json(data)


def test_the_same_demand_is_routed_once() -> None:
    data = example()
    data["routing"] *= 2
    with pytest.raises(ScenarioError, match=r"^routing\[1\]: routes a demand that is routed before"):
        scenario_from_json(data)


def test_errors_of_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    data = example()
    data["traffic"][1]["rate"] = 1
    path.write_text(format_json(data))
    with pytest.raises(ScenarioError) as caught:
        read_scenario(path)
    assert str(caught.value) == f"{path}: traffic[1].rate: unknown key; did you mean rate_bps?"
