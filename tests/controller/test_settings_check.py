"""Settings that cannot be are refused with the place of what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.settings import ControllerSettings, StaticHost, TrafficClass
from topology_sync.class_queues import ClassQueues
from topology_sync.errors import ConfigurationError
from topology_sync.topology import Link

GOOD = ControllerSettings(
    "/var/lib/routewright",
    classes=(TrafficClass("voice", (46,)), TrafficClass("default")),
    node_names={1: "a", 2: "b"},
    links=(Link("a", "b", 1e7),),
    hosts=(StaticHost("10.1.0.0/16", "02:00:00:00:00:01", "a", 4),),
    probe_classes=("voice",),
    queues=ClassQueues("wfq", ("voice", "default"), (3, 1.5), True),
    ovsdb="tcp:6640",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(GOOD.to_json())
    assert ControllerSettings.read(tmp_path / "s") == GOOD


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("state_directory", {"state_directory": 5}),
        ("openflow_port", {"openflow_port": 0}),
        ("openflow_port", {"openflow_port": True}),
        ("api_socket", {"api_socket": 3}),
        ("lldp_period_s", {"lldp_period_s": 0}),
        ("window_s", {"window_s": float("inf")}),
        ("probes_per_s", {"probes_per_s": -1}),
        ("log_level", {"log_level": "loud"}),
        ("node_names", {"node_names": {1: "a", 2: "a"}}),
        ("classes", {"classes": ()}),
        ("classes", {"classes": (TrafficClass("a"), TrafficClass("b"))}),
        ("classes", {"classes": (TrafficClass("a", (1,)), TrafficClass("b", (1,)))}),
        ("classes", {"classes": (TrafficClass("a", (64,)),)}),
        ("probe_classes", {"probe_classes": ("video",)}),
        ("hosts[0].prefix", {"hosts": (StaticHost("10.1.2.3/16", "02:00:00:00:00:01", "a", 4),)}),
        ("hosts[0].mac", {"hosts": (StaticHost("10.1.0.0/16", "nonsense", "a", 4),)}),
        ("hosts[0].port", {"hosts": (StaticHost("10.1.0.0/16", "02:00:00:00:00:01", "a", 0),)}),
        ("ovsdb", {"ovsdb": "6640"}),
        ("queues.order", {"queues": ClassQueues("strict", ("voice",))}),
        ("queues.order", {"queues": ClassQueues("strict", ("voice", "default", "default"))}),
        ("queues.weights", {"queues": ClassQueues("wfq", ("voice", "default"), (1.0,))}),
        ("queues.weights", {"queues": ClassQueues("wfq", ("voice", "default"), (1.0, 0.0))}),
        ("queues.weights", {"queues": ClassQueues("strict", ("voice", "default"), (1.0, 1.0))}),
        ("links[0].capacity_bps", {"links": (Link("a", "b", 0.0),)}),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, place: str, change: dict[str, Any]) -> None:
    (tmp_path / "s").write_text(replace(GOOD, **change).to_json())
    with pytest.raises(ConfigurationError) as caught:
        ControllerSettings.read(tmp_path / "s")
    assert place in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
