"""Drawn scenarios are what their recipe says, whatever the seed, and the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.dataset.draw import draw
from gnn_model.dataset.recipe import RANDOM_FAMILIES, DatasetRecipe, sample_seed
from gnn_model.dataset.topologies import random_topology
from topology_sync.errors import ConfigurationError, ScenarioError
from topology_sync.scenario_json import scenario_from_json, scenario_to_json

SEEDS = st.integers(0, 2**40)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_a_drawn_scenario_is_valid_and_within_its_recipe(seed: int) -> None:
    recipe = DatasetRecipe(nodes=(4, 20), demands=40, load=(0.3, 0.9), queue_packets=(5, 11))
    drawn = draw(recipe, seed, "x")
    scenario = drawn.scenario
    scenario.routing.check(scenario.topology, scenario.traffic)
    assert 4 <= scenario.topology.node_count <= 20
    assert 1 <= scenario.traffic.demand_count <= 40
    used = scenario.routing.max_utilisation(scenario.traffic, scenario.topology)
    assert used == pytest.approx(drawn.load)
    assert 0.3 <= used <= 0.9
    assert scenario.topology.queue_packets.min() >= 5
    assert scenario.topology.queue_packets.max() <= 11
    assert scenario_from_json(scenario_to_json(scenario)) == scenario


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_the_seed_decides_everything(seed: int) -> None:
    recipe = DatasetRecipe(nodes=(4, 12), demands=30)
    assert draw(recipe, seed, "x").scenario == draw(recipe, seed, "x").scenario
    assert draw(recipe, seed, "x").scenario != draw(recipe, seed + 1, "x").scenario


@pytest.mark.parametrize("family", RANDOM_FAMILIES)
@pytest.mark.parametrize("nodes", [3, 9, 40])
def test_random_networks_are_connected_both_ways(family: str, nodes: int) -> None:
    for seed in range(4):
        topology = random_topology(family, nodes, np.random.default_rng(seed))
        graph = nx.DiGraph(list(zip(topology.link_source.tolist(), topology.link_target.tolist(), strict=True)))
        assert topology.node_count == nodes == graph.number_of_nodes()
        assert nx.is_strongly_connected(graph)
        assert all(graph.has_edge(b, a) for a, b in graph.edges)


def test_what_is_excluded_is_never_drawn() -> None:
    recipe = DatasetRecipe(("topohub:sndlib/*",), nodes=(10, 12), demands=10)
    found = {draw(recipe, seed, "x").topology_source for seed in range(40)}
    assert len(found) > 2
    kept = DatasetRecipe(("topohub:sndlib/*",), nodes=(10, 12), demands=10, exclude=("sndlib/polska",))
    assert "topohub:sndlib/polska" in found
    assert {draw(kept, seed, "x").topology_source for seed in range(40)} == found - {"topohub:sndlib/polska"}


def test_one_arrival_model_one_scheduler_one_class() -> None:
    recipe = DatasetRecipe(
        nodes=(5, 8), arrivals=("cbr",), schedulers=("drr",), classes=(2, 2), sizes=("constant",), routings=("hops",)
    )
    scenario = draw(recipe, 3, "x").scenario
    assert {item.model for item in scenario.traffic.arrivals} == {"cbr"}
    assert {item.model for item in scenario.traffic.packet_size} == {"constant"}
    assert {item.discipline for item in scenario.topology.schedulers} == {"drr"}
    assert {item.queue_count for item in scenario.topology.schedulers} == {2}


def test_multipath_shares_are_those_of_a_switch() -> None:
    recipe = DatasetRecipe(nodes=(8, 8), routings=("multipath",))
    shares = [
        path.share for seed in range(5) for paths in draw(recipe, seed, "x").scenario.routing.paths for path in paths
    ]
    assert min(shares) < 1
    assert all(float(64 * share).is_integer() for share in shares)


def test_links_of_a_file_are_kept_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(
        '{"format": "routewright-scenario/1", "name": "mine", "topology": {"nodes": [{"id": "a"}, {"id": "b"}, '
        '{"id": "c"}],'
        ' "links": [{"source": "a", "target": "b", "capacity_bps": 3e6}, {"source": "b", "target": "c", "capacity_bps":'
        ' 5e6}, {"source": "c", "target": "a", "capacity_bps": 7e6}]}, "traffic": []}'
    )
    recipe = DatasetRecipe((str(file),), capacities=("given",), propagation=0.0)
    scenario = draw(recipe, 1, "x").scenario
    assert scenario.topology.node_names == ("a", "b", "c")
    assert scenario.topology.capacity_bps.tolist() == [3e6, 5e6, 7e6]


def test_bad_recipes_and_sources_are_refused(tmp_path: Path) -> None:
    for values in (
        {"arrivals": ("morse",)},
        {"load": (0.5, 0.1)},
        {"classes": (1, 9)},
        {"topologies": ()},
        {"max_hops": 5},
    ):
        with pytest.raises(ConfigurationError):
            DatasetRecipe(**values)  # type: ignore[arg-type]
    for source in (str(tmp_path / "none.json"), "topohub:sndlib/atlantis", "topohub:nowhere/*"):
        with pytest.raises(ScenarioError):
            draw(DatasetRecipe((source,)), 1, "x")


def test_recipe_as_json() -> None:
    recipe = DatasetRecipe(load=(0.1, 0.2), exclude=("a/b",))
    assert DatasetRecipe.from_json(recipe.to_json()) == recipe
    with pytest.raises(ConfigurationError):
        DatasetRecipe.from_json({"colour": 1})
    assert len({sample_seed(1, index) for index in range(100)} | {sample_seed(2, index) for index in range(100)}) == 200
