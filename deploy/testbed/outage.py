"""How long a broken cable interrupted traffic, as receivers saw it.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy.testbed.statistics import PacketTable, window

_LOOK_BACK_NS = 200_000_000  # packets sent before the break may still have been in the broken cable's queue
_LOOK_AHEAD_NS = 2_000_000_000


def outage(table: PacketTable, broken_ns: int, affected: Sequence[int], link_name: str) -> dict[str, Any]:
    """Packets lost around the break by the ``affected`` demands, and for how long.

    ``outage_s`` is the lost packets over the rate at which these demands send: how long nothing got through, as far as
    packets can tell.  ``longest_loss_s`` is the longest time from the first to the last packet that a demand lost.
    """
    part = window(table, broken_ns - _LOOK_BACK_NS, broken_ns + _LOOK_AHEAD_NS)
    mine = np.isin(part.demand, affected)
    lost = mine & (part.copies == 0)
    packets_per_s = float(mine.sum()) / ((_LOOK_BACK_NS + _LOOK_AHEAD_NS) * 1e-9)
    longest_ns = max(
        (int(np.ptp(part.sent_ns[lost & (part.demand == demand)])) for demand in set(part.demand[lost])), default=0
    )
    return {
        "link": link_name,
        "affected_demands": len(affected),
        "packets_per_s": packets_per_s,
        "demands_with_loss": len(np.unique(part.demand[lost])),
        "packets_lost": int(lost.sum()),
        "outage_s": float(lost.sum()) / packets_per_s if packets_per_s else 0.0,
        "longest_loss_s": longest_ns * 1e-9,
    }
