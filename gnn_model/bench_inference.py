"""How long predictions take, side by side in one run: analytic, learned by torch, learned by the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnn_model.analytic import AnalyticPredictor
from gnn_model.bench_scenarios import NETWORK_OF, candidates, mixed_scenario
from gnn_model.figure_files import save_figure
from gnn_model.gnn_predictor import GnnPredictor
from gnn_model.packet_simulator.simulator import PacketSimulator
from gnn_model.predictor import Prediction, Predictor
from gnn_model.routenet.model import RouteNet
from topology_sync.routing import Routing

BATCH = 16
REPEATS = 7
LONGEST_S = 6.0  # a measurement that has taken this long is not repeated
LARGEST_TORCH_BATCH = 100  # nodes: beyond, a batch by torch takes minutes
CUDA_BATCHES = (1, 16, 256)
MEAN_OF_NORMAL = float(np.sqrt(2 / np.pi))  # mean absolute deviation of a normal error of deviation 1
PUBLISHED = "Published for comparison: RouteNet 65 ms for one network of 50 nodes, packet simulation about 10 minutes"


@dataclass(frozen=True)
class Contender:
    """One way to predict, with this many threads."""

    name: str
    threads: int
    predictor: Predictor


def contenders(threads: Sequence[int]) -> Iterator[Contender]:
    """All ways, each with each number of threads."""
    shipped = GnnPredictor(threads=1)
    for count in threads:
        yield Contender("analytic", count, AnalyticPredictor(count))
        yield Contender("gnn, torch", count, GnnPredictor.of_model(shipped.model, engine=False))
        yield Contender("gnn, engine", count, GnnPredictor.of_model(shipped.model, threads=count))


def measure(nodes: int, threads: Sequence[int], progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Milliseconds per scenario, alone and in a batch, of every contender on one network."""
    scenario = mixed_scenario(nodes)
    batch = candidates(scenario, BATCH)
    rows = []
    for contender in contenders(threads):
        progress(f"{nodes} nodes, {contender.name}, {contender.threads} threads")
        torch.set_num_threads(contender.threads)
        single_s = _best(lambda: contender.predictor.predict(scenario))  # noqa: B023
        batch_s = None
        if nodes <= LARGEST_TORCH_BATCH or contender.name != "gnn, torch":
            batch_s = _best(lambda: contender.predictor.predict_batch(scenario, batch)) / len(batch)  # noqa: B023
        rows.append(
            {
                "nodes": nodes,
                "demands": scenario.traffic.demand_count,
                "hops": len(scenario.routing.flat.hop_link),
                "predictor": contender.name,
                "threads": contender.threads,
                "single_ms": 1e3 * single_s,
                "batch_ms": None if batch_s is None else 1e3 * batch_s,
            }
        )
    torch.set_num_threads(1)
    return rows


def first_look(nodes: int) -> float:
    """Milliseconds that the first prediction of a routing costs more: its paths become arrays, once."""
    scenario = mixed_scenario(nodes)
    seconds = []
    for _ in range(REPEATS):
        routing = Routing(scenario.routing.paths)
        started = time.perf_counter()
        _ = routing.flat
        seconds.append(time.perf_counter() - started)
    return 1e3 * min(seconds)


def agreement(nodes: int) -> dict[str, float]:
    """Largest relative difference between engine and torch over all demands, loss: absolute."""
    scenario = mixed_scenario(nodes)
    engine = GnnPredictor(threads=1)
    mine, theirs = engine.predict(scenario), GnnPredictor.of_model(engine.model, engine=False).predict(scenario)
    pairs = {name: (getattr(mine, name), getattr(theirs, name)) for name in ("delay_s", "delay_p99_s", "jitter_s")}
    found = {name: float(np.abs(one / other - 1).max()) for name, (one, other) in pairs.items()}
    return found | {"loss_ratio": float(np.abs(mine.loss_ratio - theirs.loss_ratio).max())}


def against_simulator(nodes: int, max_hops: int, seed: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """How long the packet simulator runs until its labels are as near to the truth as the model's predictions.

    A long run is taken as the truth.  Its own error e (mean over the demands, from their standard errors) falls with
    the square root of the packet-hops, so the model's error E is reached after hops * (e / E)^2.
    """
    scenario = mixed_scenario(nodes)
    progress(f"{nodes} nodes, simulating {max_hops:,} packet-hops")
    simulator = PacketSimulator(relative_error=1e-6, seed=seed, max_hops=1_000_000)
    simulator.simulate(scenario)  # compiles
    simulator = PacketSimulator(relative_error=1e-6, seed=seed, max_hops=max_hops)
    started = time.perf_counter()
    truth = simulator.simulate(scenario)
    seconds = time.perf_counter() - started
    known = np.isfinite(truth.rse) & (truth.rse > 0)
    own = float(truth.rse[known].mean()) * MEAN_OF_NORMAL
    engine = GnnPredictor(threads=1)
    predictors: dict[str, Predictor] = {"analytic": AnalyticPredictor(1), "gnn, engine": engine}
    rows = []
    for name, predictor in predictors.items():
        took_s = _best(lambda: predictor.predict(scenario))  # noqa: B023
        error = _error(predictor.predict(scenario), truth.prediction, known)
        needed = truth.packet_hops * (own / error) ** 2
        rows.append(
            {
                "predictor": name,
                "error": error,
                "predicts_ms": 1e3 * took_s,
                "simulator_s": seconds * needed / truth.packet_hops,
                "packet_hops": needed,
            }
        )
    return {
        "nodes": nodes,
        "packet_hops": truth.packet_hops,
        "seconds": seconds,
        "own_error": own,
        "demands": int(known.sum()),
        "rows": rows,
    }


def on_cuda(nodes: int, batches: Sequence[int] = CUDA_BATCHES) -> list[dict[str, Any]] | None:
    """Scenarios per second on a GPU, preparing them included, and of the network alone; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    model: RouteNet = GnnPredictor(threads=1).model.to("cuda")
    predictor = GnnPredictor.of_model(model)
    scenario = mixed_scenario(nodes)
    rows = []
    for size in batches:
        chosen = candidates(scenario, size)
        batch = predictor.prepare(scenario, chosen).to(torch.device("cuda"))

        def network() -> None:
            with torch.inference_mode():
                model(batch)  # noqa: B023
            torch.cuda.synchronize()

        network()
        network_s = _best(network)
        whole_s = _best(lambda: predictor.predict_batch(scenario, chosen))  # noqa: B023
        rows.append(
            {
                "nodes": nodes,
                "device": torch.cuda.get_device_name(),
                "batch": size,
                "scenarios_per_s": size / whole_s,
                "network_scenarios_per_s": size / network_s,
            }
        )
    return rows


def report(
    nodes: Sequence[int], threads: Sequence[int], simulate_hops: int, seed: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """All of it."""
    smallest = min(nodes)
    return {
        "machine": {"processors": len(os.sched_getaffinity(0)), "torch": torch.__version__},
        "network_of": {str(size): NETWORK_OF[size] for size in nodes},
        "speed": [row for size in nodes for row in measure(size, threads, progress)],
        "first_look_ms": {str(size): first_look(size) for size in nodes},
        "engine_against_torch": {str(smallest): agreement(smallest)},
        "simulator": [against_simulator(smallest, simulate_hops, seed, progress)] if simulate_hops else [],
        "cuda": on_cuda(smallest),
        "published": PUBLISHED,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as markdown."""
    lines = [
        "| nodes | demands | hops | predictor | threads | single, ms | batch of 16, ms each |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(figures["speed"], key=lambda row: (row["nodes"], row["predictor"], row["threads"])):
        batch = "-" if row["batch_ms"] is None else f"{row['batch_ms']:.1f}"
        lines.append(
            f"| {row['nodes']} | {row['demands']:,} | {row['hops']:,} | {row['predictor']} | {row['threads']} "
            f"| {row['single_ms']:.1f} | {batch} |"
        )
    for size, added in figures["first_look_ms"].items():
        lines.append(f"\nFirst prediction of a routing at {size} nodes: {added:.1f} ms more.")
    for size, found in figures["engine_against_torch"].items():
        differences = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        lines.append(f"\nEngine against torch at {size} nodes, largest difference: {differences}.")
    for case in figures["simulator"]:
        lines.append(
            f"\nSimulator at {case['nodes']} nodes: {case['packet_hops']:,} packet-hops in {case['seconds']:.1f} s, "
            f"own error {100 * case['own_error']:.2f} %."
        )
        lines += [
            f"{row['predictor']}: error {100 * row['error']:.2f} % in {row['predicts_ms']:.1f} ms; the simulator is "
            f"there after {row['simulator_s']:.2f} s ({row['packet_hops']:,.0f} packet-hops)."
            for row in case["rows"]
        ]
    if figures["cuda"] is None:
        lines.append("\nNo CUDA device: GPU rows skipped.")
    else:
        lines += ["\n| device | batch | scenarios/s | network alone |", "|---|---|---|---|"]
        lines += [
            f"| {row['device']} | {row['batch']} | {row['scenarios_per_s']:.0f} "
            f"| {row['network_scenarios_per_s']:.0f} |"
            for row in figures["cuda"]
        ]
    lines.append(f"\n{figures['published']}.")
    return "\n".join(lines)


def merged(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Figures of several runs (one per size, say) as one; what was measured again replaces what was there."""
    keys = ("nodes", "predictor", "threads")
    fresh = {tuple(row[key] for key in keys) for row in after["speed"]}
    kept = [row for row in before.get("speed", []) if tuple(row[key] for key in keys) not in fresh]
    result = {**before, **after, "speed": kept + after["speed"]}
    for name in ("network_of", "first_look_ms", "engine_against_torch"):
        result[name] = {**before.get(name, {}), **after[name]}
    for name in ("simulator", "cuda"):
        result[name] = after[name] or before.get(name, after[name])
    return result


def draw(figures: dict[str, Any], path: Path) -> None:
    """Time against size, SVG."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "routewright"
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    colours = {"analytic": "tab:grey", "gnn, torch": "tab:orange", "gnn, engine": "tab:blue"}
    for name, colour in colours.items():
        for threads, style in ((1, "-"), (2, "--")):
            rows = [row for row in figures["speed"] if row["predictor"] == name and row["threads"] == threads]
            rows.sort(key=lambda row: row["nodes"])
            hops = [row["hops"] for row in rows]
            axes.plot(hops, [row["single_ms"] for row in rows], style, color=colour, marker="o", markersize=4)
    for name, colour in colours.items():
        axes.plot([], [], "-", color=colour, label=name)
    axes.plot([], [], "k-", label="1 thread")
    axes.plot([], [], "k--", label="2 threads")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("hops of all paths (50, 100, 200, 300 nodes; all pairs)")
    axes.set_ylabel("ms per prediction, one scenario")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    save_figure(figure, path)
    plt.close(figure)


def _error(predicted: Prediction, truth: Prediction, known: np.ndarray[Any, Any]) -> float:
    return float(np.abs(predicted.delay_s[known] / truth.delay_s[known] - 1).mean())


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs: what the work takes when nothing else disturbs it."""
    work()
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) < LONGEST_S:
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
