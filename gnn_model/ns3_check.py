"""Our packet simulator beside ns-3: the table of ``routewright bench ns3``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gnn_model.bench_analytic import Case, case_cells
from gnn_model.ns3_program import Ns3Measurement, simulate_by_ns3
from gnn_model.packet_simulator.simulator import PacketSimulator, Simulation
from topology_sync.scenario import Scenario

NETWORKS = ("nobel-us", "nobel-germany", "polska")
ENOUGH_PACKETS = 400  # 20 in each batch: below this the standard error is itself a guess
OURS_LONGER = 5  # our run has so many times the packets of ns-3's
MEAN_ABSOLUTE_NORMAL = float(np.sqrt(2 / np.pi))


def cases(networks: tuple[str, ...] = NETWORKS) -> Iterator[Case]:
    """The rows of the table, in order."""
    for network in networks:
        yield Case(network, 0.9)
        yield Case(network, 1.1)
        yield Case(network, 0.9, arrivals="onoff")
        yield Case(network, 0.9, arrivals="autocorrelated")
        yield Case(network, 0.9, size="bimodal")
        yield Case(network, 0.9, discipline="strict")
        yield Case(network, 0.9, discipline="drr")
        yield Case(network, 0.9, discipline="wfq")


def run_case(case: Case, hops: float, seed: int = 1, program: Path | None = None) -> dict[str, Any]:
    """Simulate a case by ns-3 (about ``hops`` packet-hops) and by our simulator, and compare."""
    return {"case": dict(vars(case))} | compare_runs(case.scenario(), hops, seed, program)


def compare_runs(scenario: Scenario, hops: float, seed: int = 1, program: Path | None = None) -> dict[str, Any]:
    """Both simulations of one scenario and their differences, see :func:`compare`."""
    flat = scenario.routing.flat
    rate = scenario.traffic.packets_per_s[flat.path_demand] * flat.share
    hops_per_s = float((rate * np.diff(flat.hop_pointer)).sum())
    theirs = simulate_by_ns3(scenario, hops / hops_per_s, seed, program=program)
    longer = PacketSimulator(relative_error=1e-6, seed=seed, max_hops=int(OURS_LONGER * hops))
    return compare(longer.simulate(scenario), theirs)


def compare(ours: Simulation, theirs: Ns3Measurement) -> dict[str, Any]:
    """Differences over the demands with enough packets.

    ``delay_mre``: mean relative difference of the mean delays; ``expected_mre``: what the standard errors of both runs
    let expect of two equal simulators; ``z_mean`` and ``z_std``: of differences over their standard errors (0 and
    about 1 for equal simulators); ``z_largest``: largest absolute one.  Loss in lost over sent packets of all demands.
    """
    known = theirs.delivered >= ENOUGH_PACKETS
    truth = ours.prediction
    relative = (truth.delay_s / theirs.delay_s - 1)[known]
    error = np.hypot(ours.rse, theirs.rse)[known]
    z = relative / error

    def mre(mine: Any, other: Any) -> float:
        return float(np.mean(np.abs(mine[known] / other[known] - 1)))

    return {
        "demands": int(known.sum()),
        "packets": int(theirs.delivered.sum()),
        "delay_mre": float(np.mean(np.abs(relative))),
        "expected_mre": MEAN_ABSOLUTE_NORMAL * float(np.mean(error)),
        "z_mean": float(z.mean()),
        "z_std": float(z.std()),
        "z_largest": float(np.abs(z).max()),
        "variance_mre": mre(ours.delay_variance_s2, theirs.delay_variance_s2),
        "p99_mre": mre(truth.delay_p99_s, theirs.delay_p99_s),
        "jitter_mre": mre(truth.jitter_s, theirs.jitter_s),
        "loss_ratio": float(ours.dropped.sum() / max(ours.generated.sum(), 1)),
        "loss_ratio_ns3": float(theirs.dropped.sum() / max(theirs.generated.sum(), 1)),
    }


COLUMNS = (
    *("network", "queues", "arrivals", "sizes", "load", "demands"),
    *("mean delay MRE %", "expected %", "z mean", "z std", "variance %", "p99 %", "jitter %", "loss %", "of ns-3 %"),
)
HEAD = "| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|"


def line(row: dict[str, Any]) -> str:
    """One row of the markdown table."""
    cells = [
        *case_cells(row["case"]),
        str(row["demands"]),
        *(f"{100 * row[name]:.2f}" for name in ("delay_mre", "expected_mre")),
        f"{row['z_mean']:+.2f}",
        f"{row['z_std']:.2f}",
        *(f"{100 * row[name]:.2f}" for name in ("variance_mre", "p99_mre", "jitter_mre")),
        *(f"{100 * row[name]:.3f}" for name in ("loss_ratio", "loss_ratio_ns3")),
    ]
    return "| " + " | ".join(cells) + " |"
