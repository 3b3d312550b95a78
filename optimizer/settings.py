"""All that the optimizer needs to know, as frozen values made by ``deploy.configuration`` from the operator's file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gnn_model.service.tls import TlsFiles
from optimizer.moving_traffic.forecast import ForecastSettings
from topology_sync.class_queues import ClassQueues
from topology_sync.scenario import SlaGoal
from topology_sync.traffic import SizeModel

Mode = Literal["advise", "auto", "paused"]
MODES: tuple[Mode, ...] = ("advise", "auto", "paused")


@dataclass(frozen=True)
class ClassGoal:
    """A traffic class, its priority (1 is the most important) and what it is promised."""

    name: str
    priority: int
    sla: SlaGoal


@dataclass(frozen=True)
class SafetySettings:
    """When the loop may act, how far it may go and what makes it go back.

    A violation must last ``hold_s`` and be seen in ``violations_to_act`` evaluations; it is over only when every demand
    is below ``clear_ratio`` of its goal.  ``min_interval_s`` holds for the loop and for each demand.  A plan for an SLA
    must lower the predicted violation by ``improvement_margin_ratio``; one for utilisation alone must lower the
    maximum by ``better_plan_margin_ratio``, from ``better_plan_min_utilisation`` or more, and is sought every
    ``better_plan_interval_s``.  A change is rolled back when the measured violation exceeds the one before it by
    ``rollback_margin_ratio``.  Holding down doubles from ``min_interval_s`` up to ``hold_down_max_s``.  A proposal
    nobody approves is withdrawn after ``proposal_lifetime_s``; a verification without measurements ends after
    ``verify_timeout_s``.
    """

    hold_s: float = 5.0
    violations_to_act: int = 3
    min_interval_s: float = 30.0
    max_changes: int = 20
    verify_s: float = 10.0
    rollback: bool = True
    clear_ratio: float = 0.9
    improvement_margin_ratio: float = 0.05
    better_plan_margin_ratio: float = 0.1
    better_plan_min_utilisation: float = 0.5
    better_plan_interval_s: float = 60.0
    rollback_margin_ratio: float = 0.1
    hold_down_max_s: float = 3600.0
    proposal_lifetime_s: float = 600.0
    verify_timeout_s: float = 60.0


@dataclass(frozen=True)
class MaintenanceSettings:
    """Links (``(source, target)`` by name, both directions) and nodes that must carry no transit traffic."""

    links: tuple[tuple[str, str], ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictorSettings:
    """Who predicts: ``gnn`` or ``analytic``, in this process, or behind servers at ``addresses`` ("host:port").

    ``weights`` None: those shipped; they are the servers' business where there are addresses.
    """

    kind: str = "gnn"
    addresses: tuple[str, ...] = ()
    tls: TlsFiles | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class OptimizerSettings:
    """Settings of the optimizer process.

    ``controller`` is ``unix:/path`` or ``http://host:port``.
    ``transmission_delay`` False: the links do not add a packet's own transmission time (emulated links, see
    ARCHITECTURE.md).  ``packet_size`` is what is assumed of the distribution of packet sizes around the measured mean,
    which counters cannot tell.  ``headroom_ratio``: plans aim this far below each goal; ``forecast``: how far ahead.
    ``search_time_s`` is for up to 500 demands, beyond that it grows in proportion.  ``api_token`` is the secret
    that callers of the operator's API present, None for none.  ``queues``: those that the operator asks for per class,
    None where ports have one queue; nodes that have them say so in each snapshot.
    """

    controller: str
    state_directory: str
    mode: Mode = "advise"
    classes: tuple[ClassGoal, ...] = ()
    after_sla: Literal["max-utilisation"] = "max-utilisation"
    safety: SafetySettings = SafetySettings()
    maintenance: MaintenanceSettings = field(default_factory=MaintenanceSettings)
    predictor: PredictorSettings = field(default_factory=PredictorSettings)
    transmission_delay: bool = True
    packet_size: SizeModel = "constant"
    headroom_ratio: float = 0.1
    forecast: ForecastSettings = field(default_factory=ForecastSettings)
    queues: ClassQueues | None = None
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
