"""The sender and receiver processes as seen by the run: start, stop, and what they wrote."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from deploy.process_control import Child, last_lines, start_child, stop_child
from deploy.testbed.receiver_log import Records, read_records
from deploy.testbed.traffic_plan import Schedule, TrafficJob
from topology_sync.errors import UnavailableError
from topology_sync.values import IntArray, int_array


class TrafficProcesses:
    """One sender and one receiver for all hosts.  Both die with us."""

    def __init__(self, job: TrafficJob, schedule: Schedule, directory: Path) -> None:
        self.job = job
        self.schedule = schedule
        self._directory = directory
        self._children: dict[str, Child] = {}
        self.start_ns = 0
        self.summaries: dict[str, dict[str, Any]] = {}

    def start(self, lead_s: float = 0.2) -> None:
        """Start both, wait until all sockets are open, and let the schedule begin ``lead_s`` from now."""
        self.schedule.save(Path(self.job.schedule_file))
        job_file = self._directory / "traffic.json"
        self.job.write(job_file)
        for name in ("receiver", "sender"):
            self._children[name] = start_child(
                [sys.executable, "-m", f"deploy.testbed.traffic_{name}", str(job_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                errors=self._directory / f"{name}.log",
            )
        for name in ("receiver", "sender"):
            self._expect_ready(name)
        self.start_ns = time.time_ns() + round(lead_s * 1e9)
        self._order(f"{self.start_ns}")

    def add(self, extra: Schedule, at_s: float) -> None:
        """Send the packets of ``extra`` besides, its time 0 at ``at_s`` of the schedule, 0.5 s from now or more."""
        if at_s < self.elapsed_s + 0.5:
            raise ValueError("too late to add packets in order")
        extra.save(Path(self.job.added_file))
        self.schedule = self.schedule.with_added(extra, at_s)
        self._order(f"add {at_s!r}")

    @property
    def elapsed_s(self) -> float:
        """Seconds of the schedule that have passed."""
        return (time.time_ns() - self.start_ns) * 1e-9

    def sent_ns(self) -> IntArray:
        """When each packet was sent (CLOCK_REALTIME, ns; -1 refused), as far as the sender has written it."""
        data = Path(self.job.sent_file).read_bytes()
        return int_array(np.frombuffer(data[: len(data) // 8 * 8], dtype=np.int64))

    def received(self) -> Records:
        """What the receiver has written so far."""
        return read_records(Path(self.job.received_file))

    def check(self) -> None:
        """Raise UnavailableError when one of them has died."""
        for name, child in self._children.items():
            if child.poll() not in (None, 0):
                raise UnavailableError(f"the traffic {name} died: {last_lines(self._directory / f'{name}.log')}")

    def wait_sent(self, timeout_s: float) -> None:
        """Wait until the schedule has been sent to its end."""
        try:
            self._children["sender"].wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"the traffic sender was not done after {timeout_s:g} s") from error
        self.check()

    def stop(self, drain_s: float = 0.5) -> None:
        """End the sender, give the last packets ``drain_s`` to arrive, end the receiver; keep their summaries."""
        for name in ("sender", "receiver"):
            child = self._children.pop(name, None)
            if child is None:
                continue
            if name == "receiver":
                time.sleep(drain_s)
            stop_child(child)
            output = child.stdout.read() if child.stdout is not None else b""
            for line in output.decode(errors="replace").splitlines():
                if line.startswith("{"):
                    self.summaries[name] = json.loads(line)

    def _order(self, line: str) -> None:
        pipe = self._children["sender"].stdin
        assert pipe is not None
        pipe.write(line.encode() + b"\n")
        pipe.flush()

    def _expect_ready(self, name: str, timeout_s: float = 20) -> None:
        pipe = self._children[name].stdout
        assert pipe is not None
        readable, _, _ = select.select([pipe], [], [], timeout_s)
        if not readable or pipe.readline().strip() != b"ready":
            raise UnavailableError(
                f"the traffic {name} did not start: {last_lines(self._directory / f'{name}.log') or 'no answer'}"
            )
