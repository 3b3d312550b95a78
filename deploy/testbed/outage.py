"""How long a broken cable interrupted traffic, as receivers saw it.  Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from deploy.testbed.statistics import PacketTable, window

_LOOK_BACK_NS = 200_000_000  # packets sent before the break may still have been in the broken cable's queue
_LOOK_AHEAD_NS = 2_000_000_000


def outage(table: PacketTable, broken_ns: int, affected: list[int], link_name: str) -> dict[str, Any]:
    """Packets lost around the break by the ``affected`` demands, and for how long each lost packets.

    The outage of a demand is the time from the first to the last packet that it lost; one that lost nothing had none.
    """
    part = window(table, broken_ns - _LOOK_BACK_NS, broken_ns + _LOOK_AHEAD_NS)
    outages = []
    lost_in_all = 0
    for demand in affected:
        mine = part.demand == demand
        lost = part.sent_ns[mine & (part.copies == 0)]
        lost_in_all += len(lost)
        if len(lost):
            outages.append(float(lost[-1] - lost[0]) * 1e-9)
    return {
        "link": link_name,
        "affected_demands": len(affected),
        "demands_with_loss": len(outages),
        "packets_lost": lost_in_all,
        "outage_median_s": float(np.median(outages)) if outages else 0.0,
        "outage_max_s": max(outages, default=0.0),
    }
