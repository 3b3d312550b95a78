"""What frozen values over numpy arrays share: read-only arrays and comparison by content."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def float_array(values: Any) -> FloatArray:
    """A read-only copy of ``values`` as 64-bit floats."""
    return _frozen(np.array(values, dtype=np.float64))


def int_array(values: Any) -> IntArray:
    """A read-only copy of ``values`` as 64-bit integers."""
    return _frozen(np.array(values, dtype=np.int64))


def bool_array(values: Any) -> BoolArray:
    """A read-only copy of ``values`` as booleans."""
    return _frozen(np.array(values, dtype=np.bool_))


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array


class ArrayValue:
    """Base of frozen dataclasses (``eq=False``) with array fields: equal when their contents are equal.

    NaN equals NaN here: an unknown measurement is the same unknown measurement.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash((type(self), *(_hashable(getattr(self, field.name)) for field in fields(self))))  # type: ignore[arg-type]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
    return bool(left == right)


def _hashable(value: Any) -> Any:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
