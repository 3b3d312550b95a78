"""The cache of compiled kernels is given up whenever anything that is compiled into them changes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gnn_model.acceleration import COMPILED

ROOM = Path(__file__).parents[2] / "gnn_model"
pytestmark = pytest.mark.skipif(not COMPILED, reason="numba is not installed")


def test_the_version_of_the_cache_covers_all_modules_whose_constants_kernels_use() -> None:
    """Numba compiles a module's constants into the kernels that import them, and looks at the kernel's file alone."""
    from gnn_model.compiled import kernel_sources

    sources = kernel_sources()
    kernels = [path for path in ROOM.rglob("*.py") if path.stem == "kernel" or path.stem.endswith("_kernel")]
    assert len(kernels) > 5
    for kernel in kernels:
        assert kernel in sources
        for statement in ast.parse(kernel.read_text("utf-8")).body:
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("gnn_model."):
                imported = ROOM.parent / Path(*str(statement.module).split(".")).with_suffix(".py")
                assert imported in sources, f"{imported.name} of {kernel.name}"


def test_another_source_gives_another_version(tmp_path: Path) -> None:
    from gnn_model.compiled import version_of

    source = tmp_path / "constants.py"
    source.write_text("LIMIT = 1\n")
    before = version_of([source])
    source.write_text("LIMIT = 2\n")
    assert version_of([source]) != before
