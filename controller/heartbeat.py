"""Loops that are watched: one that dies or hangs is started again; stalls of the whole process are measured."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ryu.lib import hub

from controller.metrics import Metrics

LOG = logging.getLogger(__name__)
BEAT_S = 0.05
WATCH_S = 1.0
STALL_MEMORY_S = 60.0


@dataclass(eq=False)
class _Loop:
    name: str
    step: Callable[[], float]
    hung_after_s: float
    greenlet: Any = None
    due_s: float = 0.0  # when the step under way began, or the next one is to begin


class Loops:
    """Periodic work.  A step returns the seconds to sleep until the next one."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._loops: list[_Loop] = []
        self._stalls: deque[tuple[float, float]] = deque()
        self._own = [hub.spawn(self._beat), hub.spawn(self._watch)]

    def start(self, name: str, step: Callable[[], float], hung_after_s: float = 15.0) -> None:
        """Run ``step`` again and again; one that takes longer than ``hung_after_s`` is killed and started anew."""
        loop = _Loop(name, step, hung_after_s)
        self._loops.append(loop)
        self._launch(loop)

    def alive(self) -> dict[str, bool]:
        """Whether each loop runs and is not stuck."""
        now_s = time.monotonic()
        return {loop.name: not loop.greenlet.dead and now_s - loop.due_s < loop.hung_after_s for loop in self._loops}

    def largest_stall_s(self) -> float:
        """The longest time in the last minute in which no greenlet got to run."""
        return max((stall_s for _, stall_s in self._stalls), default=0.0)

    def stop(self) -> None:
        """End all loops."""
        for greenlet in [*self._own, *(loop.greenlet for loop in self._loops)]:
            greenlet.kill()

    def _launch(self, loop: _Loop) -> None:
        loop.due_s = time.monotonic()
        loop.greenlet = hub.spawn(self._run, loop)

    def _run(self, loop: _Loop) -> None:
        while True:
            pause_s = 1.0
            try:
                pause_s = loop.step()
            except Exception:
                LOG.exception("loop %s: a step failed", loop.name)
            loop.due_s = time.monotonic() + max(0.0, pause_s)
            hub.sleep(max(0.0, pause_s))

    def _watch(self) -> None:
        while True:
            hub.sleep(WATCH_S)
            alive = self.alive()
            for loop in self._loops:
                if not alive[loop.name]:
                    LOG.error("loop %s is dead or stuck; starting it again", loop.name)
                    self._metrics.loop_restarts.labels(loop.name).inc()
                    loop.greenlet.kill()
                    self._launch(loop)

    def _beat(self) -> None:
        last_s = time.monotonic()
        while True:
            hub.sleep(BEAT_S)
            now_s = time.monotonic()
            stall_s = max(0.0, now_s - last_s - BEAT_S)
            last_s = now_s
            while self._stalls and (now_s - self._stalls[0][0] > STALL_MEMORY_S):
                self._stalls.popleft()
            while self._stalls and self._stalls[-1][1] <= stall_s:
                self._stalls.pop()
            self._stalls.append((now_s, stall_s))
            self._metrics.largest_stall.set(self._stalls[0][1])
