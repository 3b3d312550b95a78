"""The plots and tables of docs/rl.md, by ``python -m optimizer.rl.plots``: ``curve CURVE.jsonl OUT.svg``,
``bench RESULTS.json OUT.svg`` and ``table RESULTS.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("svg")
import matplotlib.pyplot as plt

from optimizer.rl.evaluation import METHODS, summary

# no dates and no random ids, so that the same figures give the same file
matplotlib.rcParams["svg.hashsalt"] = "routewright"
SMOOTHED_OVER = 15
COLOURS = {
    "local-search": "tab:blue",
    "policy-alone": "tab:grey",
    "rank-alone": "tab:brown",
    "policy": "tab:red",
    "rank": "tab:orange",
    "random": "tab:green",
}
NAMES = {
    "local-search": "local search",
    "policy-alone": "policy alone",
    "rank-alone": "untrained ranking alone",
    "policy": "trained policy + local search",
    "rank": "untrained ranking + local search",
    "random": "random proposer + local search",
}


def draw_curve(rows: list[dict[str, float]], path: Path) -> None:
    """What is left of the violation over the iterations, in training and on other questions; and the losses."""
    figure, panels = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    iteration = np.array([row["iteration"] + 1 for row in rows])
    left = np.array([row["violation_left"] for row in rows])
    panels[0].plot(iteration, left, color="tab:blue", alpha=0.25, linewidth=0.8)
    panels[0].plot(iteration, _smooth(left), color="tab:blue", label=f"training, mean of {SMOOTHED_OVER} iterations")
    panels[0].set_ylabel("part of the violation left")
    validated = [row for row in rows if "validation_left" in row]
    where = [row["iteration"] + 1 for row in validated]
    for key, label, colour in (
        ("validation_mean_left", "mean of the episodes", "tab:orange"),
        ("validation_left", "best of the episodes", "tab:red"),
    ):
        panels[1].plot(where, [row[key] for row in validated], "o-", color=colour, label=label)
    panels[1].set_ylabel("part of the violation left, validation")
    panels[2].plot(iteration, _smooth(np.array([row["loss_entropy"] for row in rows])), label="entropy of the policy")
    panels[2].plot(
        iteration, 10 * _smooth(np.array([row["loss_divergence"] for row in rows])), label="10 x divergence per update"
    )
    panels[2].plot(iteration, 10 * _smooth(np.array([row["loss_value"] for row in rows])), label="10 x critic's loss")
    for panel in panels:
        panel.set_xlabel("iteration")
        panel.set_ylim(0, 1.15 * panel.get_ylim()[1])
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_bench(records: list[dict[str, Any]], path: Path) -> None:
    """Violated demands left over the time limit, by the predictor and by the packet simulator."""
    rows = summary(records)
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    for panel, key, title in (
        (panels[0], "violated", "judged by the analytic predictor"),
        (panels[1], "simulated_violated", "judged by the packet simulator"),
    ):
        for method in METHODS[1:]:
            mine = [row for row in rows if row["method"] == method and row[key] is not None]
            if mine:
                times = [row["time_limit_s"] for row in mine]
                panel.plot(times, [row[key] for row in mine], "o-", color=COLOURS[method], label=NAMES[method])
        panel.set(xscale="log", xlabel="time limit, s", title=title)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("violated demands left per question")
    panels[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def table_text(records: list[dict[str, Any]]) -> str:
    """The figures of a bench as a Markdown table."""
    lines = [
        "| limit s | method | trials | violated left | in the simulator | answered | maximum utilisation | changed"
        " | better / worse than search | than untrained |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in summary(records):
        simulated = "-" if row["simulated_violated"] is None else f"{row['simulated_violated']:.2f}"
        lines.append(
            f"| {row['time_limit_s']:g} | {row['method']} | {row['trials']} | {row['violated']:.2f} | {simulated}"
            f" | {row['answered']:.0%} | {row['max_utilisation']:.3f} | {row['changed']:.1f}"
            f" | {_against(row, '')} | {_against(row, 'untrained_')} |"
        )
    return "\n".join(lines)


def _against(row: dict[str, Any], prefix: str) -> str:
    better, worse, chance = (row[prefix + name] for name in ("better", "worse", "sign_test"))
    if better is None or row["method"] in ("shortest-path", "local-search"):
        return "-"
    return f"{better} / {worse} (p {chance:.2g})"


def _smooth(values: Any) -> Any:
    """Mean of the last few."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - SMOOTHED_OVER, 0)
    return (total[end] - total[start]) / (end - start)


if __name__ == "__main__":
    kind, source, *target = sys.argv[1:]
    text = Path(source).read_text("utf-8")
    if kind == "curve":
        draw_curve([json.loads(line) for line in text.splitlines()], Path(target[0]))
    elif kind == "bench":
        draw_bench(json.loads(text)["records"], Path(target[0]))
    else:
        print(table_text(json.loads(text)["records"]))
