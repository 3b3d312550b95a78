"""The loop as a pure state machine: (state, observation, settings, time) -> (state, actions).

observing -> proposing -> awaiting_approval (advise) or applying (auto) -> verifying -> observing, or rolling_back ->
observing.  Nothing here reads a clock or talks to anyone: ``closed_loop`` carries the actions out and reports back.

What holds in every run: one search or one transaction at a time; no plan within ``min_interval_s`` of the last one
unless paths are broken; nothing applied in advise mode without approval; every plan applied is kept or rolled back.
"""

from __future__ import annotations

from dataclasses import replace

from optimizer.goals import Score
from optimizer.loop_values import (
    Action,
    Apply,
    AwaitApproval,
    Close,
    Command,
    Finished,
    HoldDown,
    Keep,
    LoopState,
    Observation,
    Proposal,
    Refuse,
    RollBack,
    Snapshot,
    StartSearch,
    Trigger,
    TriggerKind,
    Verdict,
)
from optimizer.settings import SafetySettings

EPSILON = 1e-9
RETRY_S = 2.0

Step = tuple[LoopState, tuple[Action, ...]]


def advance(state: LoopState, observation: Observation, settings: SafetySettings, now_s: float) -> Step:
    """One step of the loop."""
    actions: list[Action] = []

    def take(step: Step) -> None:
        nonlocal state
        state, more = step
        actions.extend(more)

    snapshot = observation.snapshot
    for command in observation.commands:
        take(_obey(state, command, snapshot, settings, now_s))
    if observation.finished is not None:
        take(_finish(state, observation.finished, snapshot, settings, now_s))
    if observation.proposal is not None:
        take(_consider(state, observation.proposal, snapshot, settings, now_s))
    if snapshot is not None:
        state = _watch(state, snapshot, settings)
    if state.phase == "awaiting_approval":
        take(_wait(state, snapshot, settings, now_s))
    elif state.phase == "verifying":
        take(_verify(state, snapshot, settings, now_s))
    if state.phase == "observing" and snapshot is not None and observation.predictor_up:
        take(_look(state, snapshot, settings, now_s))
    return state, tuple(actions)


def interval_elapsed(state: LoopState, settings: SafetySettings, now_s: float) -> bool:
    """Whether the last plan is long enough ago for another one."""
    return state.last_applied_s is None or now_s - state.last_applied_s >= settings.min_interval_s


def _watch(state: LoopState, snapshot: Snapshot, settings: SafetySettings) -> LoopState:
    """Count violations, once per new snapshot, and for how long links have been full."""
    if snapshot.time_s <= state.last_snapshot_s:
        return state
    full_since_s = snapshot.time_s if state.full_since_s is None else state.full_since_s
    full = snapshot.max_utilisation >= settings.better_plan_min_utilisation
    state = replace(state, last_snapshot_s=snapshot.time_s, full_since_s=full_since_s if full else None)
    if snapshot.violation > EPSILON:
        first = snapshot.time_s if state.first_violation_s is None else state.first_violation_s
        return replace(
            state,
            first_violation_s=first,
            last_violation_s=snapshot.time_s,
            violation_count=state.violation_count + 1,
        )
    if snapshot.clear or snapshot.time_s - state.last_violation_s > 2 * settings.hold_s:
        hold = state.hold_downs.get("sla")
        over = hold is not None and hold.until_s < snapshot.time_s
        hold_downs = {kind: hold for kind, hold in state.hold_downs.items() if not (over and kind == "sla")}
        return replace(state, first_violation_s=None, violation_count=0, hold_downs=hold_downs)
    return state


def _look(state: LoopState, snapshot: Snapshot, settings: SafetySettings, now_s: float) -> Step:
    """Observing: is there a reason to act?"""
    trigger = _trigger(state, snapshot, settings, now_s)
    if trigger is None:
        return state, ()
    recent = frozenset(key for key, at in state.demand_changed_s.items() if now_s - at < settings.min_interval_s)
    free = interval_elapsed(state, settings, now_s) and snapshot.settled
    nodes = frozenset(node for node, at in state.node_changed_s.items() if now_s - at < settings.min_interval_s)
    search = StartSearch(state.next_decision, trigger, settings.max_changes if free else 0, recent, nodes)
    return (
        replace(
            state,
            phase="proposing",
            phase_since_s=now_s,
            decision=search.decision,
            next_decision=search.decision + 1,
            trigger=trigger,
            last_look_s=now_s,
        ),
        (search,),
    )


def _trigger(state: LoopState, snapshot: Snapshot, settings: SafetySettings, now_s: float) -> Trigger | None:
    if state.mode == "paused":
        return None

    def held_down(kind: TriggerKind) -> bool:
        hold = state.hold_downs.get(kind)
        return hold is not None and now_s < hold.until_s and hold.topology_version == snapshot.topology_version

    if snapshot.broken and not held_down("topology"):
        return Trigger("topology", snapshot.time_s, now_s)
    if not snapshot.settled or not interval_elapsed(state, settings, now_s):
        return None
    if state.first_violation_s is not None:
        lasted = now_s - state.first_violation_s >= settings.hold_s
        often = state.violation_count >= settings.violations_to_act
        if lasted and often and snapshot.violation > EPSILON and not held_down("sla"):
            return Trigger("sla", state.first_violation_s, now_s)
        return None
    if snapshot.displaced and not held_down("maintenance"):
        return Trigger("maintenance", snapshot.time_s, now_s)
    due = state.last_look_s is None or now_s - state.last_look_s >= settings.better_plan_interval_s
    # traffic that is just growing is no state to plan for: full links must last as long as violations
    full = state.full_since_s is not None and now_s - state.full_since_s >= settings.hold_s
    if due and full and snapshot.violation <= EPSILON and not held_down("better_plan"):
        return Trigger("better_plan", snapshot.time_s, now_s)
    return None


def _consider(
    state: LoopState, proposal: Proposal, snapshot: Snapshot | None, settings: SafetySettings, now_s: float
) -> Step:
    """A search has ended: apply, propose or drop what it found."""
    if state.phase != "proposing" or proposal.decision != state.decision or state.trigger is None:
        return state, ()
    kind = state.trigger.kind
    decision = proposal.decision
    version = proposal.topology_version
    if proposal.error is not None and proposal.unavailable:
        return _close(state, "withdrawn", proposal.error, None, now_s, version, record=False)
    if proposal.error is not None:
        return _close(state, "failed", proposal.error, settings, now_s, version)
    if snapshot is None:
        return _close(state, "withdrawn", "the controller does not answer", None, now_s, version, record=False)
    moved_on = (snapshot.topology_version, snapshot.routing_version) != (version, proposal.routing_version)
    if moved_on or (kind != "topology" and not snapshot.settled) or state.mode == "paused":
        reason = "the network changed during the search" if state.mode != "paused" else "the loop was paused"
        return _close(state, "withdrawn", reason, None, now_s, version, record=False)
    objection = _objection(state, proposal, kind, settings, now_s)
    if objection is not None:
        # a look for something better that finds nothing is no news; nor is the same failure a second time
        hold = state.hold_downs.get(kind)
        known = hold is not None and hold.topology_version == version and hold.count > 0
        record = not known and kind != "better_plan"
        return _close(state, "no_better_plan", objection, settings, now_s, version, record=record)
    state = replace(state, proposal=proposal)
    if state.mode == "advise":
        return replace(state, phase="awaiting_approval", phase_since_s=now_s), (AwaitApproval(decision),)
    return _apply(state, snapshot, now_s, approved=False)


def _objection(
    state: LoopState, proposal: Proposal, kind: TriggerKind, settings: SafetySettings, now_s: float
) -> str | None:
    """Why a plan must not be applied, None when it may."""
    before, after = proposal.before, proposal.after
    chosen = proposal.changed - proposal.repaired
    if not proposal.changed and not proposal.changed_nodes:
        return "no better routing was found"
    if len(chosen) + after.changed_weights > settings.max_changes:
        weights = f" and {after.changed_weights} times queue weights" if after.changed_weights else ""
        return f"the plan changes {len(chosen)} demands{weights}, {settings.max_changes} changes are allowed"
    recent = [key for key in chosen if now_s - state.demand_changed_s.get(key, -1e18) < settings.min_interval_s]
    if recent:
        return f"the plan changes {'-'.join(recent[0])} again too soon"
    soon = [
        node
        for node in sorted(proposal.changed_nodes)
        if now_s - state.node_changed_s.get(node, -1e18) < settings.min_interval_s
    ]
    if soon:
        return f"the plan changes the queue weights of {soon[0]} again too soon"
    if (chosen or proposal.changed_nodes) and not interval_elapsed(state, settings, now_s):
        return "the last plan is too recent"
    if kind in ("topology", "maintenance"):
        return None if proposal.repaired else "no way around what is down was found"
    if after.violation > before.violation + EPSILON:
        return "the plan is predicted to violate more"
    fuller = before.max_utilisation * (1 - settings.better_plan_margin_ratio)
    gains_utilisation = after.max_utilisation <= fuller
    gains_sla = after.violation <= before.violation * (1 - settings.improvement_margin_ratio) - EPSILON
    if (kind == "sla" and gains_sla) or (gains_utilisation and (kind == "better_plan" or before.violation <= EPSILON)):
        return None
    return "the predicted gain is within the margin"


def _apply(state: LoopState, snapshot: Snapshot, now_s: float, approved: bool) -> Step:
    assert state.decision is not None
    assert state.proposal is not None
    changed = {**state.demand_changed_s, **dict.fromkeys(state.proposal.changed, now_s)}
    nodes = {**state.node_changed_s, **dict.fromkeys(state.proposal.changed_nodes, now_s)}
    state = replace(
        state,
        phase="applying",
        phase_since_s=now_s,
        measured_before=snapshot.violation,
        last_applied_s=now_s,
        demand_changed_s=changed,
        node_changed_s=nodes,
        worse_count=0,
    )
    return state, (Apply(state.decision, approved),)  # type: ignore[arg-type]


def _finish(
    state: LoopState, finished: Finished, snapshot: Snapshot | None, settings: SafetySettings, now_s: float
) -> Step:
    """A transaction has ended."""
    if finished.decision != state.decision or state.phase not in ("applying", "rolling_back"):
        return state, ()
    version = snapshot.topology_version if snapshot is not None else (state.proposal or _NO_PROPOSAL).topology_version
    if state.phase == "rolling_back":
        if finished.ok:
            return _close(state, "rolled_back", state.rollback_reason, settings, now_s, version)
        reason = f"{state.rollback_reason}; going back failed: {finished.error}"
        return _close(state, "rollback_failed", reason, settings, now_s, version)
    if finished.ok:
        flipped_s = finished.flipped_s or now_s
        return replace(state, phase="verifying", phase_since_s=now_s, flipped_s=flipped_s, worse_count=0), ()
    reason = finished.error or "the controller refused the plan"
    if finished.stale:
        return _close(state, "withdrawn", reason, None, now_s, version)
    return _close(state, "failed", reason, settings, now_s, version)


def _verify(state: LoopState, snapshot: Snapshot | None, settings: SafetySettings, now_s: float) -> Step:
    """Verifying: do measurements taken wholly after the change speak against it?"""
    assert state.decision is not None
    assert state.trigger is not None
    if snapshot is not None and snapshot.broken:
        return _keep(state, "kept unverified: the topology changed meanwhile", verified=False)
    fresh = snapshot is not None and snapshot.window_start_s >= state.flipped_s
    if snapshot is None or not fresh or now_s - state.phase_since_s < settings.verify_s:
        if now_s - state.phase_since_s > settings.verify_s + settings.verify_timeout_s:
            return _keep(state, "kept unverified: no measurement arrived in time", verified=False)
        return state, ()
    before, after = state.measured_before, snapshot.violation
    if after <= before * (1 + settings.rollback_margin_ratio) + EPSILON:
        text = "every goal is met" if after <= EPSILON else f"measured violation {before:.3g} became {after:.3g}"
        return _keep(state, text)
    if not settings.rollback or state.trigger.kind in ("topology", "maintenance"):
        return _keep(state, f"measured violation {before:.3g} became {after:.3g}; going back is not allowed here")
    if snapshot.time_s <= state.flipped_s or state.worse_count + 1 < settings.violations_to_act:
        return replace(state, worse_count=state.worse_count + 1), ()
    return _roll_back(state, f"measured violation {before:.3g} became {after:.3g}", now_s)


def _keep(state: LoopState, reason: str, verified: bool = True) -> Step:
    assert state.decision is not None
    assert state.trigger is not None
    hold_downs = {kind: hold for kind, hold in state.hold_downs.items() if kind != state.trigger.kind}
    keep = Keep(state.decision, reason, verified)
    return replace(_idle(state), last_kept=state.decision, hold_downs=hold_downs), (keep,)


def _roll_back(state: LoopState, reason: str, now_s: float) -> Step:
    assert state.decision is not None
    state = replace(
        state, phase="rolling_back", phase_since_s=now_s, rollback_reason=reason, last_applied_s=now_s, last_kept=None
    )
    return state, (RollBack(state.decision, reason),)  # type: ignore[arg-type]


def _wait(state: LoopState, snapshot: Snapshot | None, settings: SafetySettings, now_s: float) -> Step:
    """Awaiting approval: is the proposal still worth having?"""
    assert state.proposal is not None
    assert state.trigger is not None
    version = state.proposal.topology_version
    if now_s - state.phase_since_s > settings.proposal_lifetime_s:
        return _close(state, "withdrawn", "nobody approved it in time", settings, now_s, version)
    if state.mode != "advise":
        return _close(state, "withdrawn", f"the mode became {state.mode}", None, now_s, version)
    if snapshot is None:
        return state, ()
    if (snapshot.topology_version, snapshot.routing_version) != (version, state.proposal.routing_version):
        return _close(state, "withdrawn", "the network has changed since", None, now_s, version)
    if state.trigger.kind == "sla" and state.first_violation_s is None:
        return _close(state, "withdrawn", "the violation is over", None, now_s, version)
    urgent = state.violation_count >= settings.violations_to_act
    if state.trigger.kind == "better_plan" and urgent:
        return _close(state, "withdrawn", "a violation came first", None, now_s, version)
    return state, ()


def _obey(
    state: LoopState, command: Command, snapshot: Snapshot | None, settings: SafetySettings, now_s: float
) -> Step:
    """Carry out what the operator wants, or say why not."""
    if command.kind == "mode":
        return replace(state, mode=command.mode), ()
    waiting = state.phase == "awaiting_approval" and state.proposal is not None
    if command.kind == "approve":
        if not waiting or command.decision != state.decision or state.proposal is None:
            return state, (Refuse(command, f"plan {command.decision} does not await approval"),)
        if snapshot is None:
            return state, (Refuse(command, "the controller does not answer"),)
        known = (state.proposal.topology_version, state.proposal.routing_version)
        if (snapshot.topology_version, snapshot.routing_version) != known:
            step = _close(state, "withdrawn", "the network has changed since", None, now_s, known[0])
            return step[0], (*step[1], Refuse(command, "the network has changed since the plan was made"))
        return _apply(state, snapshot, now_s, approved=True)
    if waiting and command.decision == state.decision and state.proposal is not None:
        return _close(state, "rejected", "rejected by the operator", settings, now_s, state.proposal.topology_version)
    if state.phase == "verifying" and command.decision in (None, state.decision):
        return _roll_back(state, "asked for by the operator", now_s)
    target = state.last_kept if command.decision is None else command.decision
    if state.phase != "observing":
        return state, (Refuse(command, f"the loop is busy ({state.phase}), try again in a moment"),)
    if target is None:
        return state, (Refuse(command, "there is no plan to roll back"),)
    if snapshot is None:
        return state, (Refuse(command, "the controller does not answer"),)
    trigger = state.trigger or Trigger("sla", now_s, now_s)
    return _roll_back(replace(state, decision=target, trigger=trigger), "asked for by the operator", now_s)


def _close(
    state: LoopState,
    verdict: Verdict,
    reason: str,
    settings: SafetySettings | None,
    now_s: float,
    topology_version: int,
    record: bool = True,
) -> Step:
    """End the decision; with ``settings`` the trigger is held down, each time twice as long."""
    assert state.decision is not None
    assert state.trigger is not None
    kind = state.trigger.kind
    last = state.hold_downs.get(kind)
    count = last.count if last is not None and last.topology_version == topology_version else 0
    if settings is not None:
        wait_s = min(settings.min_interval_s * 2.0 ** min(count, 30), settings.hold_down_max_s)
        hold = HoldDown(now_s + max(wait_s, RETRY_S), count + 1, topology_version)
    else:
        hold = HoldDown(now_s + RETRY_S, count, topology_version)
    hold_downs: dict[TriggerKind, HoldDown] = {**state.hold_downs, kind: hold}
    if verdict in ("rolled_back", "rollback_failed") and settings is not None:
        hold_downs["better_plan"] = hold  # what was just undone must not come back by another door
        hold_downs["sla"] = hold
    close = Close(state.decision, verdict, reason, record)
    idle = _idle(state, count_anew=verdict in ("rolled_back", "rollback_failed"))
    return replace(idle, hold_downs=hold_downs), (close,)


def _idle(state: LoopState, count_anew: bool = True) -> LoopState:
    """Back to observing; where the routing has changed, violations are counted anew."""
    idle = replace(state, phase="observing", decision=None, trigger=None, proposal=None, rollback_reason="")
    return replace(idle, first_violation_s=None, violation_count=0) if count_anew else idle


_NO_PROPOSAL = Proposal(0, 0, 0, Score(0, 0, 0), Score(0, 0, 0), frozenset())
