"""The analytic predictor against closed forms, and what must hold for any scenario."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from gnn_model.predictor import Prediction
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Scheduler, Topology
from topology_sync.traffic import Demand, PacketSize, TrafficMatrix

Builder = Callable[..., Scenario]
FIELDS = ("delay_s", "delay_p99_s", "jitter_s", "loss_ratio", "link_utilisation_ratio", "link_loss_ratio")
seeds = st.integers(0, 2**32 - 1)
SERVICE_S = 1e-3


def predict(scenario: Scenario) -> Prediction:
    return AnalyticPredictor().predict(scenario)


def assert_same(left: Prediction, right: Prediction, tolerance: float) -> None:
    for field in FIELDS:
        np.testing.assert_allclose(
            getattr(left, field), getattr(right, field), rtol=tolerance, atol=1e-12, err_msg=field
        )


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95, 1.0, 1.2, 3.0])
@pytest.mark.parametrize("room", [0, 1, 8, 32])
def test_one_fifo_link_is_mm1k(one_link: Builder, load: float, room: int) -> None:
    states = load ** np.arange(room + 2)
    states /= states.sum()
    in_system = (np.arange(room + 2) * states).sum()
    loss = states[-1]
    result = predict(one_link([load], queue_packets=room))
    assert result.loss_ratio[0] == pytest.approx(loss, rel=1e-6)
    assert result.link_loss_ratio[0] == pytest.approx(loss, rel=1e-6)
    assert result.delay_s[0] == pytest.approx(in_system / (load * (1 - loss)) * SERVICE_S, rel=1e-4)
    assert result.link_utilisation_ratio[0] == pytest.approx(load * (1 - loss), rel=1e-6)


@pytest.mark.parametrize(
    ("size", "second"), [(PacketSize("constant"), 1.0), (PacketSize("bimodal"), 1.49568), (PacketSize(), 2.0)]
)
def test_a_long_queue_waits_as_pollaczek_and_khinchine_say(one_link: Builder, size: PacketSize, second: float) -> None:
    wait = 0.8 * second / 2 / (1 - 0.8) * SERVICE_S
    assert predict(one_link([0.8], 1000, size)).delay_s[0] == pytest.approx(SERVICE_S + wait, rel=1e-4)


@pytest.mark.parametrize("size", [PacketSize("constant"), PacketSize()])
def test_strict_priority_waits_as_cobham_says(one_link: Builder, size: PacketSize) -> None:
    loads = [0.2, 0.3, 0.35]
    queues = Scheduler("strict", class_queues=(("c0", 0), ("c1", 1), ("c2", 2)))
    residual = sum(loads) * SERVICE_S * size.second_moment_ratio / 2
    before = np.cumsum([0.0, *loads])
    expected = SERVICE_S + residual / ((1 - before[:-1]) * (1 - before[1:]))
    result = predict(one_link(loads, 10**5, size, queues))
    np.testing.assert_allclose(result.delay_s, expected, rtol=1e-6)


@pytest.mark.parametrize("discipline", ["wfq", "drr"])
def test_weighted_queues_share_the_work_of_fifo(one_link: Builder, discipline: str) -> None:
    """The conservation law: waits weighted by load do not depend on who is served first; weights decide who waits."""
    loads = [0.3, 0.2, 0.2]
    scheduler = Scheduler(discipline, (6.0, 3.0, 1.0), (("c0", 0), ("c1", 1), ("c2", 2)))  # type: ignore[arg-type]
    result = predict(one_link(loads, 10**5, PacketSize("constant"), scheduler))
    waits = result.delay_s - SERVICE_S
    fifo = predict(one_link([sum(loads)], 10**5, PacketSize("constant"))).delay_s[0] - SERVICE_S
    assert np.dot(loads, waits) == pytest.approx(sum(loads) * fifo, rel=1e-3)
    assert waits[1] < waits[2]


@pytest.mark.parametrize("discipline", ["wfq", "drr"])
def test_saturated_queues_get_their_weights(one_link: Builder, discipline: str) -> None:
    scheduler = Scheduler(discipline, (6.0, 3.0, 1.0), (("c0", 0), ("c1", 1), ("c2", 2)))  # type: ignore[arg-type]
    result = predict(one_link([2.0, 2.0, 2.0], 32, PacketSize("constant"), scheduler))
    np.testing.assert_allclose(2.0 * (1 - result.loss_ratio), [0.6, 0.3, 0.1], rtol=0.02)


def test_a_voice_packet_in_a_starving_network_still_passes(one_link: Builder) -> None:
    queues = Scheduler("strict", class_queues=(("c0", 0), ("c1", 1)))
    result = predict(one_link([0.1, 50.0], 32, PacketSize("constant"), queues))
    assert result.loss_ratio[0] < 1e-9
    assert result.delay_s[0] < 3 * SERVICE_S
    assert result.loss_ratio[1] == pytest.approx(1 - 0.9 / 50, rel=1e-3)


def test_propagation_and_own_size_are_added_once_per_link() -> None:
    topology = Topology.from_links(["a", "b", "c"], [Link("a", "b", 1e6, 0.010), Link("b", "c", 2e6, 0.020)])
    demands = [Demand("a", "c", 0.0, packet_bits_mean=3000, packet_size=PacketSize("constant"))]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    result = predict(Scenario("idle", topology, traffic, Routing(((PathShare((0, 1)),),))))
    expected = 0.030 + 0.003 + 0.0015
    assert result.delay_s[0] == pytest.approx(expected)
    assert result.delay_p99_s[0] == pytest.approx(expected)
    assert result.jitter_s[0] == pytest.approx(0, abs=1e-12)


def test_a_split_demand_mixes_its_paths() -> None:
    """10 % of the packets take a path that is 50 ms longer: it sets the percentile and most of the jitter."""
    topology = Topology.from_links(["a", "b"], [Link("a", "b", 1e9), Link("a", "b", 1e9, 0.050)])
    demands = [Demand("a", "b", 1e6, packet_bits_mean=1000, packet_size=PacketSize("constant"))]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    routing = Routing(((PathShare((0,), 0.9), PathShare((1,), 0.1)),))
    result = predict(Scenario("split", topology, traffic, routing))
    assert result.delay_s[0] == pytest.approx(0.005, rel=1e-2)
    assert result.delay_p99_s[0] == pytest.approx(0.050, rel=1e-2)
    assert result.jitter_s[0] == pytest.approx(2 * 0.9 * 0.1 * 0.050, rel=1e-2)


@settings(max_examples=120, deadline=None)
@given(seed=seeds)
def test_every_valid_scenario_gets_finite_and_sensible_numbers(random_scenario: Builder, seed: int) -> None:
    scenario = random_scenario(seed)
    with np.errstate(all="raise", under="ignore"):
        result = predict(scenario)
    for field in FIELDS:
        values = getattr(result, field)
        assert np.isfinite(values).all(), field
        assert (values >= 0).all(), field
    for field in ("loss_ratio", "link_utilisation_ratio", "link_loss_ratio"):
        assert (getattr(result, field) <= 1).all(), field
    # A split demand may have its mean raised by a path that fewer than 1 % of its packets take.
    whole = np.array([len(paths) == 1 for paths in scenario.routing.paths])
    assert (result.delay_p99_s >= result.delay_s * (1 - 1e-9))[whole].all()


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_order_of_demands_and_links_does_not_matter(random_scenario: Builder, seed: int) -> None:
    scenario = random_scenario(seed)
    rng = np.random.default_rng(seed)
    topology, traffic = scenario.topology, scenario.traffic
    new_link = rng.permutation(topology.link_count)  # new_link[i]: where link i goes
    old_link = np.argsort(new_link)
    old_demand = rng.permutation(traffic.demand_count)
    links = topology.links_of()
    shuffled_topology = Topology.from_links(
        topology.node_names, [links[link] for link in old_link], topology.schedulers
    )
    shuffled_traffic = TrafficMatrix(
        traffic.class_names,
        traffic.source[old_demand],
        traffic.target[old_demand],
        traffic.traffic_class[old_demand],
        traffic.rate_bps[old_demand],
        traffic.packet_bits_mean[old_demand],
        tuple(traffic.packet_size[demand] for demand in old_demand),
        tuple(traffic.arrivals[demand] for demand in old_demand),
    )
    shuffled_routing = Routing(
        tuple(
            tuple(
                PathShare(tuple(int(new_link[link]) for link in path.links), path.share)
                for path in reversed(scenario.routing.paths[demand])
            )
            for demand in old_demand
        )
    )
    plain = predict(scenario)
    shuffled = predict(Scenario("shuffled", shuffled_topology, shuffled_traffic, shuffled_routing))
    for field in FIELDS:
        order = old_link if field.startswith("link") else old_demand
        # the fixed point's own tolerance: another order is another order of summing up
        np.testing.assert_allclose(
            getattr(shuffled, field), getattr(plain, field)[order], rtol=1e-5, atol=1e-9, err_msg=field
        )


@settings(max_examples=40, deadline=None)
@given(seed=seeds, power=st.integers(-20, 20))
def test_faster_links_and_traffic_scale_delays_exactly(random_scenario: Builder, seed: int, power: int) -> None:
    """A power of two scales without rounding, so delays must be 1/k of before to the last bit but few."""
    scenario = random_scenario(seed, constant_delay=False)
    factor = 2.0**power
    topology, traffic = scenario.topology, scenario.traffic
    faster = Topology(
        topology.node_names,
        topology.link_source,
        topology.link_target,
        topology.capacity_bps * factor,
        topology.delay_s,
        topology.queue_packets,
        topology.schedulers,
    )
    arrivals = tuple(
        type(item)(item.model, item.on_s / factor, item.off_s / factor, item.correlation, item.sigma)
        for item in traffic.arrivals
    )
    more = TrafficMatrix(
        traffic.class_names,
        traffic.source,
        traffic.target,
        traffic.traffic_class,
        traffic.rate_bps * factor,
        traffic.packet_bits_mean,
        traffic.packet_size,
        arrivals,
    )
    plain = predict(scenario)
    scaled = predict(Scenario("scaled", faster, more, scenario.routing))
    for field in ("delay_s", "delay_p99_s", "jitter_s"):
        np.testing.assert_allclose(getattr(scaled, field) * factor, getattr(plain, field), rtol=1e-12, err_msg=field)
    for field in ("loss_ratio", "link_utilisation_ratio", "link_loss_ratio"):
        np.testing.assert_allclose(
            getattr(scaled, field), getattr(plain, field), rtol=1e-12, atol=1e-100, err_msg=field
        )


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(0.0, 3.0),
    more=st.floats(0.0, 3.0),
    room=st.sampled_from([0, 1, 8, 32, 500]),
    size=st.sampled_from(["exponential", "constant", "bimodal"]),
)
def test_more_load_never_helps(one_link: Builder, low: float, more: float, room: int, size: str) -> None:
    size_model = PacketSize(size)  # type: ignore[arg-type]
    light, heavy = (predict(one_link([load], room, size_model)) for load in (low, low + more))
    for field in ("delay_s", "loss_ratio", "link_utilisation_ratio"):
        assert getattr(heavy, field)[0] >= getattr(light, field)[0] * (1 - 1e-4) - 1e-9, field


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_a_batch_is_the_same_as_one_at_a_time(random_scenario: Builder, seed: int) -> None:
    scenario = random_scenario(seed)
    rng = np.random.default_rng(seed)
    candidates = [scenario.routing]
    for _ in range(4):
        demand = int(rng.integers(scenario.traffic.demand_count))
        links = scenario.routing.paths[demand][0].links
        candidates.append(scenario.routing.with_changes({demand: (PathShare(links, 0.25), PathShare(links, 0.75))}))
    candidates.append(Routing(tuple(scenario.routing.paths)))
    together = AnalyticPredictor().predict_batch(scenario, candidates)
    for candidate, prediction in zip(candidates, together, strict=True):
        assert_same(prediction, predict(scenario.with_routing(candidate)), 1e-12)


def test_a_scenario_without_traffic_is_predicted() -> None:
    topology = Topology.from_links(["a", "b"], [Link("a", "b", 1e6)])
    traffic = TrafficMatrix.from_demands([], topology.node_index)
    result = predict(Scenario("empty", topology, traffic, Routing(())))
    assert len(result.delay_s) == 0
    assert result.link_utilisation_ratio.tolist() == [0.0]


def test_a_batch_of_a_national_network_is_fast(random_scenario: Builder) -> None:
    """64 candidates of about 100 demands in well under a second even on a busy machine."""
    scenario = max((random_scenario(seed, 0.9) for seed in range(8)), key=lambda item: item.traffic.demand_count)
    links = scenario.routing.paths[0][0].links
    change = {0: (PathShare(links, 0.5), PathShare(links, 0.5))}
    candidates = [scenario.routing.with_changes(change) for _ in range(64)]
    started = time.perf_counter()
    AnalyticPredictor().predict_batch(scenario, candidates)
    assert time.perf_counter() - started < 2
