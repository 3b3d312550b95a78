"""The public data that some tests read: ../shared/benchmarks, or the folder that ROUTEWRIGHT_BENCHMARKS names."""

from __future__ import annotations

import csv
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

BENCHMARKS = Path(os.environ.get("ROUTEWRIGHT_BENCHMARKS") or Path(__file__).parents[2] / "shared" / "benchmarks")
ZOO = "repetita/2016TopologyZooUCL_unary"


def unpack_zoo(names: Iterable[str], folder: Path) -> dict[str, float]:
    """Put REPETITA's graphs and first demands of these networks under ``folder``/``ZOO``; optimum of every network.

    The published optimum is of the maximum utilisation where demands may be split.  Skips the test without the data.
    """
    if not (BENCHMARKS / "repetita.tar.xz").is_file():
        pytest.skip("the REPETITA instances are not here; ROUTEWRIGHT_BENCHMARKS names their folder")
    members = {f"{ZOO}/{name}{end}" for name in names for end in (".graph", ".0000.demands")}
    with tarfile.open(BENCHMARKS / "repetita.tar.xz") as archive:
        for member in archive:
            if member.name in members:
                archive.extract(member, folder, filter="data")
                members.discard(member.name)
            if not members:
                break
    with (BENCHMARKS / "reference_unary_TM0000.csv").open() as file:
        return {row["topology"]: float(row["lp_opt_mlu"]) for row in csv.DictReader(file)}
