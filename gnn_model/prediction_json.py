"""The JSON of ``routewright predict`` and ``routewright simulate``: a prediction with names instead of ids."""

from __future__ import annotations

import math
from typing import Any

from gnn_model.predictor import Prediction
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import demand_keys
from topology_sync.values import FloatArray

# JSON key -> field of Prediction.
FLOW_VALUES = {"delay_s": "delay_s", "delay_p99_s": "delay_p99_s", "jitter_s": "jitter_s", "loss_ratio": "loss_ratio"}
LINK_VALUES = {"utilisation_ratio": "link_utilisation_ratio", "loss_ratio": "link_loss_ratio"}


def prediction_to_json(
    scenario: Scenario, prediction: Prediction, predictor: str, seconds: float, rse: FloatArray | None = None
) -> dict[str, Any]:
    """``{"predictor", "flows", "links", "seconds"}``; flows in the order of the demands, links in that of the topology.

    ``rse`` [demands] is the relative standard error of each mean delay, where it was simulated.  A value that is not
    known (no packet was delivered) is null.
    """
    flows: list[dict[str, Any]] = []
    for demand, (source, target, traffic_class) in enumerate(demand_keys(scenario.topology, scenario.traffic)):
        flow: dict[str, Any] = {"source": source, "target": target, "class": traffic_class}
        for key, field in FLOW_VALUES.items():
            flow[key] = _number(getattr(prediction, field)[demand])
        if rse is not None:
            flow["rse"] = _number(rse[demand])
        flows.append(flow)
    names = scenario.topology.node_names
    ends = zip(scenario.topology.link_source.tolist(), scenario.topology.link_target.tolist(), strict=True)
    links = [
        {"source": names[source], "target": names[target]}
        | {key: _number(getattr(prediction, field)[link]) for key, field in LINK_VALUES.items()}
        for link, (source, target) in enumerate(ends)
    ]
    return {"predictor": predictor, "flows": flows, "links": links, "seconds": seconds}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
