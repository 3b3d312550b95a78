"""The cookie that marks every rule of ours and says whose it is.

64 bits: ``0x5257`` ("RW", 16) | version (8) | demand (20) | label (20).  Demand 0 is static rules, 0xFFFFF protection.
"""

from __future__ import annotations

from typing import NamedTuple

from topology_sync.errors import InputError

PREFIX = 0x5257
STATIC_DEMAND = 0
PROTECTION_DEMAND = 0xFFFFF

OWN_COOKIE = PREFIX << 48
OWN_MASK = 0xFFFF << 48
VERSION_MASK = 0xFF << 40
DEMAND_MASK = 0xFFFFF << 20
LABEL_MASK = 0xFFFFF
FULL_MASK = (1 << 64) - 1


class Cookie(NamedTuple):
    """Version of the path, number of the demand and label; what does not apply is 0."""

    version: int = 0
    demand: int = STATIC_DEMAND
    label: int = 0

    def pack(self) -> int:
        """The 64-bit cookie.  Raises InputError when a part does not fit its field.

        >>> hex(Cookie(version=2, demand=7, label=101).pack())
        '0x5257020000700065'
        """
        if not (0 <= self.version <= 0xFF and 0 <= self.demand <= 0xFFFFF and 0 <= self.label <= 0xFFFFF):
            raise InputError("cookie", f"{tuple(self)} does not fit 8, 20 and 20 bits")
        return OWN_COOKIE | self.version << 40 | self.demand << 20 | self.label

    @classmethod
    def unpack(cls, cookie: int) -> Cookie:
        """The parts of one of our cookies.  Raises InputError for a cookie that is not ours."""
        if not is_own(cookie):
            raise InputError("cookie", f"{cookie:#x} is not one of ours")
        return cls(cookie >> 40 & 0xFF, cookie >> 20 & 0xFFFFF, cookie & 0xFFFFF)


def is_own(cookie: int) -> bool:
    """Whether a rule with this cookie is ours to touch."""
    return cookie & OWN_MASK == OWN_COOKIE
