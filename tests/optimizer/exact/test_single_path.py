"""The threads of a single-path search end with the one who asked."""

import _thread
import signal
import threading
import time

import pytest

from optimizer.exact.least_utilisation import UtilisationLimits, least_utilisation
from optimizer.exact.single_path import THREAD_NAME
from topology_sync.sources import load_scenario


def searching() -> bool:
    return any(thread.name.startswith(THREAD_NAME) for thread in threading.enumerate())


def interrupt_once_it_searches() -> None:
    until = time.monotonic() + 60
    while not searching() and time.monotonic() < until:
        time.sleep(0.01)
    _thread.interrupt_main()


def test_ctrl_c_ends_all_searches_at_once() -> None:
    question = load_scenario("topohub:sndlib/germany50?max_utilisation=1.1")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    began = time.monotonic()
    threading.Thread(target=interrupt_once_it_searches, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            least_utilisation(question, UtilisationLimits(40.0, single_path=True))
        assert not searching()
        assert time.monotonic() - began < 35
    finally:
        signal.signal(signal.SIGINT, before)
