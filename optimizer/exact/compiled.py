"""How the kernels of this package are compiled: as those of the packet simulator, in a cache of their own version.

A kernel calls kernels of other files, and numba's cache alone would miss a change there; so the directory is named by
the contents of all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

import gnn_model.packet_simulator.compiled  # noqa: F401  (points numba at a directory that only this user can write)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _directory() -> str | None:
    """Where kernels are kept, None where no safe place is known."""
    config: Any = numba.config
    if not config.CACHE_DIR:
        return None
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    return str(Path(config.CACHE_DIR).parent / f"exact-{version}")


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
