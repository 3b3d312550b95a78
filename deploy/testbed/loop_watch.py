"""Watches the loop at work during a run: when it is calm, when it has changed the routing, what receivers then see."""

from __future__ import annotations

import time
from typing import Any

from deploy.testbed.control_processes import ControlProcesses
from deploy.testbed.progress import Progress
from deploy.testbed.report import SECOND_NS, Decision
from deploy.testbed.scenarios import TestbedScenario
from deploy.testbed.statistics import demand_experiences, packet_table, window
from deploy.testbed.traffic import TrafficProcesses

LOOK_S = 0.25
SETTLE_S = 3.0  # from the end of a change until queues have calmed down
MEASURE_S = 15.0
LEAST_INTERVAL_S = 30.0  # the loop's default: it does not act again sooner, so the event waits for that


class LoopWatch:
    """The loop of one run, seen from outside, and the traffic that it is about."""

    def __init__(
        self, scenario: TestbedScenario, control: ControlProcesses, traffic: TrafficProcesses, progress: Progress
    ) -> None:
        self._scenario = scenario
        self._control = control
        self._traffic = traffic
        self._progress = progress

    def wait_until(self, end_s: float) -> None:
        """Until that second of the traffic."""
        while (left := end_s - self._traffic.elapsed_s) > 0:
            self._progress.note(f"{left:.0f} s left")
            self._control.check()
            self._traffic.check()
            time.sleep(min(LOOK_S, left))

    def wait_for_calm(self, timeout_s: float) -> bool:
        """Until the loop only observes, sees all goals met and would be free to act; False when that does not come."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self._control.status()
            changed_s = max((self._last_change_s(entry) for entry in self._control.decisions()), default=0.0)
            missed = self._missed(status)
            self._progress.note(f"loop: {status['state']}; goals missed as measured: {', '.join(missed) or 'none'}")
            if status["state"] == "observing" and not missed and time.time() - changed_s > LEAST_INTERVAL_S:
                return True
            self._traffic.check()
            time.sleep(LOOK_S)
        return False

    def wait_for_change(self, since_ns: int, known: int, timeout_s: float) -> bool:
        """Until there are more than ``known`` changes since then; False when there are not in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if len(self.changes(since_ns)) > known:
                return True
            status = self._control.status()
            missed = self._missed(status)
            self._progress.note(f"loop: {status['state']}; goals missed as measured: {', '.join(missed) or 'none'}")
            self._traffic.check()
            time.sleep(LOOK_S)
        return False

    def measure(self, since_ns: int, end_s: float, whole: bool) -> tuple[int, int]:
        """Let receivers measure after the last change, begin again when there is another; the window measured, in ns.

        For MEASURE_S, or with ``whole`` until ``end_s``, the last second of traffic.
        """
        while True:
            changes = self.changes(since_ns)
            start_ns = changes[-1] + round(SETTLE_S * SECOND_NS)
            enough_s = (start_ns - self._traffic.start_ns) / SECOND_NS + MEASURE_S
            until_s = end_s if whole else min(enough_s, end_s)
            while self._traffic.elapsed_s < until_s:
                self._progress.note(f"{until_s - self._traffic.elapsed_s:.0f} s left")
                self._traffic.check()
                time.sleep(LOOK_S)
                if len(self.changes(since_ns)) > len(changes):
                    self._progress.say("the loop changes the routing again")
                    break
            else:
                return start_ns, self._traffic.start_ns + round(until_s * SECOND_NS)

    def all_met(self, start_ns: int, end_ns: int) -> bool:
        """Whether receivers saw every goal met by packets sent in this window."""
        table = packet_table(self._traffic.schedule, self._traffic.sent_ns(), self._traffic.received())
        seen = demand_experiences(
            window(table, start_ns, end_ns), self._scenario.goals, max((end_ns - start_ns) / SECOND_NS, 1e-9)
        )
        return all(experience is None or experience.met for experience in seen)

    def changes(self, since_ns: int) -> list[int]:
        """When committed transactions ended since then, in ns: of plans and of ways back."""
        ends = []
        for entry in self._control.decisions():
            times = entry.get("times_s", {})
            ends += [times.get(f"{name}_finished", 0.0) * SECOND_NS for name in ("transaction", "rollback")]
        return sorted(round(end_ns) for end_ns in ends if end_ns > since_ns)

    def applied(self, since_ns: int) -> list[Decision]:
        """Decisions whose plan was committed since then, oldest first, in full."""
        found = []
        for entry in self._control.decisions():
            if entry.get("times_s", {}).get("transaction_finished", 0.0) * SECOND_NS > since_ns:
                full = self._control.decision(entry["id"])
                if full.get("transaction", {}).get("ok"):
                    found.append(full)
        return found

    @staticmethod
    def _missed(status: dict[str, Any]) -> list[str]:
        return [row["class"] for row in status["sla"]["classes"] if not row["met"]]

    @staticmethod
    def _last_change_s(entry: dict[str, Any]) -> float:
        times = entry.get("times_s", {})
        return float(max(times.get("transaction_finished", 0.0), times.get("rollback_finished", 0.0)))
