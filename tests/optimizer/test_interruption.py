"""Ctrl-C: the first ends a search, the second the program."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from optimizer.interruption import stopped_by_interrupt


def test_the_first_interrupt_stops_and_the_second_interrupts() -> None:
    # a program started in the background by a shell ignores SIGINT
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stopped_by_interrupt() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(5.0)
            with pytest.raises(KeyboardInterrupt):
                _interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outside)


def _interrupted() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(5.0)


def test_without_an_interrupt_nothing_is_left_behind() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_interrupt() as stop:
        assert signal.getsignal(signal.SIGINT) is not before
    assert not stop.is_set()
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_get_no_signals_and_are_left_alone() -> None:
    found: list[bool] = []

    def work() -> None:
        with stopped_by_interrupt() as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5.0)
    assert found == [False]
