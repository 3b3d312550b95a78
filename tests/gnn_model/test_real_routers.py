"""Graphs of measurements on real routers, the network that corrects a simple queue, and the official folds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gnn_model.datanet.testbed import TestbedSample
from gnn_model.real_routers.cross_validation import cross_validate, read_graphs
from gnn_model.real_routers.graphs import FLOW_FEATURES, HOP_FEATURES, LINK_FEATURES, UNIT_S, RouterGraph, router_graph
from gnn_model.real_routers.model import RouterNet, collate
from gnn_model.real_routers.training import RouterTraining, errors_of, train_router_net
from tests.benchmarks import BENCHMARKS
from topology_sync.errors import ConfigurationError, ScenarioError

SMALL = RouterTraining(width=8, rounds=2, epochs=6, hops_per_batch=300, learning_rate=1e-2)
SET = BENCHMARKS / "datanet" / "2023_testbed"


def sample(seed: int, load: float | None = None, flows: int = 12) -> TestbedSample:
    """Flows over a trunk, access links and a trunk; delays are those of a made-up router."""
    random = np.random.default_rng(seed)
    capacity = np.array([80e9, 1e9, 1e9, 1e9, 1e9, 10e9])
    paths = [
        np.array(([0] if random.random() < 0.5 else []) + sorted(random.choice([1, 2, 3, 4], 2, False)) + [5])
        for _ in range(flows)
    ]
    rate = random.uniform(0.2, 1.0, flows)
    total = np.bincount(np.concatenate(paths), weights=np.repeat(rate, [len(path) for path in paths]), minlength=6)
    rate *= (random.uniform(0.2, 0.9) if load is None else load) * 1e9 / total[1:5].max()
    load_of = (
        np.bincount(np.concatenate(paths), weights=np.repeat(rate, [len(path) for path in paths]), minlength=6)
        / capacity
    )
    bits = random.uniform(800, 11600, flows)
    wait = 2e-5 + 1e-4 * np.minimum(load_of, 0.95) / (1 - np.minimum(load_of, 0.95))
    delay = np.array([bits[flow] * (1 / capacity[path]).sum() + wait[path].sum() for flow, path in enumerate(paths)])
    return TestbedSample(
        number=seed,
        fold=seed % 4,
        capacity_bps=capacity,
        path_pointer=np.concatenate([[0], np.cumsum([len(path) for path in paths])]),
        path_links=np.concatenate(paths),
        rate_bps=rate,
        packets_per_s=rate / bits,
        packet_bits=bits,
        is_constant=random.random(flows) < 0.5,
        delay_s=delay,
    )


def graphs(count: int) -> list[RouterGraph]:
    return [router_graph(sample(seed), "made up") for seed in range(count)]


def test_a_graph_says_what_was_measured() -> None:
    one = sample(3, load=0.8)
    graph = router_graph(one, "set")
    load = dict(zip(LINK_FEATURES, graph.link_features.T, strict=True))
    assert load["load"].max() == pytest.approx(0.8, rel=1e-5)
    np.testing.assert_allclose(load["constant_load"] + load["burst_load"], load["carried_load"], rtol=1e-5)
    totals = np.bincount(graph.hop_link, weights=graph.hop_weight)
    np.testing.assert_allclose(totals, 1, rtol=1e-5)
    first = one.path_links[: one.path_pointer[1]]
    own = one.packet_bits[0] * (1 / one.capacity_bps[first]).sum() / UNIT_S
    assert graph.flow_transmission[0] == pytest.approx(own, rel=1e-5)
    np.testing.assert_allclose(graph.delay * UNIT_S, one.delay_s, rtol=1e-5)
    assert graph.flow_features.shape[1] == len(FLOW_FEATURES)
    assert graph.hop_features.shape[1] == len(HOP_FEATURES)
    assert all(np.isfinite(getattr(graph, name)).all() for name in ("flow_features", "hop_features", "link_features"))


def test_an_overloaded_link_thins_what_comes_after_it() -> None:
    one = sample(4)
    chain = dataclasses.replace(
        one,
        path_pointer=np.array([0, 2, 3]),
        path_links=np.array([1, 2, 2]),
        rate_bps=np.array([2e9, 1e8]),
        packets_per_s=np.array([2e5, 1e4]),
        packet_bits=np.array([1e4, 1e4]),
        is_constant=np.array([True, False]),
        delay_s=np.array([1e-3, 1e-3]),
    )
    graph = router_graph(chain, "set")
    carried = graph.link_features[:, LINK_FEATURES.index("carried_load")]
    offered = graph.link_features[:, LINK_FEATURES.index("load")]
    np.testing.assert_allclose(offered, [2.0, 2.1], rtol=1e-5)
    np.testing.assert_allclose(carried, [2.0, 1.1], rtol=1e-5)


def test_a_fresh_network_is_transmission_and_a_simple_queue() -> None:
    graph = graphs(1)[0]
    batch = collate([graph])
    with torch.inference_mode():
        found = RouterNet(8, 2)(batch)
    expected = graph.flow_transmission + np.add.reduceat(graph.link_wait[graph.hop_link], graph.hop_pointer[:-1])
    np.testing.assert_allclose(found.numpy(), expected[batch.order.numpy()], rtol=1e-5)


def test_numbers_of_links_and_neighbours_in_a_batch_do_not_matter() -> None:
    one, other = sample(1), sample(2)
    renamed = np.array([3, 5, 0, 1, 4, 2])
    again = dataclasses.replace(
        one, path_links=renamed[one.path_links], capacity_bps=one.capacity_bps[np.argsort(renamed)]
    )
    torch.manual_seed(3)
    model = RouterNet(8, 2)
    torch.nn.init.normal_(model.readout[2].weight)
    with torch.inference_mode():
        alone = collate([router_graph(one, "set")])
        both = collate([router_graph(other, "set"), router_graph(again, "set")])
        expected, found = torch.empty(12), torch.empty(24)
        expected[alone.order] = model(alone)
        found[both.order] = model(both)
    torch.testing.assert_close(found[12:], expected, rtol=1e-4, atol=1e-4)


def test_training_learns_the_router_and_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    training, test = graphs(40), [router_graph(sample(seed), "made up") for seed in range(100, 110)]
    before = float(errors_of(RouterNet(8, 2), test).mean())
    model = train_router_net(training, SMALL)
    assert float(errors_of(model, test).mean()) < before / 2
    path = tmp_path / "run.safetensors"
    train_router_net(training, SMALL, path, stop_after_step=20)
    rest = train_router_net(training, SMALL, path)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(rest.state_dict()[name], value)
    with pytest.raises(ConfigurationError, match="another configuration"):
        train_router_net(training[:-1], SMALL, path)


def test_every_fold_is_judged_by_a_model_that_has_not_seen_it(tmp_path: Path) -> None:
    known = graphs(16)
    answer = cross_validate(known, dataclasses.replace(SMALL, epochs=1), tmp_path)
    assert answer["folds"] == [0, 1, 2, 3]
    assert answer["learned"]["all"]["flows"] == sum(len(graph.delay) for graph in known)
    assert (
        sum(answer["learned"][f"all, fold {fold}"]["flows"] for fold in range(4)) == answer["learned"]["all"]["flows"]
    )
    assert json.loads((tmp_path / "testbed2023.json").read_text("utf-8")) == answer
    with pytest.raises(ScenarioError, match="nothing to train on"):
        cross_validate([graph for graph in known if graph.fold == 1], SMALL, tmp_path / "one")


def test_an_empty_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="holds no"):
        read_graphs(tmp_path)


@pytest.mark.skipif(not SET.is_dir(), reason="the 2023 set is not there (../shared/benchmarks/datanet/2023_testbed)")
def test_the_published_set_makes_finite_graphs() -> None:
    from itertools import islice

    from gnn_model.datanet.testbed import read_testbed

    for graph in (router_graph(one, "mb") for one in islice(read_testbed(SET / "mb.npz"), 30)):
        assert np.isfinite(graph.link_features).all()
        assert np.isfinite(graph.link_wait).all()
        assert (graph.delay > graph.flow_transmission * 0.5).all()
