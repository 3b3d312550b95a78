"""The network: its recurrent pass, equivariance, batching, and that a fresh one is the analytic predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from gnn_model.certain_limits import UNKNOWN
from gnn_model.graph_tensors import GraphTensors, graph_tensors
from gnn_model.routenet.batch import collate
from gnn_model.routenet.model import ModelConfig, RouteNet
from gnn_model.routenet.path_scan import path_scan
from gnn_model.routenet.readout import NORMAL_99, PathPrediction
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import int_array

SMALL = ModelConfig(width=8, rounds=3)


def random_model(seed: int = 0) -> RouteNet:
    """A model whose readout does something."""
    torch.manual_seed(seed)
    model = RouteNet(SMALL).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def predict(model: RouteNet, *graphs: GraphTensors) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Predictions per path in the order of the graphs."""
    batch = collate(graphs)
    with torch.inference_mode():
        predicted: PathPrediction = model(batch)
    order = np.argsort(batch.order.numpy())
    names = ("mean", "deviation", "skew", "tail", "body", "jitter", "loss")
    return {name: getattr(predicted, name).numpy()[order] for name in names} | {
        "p99": predicted.quantile(NORMAL_99).numpy()[order]
    }


def relabelled(scenario: Scenario, seed: int) -> tuple[Scenario, np.ndarray]:  # type: ignore[type-arg]
    """The same network with nodes, links and demands in another order; and where each demand went."""
    rng = np.random.default_rng(seed)
    topology, traffic = scenario.topology, scenario.traffic
    nodes, links, demands = (
        rng.permutation(count) for count in (topology.node_count, topology.link_count, traffic.demand_count)
    )
    node_at, link_at = np.argsort(nodes), np.argsort(links)
    renamed = replace(
        topology,
        node_names=tuple(topology.node_names[node] for node in nodes),
        schedulers=tuple(topology.schedulers[node] for node in nodes),
        link_source=int_array(node_at[topology.link_source[links]]),
        link_target=int_array(node_at[topology.link_target[links]]),
        capacity_bps=topology.capacity_bps[links],
        delay_s=topology.delay_s[links],
        queue_packets=topology.queue_packets[links],
    )
    moved = replace(
        traffic,
        source=int_array(node_at[traffic.source[demands]]),
        target=int_array(node_at[traffic.target[demands]]),
        traffic_class=traffic.traffic_class[demands],
        rate_bps=traffic.rate_bps[demands],
        packet_bits_mean=traffic.packet_bits_mean[demands],
        packet_size=tuple(traffic.packet_size[demand] for demand in demands),
        arrivals=tuple(traffic.arrivals[demand] for demand in demands),
    )
    routing = Routing(
        tuple(
            tuple(replace(path, links=tuple(int(link_at[link]) for link in path.links)) for path in paths)
            for paths in (scenario.routing.paths[demand] for demand in demands)
        )
    )
    return replace(scenario, topology=renamed, traffic=moved, routing=routing), demands


def test_the_backward_pass_of_the_scan_is_exact() -> None:
    torch.manual_seed(0)
    width, active = 3, (5, 4, 2)
    shapes = [(5, width), (4, 3 * width), (11, 3 * width), (3 * width, width), (3 * width,)]
    inputs = [torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    queues = torch.randint(0, 4, (11,))
    assert torch.autograd.gradcheck(lambda *values: path_scan(*values, queues, active), inputs)


def test_the_scan_is_the_gated_recurrent_unit() -> None:
    """Against torch.nn.GRUCell, path by path."""
    torch.manual_seed(0)
    width, lengths = 6, [3, 2, 2]
    cell = torch.nn.GRUCell(width, width)
    queue_state, state = torch.randn(5, width), torch.randn(3, width)
    active = (3, 3, 1)
    queues = torch.tensor([0, 1, 2, 3, 4, 0, 2])
    final, messages = path_scan(
        state,
        queue_state @ cell.weight_ih.t(),
        cell.bias_ih.expand(7, -1),
        cell.weight_hh,
        cell.bias_hh,
        queues,
        active,
    )
    starts = [0, 3, 6]
    for path, length in enumerate(lengths):
        hidden = state[path]
        for position in range(length):
            hidden = cell(queue_state[queues[starts[position] + path]], hidden)
            assert torch.allclose(messages[starts[position] + path], hidden, atol=1e-6)
        assert torch.allclose(final[path], hidden, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_fresh_network_is_the_analytic_predictor(random_scenario: Callable[..., Scenario], seed: int) -> None:
    """Of the delay's moments and jitter, and of its percentiles where sizes are continuous: the network knows better
    what sizes of few values do, and where waits and jitter cannot be as large."""
    scenario = random_scenario(seed, peak=0.8)
    graph = graph_tensors(scenario)
    predicted = predict(RouteNet(SMALL), graph)
    analytic = AnalyticPredictor().predict(scenario)
    mean = np.bincount(graph.path_demand, weights=graph.path_weight * predicted["mean"], minlength=graph.demand_count)
    believed = np.logical_and.reduceat(graph.hop_longest == np.float32(UNKNOWN), graph.hop_pointer[:-1])
    free = np.bincount(graph.path_demand, weights=~believed, minlength=graph.demand_count) == 0
    assert (mean * graph.unit_s)[free] == pytest.approx(analytic.delay_s[free], rel=2e-3)
    single = (np.bincount(graph.path_demand, minlength=graph.demand_count)[graph.path_demand] == 1) & believed
    least = 1e-3 * graph.unit_s  # waits have a floor and a limit
    continuous = single & (graph.path_continuous > 0)
    for name, expected, rows in (
        ("p99", analytic.delay_p99_s, continuous),
        ("jitter", analytic.jitter_s, single),
    ):
        wanted = expected[graph.path_demand[rows]]
        if name == "jitter":
            passed = 1 - predicted["loss"]
            most = 2 * graph.unit_s * (graph.path_half_jitter + graph.path_spacing * (1 / passed - 1))
            wanted = np.minimum(wanted, most[rows])
        assert predicted[name][rows] * graph.unit_s == pytest.approx(wanted, rel=5e-2, abs=least)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_relabelling_only_reorders_predictions(random_scenario: Callable[..., Scenario], seed: int) -> None:
    scenario = random_scenario(seed, peak=0.9)
    other, demands = relabelled(scenario, seed)
    model = random_model()
    graphs = [graph_tensors(scenario), graph_tensors(other)]
    means = []
    for graph in graphs:
        predicted = predict(model, graph)
        means.append(
            np.bincount(graph.path_demand, weights=graph.path_weight * predicted["mean"], minlength=graph.demand_count)
        )
    assert means[1] == pytest.approx(means[0][demands], rel=1e-3)


def test_a_batch_predicts_what_its_members_do_alone(random_scenario: Callable[..., Scenario]) -> None:
    model = random_model()
    graphs = [graph_tensors(random_scenario(seed, peak=0.9)) for seed in (1, 2, 3)]
    together = predict(model, *graphs)
    alone = [predict(model, graph) for graph in graphs]
    for name, values in together.items():
        assert values == pytest.approx(np.concatenate([part[name] for part in alone]), rel=1e-4, abs=1e-6)


def test_predictions_are_possible_values(random_scenario: Callable[..., Scenario]) -> None:
    for seed in range(5):
        graph = graph_tensors(random_scenario(seed))
        predicted = predict(random_model(seed), graph)
        assert (predicted["mean"] >= graph.path_fixed - 1e-6).all()
        assert (predicted["deviation"] >= 0).all()
        assert ((predicted["loss"] >= 0) & (predicted["loss"] <= 1)).all()
        assert all(np.isfinite(values).all() for values in predicted.values())
