"""What goes into the loop's state machine, what comes out of it and what it remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from optimizer.goals import Score
from optimizer.settings import Mode

Key = tuple[str, str, str]
Phase = Literal["observing", "proposing", "awaiting_approval", "applying", "verifying", "rolling_back"]
TriggerKind = Literal["topology", "sla", "maintenance", "better_plan"]
Verdict = Literal["no_better_plan", "rejected", "withdrawn", "failed", "rolled_back", "rollback_failed"]


@dataclass(frozen=True)
class Trigger:
    """Why the loop wants to act: since when it was measured and when it had lasted long enough."""

    kind: TriggerKind
    first_measured_s: float
    held_s: float


@dataclass(frozen=True)
class Snapshot:
    """What the loop must know of a measured state.

    ``violation`` is the measured weighted score beyond measurement uncertainty, ``clear`` that all demands are well
    within their goals.  ``broken`` are demands over dead links, ``displaced`` those that maintenance wants away; both
    only where another path exists.
    """

    time_s: float
    window_start_s: float
    topology_version: int
    routing_version: int
    settled: bool
    violation: float
    clear: bool
    max_utilisation: float
    broken: frozenset[Key] = frozenset()
    displaced: frozenset[Key] = frozenset()


@dataclass(frozen=True)
class Proposal:
    """What a search found.  ``repaired`` are the changed demands that had to move, ``changed_nodes`` those whose queue
    weights change.

    ``error`` says why it failed; with ``unavailable`` it failed because the predictor is away, which speaks against no
    plan.
    """

    decision: int
    topology_version: int
    routing_version: int
    before: Score
    after: Score
    changed: frozenset[Key]
    repaired: frozenset[Key] = frozenset()
    error: str | None = None
    unavailable: bool = False
    changed_nodes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Finished:
    """How a transaction ended.  ``stale``: refused because the network had changed."""

    decision: int
    ok: bool
    flipped_s: float
    stale: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Command:
    """What the operator wants.  ``decision`` None with ``rollback``: the last plan that was kept."""

    kind: Literal["approve", "rollback", "mode"]
    decision: int | None = None
    mode: Mode = "advise"


@dataclass(frozen=True)
class Observation:
    """What happened since the last step; ``snapshot`` None: the controller does not answer.

    Without a predictor (``predictor_up`` False) nothing is searched.
    """

    snapshot: Snapshot | None = None
    proposal: Proposal | None = None
    finished: Finished | None = None
    commands: tuple[Command, ...] = ()
    predictor_up: bool = True


@dataclass(frozen=True)
class StartSearch:
    """Look for a plan; ``frozen`` demands were changed too recently to move again unless broken, the queue weights of
    ``frozen_nodes`` likewise.
    """

    decision: int
    trigger: Trigger
    max_changes: int
    frozen: frozenset[Key]
    frozen_nodes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class AwaitApproval:
    """Show the plan to the operator."""

    decision: int


@dataclass(frozen=True)
class Apply:
    """Send the plan to the controller."""

    decision: int
    approved: bool = False


@dataclass(frozen=True)
class Keep:
    """The plan stays.  ``verified`` False: nothing could be measured in time."""

    decision: int
    reason: str
    verified: bool = True


@dataclass(frozen=True)
class RollBack:
    """Put the routes and queue weights from before the decision back."""

    decision: int
    reason: str


@dataclass(frozen=True)
class Close:
    """The decision ends here.  ``record`` False: the same was recorded before, do not repeat it."""

    decision: int
    verdict: Verdict
    reason: str
    record: bool = True


@dataclass(frozen=True)
class Refuse:
    """The operator's command cannot be carried out now."""

    command: Command
    reason: str


Action = StartSearch | AwaitApproval | Apply | Keep | RollBack | Close | Refuse


@dataclass(frozen=True)
class HoldDown:
    """A trigger that led to nothing or to a roll back waits until ``until_s``; ``count`` doubles the wait."""

    until_s: float
    count: int
    topology_version: int


@dataclass(frozen=True)
class LoopState:
    """Everything the loop remembers.

    ``measured_before`` is the violation score when the plan was applied; since ``full_since_s`` some link has been full
    enough for a better plan to be worth a look.
    """

    mode: Mode
    phase: Phase = "observing"
    phase_since_s: float = 0.0
    next_decision: int = 1
    decision: int | None = None
    trigger: Trigger | None = None
    proposal: Proposal | None = None
    rollback_reason: str = ""
    first_violation_s: float | None = None
    last_violation_s: float = 0.0
    violation_count: int = 0
    last_snapshot_s: float = -1.0
    measured_before: float = 0.0
    flipped_s: float = 0.0
    worse_count: int = 0
    last_applied_s: float | None = None
    last_kept: int | None = None
    last_look_s: float | None = None
    full_since_s: float | None = None
    demand_changed_s: Mapping[Key, float] = field(default_factory=dict)
    node_changed_s: Mapping[str, float] = field(default_factory=dict)
    hold_downs: Mapping[TriggerKind, HoldDown] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The phase for people: ``violating`` while a violation is being watched, ``paused`` when told so."""
        if self.phase == "observing" and self.mode == "paused":
            return "paused"
        return "violating" if self.phase == "observing" and self.violation_count else self.phase
