"""What happens on the wire, as values: the only way into the reducers of discovery, telemetry and probes.

``time_s`` is a monotonic clock of the process that saw the event, in seconds with any origin; pure code compares it and
never reads a clock itself.  Events of one reducer are given in the order of their times.
"""

from __future__ import annotations

from dataclasses import dataclass

UNSUPPORTED_COUNTER = 2**64 - 1
"""A counter that the switch does not keep (OpenFlow 1.3.5, 7.3.5.2: "if unsupported, set to all ones")."""


@dataclass(frozen=True)
class Port:
    """A port as the switch describes it; ``up`` while it can carry packets (neither PORT_DOWN nor LINK_DOWN)."""

    number: int
    name: str
    mac: str
    up: bool


@dataclass(frozen=True)
class SwitchConnected:
    """A switch finished its handshake; ``ports`` are all its physical ports as they are now."""

    time_s: float
    dpid: int
    ports: tuple[Port, ...]


@dataclass(frozen=True)
class SwitchDisconnected:
    """The channel to a switch is gone; its forwarding may well go on (fail mode secure)."""

    time_s: float
    dpid: int


@dataclass(frozen=True)
class PortChanged:
    """A port was added, changed or (``removed``) taken away."""

    time_s: float
    dpid: int
    port: Port
    removed: bool = False


@dataclass(frozen=True)
class LldpReceived:
    """One of our own LLDP frames, authenticated and fresh, sent at the source, received at ``dpid``, ``port``."""

    time_s: float
    source_dpid: int
    source_port: int
    dpid: int
    port: int


@dataclass(frozen=True)
class HostSeen:
    """A host's address seen on a port (ARP or first packet)."""

    time_s: float
    ip: str
    mac: str
    dpid: int
    port: int


@dataclass(frozen=True)
class ClockTicked:
    """Time went by.  Sent several times a second, so that a larger gap shows that this process itself stood still."""

    time_s: float


@dataclass(frozen=True)
class FlowCounter:
    """Counters of one rule.  ``age_s`` is how long the rule exists by the switch's own clock.

    ``unsure_packets``: so many of the packets may have been counted wrongly (probes that passed just then).
    """

    cookie: int
    table_id: int
    packets: int
    bytes: int
    age_s: float
    unsure_packets: int = 0


@dataclass(frozen=True)
class FlowCountersRead:
    """A switch's complete answer to a request for counters of our rules; rules that are not in it no longer count.

    The controller passes the demand rules of table 1 and, of table 0, only rules of path labels at their egress switch.
    ``time_s`` is the moment whose counts are shown.  ``dated``: it is that moment to some hundredths of a second, and
    the same for all switches of the round; else it is when the switch answered, and its counts may be older.
    """

    time_s: float
    dpid: int
    entries: tuple[FlowCounter, ...]
    dated: bool = False


@dataclass(frozen=True)
class FlowRemoved:
    """A rule is gone; ``counter`` holds its last counts."""

    time_s: float
    dpid: int
    counter: FlowCounter


@dataclass(frozen=True)
class PortCounter:
    """Counters of one port; ``UNSUPPORTED_COUNTER`` where the switch does not count."""

    port: int
    tx_packets: int
    tx_bytes: int
    rx_packets: int
    rx_bytes: int
    age_s: float


@dataclass(frozen=True)
class PortCountersRead:
    """A switch's answer to a request for its port counters."""

    time_s: float
    dpid: int
    entries: tuple[PortCounter, ...]


@dataclass(frozen=True)
class ProbeReturned:
    """A path probe came back from its egress: ``delay_s`` is the one-way delay, calibration already taken off.

    Probes 2k and 2k+1 of a ``sequence`` are a pair for jitter; without a sequence it belongs to none.
    """

    time_s: float
    label: int
    delay_s: float
    sequence: int | None = None


@dataclass(frozen=True)
class LinkProbeReturned:
    """A probe that went over one link alone came back: ``delay_s`` from the switch at its source, port ``port``, to the
    next one, calibration already taken off.  ``sequence`` as in ``ProbeReturned``; ``queue`` is the one it waited in,
    None where ports have one for all."""

    time_s: float
    dpid: int
    port: int
    delay_s: float
    sequence: int | None = None
    queue: int | None = None


@dataclass(frozen=True)
class ProbeLost:
    """A path probe did not come back in time."""

    time_s: float
    label: int


Event = (
    SwitchConnected
    | SwitchDisconnected
    | PortChanged
    | LldpReceived
    | HostSeen
    | ClockTicked
    | FlowCountersRead
    | FlowRemoved
    | PortCountersRead
    | ProbeReturned
    | LinkProbeReturned
    | ProbeLost
)
