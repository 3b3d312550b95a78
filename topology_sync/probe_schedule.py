"""Which path or link is probed next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from topology_sync.path_delays import FEWEST_FOR_P99, DelaySample

_LARGEST_BURST = 8
_STEADY_S = 0.002
_LARGEST_FAVOUR = 3.0


def probe_favour(samples: Sequence[DelaySample]) -> float:
    """How many times as often as a steady path this one deserves to be probed, 1 to 3.

    The error of a percentile grows with the spread of the delays, so probes go where the delays are spread (Neyman's
    allocation, 1934); a spread below 2 ms between the 10th and the 90th percentile counts as none.
    """
    if len(samples) < FEWEST_FOR_P99:
        return 1.0
    delays = sorted(sample.delay_s for sample in samples)
    spread_s = delays[(9 * len(delays)) // 10] - delays[len(delays) // 10]
    return min(max(spread_s / _STEADY_S, 1.0), _LARGEST_FAVOUR)


@dataclass(frozen=True)
class ProbeSchedule:
    """Which label gets the next pair of probes.

    Stride scheduling (Waldspurger and Weihl, 1995): ``turns`` is the virtual time of each label's next turn, a turn
    moves it on by 1 / weight, the label furthest behind is next.  ``clock`` is where a fresh label joins.
    """

    turns: Mapping[int, float] = field(default_factory=dict)
    clock: float = 0.0
    due_s: float | None = None

    def due(
        self, now_s: float, weights: Mapping[int, float], probes_per_s: float
    ) -> tuple[ProbeSchedule, tuple[int, ...]]:
        """The schedule afterwards and the labels whose pair is to be sent now.

        ``weights`` (above 0): the labels to watch.  Fresh ones come before all others.  What was missed by a late call
        is not made up for beyond 8 pairs.
        """
        turns = {label: self.turns.get(label, -math.inf) for label in weights}
        if not turns or probes_per_s <= 0:
            return replace(self, turns=turns), ()
        period_s = 2.0 / probes_per_s
        due_s = now_s if self.due_s is None else max(self.due_s, now_s - (_LARGEST_BURST - 1) * period_s)
        clock = self.clock
        chosen: list[int] = []
        while due_s <= now_s:
            label = min(turns, key=lambda candidate: (turns[candidate], candidate))
            clock = max(turns[label], clock)
            turns[label] = clock + 1.0 / weights[label]
            chosen.append(label)
            due_s += period_s
        return ProbeSchedule(turns, clock, due_s), tuple(chosen)
