"""Everything the optimizer needs to know, as frozen values made by ``deploy.configuration`` from the operator's file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from topology_sync.scenario import SlaGoal

Mode = Literal["advise", "auto"]


@dataclass(frozen=True)
class ClassGoal:
    """A traffic class, its priority (1 is the most important) and what it is promised."""

    name: str
    priority: int
    sla: SlaGoal


@dataclass(frozen=True)
class SafetySettings:
    """When the loop may act, how far it may go and what makes it go back."""

    hold_s: float = 5.0
    violations_to_act: int = 3
    min_interval_s: float = 30.0
    max_changes: int = 20
    verify_s: float = 10.0
    rollback: bool = True


@dataclass(frozen=True)
class MaintenanceSettings:
    """Links (``(source, target)`` by name, both directions) and nodes that must carry no transit traffic."""

    links: tuple[tuple[str, str], ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizerSettings:
    """Settings of the optimizer process.

    ``controller`` is ``unix:/path`` or ``http://host:port``; ``predictor_address`` None means embedded.
    ``transmission_delay`` False: the links do not add a packet's own transmission time (emulated links, see
    ARCHITECTURE.md).  ``api_token`` is the secret that callers of the operator's API present, None for none.
    """

    controller: str
    state_directory: str
    mode: Mode = "advise"
    classes: tuple[ClassGoal, ...] = ()
    after_sla: Literal["max-utilisation"] = "max-utilisation"
    safety: SafetySettings = SafetySettings()
    maintenance: MaintenanceSettings = field(default_factory=MaintenanceSettings)
    predictor_kind: str = "analytic"
    predictor_address: str | None = None
    transmission_delay: bool = True
    api_host: str = "127.0.0.1"
    api_port: int = 8080
    api_token: str | None = None
    tick_s: float = 1.0
    search_time_s: float = 1.0
    seed: int = 1

    @property
    def goals(self) -> tuple[SlaGoal, ...]:
        """The goals alone, in class order."""
        return tuple(entry.sla for entry in self.classes)
