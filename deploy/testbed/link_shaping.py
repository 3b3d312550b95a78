"""Line rate and queue of the emulated links: one HTB class with a pfifo per direction, set in one ``tc`` call.

Where ports have a queue per class, Open vSwitch makes the HTB classes itself, from what the controller writes into its
database; then the line behind them is shaped here, and packets are told apart.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from topology_sync.errors import UnavailableError

_BUCKET_S = 100e-6
_CONTROL_BPS = 64_000  # some 2,000 are used


LINE_SPEED = 1.02
"""Rate of a line over what the queues in front of it may send together, so that packets wait there and not here."""
_LINE_PACKETS = 100  # some three are used: one longest frame of every class
_LLDP_CLASS = "1:f100"  # above all numbers that Open vSwitch gives to queues


@dataclass(frozen=True)
class ShapedInterface:
    """The sending end of one directed link."""

    interface: str
    capacity_bps: float
    queue_packets: int


def shaping_commands(interfaces: Iterable[ShapedInterface]) -> str:
    """The ``tc -batch`` script.

    The bucket holds 100 us of line time, less than any packet: HTB lets a packet go only when the one before it has
    had (all but 100 us of) its time on the line, so there are no trains faster than the line, as a bucket of several
    packets would let go, and a timer that fires a little late is made up for, as it is not with a bucket of a byte.
    ``quantum`` only silences a warning.

    LLDP has a small class of its own, as switches keep a queue for network control (IEEE 802.1Q, priority 7): behind a
    full data queue a quarter of it would be lost and links would seem to come and go.
    """
    lines = []
    for shaped in interfaces:
        device, rate = shaped.interface, round(shaped.capacity_bps)
        burst = max(1, round(shaped.capacity_bps * _BUCKET_S / 8))
        lines += [
            f"qdisc replace dev {device} root handle 1: htb default 1",
            f"class replace dev {device} parent 1: classid 1:1 htb rate {rate}bit burst {burst} cburst {burst} "
            "quantum 1600",
            f"qdisc replace dev {device} parent 1:1 handle 10: pfifo limit {max(1, shaped.queue_packets)}",
            f"class replace dev {device} parent 1: classid 1:2 htb rate {_CONTROL_BPS}bit quantum 1600",
            f"qdisc replace dev {device} parent 1:2 handle 20: pfifo limit 100",
            f"filter replace dev {device} parent 1: protocol 0x88cc prio 1 u32 match u32 0 0 classid 1:2",
        ]
    return "\n".join(lines) + "\n"


def line_commands(line: ShapedInterface, entrance: str) -> str:
    """The ``tc -batch`` script of a line: what comes in at ``entrance`` leaves by the interface of ``line``.

    HTB as Open vSwitch sets it up lets every class send a longest frame at once, because the switch asks for a bucket
    of that size.  The line makes them go one after the other again, as a port's transmitter does.
    """
    rate = round(line.capacity_bps * LINE_SPEED)
    burst = max(1, round(rate * _BUCKET_S / 8))
    device = line.interface
    return "\n".join(
        [
            f"qdisc replace dev {device} root handle 1: htb default 1",
            f"class replace dev {device} parent 1: classid 1:1 htb rate {rate}bit burst {burst} cburst {burst} "
            "quantum 1600",
            f"qdisc replace dev {device} parent 1:1 handle 10: pfifo limit {_LINE_PACKETS}",
            f"qdisc replace dev {entrance} ingress",
            f"filter replace dev {entrance} parent ffff: protocol all prio 1 u32 match u32 0 0 "
            f"action mirred egress redirect dev {device}",
            "",
        ]
    )


def queue_commands(interface: str, queue_packets: int, dscp_of_queue: Sequence[Sequence[int]]) -> str:
    """The ``tc -batch`` script that leads packets to the classes that Open vSwitch has made on ``interface``.

    By the traffic class of the outer label; without a label by the DSCP values of each queue, [queues], those of no
    queue to the one without any.  Each queue holds ``queue_packets``.  LLDP has its small class, see
    ``shaping_commands``.
    """
    limit = max(1, queue_packets)
    lines = [
        f"class replace dev {interface} parent 1: classid {_LLDP_CLASS} htb rate {_CONTROL_BPS}bit quantum 1600",
        f"qdisc replace dev {interface} parent {_LLDP_CLASS} handle f100: pfifo limit 100",
        f"filter replace dev {interface} parent 1: protocol 0x88cc prio 1 u32 match u32 0 0 classid {_LLDP_CLASS}",
    ]
    rest = next((queue for queue, values in enumerate(dscp_of_queue) if not values), 0)
    for queue, values in enumerate(dscp_of_queue):
        where, into = f"dev {interface} parent 1:", f"classid 1:{queue + 1:x}"
        lines += [
            f"qdisc replace dev {interface} parent 1:{queue + 1:x} handle {queue + 0x10:x}: pfifo limit {limit}",
            # Bits 20 to 22 of the label's four bytes are its traffic class (RFC 3032).
            f"filter add {where} protocol mpls_uc prio 2 u32 match u8 {queue << 1:#04x} 0x0e at 2 {into}",
            *(
                f"filter add {where} protocol ip prio 3 u32 match u8 {dscp << 2:#04x} 0xfc at 1 {into}"
                for dscp in values
            ),
        ]
    lines.append(f"filter add dev {interface} parent 1: protocol all prio 4 u32 match u32 0 0 classid 1:{rest + 1:x}")
    return "\n".join(lines) + "\n"


def shape(interfaces: Iterable[ShapedInterface]) -> None:
    """Apply to interfaces of the caller's network namespace.  Raises UnavailableError."""
    run_batch("tc", shaping_commands(interfaces))


def run_batch(program: str, commands: str) -> None:
    """Feed ``commands`` to ``tc -batch`` or ``ip -batch``.  Raises UnavailableError with the first complaint."""
    finished = subprocess.run(
        [program, "-batch", "-"], input=commands, capture_output=True, text=True, timeout=60, check=False
    )
    if finished.returncode != 0:
        raise UnavailableError(f"{program} -batch failed: {' '.join(finished.stderr.split())[:300]}")


def queue_drops(interfaces: Iterable[str]) -> int:
    """Packets that the queues of these interfaces have dropped since they were set up."""
    finished = subprocess.run(
        ["tc", "-s", "-j", "qdisc", "show"], capture_output=True, text=True, timeout=30, check=False
    )
    try:
        rows = json.loads(finished.stdout)
    except ValueError as error:
        raise UnavailableError(f"tc gives no statistics: {finished.stderr.strip()[:200]}") from error
    wanted = set(interfaces)
    return sum(int(row.get("drops", 0)) for row in rows if row.get("kind") == "pfifo" and row.get("dev") in wanted)
