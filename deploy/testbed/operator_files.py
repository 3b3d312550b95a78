"""The operator's files of a run: the same configuration and inventory that an operator would write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from deploy.testbed.base_traffic import CLASSES
from deploy.testbed.scenarios import TestbedScenario
from topology_sync.class_queues import ClassQueues
from topology_sync.routing import Routing
from topology_sync.scenario_json import write_scenario
from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix

QUEUED_PROBES_PER_S = 600  # three times as many queues as links are probed


def write_operator_files(
    directory: Path,
    scenario: TestbedScenario,
    openflow_port: int,
    api_port: int,
    predictor: str = "gnn",
    ovsdb: str | None = None,
) -> Path:
    """Write ``routewright.yaml`` and ``inventory.json`` into ``directory``; returns the path of the former.

    The inventory states what cannot be read off a switch, capacity, delay and queue of every link, and no traffic.
    """
    topology = scenario.base.topology
    write_scenario(
        replace(
            scenario.base,
            traffic=TrafficMatrix.from_demands((), topology.node_index),
            routing=Routing(()),
            sla=(),
        ),
        directory / "inventory.json",
    )
    file = directory / "routewright.yaml"
    data = configuration_data(topology, openflow_port, api_port, predictor)
    if scenario.queues is not None:
        data["queues"] = queues_data(scenario.queues, ovsdb)
        data["telemetry"] = {"probes_per_s": QUEUED_PROBES_PER_S}
    file.write_text(yaml.safe_dump(data, sort_keys=False, default_flow_style=None))
    return file


def configuration_data(topology: Topology, openflow_port: int, api_port: int, predictor: str = "gnn") -> dict[str, Any]:
    """The operator's configuration as plain data: closed loop, everything about safety at its default."""
    return {
        "version": 1,
        "mode": "auto",
        "classes": [
            {
                "name": entry.name,
                **({"dscp": list(entry.dscp)} if entry.dscp else {}),
                "priority": entry.priority,
                "sla": {
                    key: value
                    for key, value in (
                        ("delay_ms", _scaled(entry.goal.delay_s, 1e3)),
                        ("percentile", entry.goal.percentile),
                        ("jitter_ms", _scaled(entry.goal.jitter_s, 1e3)),
                        ("loss_percent", _scaled(entry.goal.loss_ratio, 1e2)),
                    )
                    if value is not None
                },
            }
            for entry in CLASSES
        ],
        "predictor": {"kind": predictor},
        "southbound": {"listen": f"127.0.0.1:{openflow_port}"},
        "api": {"listen": f"127.0.0.1:{api_port}"},
        "network": {
            "inventory": "inventory.json",
            "switches": {name: node + 1 for node, name in enumerate(topology.node_names)},
            "transmission_delay": False,
        },
        "state_directory": "state",
    }


def queues_data(queues: ClassQueues, ovsdb: str | None) -> dict[str, Any]:
    """Section ``queues`` of the operator's configuration."""
    return {
        "scheduler": queues.discipline,
        "order": list(queues.order),
        **({"weights": dict(zip(queues.order, queues.weights, strict=True))} if queues.weights else {}),
        "change_weights": queues.change_weights,
        "ovsdb": ovsdb,
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else round(value * factor, 9)
