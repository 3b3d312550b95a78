"""Drives the loop: fetches snapshots, carries out the actions of ``loop_state`` and records every decision.

One asyncio task owns all state.  Searches run in a worker thread, transactions in a task of their own, so the loop and
the operator's API always answer.  Without the controller the loop keeps trying and says so in its status.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gnn_model.predictor import Predictor
from optimizer import records, searching
from optimizer.candidates import CandidateCache
from optimizer.controller_client import ControllerClient, StalePlanError
from optimizer.goals import Score
from optimizer.history import History
from optimizer.journal import DecisionJournal, resume
from optimizer.loop_state import advance
from optimizer.loop_values import (
    Action,
    Apply,
    AwaitApproval,
    Close,
    Command,
    Finished,
    Keep,
    Observation,
    Proposal,
    Refuse,
    RollBack,
    StartSearch,
)
from optimizer.metrics import Metrics
from optimizer.moving_traffic.forecast import RateHistory
from optimizer.planning import View, view_of
from optimizer.predictor_watch import PredictorWatch
from optimizer.settings import OptimizerSettings
from topology_sync.errors import PlanError, RoutewrightError, TransactionError, UnavailableError
from topology_sync.plan import RoutingPlan, TransactionReport
from topology_sync.plan_json import transaction_to_json
from topology_sync.state_json import state_to_json

log = logging.getLogger(__name__)

STATE_TIMEOUT_S = 15.0
SEARCH_GRACE_S = 30.0
REPORT_TIMEOUT_S = 120.0
EVENT_WAIT_S = 20.0
COMMAND_TIMEOUT_S = 30.0


class ClosedLoop:
    """The running loop.  ``run`` until told to stop; ``status`` and ``submit`` serve the operator's API."""

    def __init__(
        self,
        settings: OptimizerSettings,
        client: ControllerClient,
        history: History,
        predictor: Predictor,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.history = history
        self.metrics = metrics
        self.view: View | None = None
        self.problem: str | None = "not asked yet"
        self._client = client
        self._predictor = predictor
        self._clock = clock
        self._watch = PredictorWatch(predictor, settings.predictor.addresses)
        self._cache = CandidateCache()
        self._rates = RateHistory(settings.forecast)
        self._wake = asyncio.Event()
        self._found: searching.Found | None = None
        self._proposal: Proposal | None = None
        self._finished: Finished | None = None
        self._commands: list[tuple[Command, asyncio.Future[str | None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.journal = DecisionJournal(history, metrics, clock)
        self.state, self._unfinished = resume(settings, self.journal, clock())

    # what others ask

    async def submit(self, command: Command) -> None:
        """Carry out an operator's command in the next step.  Raises TransactionError where that cannot be."""
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._commands.append((command, answer))
        self._wake.set()
        try:
            refusal = await asyncio.wait_for(answer, COMMAND_TIMEOUT_S)
        except TimeoutError:
            raise UnavailableError("the loop did not answer in time") from None
        if refusal is not None:
            raise TransactionError(refusal)

    def status(self) -> dict[str, Any]:
        """What the loop is doing and how the network keeps its promises."""
        state, view = self.state, self.view
        last = self.history.latest(1)
        good = self.history.last_good()
        waiting = state.decision if state.phase == "awaiting_approval" else None
        data: dict[str, Any] = {
            "format": "routewright-status/1",
            "mode": state.mode,
            "state": state.name,
            "since_s": state.phase_since_s,
            "awaiting_approval": waiting,
            "controller": {"address": self.settings.controller, "up": self.problem is None, "problem": self.problem},
            "predictor": self._watch.status(),
            "held_down_until_s": {kind: hold.until_s for kind, hold in state.hold_downs.items()},
            "last_decision": last[0].to_json() if last else None,
            "last_good_decision": good.id if good is not None else None,
            "network": None,
            "sla": {"classes": [], "demands": []},
        }
        if view is not None:
            snapshot = view.snapshot
            data["network"] = {
                "time_s": snapshot.time_s,
                "topology_version": snapshot.topology_version,
                "routing_version": snapshot.routing_version,
                "settled": snapshot.settled,
                "nodes": view.scenario.topology.node_count,
                "links": view.scenario.topology.link_count,
                "links_down": [view.scenario.topology.link_name(int(link)) for link in np.nonzero(~view.usable.up)[0]],
                "max_utilisation": records.number(snapshot.max_utilisation),
                "violation": snapshot.violation,
                "queues": records.queue_rows(view.scenario.topology, view.scenario.traffic.class_names),
            }
            data["sla"] = {
                "classes": records.measured_classes(view, self.settings.classes),
                "demands": records.demand_rows(view),
            }
        return data

    # the loop itself

    async def run(self, stop: asyncio.Event) -> None:
        """Step every ``tick_s``, sooner when something has happened, until ``stop`` is set."""
        self._start(self._follow_events())
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    await self.step()
                except RoutewrightError as error:
                    log.error("step failed: %s", error)
                except Exception:
                    log.exception("step failed")
                waits = [asyncio.ensure_future(event.wait()) for event in (self._wake, stop)]
                await asyncio.wait(waits, timeout=self.settings.tick_s, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def step(self) -> None:
        """Look once and act."""
        await self._fetch()
        if self._unfinished and self.problem is None:
            self._unfinished = False
            self._start(self._recover())
        self._watch.look()
        commands, self._commands = self._commands, []
        proposal, self._proposal = self._proposal, None
        finished, self._finished = self._finished, None
        observation = Observation(
            snapshot=self.view.snapshot if self.view is not None and self.problem is None else None,
            proposal=proposal,
            finished=finished,
            commands=tuple(command for command, _ in commands),
            predictor_up=self._watch.problem is None,
        )
        mode = self.state.mode
        self.state, actions = advance(self.state, observation, self.settings.safety, self._clock())
        try:
            if self.state.mode != mode:
                self.journal.remember_mode(self.settings.mode, self.state.mode)
            for action in actions:
                self._carry_out(action)
        finally:
            refused = {id(action.command): action.reason for action in actions if isinstance(action, Refuse)}
            for command, answer in commands:
                if not answer.done():
                    answer.set_result(refused.get(id(command)))
        if finished is not None and self.journal.decision is not None and self.state.phase == "verifying":
            self._save("verifying", "installed, now measured")
        self._measure()

    def _carry_out(self, action: Action) -> None:
        match action:
            case StartSearch():
                self._found = self.journal.decision = None
                self._start(self._search(action))
            case AwaitApproval():
                self._save("awaiting_approval", "waits for the operator", with_state=True)
            case Apply():
                if action.approved:
                    self.journal.note_time("approved", self._clock())
                self._save("applying", "approved by the operator" if action.approved else "applied automatically", True)
                if self.journal.decision is not None:
                    self._start(
                        self._transact(
                            self.journal.decision.id, searching.plan_of(self.journal.decision), "transaction"
                        )
                    )
            case Keep():
                self._outcome(measured=action.verified)
                self._save("kept", action.reason)
            case RollBack():
                self._roll_back(action)
            case Close():
                if action.verdict in ("rolled_back", "rollback_failed"):
                    self._outcome(measured=False)
                if action.record:
                    self._save(action.verdict, action.reason, with_state=action.verdict == "no_better_plan")
                log.info("decision %d %s: %s", action.decision, action.verdict, action.reason)
                self.journal.decision = self._found = None
            case Refuse():
                log.info("command refused: %s", action.reason)

    async def _fetch(self) -> None:
        try:
            network = await asyncio.wait_for(self._client.state(), STATE_TIMEOUT_S)
            if self.view is None or self.view.state.time_s != network.time_s or self.view.state != network:
                self.view = view = await asyncio.to_thread(view_of, network, self.settings)
                self._rates.note(network.time_s, network.window_s, view.keys, view.scenario.traffic.rate_bps)
            if self.problem is not None:
                log.info("the controller answers")
            self.problem = None
        except (UnavailableError, TimeoutError) as error:
            problem = str(error) or "the controller does not answer in time"
            if problem != self.problem:
                log.warning("%s; trying again", problem)
            self.problem = problem

    async def _follow_events(self) -> None:
        """Wake the loop at once when the topology changes."""
        number: int | None = None
        while True:
            try:
                events, last = await self._client.events(number or 0, 0.0 if number is None else EVENT_WAIT_S)
                if number is not None and any(event.get("kind") == "topology" for event in events):
                    self._wake.set()
                number = last
                if not events:
                    await asyncio.sleep(0.05)
            except UnavailableError:
                number = None
                await asyncio.sleep(self.settings.tick_s)

    async def _search(self, request: StartSearch) -> None:
        view = self.view
        assert view is not None
        snapshot = view.snapshot
        planned = self._rates.rates_to_plan_for(snapshot.time_s, view.keys, view.scenario.traffic.rate_bps)
        try:
            work = asyncio.to_thread(
                searching.find, view, request, self.settings, self._predictor, self._cache, planned
            )
            found = await asyncio.wait_for(work, searching.search_time_s(view, self.settings) + SEARCH_GRACE_S)
        except UnavailableError as error:
            self._watch.failed(str(error))
            nothing = _nothing_found(request, snapshot.topology_version, snapshot.routing_version)
            self._proposal = replace(nothing, error=str(error), unavailable=True)
        except Exception as error:
            log.exception("search for decision %d failed", request.decision)
            nothing = _nothing_found(request, snapshot.topology_version, snapshot.routing_version)
            self._proposal = replace(nothing, error=f"the search failed: {_one_line(error)}")
        else:
            self._found = found
            self.journal.decision = searching.decision_of(found, self.settings, self._predictor, self._clock())
            self._proposal = found.proposal
            self.metrics.search_seconds.observe(found.result.seconds)
            if found.warning is not None:
                log.warning("decision %d: %s", request.decision, found.warning)
        self._wake.set()

    async def _transact(self, decision: int, plan: RoutingPlan, name: str) -> None:
        """Send a plan and find out what became of it, also when the controller goes away meanwhile."""
        self.journal.note_time(f"{name}_sent", self._clock())
        try:
            self._settle(decision, await self._client.apply(plan), name)
        except StalePlanError as error:
            self._settle(decision, None, name, stale=True, error=str(error))
        except PlanError as error:
            self._settle(decision, None, name, error=str(error))
        except UnavailableError as error:
            log.warning("transaction %s: %s; asking what became of it", plan.plan_id, error)
            await self._ask_report(decision, plan.plan_id, name)

    async def _ask_report(self, decision: int, plan_id: str, name: str) -> None:
        deadline = time.monotonic() + REPORT_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(UnavailableError):
                report = await self._client.report_of(plan_id)
                self._settle(decision, report, name, error="the plan never reached the controller")
                return
            await asyncio.sleep(self.settings.tick_s)
        self._settle(decision, None, name, error="the controller went away during the transaction")

    def _settle(
        self, decision: int, report: TransactionReport | None, name: str, stale: bool = False, error: str = ""
    ) -> None:
        if report is not None:
            error = report.error or ""
            if self.journal.decision is not None:
                self.journal.decision.detail[name] = transaction_to_json(report)
            for point in ("started", "flipped", "finished"):
                self.journal.note_time(f"{name}_{point}", getattr(report, f"{point}_s"))
            self.metrics.plan_seconds.observe(max(report.finished_s - report.started_s, 0.0))
        ok = report is not None and report.ok
        flipped_s = report.finished_s if report is not None else 0.0
        self._finished = Finished(decision, ok, flipped_s, stale, error or None)
        self._wake.set()

    def _roll_back(self, action: RollBack) -> None:
        if self.journal.decision is None or self.journal.decision.id != action.decision:
            self.journal.decision = self.history.get(action.decision)
        self._outcome(measured=True)
        self._save("rolling_back", action.reason)
        try:
            if self.journal.decision is None or self.view is None:
                raise PlanError(f"decision {action.decision}", "is not in the history", "")
            plan = searching.way_back(self.journal.decision, self.view.state, self._clock())
        except PlanError as error:
            self._settle(action.decision, None, "rollback", error=str(error))
            return
        self.journal.decision.detail["rollback_plan_id"] = plan.plan_id
        self._save("rolling_back", action.reason)
        self._start(self._transact(action.decision, plan, "rollback"))

    def _save(self, status: str, reason: str, with_state: bool = False) -> None:
        state = state_to_json(self._found.view.state) if with_state and self._found is not None else None
        self.journal.save(status, reason, state)

    def _outcome(self, measured: bool) -> None:
        if self.view is not None:
            self.journal.note_outcome(self.view, self.settings.classes, measured)

    def _measure(self) -> None:
        metrics, view = self.metrics, self.view
        metrics.controller_up.set(0 if self.problem else 1)
        metrics.predictor_up.set(0 if self._watch.problem else 1)
        metrics.show_state(self.state.name)
        if view is None:
            return
        metrics.topology_version.set(view.snapshot.topology_version)
        metrics.routing_version.set(view.snapshot.routing_version)
        metrics.violation_score.set(view.snapshot.violation)
        metrics.max_utilisation.set(view.snapshot.max_utilisation)
        for entry in self.settings.classes:
            for goal in ("delay", "jitter", "loss"):
                count = sum(
                    1
                    for item in view.found
                    if item.kind == goal and view.scenario.traffic.class_name(item.demand) == entry.name
                )
                metrics.sla_violation.labels(entry.name, goal).set(count)
        topology = view.scenario.topology
        carried = view.state.links.carried_bps / topology.capacity_bps
        for link in range(topology.link_count):
            if np.isfinite(carried[link]):
                source, target = topology.link_source[link], topology.link_target[link]
                names = topology.node_names
                metrics.link_utilisation.labels(names[source], names[target]).set(float(carried[link]))

        for row in records.queue_rows(topology, view.scenario.traffic.class_names):
            total = sum(row["weights"].values())
            for name, weight in row["weights"].items():
                for node in row["nodes"]:
                    metrics.queue_weight.labels(node, name).set(weight / total)

    async def _recover(self) -> None:
        """Find out what became of a transaction that was under way when this process last ended."""
        decision = self.journal.decision
        assert decision is not None
        if self.state.phase == "applying":
            await self._ask_report(decision.id, decision.detail["plan"]["plan_id"], "transaction")
            return
        with contextlib.suppress(UnavailableError):
            report = await self._client.report_of(decision.detail.get("rollback_plan_id", ""))
            if report is not None:
                self._settle(decision.id, report, "rollback")
                return
        self._roll_back(RollBack(decision.id, decision.reason))

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _nothing_found(request: StartSearch, topology_version: int, routing_version: int) -> Proposal:
    none = Score(0.0, 0.0, 0)
    return Proposal(request.decision, topology_version, routing_version, none, none, frozenset())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
