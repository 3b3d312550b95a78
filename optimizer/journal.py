"""Keeps the record of the decision under way, tells those who follow it, and begins anew where a restart cut it off."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np

from optimizer import records
from optimizer.history import OPEN_STATUSES, Decision, History
from optimizer.loop_values import LoopState, Trigger, TriggerKind
from optimizer.metrics import Metrics
from optimizer.planning import View
from optimizer.settings import MODES, ClassGoal, Mode, OptimizerSettings

log = logging.getLogger(__name__)

SUBSCRIBER_BACKLOG = 100
MODE_KEY = "mode"


@dataclass
class DecisionJournal:
    """The decision under way and its way into the history."""

    history: History
    metrics: Metrics
    clock: Callable[[], float]
    decision: Decision | None = None
    _subscribers: set[asyncio.Queue[dict[str, Any]]] = field(default_factory=set)

    def subscribe(self) -> asyncio.Queue[dict[str, Any]]:
        """A queue that receives every decision as it changes; give it back to ``unsubscribe``."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(SUBSCRIBER_BACKLOG)
        self._subscribers.add(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """Stop feeding a queue."""
        self._subscribers.discard(queue)

    def save(self, status: str, reason: str, state: dict[str, Any] | None = None) -> None:
        """Record where the decision stands; a subscriber who does not keep up misses news, nobody waits for it."""
        decision = self.decision
        if decision is None:
            return
        decision.status, decision.reason = status, reason
        self.history.save(decision, state)
        if status not in OPEN_STATUSES:
            self.metrics.decisions.labels(decision.trigger, status).inc()
        log.info("decision %d (%s) %s: %s", decision.id, decision.trigger, status, reason)
        for queue in self._subscribers:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(decision.to_json())

    def note_time(self, name: str, time_s: float) -> None:
        """Note when something happened, seconds since the epoch; 0 is not known."""
        if self.decision is None or time_s <= 0:
            return
        times = self.decision.summary.setdefault("times_s", {})
        times[name] = time_s
        if name == "transaction_flipped":
            self.metrics.loop_seconds.observe(max(time_s - times.get("violation_first_measured", time_s), 0.0))

    def note_outcome(self, view: View, classes: Sequence[ClassGoal], measured: bool) -> None:
        """Note what was measured after the plan and how far the prediction was off."""
        decision = self.decision
        if decision is None:
            return
        if not measured or decision.status not in ("verifying", "applying"):
            self.note_time("ended", self.clock())
            return
        self.note_time("verified", self.clock())
        decision.summary.setdefault("measured", {}).update(
            violation_after=view.snapshot.violation, violated_demands_after=len({item.demand for item in view.found})
        )
        decision.detail.setdefault("classes", {})["measured_after"] = records.measured_classes(view, classes)
        decision.detail.setdefault("worst", {})["measured_after"] = records.worst_rows(view.keys, view.found)
        index = {key: demand for demand, key in enumerate(view.keys)}
        errors = []
        for row in decision.detail.get("demands", ()):
            demand = index.get((row["source"], row["target"], row["class"]))
            if demand is None:
                continue
            row["measured_after"] = records.experience_json(view.state.demands, demand)
            predicted, seen = row["predicted_after"]["delay_s"], row["measured_after"]["delay_s"]
            if predicted is not None and seen:
                errors.append(abs(predicted - seen) / seen)
        if errors:
            decision.summary["prediction_error_ratio"] = float(np.median(errors))
            self.metrics.prediction_error.set(float(np.median(errors)))

    def remember_mode(self, configured: Mode, chosen: Mode) -> None:
        """Keep the operator's choice across restarts."""
        self.history.remember(MODE_KEY, json.dumps({"configured": configured, "chosen": chosen}))

    def first_mode(self, configured: Mode) -> Mode:
        """The mode the operator chose last, unless the configuration has changed since."""
        known = json.loads(self.history.recall(MODE_KEY) or "{}")
        if known.get("configured") == configured and known.get("chosen") in MODES:
            return known["chosen"]  # type: ignore[no-any-return]
        return configured


def resume(settings: OptimizerSettings, journal: DecisionJournal, now_s: float) -> tuple[LoopState, bool]:
    """The state to begin with, and whether a transaction is under way of which nobody knows yet how it ended.

    A proposal is withdrawn, a plan that was being verified is verified further, and the minimum interval since the last
    plan still holds.
    """
    history = journal.history
    good = history.last_good()
    sent = [decision.summary.get("times_s", {}).get("transaction_sent", 0.0) for decision in history.latest(20)]
    state = LoopState(
        mode=journal.first_mode(settings.mode),
        phase_since_s=now_s,
        next_decision=history.last_id() + 1,
        last_kept=good.id if good is not None else None,
        last_applied_s=max(sent, default=0.0) or None,
    )
    for decision in history.open_decisions():
        if decision.status in ("proposed", "awaiting_approval"):
            decision.status, decision.reason = "withdrawn", "the optimizer was restarted"
            history.save(decision)
            continue
        journal.decision = decision
        times = decision.summary.get("times_s", {})
        kinds: tuple[TriggerKind, ...] = get_args(TriggerKind)
        trigger = Trigger(
            next((kind for kind in kinds if kind == decision.trigger), "better_plan"),
            times.get("violation_first_measured", decision.time_s),
            times.get("held", decision.time_s),
        )
        state = replace(
            state,
            phase=decision.status,  # type: ignore[arg-type]
            decision=decision.id,
            trigger=trigger,
            rollback_reason=decision.reason if decision.status == "rolling_back" else "",
            measured_before=decision.summary.get("measured", {}).get("violation_before", 0.0),
            flipped_s=times.get("transaction_finished", now_s),
        )
    return state, state.phase in ("applying", "rolling_back")
