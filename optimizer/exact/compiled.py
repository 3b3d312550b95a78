"""How the kernels of this package are compiled: as those of the packet simulator, in a cache of their own version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from gnn_model.compiled import Parameters, Result, version_of

CONSTANTS = ("goals.py", "screening.py")  # files of the optimizer whose constants are compiled into kernels


def _directory() -> str | None:
    """Where kernels are kept, None where no safe place is known; named by the contents of all files with kernels, here
    and in the optimizer itself.
    """
    config: Any = numba.config
    if not config.CACHE_DIR:
        return None
    here = Path(__file__)
    optimizer = here.parents[1]
    sources = [*here.parent.glob("*.py"), *optimizer.glob("*.py")]
    kernels = [path for path in sources if b"exact.compiled import" in path.read_bytes()]
    constants = [optimizer / name for name in CONSTANTS]
    return str(Path(config.CACHE_DIR).parent / f"exact-{version_of([here, *kernels, *constants])}")


_DIRECTORY = _directory()


def _compile(function: Callable[Parameters, Result], forceinline: bool = False) -> Callable[Parameters, Result]:
    config: Any = numba.config
    kept = config.CACHE_DIR
    config.CACHE_DIR = _DIRECTORY or kept
    try:
        decorated: Callable[Parameters, Result] = numba.njit(
            nogil=True, cache=_DIRECTORY is not None, error_model="numpy", forceinline=forceinline
        )(function)
    finally:
        config.CACHE_DIR = kept
    return decorated


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile ``function`` on its first call (seconds, then from the cache); it runs beside other threads."""
    return _compile(function)


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile ``function`` into its callers."""
    return _compile(function, forceinline=True)
