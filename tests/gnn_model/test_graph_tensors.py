"""Dimensionless arrays of a scenario: the same for scaled networks, and only renumbered for relabelled ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.graph_tensors import QUEUE_FEATURES, GraphTensors, graph_tensors
from topology_sync.scenario import Scenario
from topology_sync.topology import Scheduler
from topology_sync.traffic import Arrivals
from topology_sync.values import float_array


def scaled(scenario: Scenario, factor: float) -> Scenario:
    """All rates and capacities times ``factor``, all times divided by it."""
    topology, traffic = scenario.topology, scenario.traffic
    return replace(
        scenario,
        topology=replace(
            topology,
            capacity_bps=float_array(topology.capacity_bps * factor),
            delay_s=float_array(topology.delay_s / factor),
        ),
        traffic=replace(
            traffic,
            rate_bps=float_array(traffic.rate_bps * factor),
            arrivals=tuple(
                replace(item, on_s=item.on_s / factor, off_s=item.off_s / factor) for item in traffic.arrivals
            ),
        ),
    )


def largest_difference(left: GraphTensors, right: GraphTensors) -> float:
    differences = [0.0]
    for field in fields(GraphTensors):
        if field.name == "unit_s":
            continue
        mine, theirs = (np.asarray(getattr(graph, field.name), dtype=np.float64) for graph in (left, right))
        assert mine.shape == theirs.shape
        differences.append(float(np.max(np.abs(mine - theirs) / (1 + np.abs(mine)), initial=0.0)))
    return max(differences)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.integers(-12, 12))
def test_scaling_by_a_power_of_two_changes_nothing_but_the_unit(
    random_scenario: Callable[..., Scenario], seed: int, power: int
) -> None:
    scenario = random_scenario(seed, peak=0.9)
    before, after = graph_tensors(scenario), graph_tensors(scaled(scenario, 2.0**power))
    assert after.unit_s == pytest.approx(before.unit_s / 2.0**power, rel=1e-12)
    assert largest_difference(before, after) <= 1e-6


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1e-3, 1e3))
def test_scaling_by_any_factor_changes_nothing_but_rounding(
    random_scenario: Callable[..., Scenario], seed: int, factor: float
) -> None:
    scenario = random_scenario(seed, peak=0.8)
    before, after = graph_tensors(scenario), graph_tensors(scaled(scenario, factor))
    assert largest_difference(before, after) <= 1e-4


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_everything_is_finite_and_weights_sum_to_one(random_scenario: Callable[..., Scenario], seed: int) -> None:
    graph = graph_tensors(random_scenario(seed))
    for field in fields(GraphTensors):
        assert np.isfinite(np.asarray(getattr(graph, field.name), dtype=np.float64)).all(), field.name
    per_queue = np.bincount(graph.hop_queue, weights=graph.hop_weight, minlength=len(graph.queue_wait))
    assert per_queue == pytest.approx(np.ones(len(per_queue)), abs=1e-5)
    per_demand = np.bincount(graph.path_demand, weights=graph.path_weight, minlength=graph.demand_count)
    assert per_demand == pytest.approx(np.ones(len(per_demand)), abs=1e-5)


def test_as_hetero_data(random_scenario: Callable[..., Scenario]) -> None:
    graph = graph_tensors(random_scenario(3))
    data = graph.to_hetero_data()
    assert set(data.node_types) == {"path", "queue", "link"}
    assert data["path"].x.shape == graph.path_features.shape
    assert data["path", "through", "queue"].edge_index.shape == (2, len(graph.hop_queue))
    assert data["queue", "at", "link"].edge_index[1].tolist() == graph.queue_link.tolist()
    data.validate()


def test_only_the_variant_tells_two_implementations_of_a_weighted_scheduler_apart(
    random_scenario: Callable[..., Scenario],
) -> None:
    scenario = random_scenario(3)
    schedulers = tuple(
        Scheduler(
            "wfq", (2.0, 1.0), tuple((name, number % 2) for number, name in enumerate(scenario.traffic.class_names))
        )
        for _ in scenario.topology.node_names
    )
    ours = replace(scenario, topology=replace(scenario.topology, schedulers=schedulers))
    others = tuple(replace(scheduler, variant="datanet") for scheduler in schedulers)
    theirs = replace(ours, topology=replace(ours.topology, schedulers=others))
    left, right = graph_tensors(ours), graph_tensors(theirs)
    column = QUEUE_FEATURES.index("datanet_weighted")
    assert (left.queue_features[:, column] == 0).all()
    assert (right.queue_features[:, column] == 1).all()
    rest = [number for number in range(len(QUEUE_FEATURES)) if number != column]
    assert np.array_equal(left.queue_features[:, rest], right.queue_features[:, rest])


def test_bursts_are_seen_over_several_times(random_scenario: Callable[..., Scenario]) -> None:
    """Periodic arrivals are smoother than Poisson, on-off ones burstier, the more so the longer one looks."""
    scenario = random_scenario(5)
    columns = [QUEUE_FEATURES.index(name) for name in QUEUE_FEATURES if name.startswith("log_dispersion_")][-3:]
    means = {}
    for model in ("cbr", "poisson", "onoff"):
        arrivals = tuple(
            Arrivals(model, on_s=20 / rate, off_s=20 / rate)  # type: ignore[arg-type]
            for rate in np.maximum(scenario.traffic.packets_per_s, 1e-9)
        )
        graph = graph_tensors(replace(scenario, traffic=replace(scenario.traffic, arrivals=arrivals)))
        means[model] = graph.queue_features[:, columns].mean(axis=0)
    assert (means["cbr"] < 0).all()
    assert np.allclose(means["poisson"], 0)
    assert 0 < means["onoff"][0] < means["onoff"][1] < means["onoff"][2]
