"""How the kernels of this package are compiled: as those of the packet simulator, in a cache of their own version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from gnn_model.compiled import Parameters, Result, version_of


def _directory() -> str | None:
    """Where kernels are kept, None where no safe place is known; named by the contents of all files with kernels."""
    config: Any = numba.config
    if not config.CACHE_DIR:
        return None
    here = Path(__file__)
    kernels = [path for path in here.parent.glob("*.py") if b"exact.compiled import" in path.read_bytes()]
    return str(Path(config.CACHE_DIR).parent / f"exact-{version_of([here, *kernels])}")


_DIRECTORY = _directory()


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile ``function`` on its first call (seconds, then from the cache); it runs beside other threads."""
    config: Any = numba.config
    kept = config.CACHE_DIR
    config.CACHE_DIR = _DIRECTORY or kept
    try:
        decorated: Callable[Parameters, Result] = numba.njit(
            nogil=True, cache=_DIRECTORY is not None, error_model="numpy"
        )(function)
    finally:
        config.CACHE_DIR = kept
    return decorated
