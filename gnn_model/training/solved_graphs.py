"""The graphs of data sets, solved once and kept in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from gnn_model.datanet import RateSource, find_directories, iterate_samples
from gnn_model.training.labelled import LabelledGraph, load
from topology_sync.errors import InputError


def solved_graphs(
    data: Iterable[Path], folder: Path, rate: RateSource, report: Callable[[str], None]
) -> list[LabelledGraph]:
    """Graphs of datanet directories and data sets of one's own, solved into ``folder`` where that holds none.

    ``report`` is told how many are done.  Raises InputError where several processes would have to make them.
    """
    if not any(folder.glob("*.npz")):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError(str(folder), "holds no solved graphs", "let one process make them first")
        _solve(data, folder, rate, report)
    return load(folder)


def _solve(data: Iterable[Path], folder: Path, rate: RateSource, report: Callable[[str], None]) -> None:
    from gnn_model.dataset.reader import find_datasets, iterate_dataset
    from gnn_model.training.labelled import label_datanet, label_simulated, store

    done = 0
    for root in data:
        own = find_datasets(root)
        for directory in own:
            for _ in store((label_simulated(sample, directory.name) for sample in iterate_dataset(directory)), folder):
                done += 1
        for directory in [] if own and not _holds_datanet(root) else find_directories(root):
            parts = directory.relative_to(root).parts
            collection = parts[0] if parts else directory.name
            solved = (label_datanet(sample, collection) for sample in iterate_samples(directory, rate=rate))
            for _ in store(solved, folder):
                done += 1
        report(f"{done} graphs solved, {root} done")


def _holds_datanet(root: Path) -> bool:
    return any(True for _ in root.rglob("*.tar.gz"))
