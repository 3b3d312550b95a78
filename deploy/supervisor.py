"""Keeps the processes of one machine running: starts them in order, restarts what dies, passes on what they say."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from deploy.process_control import Child, start_child, stop_child

BAD_INPUT = 2
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STABLE_AFTER_S = 10.0
QUICK_DEATHS_TO_GIVE_UP = 8
_LOOK_S = 0.05


@dataclass(frozen=True)
class Service:
    """A process to keep running."""

    name: str
    command: tuple[str, ...]


@dataclass
class _Running:
    service: Service
    child: Child | None = None
    started_s: float = 0.0
    start_again_s: float = 0.0
    quick_deaths: int = 0
    readers: list[threading.Thread] = field(default_factory=list)


def pause_before_restart(quick_deaths: int) -> float:
    """Seconds to wait: doubling with every death soon after a start, so that a broken service does not spin."""
    return float(min(FIRST_PAUSE_S * 2 ** max(quick_deaths - 1, 0), LONGEST_PAUSE_S))


class Supervisor:
    """Runs services until SIGTERM or SIGINT, or until one cannot run.

    A service that ends, for whatever reason, is started again; one that refuses its input (exit status 2) or dies
    QUICK_DEATHS_TO_GIVE_UP times in a row within STABLE_AFTER_S of its start ends the whole.  Services are started in
    the order given and stopped in the opposite one.  Call ``run`` from the main thread: the services die with it.
    """

    def __init__(self, services: Sequence[Service], say: Callable[[str, str], None] | None = None) -> None:
        self._running = [_Running(service) for service in services]
        self._say = say or _print_line
        self._stopping = threading.Event()

    def run(self) -> int:
        """Returns 0 after a signal, otherwise the status of the service that could not run."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for running in self._running:
                self._start(running)
            while not self._stopping.wait(_LOOK_S):
                for running in self._running:
                    status = self._look_after(running)
                    if status is not None:
                        return status
            return 0
        finally:
            self._stop_all()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _look_after(self, running: _Running) -> int | None:
        now = time.monotonic()
        if running.child is None:
            if now >= running.start_again_s:
                self._start(running)
            return None
        status = running.child.poll()
        if status is None:
            if running.quick_deaths and now - running.started_s > STABLE_AFTER_S:
                running.quick_deaths = 0
            return None
        self._finish_reading(running)
        running.child = None
        if status == BAD_INPUT:
            self._say("supervisor", f"{running.service.name} refused its input; stopping")
            return BAD_INPUT
        running.quick_deaths = running.quick_deaths + 1 if now - running.started_s < STABLE_AFTER_S else 1
        if running.quick_deaths >= QUICK_DEATHS_TO_GIVE_UP:
            self._say("supervisor", f"{running.service.name} does not stay up; stopping")
            return 1
        pause_s = pause_before_restart(running.quick_deaths)
        running.start_again_s = now + pause_s
        self._say("supervisor", f"{running.service.name} {_how_it_ended(status)}; starting again in {pause_s:g} s")
        return None

    def _start(self, running: _Running) -> None:
        reader, writer = os.pipe()
        try:
            running.child = start_child(running.service.command, stdout=writer)
        finally:
            os.close(writer)
        running.started_s = time.monotonic()
        thread = threading.Thread(target=self._pass_on, args=(running.service.name, reader), daemon=True)
        thread.start()
        running.readers = [thread]
        self._say("supervisor", f"{running.service.name} started (process {running.child.pid})")

    def _pass_on(self, name: str, descriptor: int) -> None:
        with os.fdopen(descriptor, "r", errors="replace") as lines:
            for line in lines:
                self._say(name, line.rstrip("\n"))

    def _finish_reading(self, running: _Running) -> None:
        for thread in running.readers:
            thread.join(2)

    def _stop_all(self) -> None:
        for running in reversed(self._running):
            if running.child is not None:
                stop_child(running.child, grace_s=10)
                self._finish_reading(running)
                self._say("supervisor", f"{running.service.name} stopped")
                running.child = None

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()


def _how_it_ended(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


_output_lock = threading.Lock()


def _print_line(name: str, line: str) -> None:
    with _output_lock:
        sys.stdout.write(f"[{name}] {line}\n")
        sys.stdout.flush()
