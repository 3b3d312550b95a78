"""Training learns, repeats itself from its seed, survives interruption, and judges only what it has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from gnn_model.analytic import AnalyticPredictor
from gnn_model.graph_tensors import graph_tensors
from gnn_model.routenet.batch import collate
from gnn_model.routenet.model import ModelConfig, RouteNet
from gnn_model.training.config import TrainingConfig, config_from_json, read_config
from gnn_model.training.cross_validation import cross_validate, folds, split
from gnn_model.training.judging import judge, predict_labelled
from gnn_model.training.labelled import LabelledGraph, load, store
from gnn_model.training.objective import objective, targets
from gnn_model.training.trainer import batches, learning_rate, train
from topology_sync.errors import ConfigurationError, ScenarioError
from topology_sync.scenario import Scenario

TINY = TrainingConfig(
    model=ModelConfig(width=8, rounds=2),
    epochs=4,
    hops_per_batch=60,
    learning_rate=1e-2,
    averaging=0.8,
    checkpoint_s=0.0,
)


@pytest.fixture
def graphs(random_scenario: Callable[..., Scenario]) -> list[LabelledGraph]:
    """Eight networks that wait 1.5 times as long as the fixed point says; some labels are unknown."""
    found = []
    for seed in range(8):
        scenario = random_scenario(seed, peak=0.8)
        analytic = AnalyticPredictor().predict(scenario)
        graph = graph_tensors(scenario)
        fixed = np.bincount(graph.path_demand, graph.path_weight * graph.path_fixed, graph.demand_count)
        labels = {
            "delay": fixed + 1.5 * (analytic.delay_s / graph.unit_s - fixed),
            "jitter": analytic.jitter_s / graph.unit_s,
            "loss": analytic.loss_ratio,
        }
        unknown = np.full(scenario.traffic.demand_count, np.nan, dtype=np.float32)
        labels["delay"][0] = np.nan
        known = {name: values.astype(np.float32) for name, values in labels.items()}
        found.append(
            LabelledGraph(
                name=f"sample {seed}",
                collection="even" if seed % 2 == 0 else "odd",
                topology_key=f"t{seed % 4}",
                nodes=scenario.topology.node_count,
                graph=graph,
                deviation=unknown,
                p90=unknown,
                p99=unknown,
                queue_wait=np.full(len(graph.queue_wait), np.nan, dtype=np.float32),
                **known,
            )
        )
    return found


def same(left: RouteNet, right: RouteNet) -> bool:
    mine, theirs = left.state_dict(), right.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_training_learns_what_the_fixed_point_misses(graphs: list[LabelledGraph]) -> None:
    before = judge(RouteNet(TINY.model).eval(), graphs)["even"]["delay_mape"]
    model = train(graphs, replace(TINY, epochs=20))
    after = judge(model, graphs)["even"]["delay_mape"]
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert before > 0.05
    assert after < before / 2


def test_every_head_learns_from_its_own_labels(graphs: list[LabelledGraph]) -> None:
    """Tails a third longer and jitter half of what the fixed point says, with the mean as it says."""
    fresh = RouteNet(TINY.model).eval()
    taught = []
    for graph, predicted in zip(graphs, predict_labelled(fresh, graphs), strict=True):
        tail = predicted["delay"] + 1.33 * (predicted["p99"] - predicted["delay"])
        values = {"delay": predicted["delay"], "p99": tail, "jitter": 0.5 * predicted["jitter"]}
        taught.append(replace(graph, **{name: value.astype(np.float32) for name, value in values.items()}))
    single = replace(TINY, epochs=25)
    before, after = (judge(model, taught)["even"] for model in (fresh, train(taught, single)))
    for name in ("p99_mape", "jitter_mape"):
        assert isinstance(before[name], float)
        assert after[name] < 0.6 * before[name]


def test_jitter_that_is_next_to_nothing_is_no_label(graphs: list[LabelledGraph]) -> None:
    """Constant sizes in idle queues: a relative error of almost nothing says nothing."""
    still = [replace(graph, jitter=(1e-9 * graph.delay).astype(np.float32)) for graph in graphs]
    batch = collate([graph.graph for graph in still])
    parts = objective(RouteNet(TINY.model)(batch), batch, targets(still), TINY)
    assert "jitter" not in parts
    assert judge(RouteNet(TINY.model).eval(), still)["even"]["jitter_mape"] is None


def test_the_same_seed_gives_the_same_weights(graphs: list[LabelledGraph]) -> None:
    assert same(train(graphs, TINY), train(graphs, TINY))
    assert not same(train(graphs, TINY), train(graphs, replace(TINY, seed=2)))


def test_an_interrupted_run_ends_like_an_uninterrupted_one(graphs: list[LabelledGraph], tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train(graphs, TINY, path, stop_after_step=5)
    steps: list[int] = []
    resumed = train(graphs, TINY, path, report=lambda step, _all, _means: steps.append(step))
    assert steps[0] == 6
    assert same(resumed, train(graphs, TINY))


def test_a_checkpoint_of_another_run_is_refused(graphs: list[LabelledGraph], tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    train(graphs, TINY, path, stop_after_step=2)
    with pytest.raises(ConfigurationError, match="another configuration"):
        train(graphs, replace(TINY, seed=5), path)
    with pytest.raises(ConfigurationError, match="does not fit"):
        train(graphs, replace(TINY, model=ModelConfig(width=16, rounds=2)), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigurationError, match="does not fit"):
        train(graphs, TINY, path)


def test_stored_graphs_come_back(graphs: list[LabelledGraph], tmp_path: Path) -> None:
    assert len(list(store(graphs, tmp_path))) == 8
    back = load(tmp_path)
    assert [labelled.name for labelled in back] == [labelled.name for labelled in graphs]
    assert np.array_equal(back[3].delay, graphs[3].delay, equal_nan=True)
    assert np.array_equal(back[3].graph.queue_features, graphs[3].graph.queue_features)
    assert len(load(tmp_path, lambda collection, _key, _nodes: collection == "odd")) == 4
    damaged = next(tmp_path.glob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(ScenarioError, match="no stored graph"):
        load(tmp_path)
    with pytest.raises(ScenarioError, match="holds no stored graphs"):
        load(tmp_path / "absent")


def test_no_topology_is_both_trained_on_and_judged(graphs: list[LabelledGraph]) -> None:
    for fold in range(3):
        training, test = split(graphs, fold, TINY)
        assert not {graph.topology_key for graph in training} & {graph.topology_key for graph in test}
    everything = [name for fold in range(3) for name in (graph.name for graph in split(graphs, fold, TINY)[1])]
    assert sorted(everything) == [graph.name for graph in graphs]
    assert set(folds(graphs).values()) == {0, 1, 2}
    small = replace(TINY, largest_nodes=3)
    assert all(graph.nodes <= 3 for graph in split(graphs, 0, small)[0])


def test_extra_data_is_trained_on_and_never_judged(graphs: list[LabelledGraph]) -> None:
    extra = [replace(graph, name=f"extra {index}", topology_key=f"t{index}") for index, graph in enumerate(graphs)]
    for fold in range(3):
        training, test = split(graphs, fold, TINY, extra=extra)
        assert not {graph.name for graph in test} & {graph.name for graph in extra}
        assert not {graph.topology_key for graph in training} & {graph.topology_key for graph in test}
        assert {"extra 5", "extra 6", "extra 7"} <= {graph.name for graph in training}


def test_cross_validation_writes_both_predictors(graphs: list[LabelledGraph], tmp_path: Path) -> None:
    result = cross_validate(graphs, replace(TINY, epochs=2), tmp_path, 2)
    assert json.loads((tmp_path / "cross_validation.json").read_text()) == json.loads(json.dumps(result))
    assert sum(result["learned"][name]["samples"] for name in ("even", "odd")) == 8
    assert 0.05 < result["analytic"]["even"]["delay_mape"] < 1 / 3


def test_every_graph_is_in_one_batch_of_an_epoch(graphs: list[LabelledGraph]) -> None:
    for epoch in range(3):
        assert sorted(index for batch in batches(graphs, TINY, epoch) for index in batch) == list(range(8))
    assert batches(graphs, TINY, 0) != batches(graphs, TINY, 1)


def test_much_simulated_topologies_do_not_outweigh_others(graphs: list[LabelledGraph]) -> None:
    many = [replace(graph, topology_key="much" if index < 6 else f"once{index}") for index, graph in enumerate(graphs)]
    config = replace(TINY, per_topology=2)
    drawn = [[index for batch in batches(many, config, epoch) for index in batch] for epoch in range(20)]
    assert all(sum(index < 6 for index in epoch) == 2 and {6, 7} <= set(epoch) for epoch in drawn)
    assert {index for epoch in drawn for index in epoch} == set(range(8))


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate(step, 100, TrainingConfig()) for step in range(1, 101)]
    assert max(rates) == pytest.approx(TrainingConfig().learning_rate)
    assert rates[-1] == pytest.approx(TrainingConfig().final_learning_rate)
    assert rates.index(max(rates)) < 10


def test_unknown_labels_carry_no_gradient(graphs: list[LabelledGraph]) -> None:
    torch.manual_seed(0)
    model = RouteNet(TINY.model)
    batch = collate([graph.graph for graph in graphs])
    labels = targets(graphs)
    parts = objective(model(batch), batch, labels, TINY)
    assert "p99" not in parts
    assert "queue" not in parts
    parts["total"].backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters() if value.grad is not None)


def test_configurations_come_back_and_bad_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"epochs": 3, "model": {"width": 16}}')
    assert read_config(path) == TrainingConfig(epochs=3, model=ModelConfig(width=16))
    for text, message in (
        ('{"epoch": 3}', "epoch: is not known"),
        ('{"epochs": "x"}', "epochs: is 'x'"),
        ('{"model": 1}', "model: is no object"),
        ("[", "no readable JSON"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=message):
            read_config(path)
    with pytest.raises(ConfigurationError, match="learning_rate: is -1"):
        config_from_json({"learning_rate": -1})


def _one_of_two(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    model = train(load(Path(folder) / "graphs"), TINY)
    torch.save(model.state_dict(), Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_train_one_model(graphs: list[LabelledGraph], tmp_path: Path) -> None:
    list(store(graphs, tmp_path / "graphs"))
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    assert not all(torch.equal(first[name], value) for name, value in train(graphs, TINY).state_dict().items())
