"""Rounds of counters: just after a publication, dated, and the same moment on all switches; else honestly undated."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ryu.lib import hub

from controller.counter_corrections import ProbeDiscount
from controller.settings import ControllerSettings
from controller.telemetry_loop import TelemetryLoop
from topology_sync.cookies import Cookie
from topology_sync.events import Event, FlowCounter, FlowCountersRead
from topology_sync.telemetry import TelemetrySettings, TelemetryState, reduce_telemetry

EPOCH_S = 0.15
RATE = 400.0
BUSY = 5


class Channel:
    """A switch that shows what its demand had sent by the last of the machine's publications."""

    def __init__(self, dpid: int, demand: int, rate: float, slow_s: float = 0.0) -> None:
        self.dpid = dpid
        self.datapath: Any = None
        self.slow_s = slow_s
        self._cookie = Cookie(1, demand, 20).pack()
        self._rate = rate
        self._made_s = time.monotonic() - 100.0

    def request(self, message: Any, timeout_s: float) -> list[Any]:
        hub.sleep(0.001)
        return self._entries() if message.cookie & message.cookie_mask == self._cookie & message.cookie_mask else []

    def request_all(self, messages: list[Any], timeout_s: float) -> list[Any]:
        hub.sleep(0.002)
        found = self._entries()
        hub.sleep(self.slow_s)
        return [found, [], []]

    def _entries(self) -> list[Any]:
        now_s = time.monotonic()
        packets = int(self._rate * (now_s // EPOCH_S * EPOCH_S - self._made_s))
        counter = FlowCounter(self._cookie, 1, packets, 100 * packets, now_s - self._made_s)
        return [
            SimpleNamespace(
                cookie=counter.cookie,
                table_id=1,
                packets=packets,
                duration_s=counter.age_s,
                counter=lambda: counter,
            )
        ]


class View:
    """Keeps the events."""

    def __init__(self) -> None:
        self.telemetry = TelemetryState()
        self.events: list[FlowCountersRead] = []

    def fold(self, event: Event) -> None:
        self.telemetry = reduce_telemetry(self.telemetry, event, TelemetrySettings())
        if isinstance(event, FlowCountersRead):
            self.events.append(event)


def polled(channels: list[Channel], rounds: int) -> list[list[FlowCountersRead]]:
    """What the loop folds in so many rounds."""
    view = View()
    switches = SimpleNamespace(
        rules={channel.dpid: None for channel in channels},
        channel={channel.dpid: channel for channel in channels}.get,
    )
    transactions = SimpleNamespace(intent=SimpleNamespace(demands=()), labels=frozenset())
    settings = ControllerSettings(state_directory="", poll_period_s=1.0)
    loop = TelemetryLoop(settings, view, switches, transactions, ProbeDiscount())  # type: ignore[arg-type]
    found = []
    for _ in range(rounds):
        view.events.clear()
        hub.sleep(1.3 * EPOCH_S)
        loop.step()
        found.append(list(view.events))
    return found


def test_rounds_are_dated_by_the_publication_that_they_show() -> None:
    busy, other = Channel(1, BUSY, RATE), Channel(2, 6, 100.0)
    _, _, *rounds = polled([busy, other], 7)
    dated = [events for events in rounds if all(event.dated for event in events)]
    assert len(dated) >= 4, "a test machine may stand still now and then"
    for events in dated:
        assert {event.dpid for event in events} == {1, 2}
        assert events[0].time_s == events[1].time_s
        publication_s = events[0].time_s / EPOCH_S
        assert abs(publication_s - round(publication_s)) * EPOCH_S < 0.03


def test_what_spans_two_publications_is_not_dated() -> None:
    busy, slow = Channel(1, BUSY, RATE), Channel(2, 6, 100.0, slow_s=1.2 * EPOCH_S)
    _, _, *rounds = polled([busy, slow], 4)
    assert not any(event.dated for events in rounds for event in events)


def test_without_traffic_counters_are_read_as_they_are() -> None:
    started_s = time.monotonic()
    rounds = polled([Channel(1, BUSY, 0.0)], 2)
    assert not any(event.dated for events in rounds for event in events)
    assert time.monotonic() - started_s < 1.0, "nobody to watch, nothing to wait for"
    assert rounds[1][0].time_s == pytest.approx(time.monotonic(), abs=0.3)
