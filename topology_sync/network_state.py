"""What is known of the live network at one moment: the snapshot that the controller hands up."""

from __future__ import annotations

from dataclasses import dataclass, field

from topology_sync.scenario import Scenario
from topology_sync.values import ArrayValue, BoolArray, FloatArray, IntArray, float_array


@dataclass(frozen=True)
class Host:
    """A host (or gateway) seen behind a switch port."""

    ip: str
    mac: str
    node: str
    port: int


@dataclass(frozen=True, eq=False)
class DemandMeasurements(ArrayValue):
    """What was measured per demand over the window; NaN where unknown.  All [demands].

    ``packets_sent``/``packets_lost`` are counted at the ingress rule and as ingress minus egress, of packets sent from
    ``counted_from_s`` to ``counted_until_s`` (since the epoch): about the window, begun and ended where the packets on
    the way are known best; empty where nobody says so.  Delays come from probes of the links of the path, or of the
    path where those are too few: mean, 99th percentile, jitter (RFC 3393), smallest seen; ``probe_count`` stand behind
    them.
    """

    packets_sent: FloatArray
    packets_lost: FloatArray
    loss_ratio: FloatArray
    delay_s: FloatArray
    delay_p99_s: FloatArray
    jitter_s: FloatArray
    delay_min_s: FloatArray
    probe_count: IntArray
    counted_from_s: FloatArray = field(default_factory=lambda: float_array([]))
    counted_until_s: FloatArray = field(default_factory=lambda: float_array([]))


@dataclass(frozen=True, eq=False)
class LinkMeasurements(ArrayValue):
    """Per link: ``up`` (usable now) and ``carried_bps`` from the port counters (NaN where unknown).  All [links]."""

    up: BoolArray
    carried_bps: FloatArray


@dataclass(frozen=True, eq=False)
class NetworkState(ArrayValue):
    """A snapshot.  ``scenario`` holds every known link (down ones too, see ``links.up``), the measured traffic and the
    routing that the switches have now; its ``sla`` is empty, goals are the optimizer's.

    ``topology_version`` grows with every change of links, nodes or their liveness; ``routing_version`` with every
    committed transaction.  ``settled`` is False while discovery still expects news or, after a start, the window is not
    full yet.  ``time_s`` is seconds since the epoch, ``window_s`` the length of the measurement window that ends there.
    """

    topology_version: int
    routing_version: int
    time_s: float
    window_s: float
    settled: bool
    scenario: Scenario
    demands: DemandMeasurements
    links: LinkMeasurements
    hosts: tuple[Host, ...] = ()
