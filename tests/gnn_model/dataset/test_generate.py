"""Sets are the same whatever interrupted them, damage is seen, and labels are the simulator's."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from gnn_model.dataset.generate import generate
from gnn_model.dataset.information import information, information_table
from gnn_model.dataset.manifest import read_manifest
from gnn_model.dataset.reader import find_datasets, iterate_dataset
from gnn_model.dataset.recipe import DatasetRecipe, sample_seed
from gnn_model.evaluation import LabelledScenario
from gnn_model.packet_simulator.simulator import PacketSimulator
from gnn_model.training.labelled import FEWEST_FOR_P99, FEWEST_PACKETS, label_simulated
from topology_sync.errors import InputError, ScenarioError, UnavailableError

pytest.importorskip("pyarrow")


def test_interrupted_or_not_the_samples_are_the_same(tiny: DatasetRecipe, tmp_path: Path) -> None:
    whole = generate(tmp_path / "whole", tiny, seed=5, samples=5, shard_samples=2)
    assert whole.done == 5
    assert len(whole.shards) == 3
    generate(tmp_path / "parts", tiny, seed=5, samples=3, shard_samples=2)  # its last shard is short
    (tmp_path / "parts" / whole.shards[0].file).write_bytes(b"PAR1 torn")
    generate(tmp_path / "parts", tiny, seed=5, samples=5, shard_samples=2)
    assert read_manifest(tmp_path / "parts") == whole  # the checksums of the files among it
    one, other = list(iterate_dataset(tmp_path / "whole")), list(iterate_dataset(tmp_path / "parts"))
    assert [sample.about["index"] for sample in one] == list(range(5))
    for left, right in zip(one, other, strict=True):
        assert left.scenario == right.scenario
        for field in dataclasses.fields(left.labels):
            assert np.array_equal(getattr(left.labels, field.name), getattr(right.labels, field.name), equal_nan=True)
    seeds = [seed for _, shard in sorted(whole.shards.items()) for seed in shard.seeds]
    assert seeds == [sample_seed(5, index) for index in range(5)]
    assert find_datasets(tmp_path) == [tmp_path / "parts", tmp_path / "whole"]


def test_done_shards_are_not_made_again(tiny: DatasetRecipe, tmp_path: Path) -> None:
    generate(tmp_path, tiny, seed=1, samples=2, shard_samples=2)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    made: list[int] = []
    generate(tmp_path, tiny, seed=1, samples=4, shard_samples=2, report=lambda manifest: made.append(manifest.done))
    assert made == [4]
    assert all(path.stat().st_mtime_ns == before.get(path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir())


def test_what_a_worker_left_half_written_is_cleared_away(tiny: DatasetRecipe, tmp_path: Path) -> None:
    generate(tmp_path, tiny, seed=1, samples=1)
    (tmp_path / "part-00000.0123.partial").write_bytes(b"PAR1")
    generate(tmp_path, tiny, seed=1, samples=1)
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "part-00000.parquet"}


def test_labels_are_the_simulators(tiny: DatasetRecipe, tmp_path: Path) -> None:
    generate(tmp_path, tiny, seed=2, samples=1)
    (sample,) = iterate_dataset(tmp_path)
    truth = PacketSimulator(tiny.relative_error, sample.about["seed"], tiny.max_hops).simulate(sample.scenario)
    assert np.array_equal(sample.labels.delay_s, truth.prediction.delay_s, equal_nan=True)
    assert np.array_equal(sample.labels.delay_p99_s, truth.prediction.delay_p99_s, equal_nan=True)
    assert np.array_equal(sample.labels.delivered, truth.delivered)
    assert np.allclose(sample.labels.queue_waiting_packets, truth.queue_waiting_packets, rtol=1e-6)
    assert sample.about["packet_hops"] == truth.packet_hops


def test_flows_of_few_packets_have_no_labels(tiny: DatasetRecipe, tmp_path: Path) -> None:
    generate(tmp_path, dataclasses.replace(tiny, nodes=(6, 6), max_hops=10_000), seed=4, samples=3)
    few = 0
    for sample in iterate_dataset(tmp_path):
        graph, judged = label_simulated(sample, "own"), LabelledScenario.of_simulated(sample)
        delivered = sample.labels.delivered
        few += int((delivered < FEWEST_PACKETS).sum())
        for delay, p99 in ((graph.delay, graph.p99), (judged.delay_s, judged.delay_p99_s)):
            assert np.array_equal(np.isfinite(delay), delivered >= FEWEST_PACKETS)
            assert np.array_equal(np.isfinite(p99), delivered >= FEWEST_FOR_P99)
        known = np.isfinite(graph.delay)
        assert np.allclose(graph.delay[known] * graph.graph.unit_s, sample.labels.delay_s[known], rtol=1e-5)
    assert few > 0


def test_waits_of_queues_follow_from_their_lengths(tmp_path: Path) -> None:
    """One link, no loss: Little's law against M/M/1, load / (1 - load) services."""
    file = tmp_path / "pair.json"
    link = {"source": "a", "target": "b", "capacity_bps": 1e6}
    nodes = [{"id": "a"}, {"id": "b"}]
    back = {**link, "source": "b", "target": "a"}
    file.write_text(
        json.dumps(
            {
                "format": "routewright-scenario/1",
                "topology": {"nodes": nodes, "links": [link, back]},
                "traffic": [],
            }
        )
    )
    recipe = DatasetRecipe(
        (str(file),),
        arrivals=("poisson",),
        sizes=("exponential",),
        schedulers=("fifo",),
        classes=(1, 1),
        capacities=("given",),
        load=(0.6, 0.6),
        queue_packets=(64, 64),
        propagation=0.0,
        relative_error=0.01,
    )
    generate(tmp_path / "set", recipe, seed=1, samples=1)
    (sample,) = iterate_dataset(tmp_path / "set")
    graph = label_simulated(sample, "own")
    load = sample.scenario.routing.link_load_bps(sample.scenario.traffic, 2) / 1e6
    service = sample.scenario.traffic.packet_bits_mean / 1e6 / graph.graph.unit_s
    assert graph.queue_wait == pytest.approx(service * load / (1 - load), rel=0.05)


def test_another_recipe_or_seed_needs_another_folder(tiny: DatasetRecipe, tmp_path: Path) -> None:
    generate(tmp_path, tiny, seed=1, samples=1)
    with pytest.raises(InputError, match="another recipe or seed"):
        generate(tmp_path, tiny, seed=2, samples=1)
    with pytest.raises(InputError, match="another recipe or seed"):
        generate(tmp_path, dataclasses.replace(tiny, load=(0.3, 0.4)), seed=1, samples=1)


def test_damage_is_seen(tiny: DatasetRecipe, tmp_path: Path) -> None:
    manifest = generate(tmp_path, tiny, seed=1, samples=2, shard_samples=1)
    assert information(tmp_path)["damaged"] == []
    path = tmp_path / manifest.shards[1].file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    answer = information(tmp_path)
    assert (answer["damaged"], answer["samples"], answer["samples_wanted"]) == ([path.name], 1, 2)
    assert path.name in information_table(answer)
    with pytest.raises(ScenarioError, match="missing or damaged"):
        list(iterate_dataset(tmp_path))


def test_a_manifest_leads_to_no_other_folder(tiny: DatasetRecipe, tmp_path: Path) -> None:
    generate(tmp_path, tiny, seed=1, samples=1)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("part-00000", "../part-00000"))
    with pytest.raises(ScenarioError, match="is no file name"):
        read_manifest(tmp_path)


def test_missing_libraries_are_named(tiny: DatasetRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnavailableError, match=r"install routewright\[ray\]"):
        generate(tmp_path / "ray", tiny, seed=1, samples=1, backend="ray")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnavailableError, match="pyarrow"):
        generate(tmp_path / "arrow", tiny, seed=1, samples=1)
