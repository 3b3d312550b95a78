"""Series that nobody measured: daily cycles, noise and bursts over a gravity matrix, drawn from a seed.

    rate_d(k) = gravity_d * day_s(k) * day_t(k) * noise_d(k) * burst_d(k)

* gravity: sizes of nodes and a factor of every pair are log-normal.
* day: 1 + DAY_SWING sin(2 pi k / intervals_per_day + phase), the phase of every node drawn within two hours.
* noise: log-normal and autocorrelated from interval to interval; how much differs from pair to pair, as measured ones
  do (few pairs are steady, many are not).
* burst: a pair now and then sends 2 to 10 times as much (Pareto) for one to six intervals.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from topology_sync.errors import InputError
from topology_sync.topology import Topology
from topology_sync.values import FloatArray

DAY_SWING = 0.3  # of either end, so that pairs swing by 1.3^2 / 0.7^2 = 3.4 from night to day
MEMORY = 0.7
NOISE = (0.05, 0.4)
BURSTS_PER_DAY = 0.3
LARGEST_BURST = 10.0
MEAN_BPS_PER_CAPACITY = 0.02  # of the mean link; what the ratio to the optimum is does not depend on it


def draw_matrices(topology: Topology, intervals: int, seed: int, intervals_per_day: int = 96) -> FloatArray:
    """Rates in bit/s, [intervals, nodes, nodes]."""
    random = np.random.default_rng([seed, topology.node_count])
    nodes = topology.node_count
    size = random.lognormal(0.0, 0.8, nodes)
    gravity = np.outer(size, size) * random.lognormal(0.0, 0.5, (nodes, nodes))
    np.fill_diagonal(gravity, 0.0)
    gravity *= MEAN_BPS_PER_CAPACITY * topology.capacity_bps.mean() / max(float(gravity.mean()), 1e-300)
    phase = random.uniform(-np.pi / 6, np.pi / 6, nodes)
    deviation = random.uniform(*NOISE, (nodes, nodes))
    level = random.normal(size=(nodes, nodes))
    burst, left = np.ones((nodes, nodes)), np.zeros((nodes, nodes), dtype=np.int64)
    matrices: FloatArray = np.empty((intervals, nodes, nodes))
    for interval in range(intervals):
        day = 1.0 + DAY_SWING * np.sin(2.0 * np.pi * interval / intervals_per_day + phase)
        level = MEMORY * level + np.sqrt(1.0 - MEMORY**2) * random.normal(size=(nodes, nodes))
        left -= 1
        burst[left <= 0] = 1.0
        starts = (left <= 0) & (random.random((nodes, nodes)) < BURSTS_PER_DAY / intervals_per_day)
        burst[starts] = np.minimum(2.0 * (1.0 + random.pareto(2.0, int(starts.sum()))), LARGEST_BURST)
        left[starts] = random.integers(1, 7, int(starts.sum()))
        noise = np.exp(deviation * level - 0.5 * deviation**2)
        matrices[interval] = gravity * np.outer(day, day) * noise * burst
    return matrices


def write_series(topology: Topology, matrices: FloatArray, directory: Path, name: str) -> None:
    """The form that ``recorded_series`` reads.  Raises InputError where it cannot be written."""
    network = {
        "directed": True,
        "nodes": [{"id": node} for node in topology.node_names],
        "links": [
            {
                "source": topology.node_names[int(topology.link_source[link])],
                "target": topology.node_names[int(topology.link_target[link])],
                "capacity": float(topology.capacity_bps[link]),
            }
            for link in range(topology.link_count)
        ],
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "network.json").write_text(json.dumps(network, indent=1) + "\n")
        with (directory / f"{name}.hist").open("w") as file:
            np.savetxt(file, matrices.reshape(len(matrices), -1), fmt="%.6g")
    except OSError as error:
        raise InputError(str(directory), f"cannot be written ({error.strerror})", "choose another folder") from None
