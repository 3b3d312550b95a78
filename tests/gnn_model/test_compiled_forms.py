"""Compiled kernels and their references are the same formulas; the engine is the same network as the torch model."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.acceleration import COMPILED
from gnn_model.analytic_bursts import burstiness_of, dispersion, reference_dispersion
from gnn_model.analytic_delay import path_statistics, reference_statistics, spacing_s
from gnn_model.analytic_fixed_point import Shared, compiled_fixed_point, reference_fixed_point
from gnn_model.analytic_layout import PathPool
from gnn_model.arrival_table import ArrivalTable
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.graph_tensors import graph_tensors
from gnn_model.routenet.batch import collate
from gnn_model.routenet.engine import Engine
from gnn_model.routenet.model import ModelConfig, RouteNet
from gnn_model.routenet.readout import NORMAL_99
from topology_sync.scenario import Scenario
from topology_sync.traffic import ARRIVAL_MODELS, Arrivals

Builder = Callable[..., Scenario]
seeds = st.integers(0, 100_000)
pytestmark = pytest.mark.skipif(not COMPILED, reason="numba is not installed")


def random_model(seed: int, width: int, rounds: int) -> RouteNet:
    torch.manual_seed(seed)
    model = RouteNet(ModelConfig(width=width, rounds=rounds)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_the_compiled_fixed_point_is_that_of_the_array_formulas(random_scenario: Builder, seed: int) -> None:
    scenario = random_scenario(seed)
    pool = PathPool(scenario)
    shared, layout = Shared.of(scenario, pool.queues), pool.layout([scenario.routing])
    found, wanted = compiled_fixed_point(shared, layout), reference_fixed_point(shared, layout)
    np.testing.assert_allclose(found.survival, wanted.survival, rtol=1e-7, atol=1e-10)
    for mine, theirs in zip(found[:3], wanted[:3], strict=True):
        for field in fields(mine):
            one, other = getattr(mine, field.name), getattr(theirs, field.name)
            # The third cumulant is what remains of larger terms that cancel; so are moments near saturation.
            terms = wanted.waits.mean_s * (wanted.waits.variance_s2 + wanted.waits.mean_s**2)
            # It counts only as a skew, so relative to the deviation's cube.
            third = 1e-8 * terms + 1e-4 * wanted.waits.variance_s2**1.5
            margin = third if field.name == "third_s3" else 1e-15 * np.abs(other).max(initial=0.0)
            ratio = 1e-4 if field.name == "third_s3" else 1e-6
            assert (np.abs(one - other) <= ratio * np.abs(other) + margin).all(), field.name


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_compiled_sums_along_paths_are_those_of_the_array_formulas(random_scenario: Builder, seed: int) -> None:
    scenario = random_scenario(seed)
    pool = PathPool(scenario)
    shared, layout = Shared.of(scenario, pool.queues), pool.layout([scenario.routing])
    solved = reference_fixed_point(shared, layout)
    given_to_both = (
        layout,
        solved.waits,
        np.minimum(solved.state.ratio, 1 / solved.state.ratio),
        solved.survival,
        scenario.topology.capacity_bps,
        scenario.topology.delay_s,
        shared.flows,
    )
    found = path_statistics(*given_to_both)
    wanted = reference_statistics(*given_to_both, spacing_s(layout, solved.survival, shared.flows))
    np.testing.assert_allclose(found.mean_s, wanted.mean_s, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.deviation_s, wanted.deviation_s, rtol=1e-9, atol=1e-12)
    # The square of jitter is what remains of the variance when exponentials close to one cancel.
    assert (np.abs(found.jitter_s - wanted.jitter_s) <= 1e-5 * wanted.jitter_s + 1e-6 * wanted.deviation_s).all()
    np.testing.assert_allclose(found.skew, wanted.skew, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model", ARRIVAL_MODELS)
def test_the_compiled_dispersion_is_that_of_the_array_formulas(model: str) -> None:
    arrivals = [Arrivals(model, 10.0**n, 0.3, 0.5 - 0.05 * n, 0.4) for n in range(-6, 6)]  # type: ignore[arg-type]
    bursts = burstiness_of(ArrivalTable.of(arrivals), np.geomspace(1e-3, 1e6, len(arrivals)))
    demand = np.repeat(np.arange(len(arrivals)), 40)
    time_s = np.tile(np.geomspace(1e-12, 1e9, 40), len(arrivals))
    np.testing.assert_allclose(
        dispersion(bursts, demand, time_s), reference_dispersion(bursts, demand, time_s), rtol=1e-6
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    width=st.sampled_from([4, 12, 32, 48]),
    rounds=st.integers(1, 3),
    peak=st.sampled_from([0.5, 0.9, 1.3]),
)
def test_the_engine_is_the_torch_network(
    random_scenario: Builder, seed: int, width: int, rounds: int, peak: float
) -> None:
    graph = graph_tensors(random_scenario(seed, peak=peak))
    model = random_model(seed, width, rounds)
    batch = collate([graph])
    with torch.inference_mode():
        wanted = model(batch)
    _, found = Engine(model).run(graph)
    place = np.argsort(batch.order.numpy(), kind="stable")
    np.testing.assert_allclose(found.quantile(NORMAL_99), wanted.quantile(NORMAL_99)[place], rtol=1e-3, atol=1e-5)
    for field in fields(wanted):
        if field.name == "waits":
            continue  # what the quantile is made of
        theirs, mine = getattr(wanted, field.name).numpy(), getattr(found, field.name).numpy()
        if field.name == "hop_wait":
            continue  # kept in another order of hops
        theirs = theirs[place] if len(theirs) == len(place) and field.name != "queue_wait" else theirs
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5, err_msg=field.name)


def test_threads_change_nothing(random_scenario: Builder) -> None:
    """Not a single bit: paths are shared among threads in ranges, sums are made in one order."""
    model = random_model(1, 16, 2)
    scenario = random_scenario(5, peak=0.9)
    graph = graph_tensors(scenario)
    with ThreadPoolExecutor(3) as pool:
        alone, together = Engine(model).run(graph)[1], Engine(model).run(graph, pool)[1]
    assert torch.equal(alone.mean, together.mean)
    candidates = [scenario.routing, scenario.routing.with_changes({0: scenario.routing.paths[0]})]
    one, three = GnnPredictor.of_model(model, threads=1), GnnPredictor.of_model(model, threads=3)
    for left, right in zip(
        one.predict_batch(scenario, candidates), three.predict_batch(scenario, candidates), strict=True
    ):
        assert left == right


def test_another_kind_of_network_is_refused_by_the_engine() -> None:
    model = random_model(1, 8, 1)
    model.path_encoder[1] = torch.nn.ReLU()
    with pytest.raises(TypeError, match="ReLU"):
        Engine(model)
