"""The state format: exact round trips, columns that fit the scenario."""

from typing import Any

import pytest
from hypothesis import given, settings

from tests.topology_sync.strategies import network_states
from tests.topology_sync.test_scenario_json import example
from topology_sync.errors import ScenarioError
from topology_sync.network_state import NetworkState
from topology_sync.state_json import state_from_json, state_to_json
from topology_sync.strict_json import format_json, parse_json


@settings(max_examples=40, deadline=None)
@given(network_states())
def test_what_is_written_reads_back_equal(state: NetworkState) -> None:
    assert state_from_json(parse_json(format_json(state_to_json(state)))) == state


def small_state() -> dict[str, Any]:
    names = ["packets_sent", "packets_lost", "loss_ratio", "delay_s", "delay_p99_s", "jitter_s", "delay_min_s"]
    return {
        "format": "routewright-state/1",
        "topology_version": 3,
        "routing_version": 0,
        "time_s": 1.7e9,
        "window_s": 10,
        "settled": True,
        "scenario": example(),
        "demands": {**{name: [None, 0.5] for name in names}, "probe_count": [0, 4]},
        "links": {"up": [True] * 9, "carried_bps": [None] * 9},
        "hosts": [{"ip": "10.0.0.1", "mac": "02:00:00:00:00:01", "node": "a", "port": 4}],
    }


def test_null_is_an_unknown_number() -> None:
    state = state_from_json(small_state())
    assert str(state.demands.delay_s.tolist()) == "[nan, 0.5]"
    assert state_to_json(state)["demands"]["delay_s"] == [None, 0.5]


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("demands", "delay_s"), [0.1], "demands.delay_s: has 1 entries for 2; give one for each in the scenario"),
        (("demands", "delay_s"), [0.1, "x"], "demands.delay_s[1]: is 'x'"),
        (("demands", "probe_count"), [1, None], "demands.probe_count[1]: is null"),
        (("links", "up"), [1] * 9, "links.up[0]: is 1; give true or false"),
        (("links", "down"), [], "links.down: unknown key"),
        (("hosts",), [{"ip": "10.0.0.300", "mac": "", "node": "a", "port": 4}], "hosts[0].mac"),
        (("scenario", "traffic"), 5, "scenario.traffic: is 5; give a list"),
        (("settled",), None, "settled: is null"),
    ],
)
def test_bad_states_are_refused_with_place(place: tuple[str, ...], value: Any, expected: str) -> None:
    data = small_state()
    target = data if len(place) == 1 else data[place[0]]
    target[place[-1]] = value
    with pytest.raises(ScenarioError) as caught:
        state_from_json(data)
    assert str(caught.value).startswith(expected)
