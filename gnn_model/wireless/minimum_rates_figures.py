"""How minimum rates fare: how often they are possible, whether they are then kept, and what they cost.

``python -m gnn_model.wireless.minimum_rates_figures --out docs/wireless`` writes ``minimum_rates.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnn_model.wireless.channel import Setting, generate
from gnn_model.wireless.minimum_rates import with_minimum_rates
from gnn_model.wireless.model_file import shipped_model
from gnn_model.wireless.rates import sum_rate
from gnn_model.wireless.recommend import Method, propose

SEED = 31


@dataclass(frozen=True)
class Case:
    """``share`` of the links, drawn at random, want ``rate`` bit/s/Hz."""

    links: int
    layouts: int
    share: float
    rate: float


CASES = (
    Case(50, 50, 0.1, 0.5),
    Case(50, 50, 0.3, 0.5),
    Case(50, 50, 0.1, 2.0),
    Case(50, 50, 1.0, 0.2),
    Case(400, 5, 0.02, 0.5),
    Case(400, 5, 0.3, 0.5),
)


def measure(case: Case, method: Method) -> dict[str, Any]:
    """One row: means over the layouts."""
    random = np.random.default_rng(SEED)
    gains_of_all = generate(Setting(), case.links, case.layouts, random).gains
    equal = np.ones(case.links)
    model = shipped_model("channels")
    rows = []
    for gains in gains_of_all:
        minimum = np.where(random.uniform(size=case.links) < case.share, case.rate, 0.0)
        solver = partial(_proposals, gains, method, model)
        free = float(sum_rate(gains[None], solver(equal)).max())
        started = time.process_time()
        found = with_minimum_rates(gains, equal, minimum, solver)
        took_s = time.process_time() - started
        missed = float(found.violation.sum())
        kept = float(sum_rate(gains, found.powers)) / free
        rows.append((found.possible, missed, float(minimum.sum()), kept, took_s))
    possible = np.array([row[0] for row in rows])
    _, missed, wanted, kept, took_s = np.array(rows, dtype=float).T
    return {
        "links": case.links,
        "layouts": case.layouts,
        "share": case.share,
        "rate_bit_s_hz": case.rate,
        "method": method.value,
        "possible": float(possible.mean()),
        "missed_where_possible": float(missed[possible].sum()),
        "missed_of_wanted_where_not": float(missed[~possible].sum() / max(wanted[~possible].sum(), 1e-12)),
        "sum_rate_to_free": float(kept.mean()),
        "seconds": float(np.median(took_s)),
    }


def _proposals(gains: Any, method: Method, model: Any, weights: Any) -> Any:
    return propose(gains, weights, method, model)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description="Figures about minimum rates.")
    parser.add_argument("--out", type=Path, default=Path("docs/wireless"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = [measure(case, method) for case in CASES for method in (Method.HYBRID, Method.WMMSE)]
    out.joinpath("minimum_rates.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
