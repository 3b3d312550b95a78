"""On real Open vSwitch: weights change what classes get, cost no packet, and outlive a killed controller."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from deploy.testbed.preconditions import what_is_missing

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(what_is_missing() is not None, reason=what_is_missing() or ""),
]


def test_classes_get_their_parts_and_no_change_of_weights_loses_a_packet() -> None:
    """The controller writes queues into the OVSDB, Open vSwitch makes them, and receivers count what comes through."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "bench", "queue-weights", "--changes", "6", "--json"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr[-500:]
    figures = json.loads(done.stdout)
    assert figures["packets_sent"] > 3000
    assert (figures["packets_lost"], figures["packets_duplicated"], figures["packets_reordered"]) == (0, 0, 0)
    # Of three weights one stays: two queues at each port of 21 cables change, by database rows and no other message.
    assert figures["queues_per_change"] == 84
    assert (figures["queue_changes"], figures["flow_mods"]) == (6 * 84, 0)
    assert figures["restart"] == {
        "weights_kept": True,
        "flow_mods": 0,
        "group_mods": 0,
        "queue_changes": 0,
        "ok": True,
    }
    first, second = ({row["class"]: row["part"] for row in part["classes"]} for part in figures["parts"])
    assert first == pytest.approx({"voice": 0.6, "video": 0.3, "default": 0.1}, abs=0.02)
    assert second == pytest.approx({"voice": 0.1, "video": 0.3, "default": 0.6}, abs=0.02)
