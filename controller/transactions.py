"""Moves the network from one intent to the next: prepare, flip, drain, clean, each confirmed before the next begins.

Two locks: plans of the optimizer come one after the other, whole; within them only the moments in which messages are
sent exclude the controller's own upkeep, so a first packet does not wait for a plan's drain.  Rules of labels that may
still be needed (packets under way, or an ingress switch that cannot be reached now) are kept out of every clean.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from eventlet import tpool
from ryu.lib import hub

from controller.channel import BatchOutcome
from controller.compiler import compile_rules
from controller.intent import NetworkIntent
from controller.journal import Journal
from controller.labels import BypassOwner, Hop, LabelTable
from controller.metrics import Metrics
from controller.rules import RuleSet
from controller.store import Store, StoredIntent
from controller.switches import Switches
from controller.update_steps import (
    AddGroup,
    DeleteGroup,
    ModifyGroup,
    Stage,
    UpdatePlan,
    drain_bound_s,
    plan_update,
    undo,
)
from topology_sync.cookies import Cookie
from topology_sync.errors import TransactionError, UnavailableError
from topology_sync.plan import TransactionReport
from topology_sync.topology import Link

LOG = logging.getLogger(__name__)
REPORTS_KEPT = 50
PLANS_WAITING = 4
LONGEST_DRAIN_S = 5.0
FLIP_RETRY_S = 0.2
WEIGHTS_TIMEOUT_S = 5.0
OWN_TIMEOUT_S = 3.0
"""A connected switch that does not answer holds up the others' upkeep no longer than this, once."""

Change = Callable[[NetworkIntent, LabelTable], tuple[NetworkIntent, LabelTable]]

HeldPackets = Callable[[int], Sequence[Any]]

SetWeights = Callable[[Mapping[int, tuple[float, ...]], float], int]


@dataclass
class _Progress:
    """What a transaction did so far."""

    plan_id: str
    started_s: float = field(default_factory=time.time)
    flipped_s: float = 0.0
    stage_s: dict[str, float] = field(default_factory=dict)
    flow_mods: int = 0
    group_mods: int = 0
    switches: set[int] = field(default_factory=set)
    changed_demands: int = 0
    queue_changes: int = 0
    timeout_s: float = 10.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage."""
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self.stage_s[name] = self.stage_s.get(name, 0.0) + time.monotonic() - begun_s

    def count(self, stage: Stage) -> None:
        """Count the messages of a stage that is about to be sent."""
        for dpid, messages in stage.items():
            groups = sum(isinstance(message, AddGroup | ModifyGroup | DeleteGroup) for message in messages)
            self.group_mods += groups
            self.flow_mods += len(messages) - groups
            self.switches.add(dpid)

    @property
    def sent(self) -> int:
        """Messages sent."""
        return self.flow_mods + self.group_mods


class Transactions:
    """The present intent and the only way to change it.

    ``links`` gives capacity, queue and delay of every link, for the drain.
    """

    def __init__(
        self,
        stored: StoredIntent,
        store: Store,
        switches: Switches,
        links: Callable[[], Mapping[Hop, Link]],
        topology_version: Callable[[], int],
        timeout_s: float,
        metrics: Metrics,
        journal: Journal,
    ) -> None:
        self._stored = stored
        self._store = store
        self._switches = switches
        self._links = links
        self._topology_version = topology_version
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._journal = journal
        self._plans = hub.Semaphore(1)
        self._plans_waiting = 0
        self._sending = hub.Semaphore(1)
        self._draining: dict[int, float] = {}
        self._own_number = 0
        self._failed: set[int] = set()
        self.held_packets: HeldPackets | None = None
        """Packets of a switch that wait for the rules of the present intent: they go right behind its flip."""
        self.set_weights: SetWeights | None = None
        """Gives queues other weights, all or none, within a time; how many were changed.  Raises TransactionError."""
        self._read_back: set[int] = set()
        self._in_line: tuple[NetworkIntent | None, Mapping[int, RuleSet]] = (None, {})
        self.reports: deque[TransactionReport] = deque(maxlen=REPORTS_KEPT)
        metrics.routing_version.set(stored.routing_version)

    @property
    def intent(self) -> NetworkIntent:
        """What the switches should do now."""
        return self._stored.intent

    @property
    def labels(self) -> Set[int]:
        """Every label that some switch may still know."""
        return self._stored.labels.owners.keys()

    @property
    def routing_version(self) -> int:
        """Grows with every committed change of routes."""
        return self._stored.routing_version

    def run_plan(self, plan_id: str, change: Change) -> TransactionReport:
        """Carry out a plan to the end, drain and clean included; blocks the calling greenlet.

        ``change`` is called when its turn has come and may raise (PlanError: the plan no longer fits).  Raises
        UnavailableError when too many plans wait already.
        """
        if self._plans_waiting >= PLANS_WAITING:
            raise UnavailableError(f"{PLANS_WAITING} plans wait already; send the next one when they are done")
        self._plans_waiting += 1
        try:
            with self._plans:
                progress = _Progress(plan_id, timeout_s=self._timeout_s)
                return self._report(progress, self._run(progress, change, drain=True))
        finally:
            self._plans_waiting -= 1

    def run_own(self, change: Change) -> TransactionReport | None:
        """Carry out the controller's own upkeep; None when it changed nothing.  What must drain is left for later."""
        self._own_number += 1
        timeout_s = min(self._timeout_s, OWN_TIMEOUT_S)
        progress = _Progress(f"controller-{self._own_number}", timeout_s=timeout_s)
        before = self._stored.intent
        error = self._run(progress, change, drain=False)
        if error is None and not progress.sent and self._stored.intent == before:
            return None
        return self._report(progress, error)

    def note_rules(self, dpid: int) -> None:
        """The rules of a switch have been read back: labels on it that nobody holds are not to be handed out now."""
        self._read_back.add(dpid)

    def next_drained_s(self) -> float | None:
        """When (monotonic) upkeep can clean the next drained label; None when a plan does that, or none is draining."""
        return None if self._plans_waiting else min(self._draining.values(), default=None)

    def _run(self, progress: _Progress, change: Change, drain: bool) -> str | None:
        """All stages; why it failed, None when it did not."""
        try:
            with self._sending:
                self._move(progress, change)
            if drain and self._draining:
                with progress.stage("drain"):
                    hub.sleep(max(0.0, max(self._draining.values()) - time.monotonic()))
            with self._sending:
                self._clean(progress)
        except TransactionError as problem:
            return str(problem)
        except OSError as problem:
            return f"the store cannot be written ({problem})"
        return None

    def _move(self, progress: _Progress, change: Change) -> None:
        """Prepare and flip.  Raises TransactionError when prepare failed and was taken back."""
        before = self._stored
        with progress.stage("compile"):
            intent, labels = change(before.intent, self._avoiding(before.labels))
            if self._is_in_line(intent):
                self._stored = replace(before, labels=labels)
                progress.flipped_s = time.time()
                return
            desired = self._desired(intent, labels)
            plan = plan_update(dict(self._switches.rules), desired)  # as they are now: undo must go back to that
        changed = _changed_routes(before.intent, intent)
        progress.changed_demands = len(changed)
        if labels.allocations != before.labels.allocations:
            self._save(replace(before, labels=labels))
        else:
            self._stored = replace(before, labels=labels)
        if plan.prepare:
            with progress.stage("prepare"):
                errors = self._send(progress, plan.prepare)
                if errors:
                    self._send(progress, undo(plan))
                    self._save(replace(before, labels=labels.keep_only(before.labels.owners)))
                    raise TransactionError(f"prepare failed and was undone: {errors[0]}")
        weights = _changed_weights(before.intent, intent)
        if weights:
            with progress.stage("queues"):
                self._change_weights(progress, weights, plan, labels.keep_only(before.labels.owners))
        if intent != before.intent or changed:
            version = before.routing_version + bool(changed or weights)
            try:
                self._save(StoredIntent(intent, labels, version, self._topology_version()))
            except OSError:
                self._restore_weights(progress, before.intent, weights.keys())
                raise
            self._metrics.routing_version.set(version)
            self._metrics.demands.set(sum(bool(demand.routes) for demand in intent.demands))
        self._start_draining(before.intent, intent)
        if plan.flip:
            with progress.stage("flip"):
                self._flip(progress, plan.flip)
        progress.flipped_s = time.time()

    def _change_weights(
        self, progress: _Progress, weights: Mapping[int, tuple[float, ...]], plan: UpdatePlan, labels: LabelTable
    ) -> None:
        """Between prepare, which no packet meets, and flip: when this fails nothing was changed for anybody."""
        try:
            if self.set_weights is None:
                raise TransactionError("there are no queues")
            progress.queue_changes = self.set_weights(weights, min(progress.timeout_s, WEIGHTS_TIMEOUT_S))
        except TransactionError:
            self._send(progress, undo(plan))
            self._save(replace(self._stored, labels=labels))
            raise

    def _restore_weights(self, progress: _Progress, before: NetworkIntent, changed: Iterable[int]) -> None:
        weights = {dpid: before.weights_of[dpid] for dpid in changed}
        if weights and self.set_weights is not None:
            progress.queue_changes = 0
            with suppress(TransactionError):
                self.set_weights(weights, WEIGHTS_TIMEOUT_S)

    def _avoiding(self, labels: LabelTable) -> LabelTable:
        """The label table without what read back switches use on their own (rules from before the store was lost)."""
        dpids, self._read_back = self._read_back, set()
        found = {
            flow.match.mpls_label
            for dpid in dpids & self._switches.rules.keys()
            for flow in self._switches.rules[dpid].flows.values()
            if flow.match.mpls_label is not None
        }
        return labels.avoid(found)

    def _flip(self, progress: _Progress, stage: Stage) -> None:
        """Past this point there is only forward: a switch that fails is read back and brought to the intent later."""
        for attempt in range(2):
            errors = self._send(progress, stage, self.held_packets)
            stage = {dpid: messages for dpid, messages in stage.items() if dpid in self._failed}
            if not stage:
                return
            LOG.warning("flip: %s", errors[0])
            if attempt == 0:
                self._await_rules(set(stage))
                desired = self._desired(self._stored.intent, self._stored.labels)
                again = plan_update(self._switches.rules, desired)
                stage = {dpid: again.prepare.get(dpid, ()) + again.flip.get(dpid, ()) for dpid in stage}
                stage = {dpid: messages for dpid, messages in stage.items() if messages}
        self._journal.add("error", f"flip not confirmed by {len(stage)} switches; they are brought in line later")

    def _is_in_line(self, intent: NetworkIntent) -> bool:
        """Whether all switches were found to have just this intent's rules, and no rules changed since."""
        seen_intent, seen_rules = self._in_line
        rules = self._switches.rules
        return (
            seen_intent == intent
            and seen_rules.keys() == rules.keys()
            and all(seen_rules[dpid] is rules[dpid] for dpid in rules)
        )

    def _clean(self, progress: _Progress) -> None:
        """Send what is still missing now that drained labels may go, then give their labels back."""
        now_s = time.monotonic()
        self._draining = {label: until_s for label, until_s in self._draining.items() if until_s > now_s}
        with progress.stage("clean"):
            if self._is_in_line(self._stored.intent):
                return
            desired = self._desired(self._stored.intent, self._stored.labels)
            plan = plan_update(self._switches.rules, desired)
            for stage in (plan.prepare, plan.flip, plan.clean):
                if stage and self._send(progress, stage):
                    return  # read back first; upkeep comes again
        labels = self._stored.labels
        kept = labels.keep_only(self._stored.intent.labels() | self._retained(self._stored.intent, labels))
        if kept.owners != labels.owners:
            self._save(replace(self._stored, labels=kept))
        if kept.owners.keys() == self._stored.intent.labels():
            self._in_line = self._stored.intent, dict(self._switches.rules)

    def _send(self, progress: _Progress, stage: Stage, then: HeldPackets | None = None) -> list[str]:
        """Send a stage to all its switches at once; the errors, a line each, of the switches now in ``_failed``."""
        progress.count(stage)
        workers = {
            dpid: hub.spawn(self._switches.apply, dpid, messages, progress.timeout_s, then)
            for dpid, messages in stage.items()
        }
        outcomes: dict[int, BatchOutcome] = {dpid: worker.wait() for dpid, worker in workers.items()}
        failed = {dpid: outcome for dpid, outcome in outcomes.items() if outcome is None or not outcome.ok}
        self._failed = set(failed)
        return [
            f"switch {dpid:#x}: {'; '.join(outcome.errors) if outcome else 'sending failed'}"
            for dpid, outcome in sorted(failed.items())
        ]

    def _await_rules(self, dpids: Set[int]) -> None:
        """Wait until failed switches have been read back, or are gone, or time is up."""
        deadline_s = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline_s:
            hub.sleep(FLIP_RETRY_S)
            if not (dpids & set(self._switches.connected)) - set(self._switches.rules):
                return

    def _desired(self, intent: NetworkIntent, labels: LabelTable) -> dict[int, RuleSet]:
        """What every switch within reach should have, rules of retained labels included."""
        compiled = compile_rules(intent, self._switches.answering)
        retained = self._retained(intent, labels)
        known = self._switches.rules
        return {dpid: _with_retained(rules, known[dpid], retained) for dpid, rules in compiled.items() if dpid in known}

    def _retained(self, intent: NetworkIntent, labels: LabelTable) -> frozenset[int]:
        """Labels out of use whose packets may still be under way, or whose ingress switch we cannot ask now."""
        out_of_use = labels.owners.keys() - intent.labels()
        known = self._switches.rules
        return frozenset(
            label
            for label in out_of_use
            if label in self._draining
            or (owner.link if isinstance(owner := labels.owners[label], BypassOwner) else owner.links[0]).dpid
            not in known
        )

    def _start_draining(self, before: NetworkIntent, after: NetworkIntent) -> None:
        gone = before.labels() - after.labels()
        if not gone:
            return
        routes = {route.label: route.links for demand in before.demands for route in demand.routes}
        bypasses = {bypass.label: bypass.hops for bypass in before.bypasses}
        links = self._links()
        now_s = time.monotonic()
        for label in gone:
            bound_s = drain_bound_s([routes.get(label) or bypasses[label]], links)
            self._draining[label] = now_s + min(bound_s, LONGEST_DRAIN_S)

    def _save(self, stored: StoredIntent) -> None:
        tpool.execute(self._store.write, stored)
        self._stored = stored

    def _report(self, progress: _Progress, error: str | None) -> TransactionReport:
        finished_s = time.time()
        report = TransactionReport(
            plan_id=progress.plan_id,
            ok=error is None,
            routing_version=self._stored.routing_version,
            changed_demands=progress.changed_demands if error is None else 0,
            flow_mods=progress.flow_mods,
            group_mods=progress.group_mods,
            switches=len(progress.switches),
            started_s=progress.started_s,
            flipped_s=progress.flipped_s,
            finished_s=finished_s,
            stage_s=progress.stage_s,
            error=error,
            queue_changes=progress.queue_changes,
        )
        self.reports.appendleft(report)
        self._metrics.transactions.labels("ok" if report.ok else "failed").inc()
        self._metrics.transaction_seconds.observe(finished_s - progress.started_s)
        if error is not None:
            self._journal.add("error", f"transaction {progress.plan_id}: {error}")
        elif progress.changed_demands or progress.queue_changes:
            queues = f", {progress.queue_changes} queues changed" if progress.queue_changes else ""
            self._journal.add("routing", f"{progress.plan_id}: {progress.changed_demands} demands changed{queues}")
        return report


def _changed_routes(before: NetworkIntent, after: NetworkIntent) -> list[int]:
    old = {demand.number: demand.routes for demand in before.demands}
    new = {demand.number: demand.routes for demand in after.demands}
    return [number for number in old.keys() | new.keys() if old.get(number, ()) != new.get(number, ())]


def _changed_weights(before: NetworkIntent, after: NetworkIntent) -> dict[int, tuple[float, ...]]:
    """New weights of switches whose queues had been set up before."""
    old = before.weights_of
    return {dpid: weights for dpid, weights in after.weights_of.items() if old.get(dpid, weights) != weights}


def _with_retained(desired: RuleSet, installed: RuleSet, labels: Set[int]) -> RuleSet:
    """``desired`` and those installed rules whose label is still needed, with the groups that they use."""
    if not labels:
        return desired
    flows = dict(desired.flows)
    groups = dict(desired.groups)
    for key, flow in installed.flows.items():
        cookie = Cookie.unpack(flow.cookie)
        if cookie is not None and cookie.label in labels and key not in flows and key.table == 0:
            flows[key] = flow
            for group_id in flow.groups():
                if group_id in installed.groups:
                    groups.setdefault(group_id, installed.groups[group_id])
    return RuleSet(flows, groups)
