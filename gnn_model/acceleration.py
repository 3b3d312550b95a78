"""Whether numba is installed: what has a compiled form then uses it, else the array formulas that are its reference."""

import importlib.util

COMPILED = importlib.util.find_spec("numba") is not None
