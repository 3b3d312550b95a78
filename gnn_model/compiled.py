"""How kernels are compiled: without the interpreter's lock, and kept in the user's cache between runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def version_of(sources: Iterable[Path]) -> str:
    """A name for the contents of files: numba's cache alone would miss a change in a function of another file."""
    return hashlib.sha256(b"".join(source.read_bytes() for source in sorted(sources))).hexdigest()[:16]


def kernel_sources() -> list[Path]:
    """The files of all kernels, and those whose constants are compiled into them."""
    here = Path(__file__)
    room = here.parent
    constants = [*room.glob("analytic_*.py"), room / "routenet" / "delay_quantile.py"]
    return sorted({here, *room.glob("packet_simulator/*.py"), *room.rglob("*_kernel.py"), *constants})


def _cache_directory() -> Path:
    """One directory per version of the kernels."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "routewright" / "numba" / version_of(kernel_sources())


def _use_private_cache() -> bool:
    """Point numba at a directory only this user can write: what it loads from there is code."""
    config: Any = numba.config
    if config.CACHE_DIR:
        return True
    directory = _cache_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except (OSError, RuntimeError):
        return False
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        return False
    config.CACHE_DIR = str(directory)
    return True


_CACHED = _use_private_cache()
# The simulator's kernel allocates nothing, so numba need not count references to its arrays, which would take most of
# the time.
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": _CACHED, "error_model": "numpy", "_nrt": False}


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile ``function`` on its first call (seconds, then from the cache); it runs beside other threads."""
    result: Callable[Parameters, Result] = numba.njit(**_OPTIONS)(function)
    return result


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile ``function`` into its callers: dozens of arrays by value are too many to hand over at every call."""
    result: Callable[Parameters, Result] = numba.njit(**_OPTIONS, forceinline=True)(function)
    return result


# Products may be added without rounding in between; nothing else is reordered, so results do not depend on the machine
# beyond the last digit.
_KERNEL_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": _CACHED,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz"},
}


def kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile ``function``, which may allocate arrays, on its first call."""
    result: Callable[Parameters, Result] = numba.njit(**_KERNEL_OPTIONS)(function)
    return result


def allocation_free(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile ``function``, a kernel that allocates nothing, without counting references to its arrays."""
    result: Callable[Parameters, Result] = numba.njit(**{**_KERNEL_OPTIONS, "_nrt": False})(function)
    return result


def inlined_kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile ``function`` into its callers."""
    result: Callable[Parameters, Result] = numba.njit(**_KERNEL_OPTIONS, inline="always")(function)
    return result
