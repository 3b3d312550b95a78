"""Analytic predictor beside the packet simulator: ``python -m gnn_model.bench_analytic [--json]``.

Prints the table of docs/analytic.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gnn_model.analytic import AnalyticPredictor
from gnn_model.packet_simulator.simulator import PacketSimulator, Simulation
from gnn_model.predictor import Prediction
from topology_sync.routing import Routing
from topology_sync.scenario import Scenario
from topology_sync.sources import load_scenario
from topology_sync.topology import DISCIPLINES, Discipline, Scheduler
from topology_sync.traffic import ARRIVAL_MODELS, ArrivalModel, Arrivals, PacketSize, SizeModel, TrafficMatrix
from topology_sync.values import FloatArray, float_array, int_array

NETWORKS = ("nobel-us", "nobel-germany")
SIZES: tuple[SizeModel, ...] = ("exponential", "constant")
CLASSES = ("voice", "video", "data")
CLASS_SHARES = (0.1, 0.3, 0.6)
WEIGHTS = (6.0, 3.0, 1.0)
PACKET_BITS = 8000.0
ENOUGH_PACKETS = 2000  # below this a simulated 99th percentile is noise
MEASURES = ("mean", "p99", "jitter")


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    network: str
    max_utilisation: float
    size: SizeModel = "exponential"
    discipline: Discipline = "fifo"
    arrivals: ArrivalModel = "poisson"

    def scenario(self) -> Scenario:
        """The network at this load; with schedulers every demand is split into three classes."""
        source = f"topohub:sndlib/{self.network}?max_utilisation={self.max_utilisation}&packet_bits={PACKET_BITS}"
        plain = load_scenario(source)
        classes = CLASSES if self.discipline != "fifo" else ("default",)
        shares = CLASS_SHARES if self.discipline != "fifo" else (1.0,)
        queues = tuple((name, queue) for queue, name in enumerate(classes))
        scheduler = Scheduler(self.discipline, WEIGHTS[: len(classes)], queues)
        topology = replace(plain.topology, schedulers=(scheduler,) * plain.topology.node_count)
        old, count = plain.traffic, len(classes)
        rate = np.outer(old.rate_bps, shares).reshape(-1)
        # On and off for as long as 50 packets take on average: bursts that queues feel.
        period_s = 50 * PACKET_BITS * len(rate) / max(float(rate.sum()), 1.0)
        traffic = TrafficMatrix(
            class_names=classes,
            source=int_array(np.repeat(old.source, count)),
            target=int_array(np.repeat(old.target, count)),
            traffic_class=int_array(np.tile(np.arange(count), old.demand_count)),
            rate_bps=float_array(rate),
            packet_bits_mean=float_array(np.full(len(rate), PACKET_BITS)),
            packet_size=(PacketSize(self.size),) * len(rate),
            arrivals=(Arrivals(self.arrivals, period_s, period_s),) * len(rate),
        )
        routing = Routing(tuple(paths for paths in plain.routing.paths for _ in classes))
        return Scenario(f"{self.network} {self.max_utilisation:g}", topology, traffic, routing)


def cases() -> Iterator[Case]:
    """The rows of the table, in order."""
    for network in NETWORKS:
        for size in SIZES:
            for discipline in DISCIPLINES[:2]:
                for load in (0.6, 0.9, 1.1):
                    yield Case(network, load, size, discipline)
    for discipline in DISCIPLINES[2:]:
        for load in (0.6, 0.9, 1.1):
            yield Case("nobel-us", load, "exponential", discipline)
    for arrivals in ARRIVAL_MODELS[1:]:
        yield Case("nobel-us", 0.9, "exponential", "fifo", arrivals)
    yield Case("germany50", 0.9)


def compare(predicted: Prediction, simulated: Simulation) -> dict[str, Any]:
    """Relative errors over the demands with enough packets (median, 90th percentile), mean absolute error of loss."""
    known = simulated.delivered >= ENOUGH_PACKETS
    truth = simulated.prediction
    row: dict[str, Any] = {"demands": int(known.sum()), "noise": float(np.median(simulated.rse[known]))}
    pairs: dict[str, tuple[FloatArray, FloatArray]] = {
        "mean": (predicted.delay_s, truth.delay_s),
        "p99": (predicted.delay_p99_s, truth.delay_p99_s),
        "jitter": (predicted.jitter_s, truth.jitter_s),
    }
    for name, (guess, real) in pairs.items():
        signed = guess[known] / real[known] - 1
        row[name] = {
            "median": float(np.median(np.abs(signed))),
            "p90": float(np.quantile(np.abs(signed), 0.9)),
            "bias": float(np.median(signed)),
        }
    sent = simulated.generated >= ENOUGH_PACKETS
    row["loss_mae"] = float(np.mean(np.abs(predicted.loss_ratio[sent] - truth.loss_ratio[sent])))
    row["loss_mean"] = float(np.mean(truth.loss_ratio[sent]))
    return row


def run(case: Case, max_hops: int, seed: int) -> dict[str, Any]:
    """Predict and simulate one case."""
    scenario = case.scenario()
    predictor = AnalyticPredictor()
    predictor.predict(scenario)
    started = time.perf_counter()
    predicted = predictor.predict(scenario)
    analytic_s = time.perf_counter() - started
    started = time.perf_counter()
    simulated = PacketSimulator(relative_error=0.003, seed=seed, max_hops=max_hops).simulate(scenario)
    row = compare(predicted, simulated)
    row |= {"analytic_s": analytic_s, "simulator_s": time.perf_counter() - started}
    return {"case": vars(case) | {"packet_hops": simulated.packet_hops}, **row}


def case_cells(case: dict[str, Any]) -> list[str]:
    """What a table says of a case: network, discipline, arrivals, sizes and load."""
    return [*(case[name] for name in ("network", "discipline", "arrivals", "size")), f"{case['max_utilisation']:g}"]


def line(row: dict[str, Any]) -> str:
    """One row of the markdown table."""
    errors = [
        f"{row[name]['median'] * 100:.1f} ({row[name]['p90'] * 100:.0f}, {row[name]['bias'] * 100:+.1f})"
        for name in MEASURES
    ]
    cells = [
        *case_cells(row["case"]),
        *errors,
        f"{row['loss_mae'] * 100:.3f} of {row['loss_mean'] * 100:.3f}",
        f"{row['noise'] * 100:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = """\
| network | queues | arrivals | sizes | load | mean delay % | p99 % | jitter % | loss, points | noise % |
|---|---|---|---|---|---|---|---|---|---|"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m gnn_model.bench_analytic", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--max-hops", type=int, default=60_000_000, help="packet-hops per case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only rows whose text contains this, such as 'fifo poisson'")
    options = parser.parse_args(arguments)
    if not options.json:
        print(HEAD)
    for case in cases():
        text = " ".join(str(value) for value in vars(case).values())
        if any(word not in text for word in options.only.split()):
            continue
        row = run(case, options.max_hops, options.seed)
        print(json.dumps(row) if options.json else line(row), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
