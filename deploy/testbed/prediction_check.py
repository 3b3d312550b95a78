"""A kept run asked again: what each predictor, and a simulation of every packet, says of the routing that was measured.

The simulation shows how far off a prediction must be: it knows the queues exactly, so its error is that of chance in
what the receivers measured and of what is not in the model at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deploy.configuration import read_configuration
from deploy.testbed.report import ENOUGH_PACKETS
from gnn_model.packet_simulator.simulator import PacketSimulator
from gnn_model.predictor import Predictor
from gnn_model.predictor_choice import load_predictor
from gnn_model.without_transmission import WithoutTransmission
from optimizer.history import History
from optimizer.planning import planning_scenario
from optimizer.searching import plan_of
from topology_sync.errors import InputError
from topology_sync.plan_json import routing_with_plan
from topology_sync.scenario_json import demand_keys
from topology_sync.state_json import state_from_json
from topology_sync.values import FloatArray, float_array

SIMULATED_HOPS = 60_000_000


def check_predictions(kept: Path, report: Mapping[str, Any], seed: int = 1) -> list[dict[str, Any]]:
    """One row per predictor and rates: those of the window before the decision, and those the receivers saw after.

    ``kept`` is what ``testbed run --keep`` left, ``report`` that run's.  Raises InputError where they do not fit.
    """
    if not report.get("decisions"):
        raise InputError("--report", "the run changed no routing", "take another run")
    number = int(report["decisions"][-1]["id"])
    settings = read_configuration(kept / "routewright.yaml").optimizer_settings()
    history = History(Path(settings.state_directory))
    try:
        decision, stored = history.get(number), history.state_of(number)
    finally:
        history.close()
    if decision is None or stored is None:
        raise InputError("--kept", f"decision {number} is not in its history", "give the directory of the same run")
    state = state_from_json(stored)
    scenario = planning_scenario(state, settings)
    routing = routing_with_plan(state.scenario, plan_of(decision))
    after = {(row["source"], row["target"], row["class"]): row["after"] for row in report["demands"]}
    seen = [after.get(key) for key in demand_keys(scenario.topology, scenario.traffic)]
    enough = np.array([row is not None and row["sent"] - row["lost"] >= ENOUGH_PACKETS for row in seen])
    measured_s = np.array([row["delay_s"] if row is not None else np.nan for row in seen], dtype=np.float64)
    rate_bps = [row["rate_bps"] if row else rate for row, rate in zip(seen, scenario.traffic.rate_bps, strict=True)]
    predictors: list[Predictor] = [
        load_predictor("analytic"),
        load_predictor("gnn"),
        PacketSimulator(relative_error=0.02, seed=seed, max_hops=SIMULATED_HOPS),
    ]
    rows = []
    for name, rates in (("before", scenario.traffic.rate_bps), ("after", float_array(rate_bps))):
        question = replace(scenario, traffic=scenario.traffic.with_rates(rates), routing=routing)
        for predictor in predictors:
            predicted_s = WithoutTransmission(predictor).predict(question).delay_s
            rows.append(
                {"rates": name, "predictor": predictor.name, **_errors(predicted_s[enough], measured_s[enough])}
            )
    return rows


def _errors(predicted_s: FloatArray, measured_s: FloatArray) -> dict[str, float]:
    offset_s = float(np.median(measured_s - predicted_s))
    return {
        "demands": len(measured_s),
        "delay_median_relative_error": float(np.median(np.abs(predicted_s - measured_s) / measured_s)),
        "delay_offset_s": offset_s,
        "delay_median_relative_error_without_offset": float(
            np.median(np.abs(predicted_s + offset_s - measured_s) / measured_s)
        ),
    }
