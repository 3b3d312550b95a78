"""Loops that hang are started again, and those that only pause are not."""

from __future__ import annotations

import pytest
from ryu.lib import hub

from controller import heartbeat
from controller.heartbeat import Loops
from controller.metrics import Metrics

HUNG_S = 0.1


def watched(monkeypatch: pytest.MonkeyPatch, pause_s: float, works_s: float) -> tuple[int, bool]:
    """How often a loop of such steps began within half a second, and whether it counts as alive then."""
    monkeypatch.setattr(heartbeat, "WATCH_S", 0.02)
    begun = 0

    def step() -> float:
        nonlocal begun
        begun += 1
        hub.sleep(works_s)
        return pause_s

    loops = Loops(Metrics())
    try:
        loops.start("one", step, HUNG_S)
        hub.sleep(0.5)
        return begun, loops.alive()["one"]
    finally:
        loops.stop()


def test_a_long_pause_is_no_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, pause_s=30.0, works_s=0.0) == (1, True)


def test_a_step_that_hangs_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, _ = watched(monkeypatch, pause_s=0.0, works_s=30.0)
    assert begun > 1
