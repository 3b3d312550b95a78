"""When a switch answered, by its own clock: the age of a rule grows with real time, whenever its answer is read."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np

REMEMBERED_S = 60.0


@dataclass
class SwitchClock:
    """Dates the answers of one switch.

    A rule made at ``c`` that says it is ``a`` old was read at ``c + a``.  An answer is taken in some time after that
    and never before, so the smallest wait of the last one to two minutes is taken as none: that also follows a clock
    that runs a little faster or slower than ours.
    """

    _made_s: dict[Hashable, float] = field(default_factory=dict)
    _least_wait_s: tuple[float, float] = (math.inf, math.inf)  # of the minute before, of this one
    _since_s: float = -math.inf

    def answered_s(self, ages_s: Mapping[Hashable, float], taken_in_s: float) -> float:
        """When an answer with these ages by rule was given; at the latest ``taken_in_s``, which runs by our clock."""
        known = [self._made_s[rule] + age_s for rule, age_s in ages_s.items() if rule in self._made_s]
        answered_s = self._settled(float(np.median(known)), taken_in_s) if known else taken_in_s
        self._made_s = {
            rule: self._made_s.get(rule, answered_s - age_s)
            if abs(self._made_s.get(rule, -math.inf) + age_s - answered_s) < REMEMBERED_S / 2
            else answered_s - age_s  # new, or made anew
            for rule, age_s in ages_s.items()
        }
        return answered_s

    def _settled(self, roughly_s: float, taken_in_s: float) -> float:
        if taken_in_s - self._since_s > REMEMBERED_S:
            self._least_wait_s = self._least_wait_s[1], math.inf
            self._since_s = taken_in_s
        before_s, now_s = self._least_wait_s
        self._least_wait_s = before_s, min(now_s, taken_in_s - roughly_s)
        return min(roughly_s + min(self._least_wait_s), taken_in_s)
