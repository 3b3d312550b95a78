"""The controller's own measurements beside the truth of senders and receivers, window by window."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from deploy.testbed.measurement.live_network import LiveNetwork, live_network
from deploy.testbed.progress import Progress
from deploy.testbed.run_directory import RunDirectory
from deploy.testbed.scenarios import PRIMING_S, TestbedScenario, make_scenario
from deploy.testbed.statistics import PacketTable, demand_statistics, packet_table, window
from deploy.testbed.traffic_plan import RateStep
from topology_sync.network_state import NetworkState
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys
from topology_sync.values import BoolArray, FloatArray

PROBES_PER_S = 600.0
SETTLE_S = 3.0
RATE_GOAL = 0.03
LOSS_GOAL = 0.005
DELAY_GOAL_RATIO, DELAY_GOAL_S = 0.20, 0.002
LEAST_PACKETS_FOR_P99 = 200
NANOSECONDS = 1_000_000_000


def measure_telemetry(
    source: Scenario, topology_name: str, seed: int, seconds: int, window_s: float, progress: Progress
) -> dict[str, Any]:
    """Compare ``seconds`` snapshots, one a second, under a hotspot that nobody repairs, so that queues lose."""
    scenario = _from_the_start(make_scenario("hotspot", topology_name, source, seed))
    settings = {"telemetry": {"window_s": window_s, "probes_per_s": PROBES_PER_S}}
    first_s = PRIMING_S + SETTLE_S + window_s
    with RunDirectory() as directory, live_network(scenario, progress, directory, settings) as live:
        traffic = live.traffic(scenario.demands, first_s + seconds + 5.0, seed)
        traffic.start()
        try:
            _wait(live, traffic.start_ns, PRIMING_S)
            live.openvswitch.enlarge_send_buffer()
            with progress.step(f"{seconds} snapshots beside {len(scenario.demands)} demands"):
                _wait(live, traffic.start_ns, first_s)
                states = [_state(live, traffic.start_ns, first_s + second) for second in range(seconds)]
        finally:
            traffic.stop(drain_s=1.0)
        table = packet_table(traffic.schedule, traffic.sent_ns(), traffic.received())
    errors = [_errors(state, table, scenario) for state in states]
    rate, loss, delay, delay_ok, packet = (np.stack([entry[part] for entry in errors]) for part in range(5))
    compared = np.isfinite(delay)
    result: dict[str, Any] = {
        "topology": topology_name,
        "seed": seed,
        "demands": len(scenario.demands),
        "snapshots": seconds,
        "window_s": window_s,
        "probes_per_s": PROBES_PER_S,
        "rate_relative_error": _spread(rate),
        "rate_within_3_percent_ratio": _share(np.abs(rate) <= RATE_GOAL, rate),
        "loss_error_points": {name: 100 * value for name, value in _spread(loss).items()},
        "loss_within_half_point_ratio": _share(np.abs(loss) <= LOSS_GOAL, loss),
        "loss_within_half_point_or_one_packet_ratio": _share(np.abs(loss) <= np.maximum(LOSS_GOAL, packet), loss),
        "delay_p99_error_s": _spread(delay),
        "delay_p99_within_20_percent_or_2_ms_ratio": float(delay_ok[compared].mean()) if compared.any() else 0.0,
        "delay_p99_comparisons": int(compared.sum()),
        "rate_median_per_demand": _spread(np.nanmedian(rate, axis=0)),
        "loss_median_per_demand_points": {
            name: 100 * value for name, value in _spread(np.nanmedian(loss, axis=0)).items()
        },
    }
    per_demand_rate, per_demand_loss = np.abs(np.nanmedian(rate, axis=0)), np.abs(np.nanmedian(loss, axis=0))
    result["ok"] = bool(
        (per_demand_rate <= RATE_GOAL).all()
        and (per_demand_loss[np.isfinite(per_demand_loss)] <= LOSS_GOAL).all()
        and result["delay_p99_within_20_percent_or_2_ms_ratio"] >= 0.9
    )
    return result


def _from_the_start(scenario: TestbedScenario) -> TestbedScenario:
    """The same hotspot, grown as soon as all demands have begun."""
    demands = tuple(
        replace(
            demand,
            steps=(demand.steps[0], RateStep(PRIMING_S, demand.steps[-1].rate_bps))
            if len(demand.steps) > 1
            else demand.steps,
        )
        for demand in scenario.demands
    )
    return replace(scenario, demands=demands)


def _state(live: LiveNetwork, start_ns: int, at_s: float) -> NetworkState:
    _wait(live, start_ns, at_s)
    return live.control.state()


def _wait(live: LiveNetwork, start_ns: int, at_s: float) -> None:
    live.control.check()
    time.sleep(max(0.0, start_ns / NANOSECONDS + at_s - time.time()))


def _errors(
    state: NetworkState, table: PacketTable, scenario: TestbedScenario
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray, FloatArray]:
    """Per demand of the scenario: relative error of the rate, error of the loss ratio, error of p99 (NaN where not to
    be compared), whether p99 is within its goal, and what one packet more or less is of the loss ratio.

    Packets count to the window in which they were sent, for senders and receivers alike.
    """
    count = len(scenario.demands)
    end_ns = round(state.time_s * NANOSECONDS)
    part = window(table, end_ns - round(state.window_s * NANOSECONDS), end_ns)
    truth = demand_statistics(part, count, state.window_s)
    place = {key: row for row, key in enumerate(demand_keys(state.scenario.topology, state.scenario.traffic))}
    rows = np.array([place.get(demand.key, -1) for demand in scenario.demands])
    known = rows >= 0

    def measured(values: FloatArray) -> FloatArray:
        return np.where(known, values[rows], np.nan)

    rate = measured(state.scenario.traffic.rate_bps) / truth.sent_rate_bps - 1.0
    loss = measured(state.demands.loss_ratio) - truth.loss_ratio
    delay = measured(state.demands.delay_p99_s) - truth.delay_p99_s
    delay[truth.received < LEAST_PACKETS_FOR_P99] = np.nan
    within = (np.abs(delay) <= DELAY_GOAL_RATIO * truth.delay_p99_s) | (np.abs(delay) <= DELAY_GOAL_S)
    return rate, loss, delay, within, 1.0 / np.maximum(truth.sent, 1)


def _spread(values: FloatArray) -> dict[str, float]:
    finite = np.abs(values[np.isfinite(values)])
    if not len(finite):
        return {"median": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    median, p95, p99 = np.percentile(finite, [50, 95, 99])
    return {"median": float(median), "p95": float(p95), "p99": float(p99), "max": float(finite.max())}


def _share(good: BoolArray, values: FloatArray) -> float:
    known = np.isfinite(values)
    return float(good[known].mean()) if known.any() else 0.0
