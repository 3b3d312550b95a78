"""A scenario simulated by ns-3: its program's input, and what it measured, for checking our own packet simulator.

The program is built by ``deploy/ns3/build`` from sources of its own; nothing of our simulator is in it.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gnn_model.packet_simulator.arrays import network_of
from gnn_model.packet_simulator.statistics import BATCHES, Batches
from topology_sync.errors import UnavailableError
from topology_sync.scenario import Scenario
from topology_sync.values import ArrayValue, FloatArray, IntArray, float_array, int_array

COUNTS = 8  # columns before those of the batches
REMEDY = "on Debian: apt-get install g++ libns3-dev, then deploy/ns3/build"


@dataclass(frozen=True, eq=False)
class Ns3Measurement(ArrayValue):
    """What ns-3 has measured, [demands]; NaN without delivered packets.  ``rse`` as in ``Simulation``."""

    generated: IntArray
    dropped: IntArray
    delivered: IntArray
    delay_s: FloatArray
    delay_variance_s2: FloatArray
    delay_p99_s: FloatArray
    jitter_s: FloatArray
    loss_ratio: FloatArray
    rse: FloatArray


def default_program() -> Path:
    """Where ``deploy/ns3/build`` puts the program."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "routewright" / "ns3" / "packets"


def simulate_by_ns3(
    scenario: Scenario, until_s: float, seed: int = 1, warm_up: float = 0.05, program: Path | None = None
) -> Ns3Measurement:
    """Run ns-3 for ``until_s`` simulated seconds; packets born before the part ``warm_up`` of it are not counted.

    Raises UnavailableError where the program is not built or fails.
    """
    path = program or default_program()
    text = program_input(scenario, warm_up * until_s, until_s, seed)
    try:
        done = subprocess.run([str(path)], input=text, capture_output=True, text=True, check=False, timeout=3600)
    except OSError as error:
        raise UnavailableError(f"there is no ns-3 program at {path} ({error.strerror}); {REMEDY}") from None
    except subprocess.TimeoutExpired:
        raise UnavailableError("ns-3 took more than an hour; ask for fewer packet-hops") from None
    if done.returncode:
        raise UnavailableError(f"ns-3's program failed: {' '.join(done.stderr.split())[-300:]}")
    return measurement_of(done.stdout)


def program_input(scenario: Scenario, measured_from_s: float, until_s: float, seed: int) -> str:
    """The scenario as the program reads it (deploy/ns3/packets.cc says how)."""
    topology, traffic = scenario.topology, scenario.traffic
    quanta = network_of(scenario).quantum_bits  # a definition, not a result: DRR itself is written twice
    lines = [f"{seed} {measured_from_s!r} {until_s!r} {BATCHES}", str(topology.link_count)]
    for link in range(topology.link_count):
        scheduler = topology.schedulers[int(topology.link_source[link])]
        count = scheduler.queue_count
        weights = (*scheduler.weights, *(1.0 for _ in range(count)))[:count]
        queues = " ".join(
            f"{weight!r} {float(quantum)!r}" for weight, quantum in zip(weights, quanta[link], strict=False)
        )
        lines.append(
            f"{float(topology.capacity_bps[link])!r} {float(topology.delay_s[link])!r} {scheduler.discipline} "
            f"{int(topology.queue_packets[link])} {count} {queues}"
        )
    lines.append(str(traffic.demand_count))
    for demand, paths in enumerate(scenario.routing.paths):
        arrivals, size = traffic.arrivals[demand], traffic.packet_size[demand]
        mean = float(traffic.packet_bits_mean[demand])
        sizes: tuple[float, ...] = (mean,) if size.model == "constant" else ()
        chances: tuple[float, ...] = (1.0,) if size.model == "constant" else ()
        if size.model in ("bimodal", "discrete"):
            support, chances = size.support
            scale = mean / float(np.dot(support, chances))
            sizes = tuple(value * scale for value in support)
        support_text = " ".join(f"{value!r} {chance!r}" for value, chance in zip(sizes, chances, strict=True))
        lines.append(
            f"{arrivals.model} {float(traffic.packets_per_s[demand])!r} {arrivals.on_s!r} {arrivals.off_s!r} "
            f"{arrivals.correlation!r} {arrivals.sigma!r} {mean!r} {len(sizes)} {support_text}"
        )
        lines.append(str(len(paths)))
        name = traffic.class_name(demand)
        for path in paths:
            hops = " ".join(
                f"{link} {topology.schedulers[int(topology.link_source[link])].queue_of(name)}" for link in path.links
            )
            lines.append(f"{path.share!r} {len(path.links)} {hops}")
    return "\n".join(lines) + "\n"


def measurement_of(output: str) -> Ns3Measurement:
    """What the program printed, one line per flow."""
    table = np.array([[float(word) for word in line.split()] for line in output.splitlines()])
    generated, dropped, delivered, total, squares, variation, variations, p99 = table[:, :COUNTS].T
    batches = Batches(len(table))
    for batch in range(BATCHES):
        batches.add(table[:, COUNTS + 2 * batch], table[:, COUNTS + 2 * batch + 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / delivered
        return Ns3Measurement(
            generated=int_array(generated),
            dropped=int_array(dropped),
            delivered=int_array(delivered),
            delay_s=float_array(mean),
            delay_variance_s2=float_array(squares / delivered - mean**2),
            delay_p99_s=float_array(np.where(delivered > 0, p99, np.nan)),
            jitter_s=float_array(variation / variations),
            loss_ratio=float_array(dropped / (dropped + delivered)),
            rse=float_array(batches.relative_error(np.zeros(len(table)))),
        )
