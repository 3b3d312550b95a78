"""The learned predictor behind the common protocol, and its file of weights."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from gnn_model.certain_limits import UNKNOWN
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.graph_tensors import graph_tensors
from gnn_model.model_file import SHIPPED, ModelFileError, load_model, save_model
from gnn_model.routenet.model import ModelConfig, RouteNet
from tests.gnn_model.test_graph_tensors import scaled
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix

FIELDS = ("delay_s", "delay_p99_s", "jitter_s", "loss_ratio", "link_utilisation_ratio", "link_loss_ratio")


def random_model() -> RouteNet:
    torch.manual_seed(1)
    model = RouteNet(ModelConfig(width=8, rounds=2)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.integers(-10, 10))
def test_predictions_scale_exactly(random_scenario: Callable[..., Scenario], seed: int, power: int) -> None:
    """All rates and capacities times k, all times over k: delays over k, ratios the same."""
    scenario, factor = random_scenario(seed, peak=0.9), 2.0**power
    other = scaled(scenario, factor)
    predictor = GnnPredictor.of_model(random_model())
    before, after = predictor.predict(scenario), predictor.predict(other)
    assert after.delay_s * factor == pytest.approx(before.delay_s, rel=1e-5)
    assert after.delay_p99_s * factor == pytest.approx(before.delay_p99_s, rel=1e-4)
    assert after.jitter_s * factor == pytest.approx(before.jitter_s, rel=1e-4, abs=1e-9 * float(before.delay_s.max()))
    assert after.loss_ratio == pytest.approx(before.loss_ratio, abs=1e-5)  # what is hardly any loss counts as none


def test_a_fresh_network_predicts_as_the_analytic_predictor(random_scenario: Callable[..., Scenario]) -> None:
    predictor = GnnPredictor.of_model(RouteNet(ModelConfig(width=8, rounds=2)))
    for seed in range(6):
        scenario = random_scenario(seed, peak=0.8)
        mine, theirs = predictor.predict(scenario), AnalyticPredictor().predict(scenario)
        graph = graph_tensors(scenario)
        certain = np.logical_or.reduceat(graph.hop_longest < np.float32(UNKNOWN), graph.hop_pointer[:-1])
        free = np.bincount(graph.path_demand, certain) == 0  # elsewhere it knows that waits cannot be as long
        assert mine.delay_s[free] == pytest.approx(theirs.delay_s[free], rel=1e-3)
        least = 1e-5 * float(theirs.delay_s.max())
        assert (mine.jitter_s <= theirs.jitter_s * 1.01 + least).all()
        limited = graph.path_half_jitter * graph.unit_s < theirs.jitter_s[graph.path_demand]
        free &= np.bincount(graph.path_demand, limited) == 0
        assert mine.jitter_s[free] == pytest.approx(theirs.jitter_s[free], rel=1e-2, abs=least)
        assert mine.loss_ratio == pytest.approx(theirs.loss_ratio, abs=1e-4)
        assert np.array_equal(mine.link_utilisation_ratio, theirs.link_utilisation_ratio)


def test_candidates_are_predicted_as_if_alone(random_scenario: Callable[..., Scenario]) -> None:
    predictor = GnnPredictor.of_model(random_model())
    scenario = random_scenario(5, peak=0.9)
    ends = (int(scenario.traffic.source[0]), int(scenario.traffic.target[0]))
    others = [node for node in range(scenario.topology.node_count) if node not in ends]
    between = scenario.topology.links_between
    detours = [
        (between[ends[0], middle][0], between[middle, ends[1]][0])
        for middle in others
        if (ends[0], middle) in between and (middle, ends[1]) in between
    ]
    changed = scenario.routing.with_changes({0: (PathShare(detours[0]),)}) if detours else scenario.routing
    together = predictor.predict_batch(scenario, [scenario.routing, changed, scenario.routing])
    alone = [predictor.predict(scenario), predictor.predict(scenario.with_routing(changed))]
    for name in FIELDS:
        assert getattr(together[0], name) == pytest.approx(getattr(alone[0], name), rel=1e-5, abs=1e-9)
        assert getattr(together[1], name) == pytest.approx(getattr(alone[1], name), rel=1e-5, abs=1e-9)
        assert getattr(together[2], name) == pytest.approx(getattr(together[0], name), rel=1e-5, abs=1e-9)


def test_any_scenario_gets_possible_values(random_scenario: Callable[..., Scenario]) -> None:
    predictor = GnnPredictor.of_model(random_model())
    for seed in range(12):
        prediction = predictor.predict(random_scenario(seed))
        assert all(np.isfinite(getattr(prediction, name)).all() for name in FIELDS)
        assert ((prediction.loss_ratio >= 0) & (prediction.loss_ratio <= 1)).all()
        assert (prediction.delay_p99_s >= prediction.delay_s).all()


def test_weights_come_back_from_their_file(tmp_path: Path, random_scenario: Callable[..., Scenario]) -> None:
    model = random_model()
    save_model(tmp_path / "m.safetensors", model, {"data": "none"})
    again, card = load_model(tmp_path / "m.safetensors")
    assert card["data"] == "none"
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    scenario = random_scenario(2, peak=0.7)
    assert GnnPredictor(tmp_path / "m.safetensors").predict(scenario) == GnnPredictor.of_model(model).predict(scenario)


def test_wrong_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    card_path = path.with_suffix(".json")

    def refused(text: str) -> None:
        with pytest.raises(ModelFileError, match=text) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)

    refused("cannot be read")
    save_model(path, random_model(), {})
    data, card = path.read_bytes(), json.loads(card_path.read_text())
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused("is damaged")
    path.write_bytes(data)
    for change, text in (
        ({"format": "x"}, "card of another kind"),
        ({"inputs": {"path": []}}, "other inputs"),
        ({"probe": [value + 1 for value in card["probe"]]}, "another version of the analytic"),
        ({"probe": [math.nan for _ in card["probe"]]}, "another version of the analytic"),
        ({"probe": "none"}, "another version of the analytic"),
        ({"model": card["model"] | {"width": 9}}, "does not fit"),
    ):
        card_path.write_text(json.dumps(card | change))
        refused(text)
    card_path.write_text("{")
    refused("cannot be read")


@pytest.mark.skipif(not SHIPPED.exists(), reason="no weights are shipped with this version")
def test_the_shipped_weights_load_and_are_small() -> None:
    assert SHIPPED.stat().st_size < 5_000_000
    assert GnnPredictor().card["data"]


@pytest.mark.skipif(not SHIPPED.exists(), reason="no weights are shipped with this version")
@pytest.mark.parametrize(("load", "loses"), [(0.2, False), (0.98, True)])
def test_a_promise_of_no_loss_can_be_kept(load: float, loses: bool) -> None:
    """Along twelve queues; a network only ever says "hardly any", which would break such a promise everywhere."""
    names = [str(node) for node in range(13)]
    topology = Topology.from_links(names, [Link(*ends, 1e7) for ends in itertools.pairwise(names)])
    traffic = TrafficMatrix.from_demands([Demand("0", "12", load * 1e7)], topology.node_index)
    scenario = Scenario("line", topology, traffic, Routing(((PathShare(tuple(range(12))),),)))
    assert (GnnPredictor().predict(scenario).loss_ratio[0] > 0) == loses
