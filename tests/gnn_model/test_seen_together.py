"""Values of two measures that training had, but never at once, are told from those that it had."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gnn_model.graph_tensors import graph_tensors
from gnn_model.path_measures import MEASURES, path_measures
from gnn_model.seen_together import SeenTogether
from gnn_model.validity import Envelope
from topology_sync.errors import InputError
from topology_sync.paths import fewest_hops_routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix


def chain(hops: int, streams: int, load: float = 0.6) -> Scenario:
    """So many streams of classes of their own along the same hops."""
    names = [f"n{number}" for number in range(hops + 1)]
    topology = Topology.from_links(names, [Link(*ends, 1e6) for ends in pairwise(names)])
    demands = [Demand(names[0], names[-1], load * 1e6 / streams, f"c{number}") for number in range(streams)]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    return Scenario("chain", topology, traffic, fewest_hops_routing(topology, traffic))


@pytest.fixture
def seen() -> SeenTogether:
    """One stream over a hop or two, many over one to ten."""
    scenarios = [*(chain(hops, 1) for hops in (1, 2)), *(chain(hops, 8) for hops in range(1, 11))]
    return SeenTogether.of([graph_tensors(scenario) for scenario in scenarios])


def test_measures_are_what_they_say() -> None:
    found = dict(zip(MEASURES, path_measures(graph_tensors(chain(5, 4)))[0].tolist(), strict=True))
    assert found["hops"] == 5
    assert found["load"] == pytest.approx(0.6, rel=0.02)  # a little is lost
    assert found["flows"] == pytest.approx(4.0, rel=1e-3)
    assert found["part"] == pytest.approx(0.25, rel=1e-3)
    assert found["company"] == pytest.approx(4.0, rel=1e-3)  # all but the first
    assert found["periodic"] == 0
    assert found["size_variance"] == pytest.approx(1.0, rel=1e-3)
    assert found["room"] == pytest.approx(32)
    assert found["fifo"] == 1


def test_one_stream_alone_over_many_hops_was_never_seen(seen: SeenTogether) -> None:
    """Though ten hops were, and one stream alone."""
    unseen = seen.unseen(graph_tensors(chain(10, 1)))
    assert unseen
    assert all(item.paths.all() and "never trained on together" in item.reason for item in unseen)
    assert any("hops" in item.reason and "flows" in item.reason for item in unseen)
    for scenario in (chain(10, 8), chain(2, 1)):
        assert seen.unseen(graph_tensors(scenario)) == []


def test_a_value_beyond_all_of_them_is_named(seen: SeenTogether) -> None:
    reasons = [item.reason for item in seen.unseen(graph_tensors(chain(14, 8)))]
    assert "hops: 14, trained on 1 to 10" in reasons


def test_it_comes_back_from_the_card(seen: SeenTogether) -> None:
    again = SeenTogether.from_json(json.loads(json.dumps(seen.to_json())))
    assert np.array_equal(again.cells, seen.cells)
    for scenario in (chain(10, 1), chain(10, 8)):
        graph = graph_tensors(scenario)
        assert [item.reason for item in again.unseen(graph)] == [item.reason for item in seen.unseen(graph)]
    damaged = seen.to_json()
    del damaged["cells"]["hops,load"]
    with pytest.raises(InputError, match="does not name"):
        SeenTogether.from_json(damaged)
    with pytest.raises(ValueError, match="need graphs"):
        SeenTogether.of([])


def test_a_scenario_names_the_demands_outside() -> None:
    envelope = Envelope.of(graph_tensors(chain(hops, 8)) for hops in range(1, 6))
    verdict = envelope.judge(chain(5, 1))
    assert (verdict.inside, verdict.demands, verdict.outside_ratio) == (False, (0,), 1.0)
    assert "1 of the demands (100% of the paths) lie outside" in verdict.text
    assert verdict.to_json()["reasons"][0] == verdict.reasons[0]
    known = envelope.judge(chain(5, 8))
    assert (known.inside, known.demands, known.text) == (True, (), "")
    # a card from before there were measures still has its box
    boxed = replace(envelope, together=None)
    assert "measures" not in boxed.to_json()
    assert Envelope.from_json(boxed.to_json()).judge(chain(5, 8)).inside
