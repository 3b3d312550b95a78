"""Line rate and queue of the emulated links: one HTB class with a pfifo per direction, set in one ``tc`` call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from topology_sync.errors import UnavailableError

_BUCKET_S = 100e-6
_CONTROL_BPS = 64_000  # some 2,000 are used


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
