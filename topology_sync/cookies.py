"""The 64-bit cookie that every rule of ours carries: prefix (16) | version (8) | demand (20) | label (20)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

PREFIX = 0x5257  # "RW"
STATIC_DEMAND = 0
PROTECTION_DEMAND = 0xFFFFF
LARGEST_VERSION = 0xFF
LARGEST_DEMAND = 0xFFFFF
LARGEST_LABEL = 0xFFFFF


class CookieMatch(NamedTuple):
    """A cookie and its mask as a flow_mod or a statistics request takes them: selects ``cookie & mask == value``."""

    value: int
    mask: int


OURS = CookieMatch(PREFIX << 48, 0xFFFF << 48)
"""Selects every rule of ours and nothing else."""


@dataclass(frozen=True)
class Cookie:
    """What a rule is for.  Demand 0 is static (label 0 too), ``PROTECTION_DEMAND`` the bypasses."""

    version: int
    demand: int
    label: int

    def pack(self) -> int:
        """The 64 bits.  Raises ValueError when a part does not fit its field."""
        for name, value, largest in (
            ("version", self.version, LARGEST_VERSION),
            ("demand", self.demand, LARGEST_DEMAND),
            ("label", self.label, LARGEST_LABEL),
        ):
            if not 0 <= value <= largest:
                raise ValueError(f"cookie {name} {value} is not within 0..{largest}")
        return PREFIX << 48 | self.version << 40 | self.demand << 20 | self.label

    @classmethod
    def unpack(cls, value: int) -> Cookie | None:
        """The parts of a cookie, None when it is not one of ours."""
        if value >> 48 != PREFIX:
            return None
        return cls(value >> 40 & LARGEST_VERSION, value >> 20 & LARGEST_DEMAND, value & LARGEST_LABEL)


def of_demand(demand: int) -> CookieMatch:
    """Selects all our rules of one demand, of any version and label."""
    return CookieMatch(PREFIX << 48 | demand << 20, 0xFFFF << 48 | LARGEST_DEMAND << 20)


def of_label(label: int) -> CookieMatch:
    """Selects all our rules of one label, of any version and demand."""
    return CookieMatch(PREFIX << 48 | label, 0xFFFF << 48 | LARGEST_LABEL)
