"""Debian ships Mininet for the system Python only: take that one package, and nothing else, from there."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

from topology_sync.errors import UnavailableError

DEBIAN_PACKAGES = Path("/usr/lib/python3/dist-packages")


def mininet_is_installed() -> bool:
    """Whether a Mininet can be imported."""
    return "mininet" in sys.modules or _specification() is not None


def import_mininet(module: str) -> ModuleType:
    """Import ``mininet.MODULE``.  Raises UnavailableError when Mininet is not installed."""
    if "mininet" not in sys.modules:
        specification = _specification()
        if specification is None or specification.loader is None:
            raise UnavailableError("Mininet is not installed; run: apt-get install openvswitch-switch mininet")
        package = importlib.util.module_from_spec(specification)
        sys.modules["mininet"] = package
        specification.loader.exec_module(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Mininet 2.3 compares versions with distutils
        return importlib.import_module(f"mininet.{module}")


def _specification() -> importlib.machinery.ModuleSpec | None:
    installed = importlib.util.find_spec("mininet")
    if installed is not None:
        return installed
    directory = DEBIAN_PACKAGES / "mininet"
    if not (directory / "__init__.py").exists():
        return None
    return importlib.util.spec_from_file_location(
        "mininet", directory / "__init__.py", submodule_search_locations=[str(directory)]
    )
