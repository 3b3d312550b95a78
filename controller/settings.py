"""Everything the controller process needs to know, handed to it as one JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from controller.settings_check import check_settings
from topology_sync.class_queues import ClassQueues
from topology_sync.errors import ConfigurationError
from topology_sync.topology import Link


@dataclass(frozen=True)
class TrafficClass:
    """A class and the DSCP values that name it; the class without any takes all the rest."""

    name: str
    dscp: tuple[int, ...] = ()


@dataclass(frozen=True)
class StaticHost:
    """A host or prefix stated by the operator instead of learned.  ``prefix`` like ``10.1.0.0/16``."""

    prefix: str
    mac: str
    node: str
    port: int


@dataclass(frozen=True)
class ControllerSettings:
    """Settings of the controller process.

    ``api_socket`` (a path) wins over ``api_host``/``api_port``.  ``node_names`` maps datapath ids to names, others are
    called ``s<dpid>``.  ``links`` states what cannot be read off a switch: rate, propagation delay and queue of a
    directed link; others get the defaults.  Every ``audit_period_s`` the rules of each switch are compared with what
    they should be.  The secret that keys LLDP and probe nonces is made at the first start and kept in
    ``state_directory``.  ``queues`` None: one queue for all classes, as a switch has it.  ``ovsdb`` is where queues are
    set up: ``unix:PATH``, ``tcp:HOST:PORT``, ``tcp:PORT`` at the address that each switch speaks from, or None.
    """

    state_directory: str
    openflow_host: str = "127.0.0.1"
    openflow_port: int = 6653
    api_socket: str | None = None
    api_host: str = "127.0.0.1"
    api_port: int = 8081
    classes: tuple[TrafficClass, ...] = (TrafficClass("default"),)
    node_names: dict[int, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    default_capacity_bps: float = 1e9
    default_queue_packets: int = 32
    hosts: tuple[StaticHost, ...] = ()
    lldp_period_s: float = 0.4
    link_timeout_s: float = 1.5
    poll_period_s: float = 1.0
    window_s: float = 10.0
    probes_per_s: float = 200.0
    probe_classes: tuple[str, ...] = ()
    echo_interval_s: float = 3.0
    echo_misses: int = 5
    flow_mods_per_s: int = 1000
    transaction_timeout_s: float = 10.0
    audit_period_s: float = 30.0
    queues: ClassQueues | None = None
    ovsdb: str | None = None
    log_level: str = "info"

    def to_json(self) -> str:
        """The JSON form that ``read`` takes."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def read(cls, path: Path) -> ControllerSettings:
        """Read what ``to_json`` wrote.  Raises ConfigurationError with the place of what is wrong."""
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            for name, kind in (("classes", TrafficClass), ("links", Link), ("hosts", StaticHost)):
                data[name] = tuple(kind(**_tuples(entry)) for entry in data.get(name, ()))
            if data.get("queues") is not None:
                data["queues"] = ClassQueues(**_tuples(data["queues"]))
            data["node_names"] = {int(dpid): name for dpid, name in data.get("node_names", {}).items()}
            settings = cls(**_tuples(data))
            check_settings(settings)
            return settings
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ConfigurationError(str(path), f"is no controller settings file ({error})") from error


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
