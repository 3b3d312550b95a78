"""The plots of docs/wireless.md, from the JSON of ``curves`` and ``routewright wireless evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

LINES = (("wcgcn", "WCGCN alone", "tab:blue"), ("hybrid", "hybrid", "tab:green"))
AXES = {
    "size": "links (constant density)",
    "density": "links per km²",
    "shadowing": "shadowing, dB",
    "fading": "fading",
}
LOGARITHMIC = ("size", "density")
# no dates and no random ids, so that the same figures give the same file
matplotlib.rcParams["svg.hashsalt"] = "routewright"


def draw_curves(points: dict[str, Any], path: Path) -> None:
    """Ratio of the sum rate to WMMSE with 100 iterations, one panel per curve."""
    figure, panels = plt.subplots(2, 2, figsize=(10, 7), sharey=True, layout="constrained")
    for panel, (curve, label) in zip(panels.flat, AXES.items(), strict=True):
        chosen = [point for point in points.values() if point["curve"] == curve]
        for key, name, colour in LINES:
            ratios = [100.0 * point[f"{key}_to_wmmse"] for point in chosen]
            errors = [200.0 * point[f"{key}_to_wmmse_error"] for point in chosen]
            where = [point["value"] for point in chosen]
            panel.errorbar(where, ratios, errors, label=name, color=colour, marker="o", capsize=2)
        best = [100.0 * point["hybrid_to_wmmse"] / point["hybrid_to_best"] for point in chosen]
        panel.plot([point["value"] for point in chosen], best, "k:", marker=".", label="WMMSE, best of 3 × 500")
        panel.axhline(100.0, color="grey", linewidth=0.8)
        panel.set_xlabel(label)
        if curve in LOGARITHMIC:
            panel.set_xscale("log")
        panel.grid(alpha=0.3)
    for panel in panels[:, 0]:
        panel.set_ylabel("% of WMMSE-100")
    panels.flat[0].legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_sizes(evaluation: dict[str, Any], path: Path) -> None:
    """Quality against time per layout, small and large, and time against size."""
    sizes = evaluation["sizes"]
    figure, panels = plt.subplots(1, 3, figsize=(14, 4.5), layout="constrained")
    for panel, size in zip(panels, (sizes[0], sizes[-1]), strict=False):
        _quality_over_time(panel, size)
    links = [size["links"] for size in sizes]
    for key, name, style, colour in (
        ("wcgcn", "WCGCN alone", "o-", "tab:blue"),
        ("hybrid", "hybrid", "D-", "tab:green"),
        ("wmmse_full_100", "WMMSE, 100 iterations", "s--", "gold"),
        ("wmmse_full_500", "WMMSE, 500 iterations", "s--", "tab:orange"),
        ("wmmse_best", "WMMSE, best of 10 × 500", "s--", "tab:red"),
    ):
        if all(key in size["seconds_batch"] for size in sizes):
            times = [1e3 * size["seconds_batch"][key] for size in sizes]
            panels[2].plot(links, times, style, color=colour, label=name)
    panels[2].set(xscale="log", yscale="log", xlabel="links", ylabel="ms per layout, one thread, batch")
    panels[2].set_xticks(links, [str(count) for count in links])
    panels[2].minorticks_off()
    panels[2].grid(alpha=0.3)
    panels[2].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _quality_over_time(panel: Axes, size: dict[str, Any]) -> None:
    rates, times = size["sum_rates_bit_s_hz"], size["seconds_batch"]
    reference = rates["wmmse_100"]
    series = [name for name in times if name.startswith("wmmse_full_")]
    ratios = [100.0 * rates[name] / reference for name in series]
    panel.plot([1e3 * times[name] for name in series], ratios, "s--", color="tab:orange", label="WMMSE, 1 to 500")
    for name, label, marker, colour in (
        ("wmmse_best", "WMMSE, best of 10 × 500", "*", "tab:red"),
        ("wcgcn", "WCGCN alone", "o", "tab:blue"),
        ("hybrid", "hybrid", "D", "tab:green"),
    ):
        ratio = 100.0 * rates[name] / reference
        panel.plot([1e3 * times[name]], [ratio], marker, markersize=9, color=colour, label=label)
    panel.set(xscale="log", xlabel="ms per layout, one thread, batch", ylabel="% of WMMSE-100")
    panel.set_title(f"{size['links']} links")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
