"""What a data set holds: checksums verified, counts and quality of labels by kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gnn_model.dataset.manifest import read_manifest
from gnn_model.dataset.shards import FLOW_COUNTS, checksum, read_columns

NOISE = 0.798  # mean absolute value of a normal error with deviation 1: what a perfect prediction would be judged with
KINDS = ("topology", "arrivals", "scheduler", "routing", "sizes")


def information(folder: Path) -> dict[str, Any]:
    """Counts of a data set, the files that are missing or damaged, mean label error and samples by kind.

    ``noise_floor``: the error that a perfect prediction of the mean delay would be judged with, 0.798 times the mean
    relative standard error.  Raises ScenarioError where there is no manifest.
    """
    manifest = read_manifest(folder)
    damaged: list[str] = []
    kinds: dict[str, dict[str, int]] = {name: {} for name in KINDS}
    nodes: list[int] = []
    errors: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    flows = hops = few = 0
    columns = ("nodes", "demands", "packet_hops", "rse", *FLOW_COUNTS, *KINDS)
    for _, shard in sorted(manifest.shards.items()):
        path = folder / shard.file
        if not path.exists() or checksum(path) != shard.sha256:
            damaged.append(shard.file)
            continue
        for row in read_columns(path, columns):
            nodes.append(row["nodes"])
            flows += row["demands"]
            hops += row["packet_hops"]
            few += int(np.count_nonzero(np.array(row["delivered"]) < 100))
            errors.append(np.array(row["rse"], dtype=np.float64))
            for kind in KINDS:
                kinds[kind][row[kind]] = kinds[kind].get(row[kind], 0) + 1
    pooled = np.concatenate([*errors, np.zeros(0)])
    known = pooled[np.isfinite(pooled)]
    return {
        "folder": str(folder),
        "samples": len(nodes),
        "samples_wanted": manifest.samples,
        "seed": manifest.seed,
        "flows": flows,
        "flows_below_100_packets": few,
        "nodes": [min(nodes), max(nodes)] if nodes else None,
        "packet_hops": hops,
        "relative_standard_error_mean": float(known.mean()) if len(known) else None,
        "relative_standard_error_median": float(np.median(known)) if len(known) else None,
        "noise_floor": NOISE * float(known.mean()) if len(known) else None,
        "kinds": {kind: dict(sorted(counts.items())) for kind, counts in kinds.items()},
        "damaged": damaged,
        "recipe": manifest.recipe.to_json(),
    }


def information_table(answer: dict[str, Any]) -> str:
    """The same for people."""
    nodes = answer["nodes"]
    lines = [
        f"{answer['folder']}: {answer['samples']} of {answer['samples_wanted']} samples, seed {answer['seed']}",
        f"flows          {answer['flows']:,} ({answer['flows_below_100_packets']:,} below 100 delivered packets)",
        f"nodes          {nodes[0]} to {nodes[1]}" if nodes else "nodes          none",
        f"packet-hops    {answer['packet_hops']:,}",
    ]
    if answer["noise_floor"] is not None:
        mean, median = (100 * answer[f"relative_standard_error_{name}"] for name in ("mean", "median"))
        lines.append(
            f"label error    mean {mean:.2f} %, median {median:.2f} %; noise floor {100 * answer['noise_floor']:.2f} %"
        )
    for kind, counts in answer["kinds"].items():
        shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:12])
        more = f" and {len(counts) - 12} more" if len(counts) > 12 else ""
        lines.append(f"{kind:14} {shown}{more}")
    lines.append(f"damaged        {', '.join(answer['damaged'])}" if answer["damaged"] else "checksums      all right")
    return "\n".join(lines)
