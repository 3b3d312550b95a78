"""Generalisation curves: one model, trained at 50 links, over size, density, shadowing and fading.

``python -m gnn_model.wireless.curves --out docs/wireless`` evaluates what is not in ``curves.json`` yet and draws the
plots anew from it; ``--draw-only`` only draws.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gnn_model.wireless.channel import FADINGS, Setting
from gnn_model.wireless.evaluation import EvaluationSettings, evaluate_size, result_to_json
from gnn_model.wireless.model_file import shipped_model

SEED = 4711
SIZES = (10, 20, 50, 100, 200, 300, 400, 800)
DENSITIES = (10.0, 25.0, 50.0, 100.0, 200.0, 400.0)
SHADOWINGS_DB = (0.0, 4.0, 8.0, 12.0)
LAYOUTS = 100
LAYOUTS_OF_LARGE = 20
BEST_OF = 3


@dataclass(frozen=True)
class Point:
    """One point of a curve: where on the axis it stands, and what is evaluated there."""

    curve: str
    value: float | str
    settings: EvaluationSettings

    @property
    def name(self) -> str:
        return f"{self.curve} {self.value}"


def points() -> Iterable[Point]:
    """All points; sizes at constant density, the others at 50 links."""
    common = EvaluationSettings(50, LAYOUTS, SEED, BEST_OF, timed=False)
    for links in SIZES:
        layouts = LAYOUTS if links <= 100 else LAYOUTS_OF_LARGE
        yield Point("size", links, replace(common, links=links, layouts=layouts))
    for density in DENSITIES:
        yield Point("density", density, replace(common, setting=Setting(links_per_km2=density)))
    for shadowing in SHADOWINGS_DB:
        yield Point("shadowing", shadowing, replace(common, setting=Setting(shadowing_db=shadowing)))
    for fading in FADINGS:
        yield Point("fading", fading, replace(common, setting=Setting(fading=fading)))
    yield Point("fading", "none, no shadowing", replace(common, setting=Setting(fading="none", shadowing_db=0.0)))


def measure(path: Path) -> dict[str, Any]:
    """Evaluate the points that ``path`` does not have; written after each."""
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    trained = shipped_model("channels")
    for point in points():
        if point.name not in done:
            result = result_to_json(evaluate_size(point.settings, trained))
            done[point.name] = {"curve": point.curve, "value": point.value, **result}
            path.write_text(json.dumps(done, indent=1) + "\n")
            print(f"{point.name}: WCGCN {result['wcgcn_to_wmmse']:.4f}, hybrid {result['hybrid_to_wmmse']:.4f}")
    return done


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description="Generalisation of WCGCN and the hybrid.")
    parser.add_argument("--out", type=Path, default=Path("docs/wireless"))
    parser.add_argument("--draw-only", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "curves.json"
    if not options.draw_only:
        measure(path)
    from gnn_model.wireless.plots import draw_curves, draw_sizes

    draw_curves(json.loads(path.read_text()), options.out / "generalisation.svg")
    evaluation = options.out / "evaluation.json"
    if evaluation.exists():
        draw_sizes(json.loads(evaluation.read_text()), options.out / "time.svg")


if __name__ == "__main__":
    main()
