"""Only the packet's own time on the links goes; queueing, propagation, jitter and loss stay."""

from __future__ import annotations

import numpy as np
import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.validity import verdict_of
from gnn_model.without_transmission import WithoutTransmission
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, PacketSize, TrafficMatrix


def test_sizes_over_capacities_are_subtracted_by_share() -> None:
    links = [Link("a", "b", 1e6, 0.001), Link("b", "c", 2e6, 0.002), Link("a", "c", 4e6, 0.005)]
    topology = Topology.from_links(("a", "b", "c"), links)
    demands = [Demand("a", "c", 2e5, "x", 8000, PacketSize("constant")), Demand("a", "b", 1e5, "x", 4000)]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    routing = Routing(((PathShare((0, 1), 0.25), PathShare((2,), 0.75)), (PathShare((0,)),)))
    scenario = Scenario("split", topology, traffic, routing)
    whole = AnalyticPredictor().predict(scenario)
    without = WithoutTransmission(AnalyticPredictor())
    rest = without.predict(scenario)
    own = [0.25 * 8000 / 1e6 + 0.25 * 8000 / 2e6 + 0.75 * 8000 / 4e6, 4000 / 1e6]
    assert whole.delay_s - rest.delay_s == pytest.approx(own)
    assert whole.delay_p99_s - rest.delay_p99_s == pytest.approx(own)
    assert np.array_equal(whole.jitter_s, rest.jitter_s)
    assert np.array_equal(whole.loss_ratio, rest.loss_ratio)
    assert without.name == "analytic"
    assert verdict_of(without, scenario) is None
    assert without.predict_batch(scenario, [routing, routing])[1] == rest
