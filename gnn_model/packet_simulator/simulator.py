"""The packet simulator as a predictor: run until the mean delays are known well enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gnn_model.packet_simulator import arrays
from gnn_model.packet_simulator.kernel import POOL_EMPTY, advance, start_sources
from gnn_model.packet_simulator.random_source import seeded
from gnn_model.packet_simulator.statistics import BATCHES, Batches, percentile
from gnn_model.predictor import Prediction
from topology_sync.errors import InputError
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.values import ArrayValue, FloatArray, IntArray, float_array, int_array

FIRST_RUN_HOPS = 1_000_000.0
WARM_UP = 0.05
STEP_HOPS = 1_000_000.0  # about 0.2 s in the kernel, then Python may report or be interrupted
FIRST_POOL = 4096
LEAST_HOPS_PER_S = 1e-100  # less is no traffic, and its times would overflow
DEFAULT_MAX_HOPS = 200_000_000
RELAXATIONS_PER_WARM_UP = 3.0
RELAXATIONS_PER_BATCH = 2.0


@dataclass(frozen=True, eq=False)
class Simulation(ArrayValue):
    """What one run has measured.  A demand of which no packet was delivered has NaN delays.

    Per demand [demands]: variance, median and 90th percentile of delay beside those of ``prediction``; ``rse``, the
    relative standard error of the mean delay; packets ``generated``, ``dropped``, ``delivered`` in the measured time.
    Per queue [links, queues]: mean number of waiting packets, part of the port's time in which it sends packets of this
    queue, and loss.  ``reached``: the error asked for was reached within the cap on packet-hops.
    """

    prediction: Prediction
    delay_variance_s2: FloatArray
    delay_p50_s: FloatArray
    delay_p90_s: FloatArray
    rse: FloatArray
    generated: IntArray
    dropped: IntArray
    delivered: IntArray
    queue_waiting_packets: FloatArray
    queue_utilisation_ratio: FloatArray
    queue_loss_ratio: FloatArray
    packet_hops: int
    simulated_s: float
    reached: bool


class PacketSimulator:
    """Simulates every packet.  ``relative_error`` is wanted of the mean delay of 90 % of the demands.

    ``max_hops`` caps the packet-hops of one run, lost packets included (about 5 million a second).  The same seed gives
    the same numbers.  Instances hold no state: several threads may run at once.
    """

    name = "simulator"

    def __init__(
        self,
        relative_error: float = 0.01,
        seed: int = 1,
        max_hops: int = DEFAULT_MAX_HOPS,
        demands_within: float = 0.9,
    ) -> None:
        if not 0 < relative_error < 1:
            raise InputError("relative_error", f"is {relative_error:g}", "give a number above 0 and below 1")
        if max_hops < 1000:
            raise InputError("max_hops", f"is {max_hops}", "give at least 1000")
        self.relative_error = relative_error
        self.seed = seed
        self.max_hops = max_hops
        self.demands_within = demands_within

    def predict(self, scenario: Scenario) -> Prediction:
        """Simulate one scenario."""
        return self.simulate(scenario).prediction

    def predict_batch(self, scenario: Scenario, candidates: Sequence[Routing]) -> list[Prediction]:
        """Simulate each candidate with the same seed."""
        return [self.predict(scenario.with_routing(candidate)) for candidate in candidates]

    def simulate(
        self,
        scenario: Scenario,
        progress: Callable[[float], None] | None = None,
        queue_bits: FloatArray | None = None,
    ) -> Simulation:
        """Run one scenario; ``progress`` is told the part done, 0..1, several times a second.

        ``queue_bits`` [links] makes buffers hold so many bits per queue instead of the topology's packets.
        """
        if queue_bits is not None and (
            np.shape(queue_bits) != (scenario.topology.link_count,) or not (queue_bits >= 0).all()
        ):
            raise InputError("queue_bits", "is not 0 or more for each link", "give one number of bits per link")
        run = _Run(scenario, self.seed, queue_bits)
        plan = _plan(scenario, self.max_hops)
        if plan is None:
            return run.result(Batches(scenario.traffic.demand_count), 0.0, True)
        run.to(plan.warm_up_s)
        run.measure()
        batches = Batches(scenario.traffic.demand_count)
        batch_s = plan.batch_s
        while True:
            run.to(run.now + batch_s, plan.step_s)
            batches.add(*run.take_batch())
            error = self._error(batches, run)
            full = run.work >= self.max_hops * (1 - WARM_UP)
            if len(batches) >= BATCHES and (error <= self.relative_error or full):
                return run.result(batches, batch_s, bool(error <= self.relative_error))
            if progress is not None:
                progress(_part_done(error / self.relative_error, len(batches), run.work / self.max_hops))
            if batches.join_neighbours():
                batch_s *= 2

    def _error(self, batches: Batches, run: _Run) -> float:
        """Error that the wanted part of the demands stays within; demands without traffic do not count."""
        error = batches.relative_error(run.base_s)[run.active]
        if not len(error):
            return 0.0
        return float(np.quantile(np.where(np.isnan(error), np.inf, error), self.demands_within, method="higher"))


def _part_done(error_ratio: float, batches: int, part_of_cap: float) -> float:
    """Errors shrink with the square root of time; the cap may come first."""
    by_error = batches / max(batches * error_ratio**2, BATCHES) if np.isfinite(error_ratio) else 0.0
    return min(max(by_error, part_of_cap), 1.0)


@dataclass(frozen=True)
class _Plan:
    warm_up_s: float
    batch_s: float
    step_s: float


def _plan(scenario: Scenario, max_hops: int) -> _Plan | None:
    """Simulated time to warm up and per batch: many relaxation times of queues and sources.  None without traffic."""
    topology, traffic, flat = scenario.topology, scenario.traffic, scenario.routing.flat
    path_rate = traffic.packets_per_s[flat.path_demand] * flat.share
    hop_rate = path_rate[flat.hop_path]
    hops_per_s = float(hop_rate.sum())
    if hops_per_s < LEAST_HOPS_PER_S:
        return None
    packets = np.bincount(flat.hop_link, weights=hop_rate, minlength=topology.link_count)
    load = scenario.routing.link_load_bps(traffic, topology.link_count) / topology.capacity_bps
    used = packets > 0
    service = load[used] / packets[used]
    # A queue forgets within about 4 / (1 - load)^2 services (M/M/1), a short one within the square of its length.
    gap = np.maximum(np.abs(1 - load[used]), 1e-6)
    slowest = float(np.max(service * np.minimum(4 / gap**2, (topology.queue_packets[used] + 1.0) ** 2), initial=0.0))
    cycles = [
        item.on_s + item.off_s
        for item, rate in zip(traffic.arrivals, traffic.rate_bps, strict=True)
        if item.model == "onoff" and rate > 0
    ]
    slowest = max(slowest, *cycles, 0.0) if cycles else slowest
    whole = max_hops / hops_per_s
    first = min(FIRST_RUN_HOPS / hops_per_s, whole)
    warm_up = max(first * WARM_UP, min(RELAXATIONS_PER_WARM_UP * slowest, whole * WARM_UP))
    batch = max(first / BATCHES, min(RELAXATIONS_PER_BATCH * slowest, whole * (1 - 2 * WARM_UP) / BATCHES))
    return _Plan(warm_up, batch, STEP_HOPS / hops_per_s)


class _Run:
    """One simulation under way."""

    def __init__(self, scenario: Scenario, seed: int, queue_bits: FloatArray | None = None) -> None:
        self._network = arrays.network_of(scenario, queue_bits)
        self._sources = arrays.sources_of(scenario, scenario.routing)
        self._flows = scenario.traffic.demand_count
        self._ports, self._queues = self._network.weight.shape
        self._state = arrays.new_state(self._flows, self._ports, self._queues, seeded(seed), FIRST_POOL)
        self._tallies = arrays.new_tallies(self._flows, self._ports, self._queues, 0.0)
        self._measured_from = np.inf
        self._warm_up_hops = 0
        self._warm_up_drops = 0
        self.active = scenario.traffic.rate_bps > 0
        propagation = arrays.sum_over_paths(scenario.routing, scenario.topology.delay_s)
        self.base_s = arrays.smallest_of_paths(propagation, self._sources.path_start)
        start_sources(self._sources, self._state)

    @property
    def now(self) -> float:
        """Simulated time in seconds."""
        return float(self._state.clock[0])

    @property
    def hops(self) -> int:
        """Packet-hops so far, warm-up included."""
        return self._warm_up_hops + int(self._tallies.hops[0])

    @property
    def work(self) -> int:
        """Packet-hops and packets that found a queue full: they too take time, and may be nearly all there is."""
        return self.hops + self._drops

    @property
    def _drops(self) -> int:
        return self._warm_up_drops + int(self._tallies.queue_drops.sum())

    def to(self, until_s: float, step_s: float = np.inf) -> None:
        """Advance to ``until_s``, leaving the kernel every ``step_s``."""
        while self.now < until_s:
            goal = min(until_s, self.now + step_s)
            while (
                advance(self._network, self._sources, self._state, self._tallies, goal, self._measured_from)
                == POOL_EMPTY
            ):
                self._state = arrays.with_larger_pool(self._state)

    def measure(self) -> None:
        """Forget what was counted and count from now on."""
        self._warm_up_hops, self._warm_up_drops = self.hops, self._drops
        self._measured_from = self.now
        self._tallies = arrays.new_tallies(self._flows, self._ports, self._queues, self.now)

    def take_batch(self) -> tuple[FloatArray, FloatArray]:
        """Packets and summed delays since the last call, [flows]."""
        taken = self._tallies.batch_count.copy(), self._tallies.batch_sum.copy()
        self._tallies.batch_count[:] = 0
        self._tallies.batch_sum[:] = 0
        return taken

    def result(self, batches: Batches, batch_s: float, reached: bool) -> Simulation:
        """Everything measured so far."""
        counts = self._tallies
        span = self.now - self._measured_from if np.isfinite(self._measured_from) else 0.0
        delivered = counts.delivered
        some = np.where(delivered > 0, delivered, 1)
        mean = np.where(delivered > 0, counts.delay_sum / some, np.nan)
        variance = np.maximum(counts.delay_square_sum / some - mean**2, 0.0)
        variations = counts.variation_count
        jitter = np.where(variations > 0, counts.variation_sum / np.where(variations > 0, variations, 1), np.nan)
        done = delivered + counts.dropped
        loss = np.where(done > 0, counts.dropped / np.where(done > 0, done, 1), np.nan)
        quantiles = [
            self.base_s + percentile(counts.histogram, self._sources.bin_unit_s, part) for part in (0.5, 0.9, 0.99)
        ]
        shape = (self._ports, self._queues)
        area = counts.queue_area_s + self._state.waiting * (self.now - counts.queue_changed_s)
        queue_arrivals = counts.queue_arrivals.reshape(shape)
        queue_drops = counts.queue_drops.reshape(shape)
        link_arrivals = queue_arrivals.sum(axis=1)
        busy = counts.queue_busy_s.reshape(shape) / (span or 1.0)
        prediction = Prediction(
            delay_s=float_array(mean + self.base_s),
            delay_p99_s=float_array(quantiles[2]),
            jitter_s=float_array(jitter),
            loss_ratio=float_array(loss),
            link_utilisation_ratio=float_array(np.minimum(busy.sum(axis=1), 1.0)),
            link_loss_ratio=float_array(queue_drops.sum(axis=1) / np.maximum(link_arrivals, 1)),
        )
        return Simulation(
            prediction=prediction,
            delay_variance_s2=float_array(variance),
            delay_p50_s=float_array(quantiles[0]),
            delay_p90_s=float_array(quantiles[1]),
            rse=float_array(batches.relative_error(self.base_s)),
            generated=int_array(counts.generated),
            dropped=int_array(counts.dropped),
            delivered=int_array(delivered),
            queue_waiting_packets=float_array((area / span if span else area).reshape(shape)),
            queue_utilisation_ratio=float_array(busy),
            queue_loss_ratio=float_array(queue_drops / np.maximum(queue_arrivals, 1)),
            packet_hops=self.hops,
            simulated_s=float(span),
            reached=reached,
        )
