"""What a search leaves in the record of a decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gnn_model.analytic import AnalyticPredictor
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.graph_tensors import graph_tensors
from gnn_model.routenet.model import ModelConfig, RouteNet
from gnn_model.validity import Envelope
from gnn_model.without_transmission import WithoutTransmission
from optimizer.candidates import CandidateCache
from optimizer.loop_values import StartSearch, Trigger
from optimizer.planning import view_of
from optimizer.searching import decision_of, find
from optimizer.settings import OptimizerSettings
from topology_sync.values import float_array


def test_a_search_records_what_its_predictor_was_not_trained_for(controller: Any, settings: OptimizerSettings) -> None:
    settings = replace(settings, search_time_s=0.2)
    view = view_of(controller.state(), settings)
    request = StartSearch(1, Trigger("sla", 0.0, 0.0), 20, frozenset())
    analytic = find(view, request, settings, AnalyticPredictor(), CandidateCache())
    assert (analytic.validity, analytic.warning) == ({}, None)
    model = GnnPredictor.of_model(RouteNet(ModelConfig(width=8)), threads=1)
    quiet = view.scenario.traffic.with_rates(float_array(0.1 * view.scenario.traffic.rate_bps))
    model.card = {"ranges": Envelope.of([graph_tensors(replace(view.scenario, traffic=quiet))]).to_json()}
    found = find(view, request, settings, WithoutTransmission(model), CandidateCache())  # as in an emulated network
    assert found.warning is not None
    assert "unlike what the model was trained on: load of the fullest port" in found.warning
    record = decision_of(found, settings, model, 0.0)
    assert record.summary["predicted"]["warning"] == found.warning
    assert {name: verdict["inside"] for name, verdict in record.detail["validity"].items()} == {
        "before": False,
        "after": False,
    }
