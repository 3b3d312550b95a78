"""How accuracy holds on sets of networks never trained on: one row per set, and the curve over the size of networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gnn_model.dataset.manifest import read_manifest
from gnn_model.dataset.reader import find_datasets, iterate_dataset
from gnn_model.dataset.shards import StoredSample
from gnn_model.evaluation import LabelledScenario, evaluate
from gnn_model.figure_files import save_figure
from gnn_model.predictor import Predictor
from topology_sync.errors import ScenarioError

FIGURES = ("delay_mape", "p99_mape", "jitter_mape", "loss_mae")


def judge_sets(
    root: Path, predictor: Predictor, baseline: Predictor, by: str | None = None
) -> Iterator[dict[str, Any]]:
    """Figures of every data set at or below ``root``, as :func:`gnn_model.evaluation.evaluate` gives them.

    Each row also has ``set`` (its place below ``root``) and ``nodes`` (the mean size of its networks).  With ``by``
    (one of :data:`gnn_model.dataset.information.KINDS`) there is a row for each kind of samples of all sets instead.
    Raises ScenarioError where there is no set.
    """
    folders = [folder for folder in find_datasets(root) if read_manifest(folder).shards]
    if not folders:
        raise ScenarioError(str(root), "holds no data set", "make one with `routewright dataset generate`")
    if by is not None:
        samples = [sample for folder in folders for sample in iterate_dataset(folder)]
        for kind in sorted({sample.about[by] for sample in samples}):
            yield _row(kind, (sample for sample in samples if sample.about[by] == kind), predictor, baseline)
        return
    for folder in folders:
        name = str(folder.relative_to(root)) if folder != root else folder.name
        yield _row(name, iterate_dataset(folder), predictor, baseline)


def _row(name: str, samples: Iterable[StoredSample], predictor: Predictor, baseline: Predictor) -> dict[str, Any]:
    nodes: list[int] = []

    def labelled() -> Iterator[LabelledScenario]:
        for sample in samples:
            nodes.append(sample.scenario.topology.node_count)
            yield LabelledScenario.of_simulated(sample)

    figures = evaluate(labelled(), predictor, baseline)
    return {"set": name, "nodes": sum(nodes) / len(nodes), **figures}


def accuracy_table(rows: Sequence[dict[str, Any]], predictor: str) -> str:
    """Rows as text: the predictor's figure, and the analytic one in brackets; loss in percentage points."""
    heads = ("delay %", "p99 %", "jitter %", "loss points")
    lines = [f"{'set':16} {'nodes':>5} {'flows':>7} {'noise %':>8}  " + "  ".join(f"{head:>15}" for head in heads)]
    for row in rows:
        cells = []
        for name in FIGURES:
            scale = 100 if name == "loss_mae" else 1
            values = [None if part.get(name) is None else scale * part[name] for part in (row, row["baseline"])]
            cells.append("             -" if None in values else f"{values[0]:6.2f} ({values[1]:6.2f})")
        noise = row.get("noise_floor")
        lines.append(
            f"{row['set']:16} {row['nodes']:5.0f} {row['flows']:7} {noise if noise is not None else 0:8.2f}  "
            + "  ".join(f"{cell:>15}" for cell in cells)
        )
    lines.append(f"{predictor} (analytic); noise: what a perfect prediction of the mean delay would be judged with")
    return "\n".join(lines)


def plot_sizes(rows: Sequence[dict[str, Any]], predictor: str, path: Path, trained_up_to: int | None = None) -> None:
    """Error of delay and 99th percentile over the number of nodes, beside the analytic predictor, as SVG or PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "routewright"
    ordered = sorted(rows, key=lambda row: float(row["nodes"]))
    sizes = [row["nodes"] for row in ordered]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True)
    for axis, name, title in ((axes[0], "delay_mape", "mean delay"), (axes[1], "p99_mape", "99th percentile")):
        axis.plot(sizes, [row[name] for row in ordered], "o-", color="#1f5fa8", label=predictor)
        axis.plot(sizes, [row["baseline"][name] for row in ordered], "s--", color="#b0522a", label="analytic")
        if name == "delay_mape":
            floor = [row.get("noise_floor") or 0.0 for row in ordered]
            axis.plot(sizes, floor, ":", color="0.45", label="noise of the labels")
        if trained_up_to is not None:
            axis.axvspan(min(sizes) * 0.9, trained_up_to, color="0.93", zorder=0, label="sizes trained on")
        axis.set_xscale("log")
        axis.set_xticks(sizes, [f"{size:.0f}" for size in sizes], minor=False)
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_xlabel("nodes")
        axis.set_ylabel("mean absolute relative error, %")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(facecolor="white", framealpha=1, edgecolor="none", fontsize=8)  # shows the grey of sizes trained on
    figure.tight_layout()
    save_figure(figure, path, dpi=120)
    plt.close(figure)
