"""Our packet simulator against ns-3, whose program is our own but shares no line with the simulator."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from gnn_model.bench_analytic import Case
from gnn_model.ns3_check import compare_runs
from gnn_model.ns3_program import default_program, measurement_of, program_input, simulate_by_ns3
from gnn_model.packet_simulator.statistics import BATCHES
from topology_sync.errors import UnavailableError
from topology_sync.routing import PathShare, Routing
from topology_sync.scenario import Scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Arrivals, Demand, PacketSize, TrafficMatrix

BUILD = Path(__file__).parents[2] / "deploy" / "ns3" / "build"


@pytest.fixture(scope="module")
def program() -> Path:
    path = default_program()
    done = subprocess.run([str(BUILD), str(path)], capture_output=True, text=True, check=False, timeout=300)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("discipline", ["fifo", "strict", "drr", "wfq"])
def test_every_scheduler_delays_each_demand_as_in_ns3(program: Path, discipline: str) -> None:
    row = compare_runs(Case("nobel-us", 0.9, discipline=discipline).scenario(), 5e5, 1, program)  # type: ignore[arg-type]
    assert row["demands"] > 80
    assert row["delay_mre"] < 1.25 * row["expected_mre"]
    assert abs(row["z_mean"]) < 0.5
    assert 0.75 < row["z_std"] < 1.3


def split_with_bursts() -> Scenario:
    """Two ways (of the same propagation delay), bursts, sizes of all kinds: what the other rows have not."""
    links = [Link("a", "b", 1e6, 0.003, 8), Link("b", "c", 2e6, 0.001, 8), Link("a", "c", 5e5, 0.004, 8)]
    topology = Topology.from_links(["a", "b", "c"], links)
    bursts = Arrivals("onoff", on_s=0.05, off_s=0.05)
    demands = [
        Demand("a", "c", 6e5, "c0", 1000.0, PacketSize("bimodal"), bursts),
        Demand("a", "b", 3e5, "c1", 1000.0, PacketSize("constant"), Arrivals("modulated")),
        Demand("b", "c", 9e5, "c1", 800.0, PacketSize("discrete", (1, 3), (0.5, 0.5)), Arrivals("autocorrelated")),
    ]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index)
    split = (PathShare((0, 1), 0.7), PathShare((2,), 0.3))
    return Scenario("split", topology, traffic, Routing((split, (PathShare((0,)),), (PathShare((1,)),))))


def test_splits_bursts_and_losses_agree(program: Path) -> None:
    row = compare_runs(split_with_bursts(), 6e5, 2, program)
    assert row["z_largest"] < 4
    assert row["delay_mre"] < 0.03
    assert row["jitter_mre"] < 0.02
    assert row["p99_mre"] < 0.05
    assert row["loss_ratio"] == pytest.approx(row["loss_ratio_ns3"], rel=0.06)


def test_the_input_says_the_whole_scenario() -> None:
    lines = program_input(split_with_bursts(), 1.0, 20.0, 3).splitlines()
    assert lines[0] == f"3 1.0 20.0 {BATCHES}"
    assert lines[2].split()[:5] == ["1000000.0", "0.003", "fifo", "8", "1"]
    assert lines[6].split() == [
        "onoff",
        "600.0",
        "0.05",
        "0.05",
        "0.9",
        "0.5",
        "1000.0",
        "2",
        "296.0",
        "0.5",
        "1704.0",
        "0.5",
    ]
    assert lines[8] == "0.7 2 0 0 1 0"


def test_the_output_is_taken_apart() -> None:
    batches = " ".join("2 0.5" for _ in range(BATCHES))
    found = measurement_of(f"44 4 40 10.0 3.0 2.0 20 0.9 {batches}\n3 3 0 0 0 0 0 0 {' '.join(['0 0'] * BATCHES)}\n")
    np.testing.assert_allclose(found.delay_s, [0.25, np.nan])
    np.testing.assert_allclose(found.loss_ratio, [4 / 44, 1.0])
    np.testing.assert_allclose(found.jitter_s, [0.1, np.nan])
    assert found.delay_variance_s2[0] == pytest.approx(3 / 40 - 0.0625)


def test_a_program_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="libns3-dev"):
        simulate_by_ns3(split_with_bursts(), 1.0, program=tmp_path / "none")
