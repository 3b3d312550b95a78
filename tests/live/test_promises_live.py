"""The promises about the live network, measured on real packets by the commands of docs/results.md, only shorter."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from deploy.testbed.preconditions import what_is_missing

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(what_is_missing() is not None, reason=what_is_missing() or ""),
]


def _bench(*arguments: str, timeout_s: float = 240) -> dict[str, Any]:
    finished = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "bench", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert finished.returncode in (0, 1), finished.stderr
    assert finished.stdout, finished.stderr
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def test_re_routing_loses_duplicates_and_mixes_nothing():
    result = _bench("update-safety", "--changes", "8")
    assert (result["packets_lost"], result["packets_duplicated"], result["packets_on_mixed_path"]) == (0, 0, 0)
    assert result["packets_not_followed"] == 0
    assert result["labels_used"] == 9


def test_a_broken_cable_interrupts_briefly_and_the_routing_follows():
    result = _bench("failover", "--trials", "3")
    assert result["outage_median_s"] < 0.050
    assert result["rerouted"] == 3


def test_killed_processes_lose_no_packet_and_find_their_rules_again():
    result = _bench("kill", "--times", "1")
    assert result["packets_lost"] == 0
    assert result["flow_mods_after_restart"] == {"controller": 0, "optimizer": 0, "both": 0}


def test_the_controller_measures_what_hosts_sent_and_got():
    result = _bench("telemetry", "--seconds", "20")
    assert result["rate_relative_error"]["median"] < 0.03
    assert result["loss_error_points"]["median"] < 0.5
    assert result["delay_p99_error_s"]["median"] < 0.006
