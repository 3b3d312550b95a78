"""Figures as files: the same figure gives the same bytes, and a file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from topology_sync.errors import InputError
from topology_sync.output_files import check_output, output_file

ENDINGS = (".svg", ".png", ".pdf")


def check_figure(path: Path) -> None:
    """Raise InputError where no figure can be written to ``path``; to be asked before the work that it shows."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(str(path), "is no kind of figure", f"give a file that ends in {', '.join(ENDINGS)}")
    check_output(path)


def save_figure(figure: Any, path: Path, dpi: float | None = None) -> None:
    """Write a matplotlib figure, without the date where the format would hold one.  Raises InputError."""
    check_figure(path)
    with output_file(path) as file:
        figure.savefig(file, metadata={"Date": None} if path.suffix.lower() == ".svg" else None, dpi=dpi or "figure")
