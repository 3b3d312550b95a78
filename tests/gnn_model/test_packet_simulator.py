"""The packet simulator against queueing theory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.packet_simulator.arrays import BIN_WIDTH, BINS
from gnn_model.packet_simulator.simulator import PacketSimulator, Simulation
from gnn_model.packet_simulator.statistics import BATCHES, Batches, percentile
from topology_sync.errors import InputError
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Scheduler, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix

Builder = Callable[..., Scenario]
SERVICE_S = 1e-3
THREE_QUEUES = (("c0", 0), ("c1", 1), ("c2", 2))


def simulate(scenario: Scenario, hops: int = 1_500_000, seed: int = 1) -> Simulation:
    """A run that goes on to its cap."""
    return PacketSimulator(relative_error=1e-6, seed=seed, max_hops=hops).simulate(scenario)


@pytest.mark.parametrize(("load", "loss_error"), [(0.5, 0.0), (0.8, 0.4), (0.95, 0.05), (1.2, 0.02)])
def test_exponential_sizes_behave_as_mm1k(one_link: Builder, load: float, loss_error: float) -> None:
    """M/M/1/33: 32 packets wait and one is in service."""
    states = load ** np.arange(34.0)
    states /= states.sum()
    accepted = states[:-1] / states[:-1].sum()
    seen = np.arange(33)
    mean = (accepted * (seen + 1)).sum() * SERVICE_S
    variance = (accepted * (seen + 1) * (seen + 2)).sum() * SERVICE_S**2 - mean**2
    result = simulate(one_link([load]), 6_000_000 if load == 0.95 else 3_000_000)
    assert result.prediction.delay_s[0] == pytest.approx(mean, rel=0.012)
    assert result.delay_variance_s2[0] == pytest.approx(variance, rel=0.05)
    assert result.prediction.loss_ratio[0] == pytest.approx(states[-1], rel=loss_error, abs=1e-6)
    assert result.prediction.link_loss_ratio[0] == pytest.approx(result.prediction.loss_ratio[0], rel=1e-3, abs=1e-6)
    assert result.prediction.link_utilisation_ratio[0] == pytest.approx(load * (1 - states[-1]), rel=0.005)
    waiting = (states * np.maximum(np.arange(34) - 1, 0)).sum()
    assert result.queue_waiting_packets[0, 0] == pytest.approx(waiting, rel=0.025)


def test_percentiles_of_an_exponential_delay(one_link: Builder) -> None:
    """The sojourn in M/M/1 is exponential with mean 1 / (mu - lambda)."""
    result = simulate(one_link([0.5], queue_packets=1000), 4_000_000)
    mean = SERVICE_S / 0.5
    assert result.delay_p50_s[0] == pytest.approx(mean * np.log(2), rel=0.01)
    assert result.delay_p90_s[0] == pytest.approx(mean * np.log(10), rel=0.01)
    assert result.prediction.delay_p99_s[0] == pytest.approx(mean * np.log(100), rel=0.015)


@pytest.mark.parametrize("size", ["constant", "bimodal"])
def test_waits_follow_pollaczek_and_khinchine(one_link: Builder, size: str) -> None:
    model = PacketSize(size)  # type: ignore[arg-type]
    result = simulate(one_link([0.7], 1000, model))
    wait = 0.7 * model.second_moment_ratio / 2 / 0.3 * SERVICE_S
    assert result.prediction.delay_s[0] == pytest.approx(SERVICE_S + wait, rel=0.01)


def test_strict_priority_follows_cobham(one_link: Builder) -> None:
    loads = [0.2, 0.3, 0.3]
    result = simulate(one_link(loads, 10_000, scheduler=Scheduler("strict", class_queues=THREE_QUEUES)), 4_000_000)
    before = np.cumsum([0.0, *loads])
    waits = sum(loads) * SERVICE_S / ((1 - before[:-1]) * (1 - before[1:]))
    np.testing.assert_allclose(result.prediction.delay_s - SERVICE_S, waits, rtol=0.03)


def weighted(discipline: str, weights: tuple[float, ...] = (6.0, 3.0, 1.0)) -> Scheduler:
    queues = () if discipline == "fifo" else THREE_QUEUES
    return Scheduler(discipline, weights, queues)  # type: ignore[arg-type]


@pytest.mark.parametrize("discipline", ["fifo", "strict", "wfq", "drr"])
def test_no_scheduler_changes_the_work_that_waits(one_link: Builder, discipline: str) -> None:
    """Kleinrock's conservation law, for sizes that the schedulers cannot choose by."""
    loads = [0.2, 0.3, 0.2]
    result = simulate(one_link(loads, 10_000, PacketSize("constant"), weighted(discipline)))
    waits = result.prediction.delay_s - SERVICE_S
    expected = sum(loads) * 0.5 * sum(loads) / (1 - sum(loads)) * SERVICE_S
    assert np.dot(loads, waits) == pytest.approx(expected, rel=0.015)


@pytest.mark.parametrize("discipline", ["wfq", "drr"])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_saturated_queues_share_by_weight(one_link: Builder, discipline: str, scale: float) -> None:
    scheduler = weighted(discipline, (6 * scale, 3 * scale, 1 * scale))
    result = simulate(one_link([1.5, 1.5, 1.5], 32, scheduler=scheduler))
    carried = 1.5 * (1 - result.prediction.loss_ratio)
    np.testing.assert_allclose(carried, [0.6, 0.3, 0.1], rtol=0.02)
    np.testing.assert_allclose(result.queue_utilisation_ratio[0], [0.6, 0.3, 0.1], rtol=0.02)


def lindley_with_bits(load: float, room_bits: float, packets: int, seed: int) -> float:
    """Loss of one FIFO link whose buffer holds bits: packet by packet, without events."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(SERVICE_S / load, packets))
    sizes = np.where(rng.random(packets) < 0.5, 296.0, 1704.0)
    starts: deque[tuple[float, float]] = deque()  # of waiting packets: start of service, bits
    free_at, waiting, lost = 0.0, 0.0, 0
    for now, bits in zip(arrivals, sizes, strict=True):
        while starts and starts[0][0] <= now:
            waiting -= starts.popleft()[1]
        if free_at > now:
            if waiting + bits > room_bits:
                lost += 1
                continue
            starts.append((free_at, bits))
            waiting += bits
        free_at = max(free_at, now) + bits * SERVICE_S / 1000
    return lost / packets


def test_a_buffer_of_bits_refuses_large_packets_first() -> None:
    topology = Topology.from_links(["a", "b"], [Link("a", "b", 1e6)])
    traffic = TrafficMatrix.from_demands(
        [Demand("a", "b", 9e5, packet_bits_mean=1000, packet_size=PacketSize("bimodal"))], topology.node_index
    )
    scenario = Scenario("bits", topology, traffic, Routing(((PathShare((0,)),),)))
    simulator = PacketSimulator(relative_error=1e-6, max_hops=1_000_000)
    lost = simulator.simulate(scenario, queue_bits=np.array([5000.0])).prediction.loss_ratio[0]
    assert lost == pytest.approx(lindley_with_bits(0.9, 5000.0, 150_000, 1), rel=0.05)
    with pytest.raises(InputError, match="queue_bits"):
        simulator.simulate(scenario, queue_bits=np.zeros(2))


def test_bits_of_equal_packets_are_packets(one_link: Builder) -> None:
    scenario = one_link([0.9, 0.3], 7, PacketSize("constant"), weighted("strict"))
    simulator = PacketSimulator(relative_error=1e-6, max_hops=100_000)
    size = scenario.traffic.packet_bits_mean[0]
    assert simulator.simulate(scenario, queue_bits=np.full(1, 7.5 * size)) == simulator.simulate(scenario)


def test_an_absurd_overload_ends_at_the_cap(one_link: Builder) -> None:
    """Nearly all packets are lost at once: they count, or the run would go on for a thousand times as long."""
    result = simulate(one_link([1000.0]), hops=100_000)
    assert result.generated.sum() < 300_000
    assert not result.reached
    assert result.prediction.loss_ratio[0] == pytest.approx(0.999, abs=0.001)


@pytest.mark.parametrize("model", ["poisson", "cbr", "onoff", "autocorrelated", "modulated"])
def test_every_arrival_model_keeps_its_mean_rate(one_link: Builder, model: str) -> None:
    arrivals = Arrivals(model, on_s=0.05, off_s=0.15, correlation=0.8, sigma=0.5)  # type: ignore[arg-type]
    result = simulate(one_link([0.1, 0.05], 10_000, arrivals=arrivals))
    rates = result.generated / result.simulated_s
    np.testing.assert_allclose(rates, [100, 50], rtol=0.02)
    assert result.prediction.link_utilisation_ratio[0] == pytest.approx(0.15, rel=0.02)


def test_constant_spacing_and_size_never_waits(one_link: Builder) -> None:
    result = simulate(one_link([0.9], 0, PacketSize("constant"), arrivals=Arrivals("cbr")), 100_000)
    assert result.prediction.loss_ratio[0] == 0
    assert result.prediction.delay_s[0] == pytest.approx(SERVICE_S, rel=1e-9)
    assert result.prediction.jitter_s[0] == pytest.approx(0, abs=1e-9)
    assert result.prediction.delay_p99_s[0] == pytest.approx(SERVICE_S, rel=BIN_WIDTH)


def test_bursts_wait_longer(one_link: Builder) -> None:
    smooth, bursty = (
        simulate(one_link([0.3, 0.3], 1000, arrivals=Arrivals(model, 0.05, 0.05)), 500_000).prediction.delay_s[0]
        for model in ("poisson", "onoff")
    )
    assert bursty > 1.5 * smooth


def test_a_split_demand_takes_each_path_by_its_share() -> None:
    topology = Topology.from_links(["a", "b"], [Link("a", "b", 1e9, 0.001), Link("a", "b", 1e9, 0.050)])
    traffic = TrafficMatrix.from_demands([Demand("a", "b", 1e6, packet_bits_mean=1000)], topology.node_index)
    routing = Routing(((PathShare((0,), 0.9), PathShare((1,), 0.1)),))
    result = simulate(Scenario("split", topology, traffic, routing), 300_000)
    assert result.prediction.delay_s[0] == pytest.approx(0.0059, rel=0.02)
    assert result.delay_p50_s[0] == pytest.approx(0.001, rel=0.01)
    assert result.prediction.delay_p99_s[0] == pytest.approx(0.050, rel=0.01)
    assert result.prediction.jitter_s[0] == pytest.approx(2 * 0.9 * 0.1 * 0.049, rel=0.03)
    utilisation = result.prediction.link_utilisation_ratio
    assert utilisation[0] / utilisation[1] == pytest.approx(9, rel=0.03)


def test_a_packet_keeps_its_size_along_the_path() -> None:
    """Alone on two links, delay and its deviation are those of one size over both capacities."""
    topology = Topology.from_links(["a", "b", "c"], [Link("a", "b", 1e6, 0.003), Link("b", "c", 2e6)])
    traffic = TrafficMatrix.from_demands([Demand("a", "c", 1e3, packet_bits_mean=1e4)], topology.node_index)
    result = simulate(Scenario("idle", topology, traffic, Routing(((PathShare((0, 1)),),))), 400_000)
    assert result.prediction.delay_s[0] == pytest.approx(0.018, rel=0.01)
    assert np.sqrt(result.delay_variance_s2[0]) == pytest.approx(0.015, rel=0.02)


def test_the_same_seed_gives_the_same_run_also_beside_others(one_link: Builder) -> None:
    scenario = one_link([0.4, 0.3])
    first = simulate(scenario, 200_000, seed=7)
    others: list[Simulation] = []
    threads = [threading.Thread(target=lambda: others.append(simulate(scenario, 200_000, seed=7))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert others == [first] * 3
    assert simulate(scenario, 200_000, seed=8) != first


def test_the_run_goes_on_until_the_error_is_reached(one_link: Builder) -> None:
    scenario = one_link([0.6])
    rough = PacketSimulator(relative_error=0.05).simulate(scenario)
    fine = PacketSimulator(relative_error=0.0015).simulate(scenario)
    assert rough.reached
    assert fine.reached
    assert fine.rse[0] <= 0.0015
    assert fine.packet_hops > rough.packet_hops
    capped = PacketSimulator(relative_error=0.0001, max_hops=100_000).simulate(scenario)
    assert not capped.reached
    assert capped.packet_hops <= 110_000


def test_the_stated_error_is_the_error(one_link: Builder) -> None:
    """Over independent runs the true delay is as far off as the stated errors say (z is about standard normal)."""
    truth = SERVICE_S / 0.4
    runs = [simulate(one_link([0.6], 1000), 60_000, seed=seed) for seed in range(40)]
    z = np.array([(run.prediction.delay_s[0] / truth - 1) / run.rse[0] for run in runs])
    assert abs(z.mean()) < 0.6
    assert 0.7 < z.std() < 1.5


def test_progress_is_told(one_link: Builder) -> None:
    told: list[float] = []
    PacketSimulator(relative_error=0.003).simulate(one_link([0.6]), told.append)
    assert told
    assert all(0 <= part <= 1 for part in told)


def test_demands_without_packets_are_unknown(one_link: Builder) -> None:
    result = simulate(one_link([0.3, 0.0]), 50_000)
    assert np.isfinite(result.prediction.delay_s[0])
    assert np.isnan(result.prediction.delay_s[1])
    nothing = simulate(one_link([0.0]), 50_000)
    assert np.isnan(nothing.prediction.delay_s[0])
    assert nothing.prediction.link_utilisation_ratio[0] == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_packets_are_conserved_in_any_scenario(random_scenario: Builder, seed: int) -> None:
    scenario = random_scenario(seed, peak=0.9)
    result = simulate(scenario, 20_000, seed=seed)
    in_flight = result.generated - result.dropped - result.delivered
    assert (in_flight >= 0).all()
    assert in_flight.sum() <= (scenario.topology.queue_packets * result.queue_loss_ratio.shape[1] + 1).sum()
    delivered = result.delivered > 0
    shortest = [
        min(scenario.topology.delay_s[list(path.links)].sum() for path in paths) for paths in scenario.routing.paths
    ]
    assert (result.prediction.delay_s[delivered] > np.array(shortest)[delivered]).all()
    assert (result.prediction.link_utilisation_ratio <= 1).all()


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99])
def test_percentiles_from_bins_are_within_a_bin(probability: float) -> None:
    rng = np.random.default_rng(5)
    values = rng.gamma(0.7, 3.0, 200_000) + 0.5
    unit = 0.01
    bins = np.zeros((1, BINS), dtype=np.uint32)
    places = np.where(values > unit, np.floor(np.log(values / unit) / np.log1p(BIN_WIDTH)) + 1, 0).astype(int)
    np.add.at(bins[0], places, 1)
    found = percentile(bins, np.array([unit]), probability)[0]
    assert found == pytest.approx(np.quantile(values, probability), rel=BIN_WIDTH / 2)


def test_joined_batches_keep_their_sums() -> None:
    batches = Batches(1)
    joined = False
    for number in range(2 * BATCHES):
        assert not joined
        batches.add(np.array([10.0]), np.array([10.0 * (1 + number % 2)]))
        joined = batches.join_neighbours()
    assert joined
    assert len(batches) == BATCHES
    assert batches.relative_error(np.zeros(1))[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("error", [0.0, 1.0, -1.0])
def test_an_impossible_error_is_refused(error: float) -> None:
    with pytest.raises(InputError, match="relative_error"):
        PacketSimulator(relative_error=error)
