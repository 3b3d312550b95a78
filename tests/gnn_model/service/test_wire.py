"""Scenarios, candidates and predictions cross the wire exactly; whatever else comes is refused in one line."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from gnn_model.service.candidates_wire import candidate_message, other_weights, read_candidates
from gnn_model.service.limits import ServiceLimits
from gnn_model.service.predictions_wire import prediction_message, read_prediction
from gnn_model.service.scenario_wire import (
    KnownScenario,
    PackedScenario,
    ScenarioStore,
    UnknownScenarioError,
    pack_scenario,
    unpack_scenario,
)
from gnn_model.service.v1 import predictor_pb2 as pb
from tests.gnn_model.service.serving import other_way, other_weights_of, ring, some_routings, weighted_ring
from tests.topology_sync.strategies import scenarios
from topology_sync.errors import InputError, UnavailableError
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import scenario_to_json

LIMITS = ServiceLimits()


def packed_text(text: bytes) -> PackedScenario:
    return PackedScenario(hashlib.sha256(text).digest(), zlib.compress(text))


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@settings(max_examples=20, deadline=None)
@given(scenario=scenarios())
def test_any_scenario_round_trips_exactly_but_for_its_goals(scenario: Scenario) -> None:
    read = unpack_scenario(pack_scenario(scenario), LIMITS).scenario
    assert read == replace(scenario, sla=())
    assert pack_scenario(read) == pack_scenario(scenario)


def test_the_hash_is_that_of_the_json_text() -> None:
    scenario = ring()
    data = scenario_to_json(scenario)
    del data["sla"]
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    assert pack_scenario(scenario).sha256 == hashlib.sha256(text).digest()


def test_damaged_scenarios_are_refused_with_place_and_remedy() -> None:
    good = pack_scenario(ring())
    text = zlib.decompress(good.content)
    tight = ServiceLimits(content_bytes=len(text) - 1, nodes=5)
    cases = {
        "scenario.content: is not compressed by zlib": PackedScenario(good.sha256, b"{}"),
        "scenario.content: is not one whole zlib stream": PackedScenario(good.sha256, good.content[:-2]),
        "scenario.content: is not one whole zlib stream; send": PackedScenario(good.sha256, good.content + b"x"),
        "scenario.sha256: is not that of the unpacked content": PackedScenario(bytes(32), good.content),
        "scenario.content: line 1 column 2": packed_text(b"{x"),
        "scenario.content: is no UTF-8 text (byte 1)": packed_text(b"{\xff}"),
        "scenario.content: topology.links[0].capacity_bps": packed_text(
            text.replace(b'"capacity_bps":10000000.0', b'"capacity_bps":-1', 1)
        ),
        "scenario.content: format": packed_text(b"{}"),
    }
    for expected, packed in cases.items():
        assert refusal(lambda packed=packed: unpack_scenario(packed, LIMITS)).startswith(expected)
    assert "MiB unpacked" in refusal(lambda: unpack_scenario(good, tight))
    few = ServiceLimits(nodes=5)
    assert refusal(lambda: unpack_scenario(good, few)).startswith("scenario.content: topology.nodes: has 6 entries")
    bomb = packed_text(b" " * 50_000_000)
    assert "MiB unpacked" in refusal(lambda: unpack_scenario(bomb, ServiceLimits(content_bytes=10**6)))


def test_the_store_keeps_what_it_has_read_until_there_is_too_much() -> None:
    store = ScenarioStore(ServiceLimits(scenarios_kept=2))
    packs = [pack_scenario(ring(rate_bps=rate)) for rate in (1e6, 2e6, 3e6)]
    with pytest.raises(UnknownScenarioError):
        store.get(replace(packs[0], content=b""))
    first = store.get(packs[0])
    assert store.get(replace(packs[0], content=b"")) is first
    assert store.get(replace(packs[0], content=b"not looked at")) is first
    for packed in packs[1:]:
        store.get(packed)
    with pytest.raises(UnknownScenarioError):
        store.get(replace(packs[0], content=b""))
    assert "32 bytes" in refusal(lambda: store.get(PackedScenario(b"short", packs[0].content)))
    small = ScenarioStore(ServiceLimits(scenario_bytes_kept=1))
    for packed in packs[:2]:
        small.get(packed)
    with pytest.raises(UnknownScenarioError):
        small.get(replace(packs[0], content=b""))
    assert small.get(replace(packs[1], content=b"")).scenario.traffic.rate_bps[0] == 2e6


@settings(max_examples=20, deadline=None)
@given(scenario=scenarios(), data=st.data())
def test_any_routing_round_trips_exactly(scenario: Scenario, data: st.DataObject) -> None:
    """Shares keep their last bit, paths their order."""
    known = KnownScenario.of(scenario)
    demands = range(scenario.traffic.demand_count)
    chosen = data.draw(st.sets(st.sampled_from(demands))) if demands else set()
    changed = scenario.routing.with_changes(
        {demand: tuple(reversed(scenario.routing.paths[demand])) for demand in chosen}
    )
    message = pb.Candidate.FromString(candidate_message(scenario.routing, changed).SerializeToString())
    (question,) = read_candidates(known, [message], LIMITS)
    assert question.routing.paths == changed.paths
    assert question.hops == len(changed.flat.hop_link)
    assert len(message.changes) == sum(
        mine != theirs for mine, theirs in zip(changed.paths, scenario.routing.paths, strict=True)
    )


def test_only_what_differs_is_sent() -> None:
    scenario = ring()
    assert not candidate_message(scenario.routing, scenario.routing).changes
    message = candidate_message(scenario.routing, other_way(scenario, 3, 1 / 3))
    assert [change.demand for change in message.changes] == [3]
    assert [path.share for path in message.changes[0].paths] == [1.0 - 1 / 3, 1 / 3]


def change(demand: int = 0, **paths: object) -> pb.Candidate:
    return pb.Candidate(changes=[pb.Change(demand=demand, **paths)])


def test_wrong_candidates_are_refused_with_place_and_remedy() -> None:
    scenario = ring()
    known = KnownScenario.of(scenario)
    usual = list(scenario.routing.paths[0][0].links)
    path = pb.Path(links=usual, share=1.0)
    cases = {
        "candidates: has 0 entries; send 1 to 1024": [],
        "candidates[1].changes[0].demand: is 6; there are 6 demands": [pb.Candidate(), change(6, paths=[path])],
        "candidates[0].changes[1].demand: 0 is changed before": [
            pb.Candidate(changes=[pb.Change(demand=0, paths=[path])] * 2)
        ],
        "candidates[0].changes[0].paths: has 0 entries": [change()],
        "candidates[0].changes[0].paths[0].links[0]: is 12; there are 12 links": [
            change(paths=[pb.Path(links=[12], share=1)])
        ],
        "candidates[0].changes[0].paths[0].links: do not lead": [change(paths=[pb.Path(links=usual[:1], share=1)])],
        "candidates[0].changes[0].paths[0].links: do not lead from": [change(paths=[pb.Path(share=1)])],
        "candidates[0].changes[0].paths[0].links[0]: link": [change(paths=[pb.Path(links=usual[::-1], share=1)])],
        "candidates[0].changes[0].paths[0].share: is 0;": [change(paths=[pb.Path(links=usual)])],
        "candidates[0].changes[0].paths[0].share: is nan": [change(paths=[pb.Path(links=usual, share=float("nan"))])],
        "candidates[0].changes[0].paths[0].share: is 2": [change(paths=[pb.Path(links=usual, share=2)])],
        "candidates[0].changes[0].paths: has the same path twice": [
            change(paths=[pb.Path(links=usual, share=0.5)] * 2)
        ],
        "candidates[0].changes[0].paths: shares sum to 0.5": [change(paths=[pb.Path(links=usual, share=0.5)])],
        "candidates[0].changes[0].paths: has 65 entries": [change(paths=[path] * 65)],
    }
    for expected, candidates in cases.items():
        assert refusal(lambda sent=candidates: read_candidates(known, sent, LIMITS)).startswith(expected)
    there_and_back = [change(paths=[pb.Path(links=[0, 3], share=1)])]  # n0 -> n1 -> n0
    assert "links[1]: link 3 comes back" in refusal(lambda: read_candidates(known, there_and_back, LIMITS))
    few = ServiceLimits(answer_values=50)
    assert "numbers" in refusal(lambda: read_candidates(known, [pb.Candidate()] * 2, few))


def test_predictions_arrive_bit_for_bit(random_scenario: Callable[..., Scenario]) -> None:
    for seed in range(5):
        scenario = random_scenario(seed)
        prediction = AnalyticPredictor().predict(scenario)
        odd = replace(prediction, jitter_s=np.where(np.arange(len(prediction.jitter_s)) % 2, np.nan, np.inf))
        for sent in (prediction, odd):
            message = pb.Prediction.FromString(prediction_message(sent).SerializeToString())
            assert read_prediction(message, scenario) == sent


def test_an_answer_of_the_wrong_size_is_no_prediction() -> None:
    message = prediction_message(AnalyticPredictor().predict(ring(5)))
    with pytest.raises(UnavailableError, match="does not fit the question: delay_s has 5 entries, not 6"):
        read_prediction(message, ring(6))


def test_candidates_of_another_scenario_are_refused() -> None:
    with pytest.raises(InputError, match="covers 5 of 6 demands"):
        candidate_message(ring(6).routing, some_routings(ring(5), 1)[0])


def test_weights_cross_the_wire_exactly() -> None:
    scenario = weighted_ring()
    known = KnownScenario.of(scenario)
    present = scenario.topology.schedulers
    asked = other_weights_of(scenario, 5)
    messages = [
        candidate_message(scenario.routing, item.routing, other_weights(present, item.schedulers) or {})
        for item in asked
    ]
    read = read_candidates(known, [pb.Candidate.FromString(m.SerializeToString()) for m in messages], LIMITS)
    assert [item.schedulers or present for item in read] == [item.schedulers for item in asked]
    assert [item.routing for item in read] == [item.routing for item in asked]


def test_what_is_more_than_weights_is_no_candidate() -> None:
    present = weighted_ring().topology.schedulers
    for other in (
        replace(present[0], discipline="drr"),
        replace(present[0], class_queues=(("default", 0),)),
        replace(present[0], weights=(1.0, 1.0, 1.0)),
        replace(present[0], weights=(1.0, 0.0)),
    ):
        assert other_weights(present, (other, *present[1:])) is None


def test_weights_that_cannot_be_are_refused() -> None:
    known = KnownScenario.of(weighted_ring())
    cases = {
        "queue_weights[0].node: is 9": [pb.QueueWeights(node=9, weights=[1, 1])],
        "queue_weights[0].node: 'n5' is fifo": [pb.QueueWeights(node=5, weights=[])],
        "queue_weights[1].node: 0 is named before": [pb.QueueWeights(node=0, weights=[1, 2])] * 2,
        "queue_weights[0].weights: are not one positive number": [pb.QueueWeights(node=0, weights=[1])],
        "queue_weights[0].weights: are not": [pb.QueueWeights(node=0, weights=[1, float("nan")])],
        "queue_weights[0].weights:": [pb.QueueWeights(node=0, weights=[1, float("inf")])],
    }
    for expected, entries in cases.items():
        text = refusal(lambda: read_candidates(known, [pb.Candidate(queue_weights=entries)], LIMITS))  # noqa: B023
        assert text.startswith(f"candidates[0].{expected}"), text
