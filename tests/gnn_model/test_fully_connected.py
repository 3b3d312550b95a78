"""The fully connected baseline: it learns one topology by heart, and refuses or fails on any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from gnn_model.analytic import AnalyticPredictor
from gnn_model.dataset.generate import generate
from gnn_model.dataset.recipe import DatasetRecipe
from gnn_model.evaluation import LabelledScenario, evaluate
from gnn_model.fully_connected import (
    FixedTopology,
    FullyConnected,
    FullyConnectedPredictor,
    encode,
    load_fully_connected,
    save_fully_connected,
)
from gnn_model.fully_connected_training import FullyConnectedTraining, train_fully_connected
from gnn_model.learning_commands import register
from gnn_model.model_file import ModelFileError
from topology_sync.errors import ConfigurationError, InputError, ScenarioError
from topology_sync.paths import fewest_hops_routing, k_shortest_paths
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix

SMALL = FullyConnectedTraining(width=48, epochs=60, batch=16)


def ring(nodes: int) -> Topology:
    names = [f"n{node}" for node in range(nodes)]
    pairs = [(names[node], names[(node + step) % nodes]) for node in range(nodes) for step in (1, -1)]
    return Topology.from_links(names, [Link(a, b, 1e6) for a, b in pairs])


def scenario(seed: int, topology: Topology, any_way: bool = True) -> Scenario:
    """All pairs at random rates, each either way round the ring."""
    random = np.random.default_rng(seed)
    names = topology.node_names
    demands = [
        Demand(a, b, float(random.uniform(1e4, 1.2e5)), packet_bits_mean=1000) for a in names for b in names if a != b
    ]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    if not any_way:
        return Scenario("sample", topology, traffic, fewest_hops_routing(topology, traffic))
    paths = []
    for source, target in zip(traffic.source.tolist(), traffic.target.tolist(), strict=True):
        ways = k_shortest_paths(topology, source, target, 2, np.ones(topology.link_count))
        paths.append((PathShare(ways[int(random.integers(len(ways)))]),))
    return Scenario("sample", topology, traffic, Routing(tuple(paths)))


def labelled(seeds: range, topology: Topology, any_way: bool = True) -> list[LabelledScenario]:
    """Labels by the analytic predictor: exact, so that what is missed is the network's."""
    truth = AnalyticPredictor()
    chosen = [scenario(seed, topology, any_way) for seed in seeds]
    return [LabelledScenario.of_prediction(sample, truth.predict(sample)) for sample in chosen]


def test_it_learns_unseen_traffic_of_its_topology_and_fails_on_another(tmp_path: Path) -> None:
    model, topology = train_fully_connected(
        labelled(range(160), ring(5), any_way=False), FullyConnectedTraining(width=48, slots=7)
    )
    path = tmp_path / "baseline.safetensors"
    save_fully_connected(path, model, topology)
    predictor = FullyConnectedPredictor(path)
    seen = evaluate(labelled(range(1000, 1020), ring(5), any_way=False), predictor, AnalyticPredictor())
    assert seen["delay_mape"] < 8
    assert seen["loss_mae"] < 0.01
    other = labelled(range(20), ring(7), any_way=False)
    with pytest.raises(ScenarioError, match="not the one of 5 nodes"):
        predictor.predict(other[0].scenario)
    forced = evaluate(other, FullyConnectedPredictor(path, any_topology=True), AnalyticPredictor())
    assert forced["delay_mape"] > 4 * seen["delay_mape"]


def test_inputs_say_where_traffic_goes_on() -> None:
    topology = ring(4)
    inputs = encode(scenario(1, topology, any_way=False), 5)
    onwards = inputs[25:].reshape(5, 5, 5)
    assert onwards[0, 1, 1] == 1  # from n0 for n1 straight on
    np.testing.assert_allclose(onwards.sum(axis=2)[:4, :4], 1 - np.eye(4))
    assert not onwards[4].any()
    assert (inputs[:25].reshape(5, 5)[:4, :4] > 0).sum() == 12


def test_splits_are_told_by_their_shares() -> None:
    topology = ring(3)
    traffic = TrafficMatrix.from_demands([Demand("n0", "n1", 1e5)], topology.node_index)
    ways = k_shortest_paths(topology, 0, 1, 2, np.ones(topology.link_count))
    routing = Routing(((PathShare(ways[0], 0.75), PathShare(ways[1], 0.25)),))
    onwards = encode(Scenario("split", topology, traffic, routing), 3)[9:].reshape(3, 3, 3)
    np.testing.assert_allclose(onwards[0, 1], [0, 0.75, 0.25])


def test_predictions_scale_with_time() -> None:
    topology = ring(4)
    one = scenario(3, topology)
    fast = Topology.from_links(
        topology.node_names, [Link(link.source, link.target, 8e6) for link in topology.links_of()]
    )
    eight = Scenario("fast", fast, one.traffic.with_rates(one.traffic.rate_bps * 8), one.routing)
    torch.manual_seed(1)
    predictor = FullyConnectedPredictor.of_model(FullyConnected(4, 16), FixedTopology.of(topology))
    np.testing.assert_allclose(predictor.predict(eight).delay_s * 8, predictor.predict(one).delay_s, rtol=1e-5)


def test_a_batch_is_its_parts() -> None:
    topology = ring(4)
    one, other = scenario(3, topology), scenario(4, topology)
    predictor = FullyConnectedPredictor.of_model(FullyConnected(4, 16), FixedTopology.of(topology))
    both = predictor.predict_batch(one, [one.routing, other.routing])
    np.testing.assert_allclose(both[1].delay_s, predictor.predict(one.with_routing(other.routing)).delay_s, rtol=1e-5)
    assert predictor.predict_batch(one, []) == []


def test_training_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    samples = labelled(range(8), ring(3))
    config = FullyConnectedTraining(width=8, epochs=6, batch=4)
    whole, _ = train_fully_connected(samples, config)
    path = tmp_path / "run.safetensors"
    train_fully_connected(samples, config, path, stop_after_step=5)
    rest, _ = train_fully_connected(samples, config, path)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(rest.state_dict()[name], value)
    with pytest.raises(ConfigurationError, match="another configuration"):
        train_fully_connected(samples[:-1], config, path)


def test_what_it_cannot_do_is_said_in_one_line(tmp_path: Path, one_link: Callable[..., Scenario]) -> None:
    with pytest.raises(ScenarioError, match="two demands of one pair"):
        encode(one_link([0.3, 0.3]), 2)
    with pytest.raises(ScenarioError, match="no samples"):
        train_fully_connected([], SMALL)
    with pytest.raises(ScenarioError, match="not the one of"):
        train_fully_connected(labelled(range(1), ring(3)) + labelled(range(1), ring(4)), SMALL)
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_fully_connected(tmp_path / "none.safetensors")
    path = tmp_path / "damaged.safetensors"
    save_fully_connected(path, FullyConnected(3, 8), FixedTopology.of(ring(3)))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_fully_connected(path)


def test_from_the_command_line(tmp_path: Path) -> None:
    """A data set of one topology, training, judging, and the refusal of a missing file."""
    program = typer.Typer()
    register(program)
    recipe = DatasetRecipe(
        topologies=("topohub:sndlib/abilene",), schedulers=("fifo",), classes=(1, 1), demands=30, max_hops=10_000
    )
    data = tmp_path / "data"
    generate(data, recipe, seed=1, samples=3)
    out = tmp_path / "run"
    run = CliRunner()
    result = run.invoke(
        program, ["train", str(data), "--model", "fully-connected", "--out", str(out), "--epochs", "2", "--json"]
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["samples"] == 3
    judged = ["evaluate", str(data), "--format", "dataset", "--predictor", "fully-connected", "--json"]
    result = run.invoke(program, [*judged, "--weights", answer["weights"]])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["delay_mape"] == pytest.approx(answer["fit"]["delay_mape"], rel=1e-4)
    with pytest.raises(InputError, match="--weights"):
        run.invoke(program, judged, catch_exceptions=False)
