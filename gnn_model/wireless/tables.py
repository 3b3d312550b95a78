"""The tables of docs/wireless.md, from the JSON files beside it: ``python -m gnn_model.wireless.tables``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SIMPLE = ("full_power", "greedy", "fplinq")
SERIES = ("wmmse_full_1", "wmmse_full_2", "wmmse_full_5", "wmmse_full_10", "wmmse_full_100", "wmmse_full_500")


def quality(evaluation: dict[str, Any]) -> str:
    """Sum rates relative to WMMSE-100 and to the best of many starts."""
    head = ("links", "layouts", "WMMSE-100, bit/s/Hz", "WCGCN", "hybrid", "WCGCN to best", "hybrid to best")
    rows = []
    for size in evaluation["sizes"]:
        ratios = [
            f"{_percent(size[f'{name}_to_wmmse'])} ± {100 * size[f'{name}_to_wmmse_error']:.2f}"
            for name in ("wcgcn", "hybrid")
        ]
        best = [_percent(size[f"{name}_to_best"]) for name in ("wcgcn", "hybrid")]
        reference = f"{size['sum_rates_bit_s_hz']['wmmse_100']:.1f}"
        rows.append([str(size["links"]), str(size["layouts"]), reference, *ratios, *best])
    return _table(head, rows)


def others(evaluation: dict[str, Any]) -> str:
    """The other methods relative to WMMSE-100."""
    names = [name for name in (*SIMPLE, *SERIES, "wmmse_best") if name in evaluation["sizes"][0]["sum_rates_bit_s_hz"]]
    rows = []
    for name in names:
        rates = [size["sum_rates_bit_s_hz"] for size in evaluation["sizes"]]
        rows.append([name, *(_percent(rate[name] / rate["wmmse_100"]) for rate in rates)])
    return _table(("method", *(str(size["links"]) for size in evaluation["sizes"])), rows)


def times(evaluation: dict[str, Any], key: str) -> str:
    """Milliseconds per layout."""
    names = ("wcgcn", "hybrid", *SERIES, "wmmse_best")
    rows = [
        [name, *(f"{1e3 * size[key][name]:.3f}" for size in evaluation["sizes"])]
        for name in names
        if name in evaluation["sizes"][0][key]
    ]
    return _table(("method", *(str(size["links"]) for size in evaluation["sizes"])), rows)


def equal_quality(evaluation: dict[str, Any]) -> str:
    """The fastest WMMSE at least as good as the model, and how much longer it takes."""
    head = ("links", "model", "ms", "fastest WMMSE as good", "its ms", "ratio")
    rows = []
    for size in evaluation["sizes"]:
        for name, found in size["wmmse_of_equal_quality"].items():
            own = 1e3 * size["seconds_batch"][name]
            if found is None:
                rows.append([str(size["links"]), name, f"{own:.3f}", "none of those tried", "", ""])
            else:
                other = 1e3 * found["batch"]
                rows.append([str(size["links"]), name, f"{own:.3f}", found["by"], f"{other:.3f}", f"{other / own:.1f}"])
    return _table(head, rows)


def curves(points: dict[str, Any]) -> str:
    """The points of the generalisation curves."""
    head = ("curve", "value", "layouts", "WCGCN", "hybrid", "hybrid to best of 3")
    return _table(
        head,
        (
            [
                point["curve"],
                str(point["value"]),
                str(point["layouts"]),
                _percent(point["wcgcn_to_wmmse"]),
                _percent(point["hybrid_to_wmmse"]),
                _percent(point["hybrid_to_best"]),
            ]
            for point in points.values()
        ),
    )


def ablation(variants: dict[str, Any]) -> str:
    """What each part brings."""
    head = ("variant", "WCGCN, 50", "hybrid, 50", "WCGCN, 400", "hybrid, 400", "parameters")
    rows = [
        [
            name,
            *(_percent(entry[size][method]) for size in ("50", "400") for method in ("wcgcn", "hybrid")),
            str(entry["parameters"]),
        ]
        for name, entry in variants.items()
    ]
    return _table(head, rows)


def minimum_rates(rows: list[dict[str, Any]]) -> str:
    """Layouts with minimum rates."""
    head = (
        "links",
        "that want",
        "bit/s/Hz each",
        "by",
        "possible",
        "then missed",
        "else missed",
        "sum rate kept",
        "ms",
    )
    return _table(
        head,
        (
            [
                str(row["links"]),
                f"{100 * row['share']:.0f} %",
                str(row["rate_bit_s_hz"]),
                row["method"],
                f"{100 * row['possible']:.0f} %",
                f"{row['missed_where_possible']:g}" if row["possible"] > 0.0 else "",
                _percent(row["missed_of_wanted_where_not"]) if row["possible"] < 1.0 else "",
                _percent(row["sum_rate_to_free"]),
                f"{1e3 * row['seconds']:.0f}",
            ]
            for row in rows
        ),
    )


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{100.0 * ratio:.2f} %"


def _table(head: Iterable[str], rows: Iterable[list[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def all_tables(directory: Path) -> dict[str, str]:
    """Every table for which there is a file in ``directory``, by name."""

    def told(name: str) -> Any:
        path = directory / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    tables: dict[str, str] = {}
    for name in ("evaluation", "weighted", "distances"):
        if found := told(name):
            tables |= {f"{name} quality": quality(found), f"{name} others": others(found)}
            if name == "evaluation":
                tables["times batch"] = times(found, "seconds_batch")
                tables["times single"] = times(found, "seconds_single")
                tables["equal quality"] = equal_quality(found)
    for name, draw in (("curves", curves), ("ablation", ablation), ("minimum_rates", minimum_rates)):
        if found := told(name):
            tables[name] = draw(found)
    return tables


def filled(document: str, tables: dict[str, str]) -> str:
    """``document`` with each table put between its ``<!-- table NAME -->`` and ``<!-- end -->``."""
    for name, table in tables.items():
        start, end = f"<!-- table {name} -->\n", "<!-- end -->"
        before, found, rest = document.partition(start)
        if found:
            document = before + start + table + end + rest.partition(end)[2]
    return document


def main() -> None:
    """Put the tables into the document."""
    parser = argparse.ArgumentParser(description="Tables of docs/wireless.md.")
    parser.add_argument("--from", dest="directory", type=Path, default=Path("docs/wireless"))
    parser.add_argument("--into", type=Path, default=Path("docs/wireless.md"))
    options = parser.parse_args()
    options.into.write_text(filled(options.into.read_text(), all_tables(options.directory)))


if __name__ == "__main__":
    main()
