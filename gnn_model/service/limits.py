"""What one request may ask for and how much may wait, in one place for server, client and documentation."""

from __future__ import annotations

from dataclasses import dataclass

MESSAGE_BYTES = 64 * 2**20
"""Largest message in either direction."""

RETRY_HINT = "grpc-retry-pushback-ms"
"""Trailing metadata of RESOURCE_EXHAUSTED: milliseconds after which to come again (gRPC's retry pushback)."""


@dataclass(frozen=True)
class ServiceLimits:
    """Bounds of the server; a hop is one link of one path, and the work grows with the hops of all candidates.

    ``queue_hops`` may wait (a million take about 3 s on one core), ``batch_hops`` are computed at once; ``calls`` are
    open at a time.  A single call beyond ``queue_hops`` is served when nothing else waits.
    """

    content_bytes: int = 128 * 2**20  # of a scenario, unpacked
    scenarios_kept: int = 64
    scenario_bytes_kept: int = 256 * 2**20
    nodes: int = 10_000
    links: int = 100_000
    demands: int = 500_000
    candidates: int = 1024
    paths_per_demand: int = 64
    answer_values: int = 6_000_000  # numbers in an answer; 8 bytes each
    queue_hops: int = 2_000_000
    batch_hops: int = 32_000
    calls: int = 1000
    longest_wait_s: float = 120.0
    layouts: int = 64
    layout_links: int = 2000


@dataclass(frozen=True)
class ChunkLimits:
    """How a client cuts a long list of candidates into calls; far within what a server takes."""

    candidates: int = 64
    hops: int = 64_000
    values: int = 1_000_000
